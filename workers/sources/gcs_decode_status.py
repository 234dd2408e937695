"""The autoscaler's cluster status and the cluster's metadata as our model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from clusterstate.masking import mask_text
from clusterstate.model import ClusterMetadata, ClusterStatus, FailedNode, Node, NodeGroup, NodeResources, PendingNode
from workers.sources.autoscaler_decode import AutoscalerReport, is_unnamed
from workers.sources.gcs_decode_demands import demands_of, ordered
from workers.sources.gcs_fields import (
    MAX_ENTRIES,
    clipped,
    enum_name,
    hex_id,
    parsed_json,
    reserved,
    text,
    text_list,
    unreserved,
    whole,
)

IDLE_JITTER_MS = 3000
"""How far two computations of the same idle moment may differ: the GCS takes a node's word each second or so."""


def node_resources_of(reply: Any, now: float, report: AutoscalerReport | None = None) -> list[NodeResources]:
    """What each live node may still hand out, from `GetClusterStatusReply`; types of nodes from the first autoscaler's report too."""
    types = report.node_types if report is not None else {}
    states = [state for state in reply.cluster_resource_state.node_states if enum_name(state, "status") != "DEAD"]
    return [_node_resources(state, now, types) for state in states[:MAX_ENTRIES]]


def settled(known: NodeResources | None, update: NodeResources) -> NodeResources:
    """The row as it is kept: a node that is only idle for longer has not changed, so it is not written again."""
    if known is None or known.idle_since_ms is None or update.idle_since_ms is None:
        return update
    if abs(known.idle_since_ms - update.idle_since_ms) > IDLE_JITTER_MS:
        return update
    return replace(update, idle_since_ms=known.idle_since_ms, idle_duration_ms=known.idle_duration_ms)


def cluster_status_of(
    reply: Any, failed_nodes: Iterable[Node], now: float, report: AutoscalerReport | None = None, version: str | None = None
) -> ClusterStatus:
    """The autoscaler's picture: from the reply, and from the `report` of the first autoscaler where that one runs.

    Failed launches come with it, dead nodes from the node table. `version` is which autoscaler is switched on, when that is known.
    """
    autoscaling = reply.autoscaling_state
    alive = [state for state in reply.cluster_resource_state.node_states if enum_name(state, "status") != "DEAD"]
    types = report.node_types if report is not None else {}
    demands = demands_of(reply)
    if report is not None:
        demands = ordered([*(one for one in demands if one.kind != "REQUEST_RESOURCES"), *report.demands])
    return ClusterStatus(
        collected_at=now,
        nodes=_groups(alive, types),
        pending_nodes=_pending(autoscaling) if report is None else report.pending_nodes,
        failed_nodes=_failed_launches(autoscaling) + _failed_nodes(failed_nodes, report),
        resources_total=_total(state.total_resources for state in alive),
        resources_available=_total(state.available_resources for state in alive),
        demands=demands,
        autoscaler_version="v2" if version == "v2" or autoscaling.autoscaler_state_version else "v1" if report is not None else None,
        reserved_total=_total(reserved(state.total_resources) for state in alive),
        reserved_available=_total(reserved(state.available_resources) for state in alive),
    )


def sighted(status: ClusterStatus, before: ClusterStatus | None) -> ClusterStatus:
    """The same with since when each demand and pending node has been waiting: as long as it was seen without a break."""
    now_ms = int(status.collected_at * 1000)
    demands = {one.key: one.since_ms for one in before.demands} if before is not None else {}
    pending = {_name_of(one): one.since_ms for one in before.pending_nodes} if before is not None else {}
    return replace(
        status,
        demands=[replace(one, since_ms=demands.get(one.key) or now_ms) for one in status.demands],
        pending_nodes=[replace(one, since_ms=one.since_ms or pending.get(_name_of(one)) or now_ms) for one in status.pending_nodes],
    )


def metadata_of(cluster: str, session: str, gcs_address: str, record: bytes | None) -> ClusterMetadata:
    """What the KV says of the cluster (`CLUSTER_METADATA`); commit, system and start are there with usage statistics only."""
    parsed = parsed_json(record) if record else None
    fields = parsed if isinstance(parsed, dict) else {}
    started = fields.get("session_start_timestamp_ms")
    return ClusterMetadata(
        cluster=cluster,
        session=session,
        gcs_address=gcs_address,
        ray_version=_string(fields, "ray_version"),
        python_version=_string(fields, "python_version"),
        ray_commit=_string(fields, "git_commit"),
        os=_string(fields, "os"),
        started_ms=started if isinstance(started, int) and started > 0 else None,
    )


