"""The autoscaler's cluster status and the cluster's metadata as our model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from clusterstate.masking import mask_text
from clusterstate.model import ClusterMetadata, ClusterStatus, FailedNode, Node, NodeGroup, NodeResources, PendingNode, ResourceDemand
from workers.sources.gcs_fields import (
    MAX_ENTRIES,
    clipped,
    enum_name,
    hex_id,
    parsed_json,
    resources,
    text,
    text_list,
    texts,
    unreserved,
    whole,
)

IDLE_JITTER_MS = 3000
"""How far two computations of the same idle moment may differ: the GCS takes a node's word each second or so."""
MAX_DEMANDS = 1000


def node_resources_of(reply: Any, now: float) -> list[NodeResources]:
    """What each live node may still hand out, from `GetClusterStatusReply`."""
    states = [state for state in reply.cluster_resource_state.node_states if enum_name(state, "status") != "DEAD"]
    return [_node_resources(state, now) for state in states[:MAX_ENTRIES]]


def settled(known: NodeResources | None, update: NodeResources) -> NodeResources:
    """The row as it is kept: a node that is only idle for longer has not changed, so it is not written again."""
    if known is None or known.idle_since_ms is None or update.idle_since_ms is None:
        return update
    if abs(known.idle_since_ms - update.idle_since_ms) > IDLE_JITTER_MS:
        return update
    return replace(update, idle_since_ms=known.idle_since_ms, idle_duration_ms=known.idle_duration_ms)


def cluster_status_of(reply: Any, failed_nodes: Iterable[Node], now: float) -> ClusterStatus:
    """The autoscaler's picture. Failed launches come with it, dead nodes from the node table."""
    resource_state, autoscaling = reply.cluster_resource_state, reply.autoscaling_state
    alive = [state for state in resource_state.node_states if enum_name(state, "status") != "DEAD"]
    reports = bool(autoscaling.autoscaler_state_version)
    return ClusterStatus(
        collected_at=now,
        nodes=_groups(alive),
        pending_nodes=_pending(autoscaling),
        failed_nodes=_failed_launches(autoscaling) + _failed_nodes(failed_nodes),
        resources_total=_total(state.total_resources for state in alive),
        resources_available=_total(state.available_resources for state in alive),
        demands=_demands(resource_state),
        autoscaler_version="v2" if reports else None,
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


def _node_resources(state: Any, now: float) -> NodeResources:
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
    )


def _groups(states: Iterable[Any]) -> list[NodeGroup]:
    """Nodes started by hand have no type: they are one group with an empty name."""
    active: Counter[str] = Counter()
    idle: Counter[str] = Counter()
    for state in states:
        (idle if enum_name(state, "status") == "IDLE" else active)[clipped(state.ray_node_type_name)] += 1
    return [NodeGroup(kind, active[kind], idle[kind]) for kind in sorted({*active, *idle})[:MAX_ENTRIES]]


def _pending(autoscaling: Any) -> list[PendingNode]:
    """Nodes that are starting, then launches that were asked for and have no node yet."""
    starting = [
        PendingNode(clipped(one.ray_node_type_name), text(one, "ip_address"), text(one, "details"))
        for one in list(autoscaling.pending_instances)[:MAX_ENTRIES]
    ]
    asked = [
        PendingNode(clipped(one.ray_node_type_name), None, f"{one.count} requested" if one.count != 1 else "requested")
        for one in list(autoscaling.pending_instance_requests)[:MAX_ENTRIES]
    ]
    return starting + asked


def _failed_launches(autoscaling: Any) -> list[FailedNode]:
    return [
        FailedNode(clipped(one.ray_node_type_name), mask_text(clipped(one.reason)), None, whole(one.failed_ts * 1000) or None)
        for one in list(autoscaling.failed_instance_requests)[:MAX_ENTRIES]
    ]


def _failed_nodes(nodes: Iterable[Node]) -> list[FailedNode]:
    return [FailedNode(node.node_type_name or "", node.state_message or "", node.node_ip, node.end_time_ms) for node in nodes]


def _total(maps: Iterable[Any]) -> dict[str, float]:
    """Sums over nodes, without the resources that stand for one node (`node:10.0.0.1`)."""
    total: dict[str, float] = {}
    for amounts in maps:
        for name, amount in amounts.items():
            if math.isfinite(amount) and not name.startswith("node:") and "_group_" not in name:
                total[clipped(name)] = total.get(clipped(name), 0.0) + amount
    return {name: round(total[name], 4) for name in sorted(total)[:MAX_ENTRIES]}


def _demands(state: Any) -> list[ResourceDemand]:
    found = [_demand("TASK_ACTOR", one.request, one.count) for one in list(state.pending_resource_requests)[:MAX_DEMANDS]]
    for gang in list(state.pending_gang_resource_requests)[:MAX_DEMANDS]:
        found.extend(_gang_demands(gang))
    for constraint in list(state.cluster_resource_constraints)[:MAX_DEMANDS]:
        found.extend(_demand("REQUEST_RESOURCES", one.request, one.count) for one in constraint.resource_requests)
    return found[:MAX_DEMANDS]


def _gang_demands(gang: Any) -> list[ResourceDemand]:
    """A placement group's bundles, equal ones counted. `details` is "<id>:<strategy>|<state>" in Ray 2.53 to 2.60."""
    requests = list(gang.requests) or [one for selector in gang.bundle_selectors[:1] for one in selector.resource_requests]
    strategy = gang.details.partition(":")[2].partition("|")[0].strip()
    counted: dict[str, ResourceDemand] = {}
    for request in requests[:MAX_ENTRIES]:
        one = _demand("PLACEMENT_GROUP", request, 1, clipped(strategy) or None)
        known = counted.get(repr((one.shape, one.label_selector)))
        counted[repr((one.shape, one.label_selector))] = one if known is None else replace(known, count=known.count + 1)
    return list(counted.values())


def _demand(kind: str, request: Any, count: int, strategy: str | None = None) -> ResourceDemand:
    return ResourceDemand(kind, resources(request.resources_bundle), int(count), strategy, _label_selector(request))


def _label_selector(request: Any) -> dict[str, str]:
    """The first selector in words such as {"region": "in(us-east, us-west)"}."""
    for selector in list(getattr(request, "label_selectors", ()))[:1]:
        words = {}
        for constraint in list(selector.label_constraints)[:MAX_ENTRIES]:
            operator = "!in" if enum_name(constraint, "operator") == "LABEL_OPERATOR_NOT_IN" else "in"
            words[constraint.label_key] = f"{operator}({', '.join(constraint.label_values)})"
        return texts(words)
    return {}


def _string(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return clipped(value) if isinstance(value, str) and value else None