def _node_resources(state: Any, now: float, types: Mapping[str, str]) -> NodeResources:
    status = enum_name(state, "status")
    idle_ms = int(state.idle_duration_ms) if status == "IDLE" else None
    return NodeResources(
        node_id=hex_id(state, "node_id") or "",
        resources_total=unreserved(state.total_resources),
        resources_available=unreserved(state.available_resources),
        status=status,
        idle_duration_ms=idle_ms,
        node_activity=[] if status == "IDLE" else text_list(state.node_activity),  # Ray leaves the last one in place
        idle_since_ms=None if idle_ms is None else int(now * 1000) - idle_ms,
        reserved_total=reserved(state.total_resources),
        reserved_available=reserved(state.available_resources),
        node_type=_type_of(state, types),
        instance_id=text(state, "instance_id"),
    )


def _type_of(state: Any, types: Mapping[str, str]) -> str | None:
    """A node's type; None: it was started by hand. The first autoscaler names it by address or id in its report alone."""
    named = clipped(state.ray_node_type_name) or types.get(state.node_ip_address) or types.get(bytes(state.node_id).hex())
    return None if named is None or is_unnamed(named) else named


def _groups(states: Iterable[Any], types: Mapping[str, str]) -> list[NodeGroup]:
    """Nodes started by hand have no type: they are one group with an empty name."""
    active: Counter[str] = Counter()
    idle: Counter[str] = Counter()
    for state in states:
        (idle if enum_name(state, "status") == "IDLE" else active)[_type_of(state, types) or ""] += 1
    return [NodeGroup(kind, active[kind], idle[kind]) for kind in sorted({*active, *idle})[:MAX_ENTRIES]]


def _pending(autoscaling: Any) -> list[PendingNode]:
    """Nodes that are starting, then launches that were asked for and have no node yet."""
    starting = [
        PendingNode(clipped(one.ray_node_type_name), text(one, "ip_address"), text(one, "details"), text(one, "instance_id"))
        for one in list(autoscaling.pending_instances)[:MAX_ENTRIES]
    ]
    asked = [
        PendingNode(
            clipped(one.ray_node_type_name),
            None,
            f"{one.count} requested" if one.count != 1 else "requested",
            count=int(one.count),
            is_launch=True,
            since_ms=whole(one.request_ts * 1000) or None,
        )
        for one in list(autoscaling.pending_instance_requests)[:MAX_ENTRIES]
    ]
    return starting + asked


def _name_of(pending: PendingNode) -> tuple[object, ...]:
    return pending.node_type, pending.ip, pending.instance_id, pending.is_launch


def _failed_launches(autoscaling: Any) -> list[FailedNode]:
    """The newest first."""
    failed = [
        FailedNode(
            clipped(one.ray_node_type_name),
            mask_text(clipped(one.reason)),
            None,
            whole((one.failed_ts or one.start_ts) * 1000) or None,
            "LaunchFailed",
        )
        for one in list(autoscaling.failed_instance_requests)[:MAX_ENTRIES]
    ]
    return sorted(failed, key=lambda one: -(one.failed_at_ms or 0))


def _failed_nodes(nodes: Iterable[Node], report: AutoscalerReport | None) -> list[FailedNode]:
    """Dead nodes, and failures that the first autoscaler names; of one that both know, the table has the reason."""
    named = report.failed_nodes if report is not None else []
    told = {one.ip: one.node_type for one in named if one.ip is not None}
    dead = [
        FailedNode(
            node.node_type_name or told.get(node.node_ip or "", ""),
            node.state_message or "",
            node.node_ip,
            node.end_time_ms,
            node_id=node.node_id,
            instance_id=node.instance_id,
            is_reported=report is None or node.node_ip in told,
        )
        for node in nodes
    ]
    known = {one.ip for one in dead}
    return [*(one for one in named if one.ip is None or one.ip not in known), *dead]


def _total(maps: Iterable[Any]) -> dict[str, float]:
    """Sums over nodes, without the resources that stand for one node (`node:10.0.0.1`)."""
    total: dict[str, float] = {}
    for amounts in maps:
        for name, amount in amounts.items():
            if math.isfinite(amount) and not name.startswith("node:") and "_group_" not in name:
                total[clipped(name)] = total.get(clipped(name), 0.0) + amount
    return {name: round(total[name], 4) for name in sorted(total)[:MAX_ENTRIES]}


def _string(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return clipped(value) if isinstance(value, str) and value else None
