"""The GCS's rows of nodes, workers and placement groups as our model. Pure: message in, dataclass out.

Actors, jobs and the cluster's status have modules of their own beside this one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from clusterstate.masking import mask_text
from clusterstate.model import Bundle, Node, PlacementGroup, Worker
from workers.sources.gcs_fields import (
    MAX_ENTRIES,
    clipped,
    enum_name,
    enum_value_name,
    hex_id,
    number,
    optional,
    port,
    resources,
    text,
    texts,
)

NODE_DEATHS = {
    "EXPECTED_TERMINATION": "Expected termination",
    "UNEXPECTED_TERMINATION": "Unexpected termination",
    "AUTOSCALER_DRAIN_PREEMPTED": "Drained by the autoscaler because of preemption",
    "AUTOSCALER_DRAIN_IDLE": "Drained by the autoscaler because it was idle",
}
NODE_DIED = "The node of this worker died."
NODE_LOST = "The GCS no longer lists this node. When and why it ended is not known."
WORKER_LOST = "The GCS no longer knows this worker. When and why it ended is not known."


def node_of(message: Any) -> Node:
    """A row of the node table (`GcsNodeInfo`)."""
    return Node(
        node_id=hex_id(message, "node_id") or "",
        state=enum_name(message, "state"),
        node_ip=text(message, "node_manager_address"),
        node_name=text(message, "node_name"),
        hostname=text(message, "node_manager_hostname"),
        is_head_node=bool(message.is_head_node),
        state_message=_death_message(message),
        resources_total=resources(message.resources_total),
        labels=texts(message.labels),
        start_time_ms=number(message, "start_time_ms"),
        end_time_ms=number(message, "end_time_ms"),
        node_manager_port=port(message, "node_manager_port"),
        object_manager_port=port(message, "object_manager_port"),
        metrics_export_port=port(message, "metrics_export_port"),
        metrics_agent_port=port(message, "metrics_agent_port"),
        dashboard_agent_listen_port=port(message, "dashboard_agent_listen_port"),
        runtime_env_agent_port=port(message, "runtime_env_agent_port"),
        raylet_socket_name=text(message, "raylet_socket_name"),
        object_store_socket_name=text(message, "object_store_socket_name"),
        session_dir=text(message, "session_dir"),
        instance_id=text(message, "instance_id"),
        node_type_name=text(message, "node_type_name"),
        instance_type_name=text(message, "instance_type_name"),
    )


def merge_node(known: Node | None, update: Node) -> Node:
    """A published node joined with what is known of it: the message of a death may hold id, state and cause alone."""
    if known is None or update.state == "ALIVE":
        return update
    return replace(
        known,
        state=update.state,
        state_message=update.state_message or known.state_message,
        end_time_ms=update.end_time_ms or known.end_time_ms,
    )


def worker_of(message: Any) -> Worker:
    """A row of the worker table (`WorkerTableData`)."""
    exit_type = optional(message, "exit_type")
    types = message.DESCRIPTOR.fields_by_name["exit_type"].enum_type
    address = message.worker_address
    worker_type = enum_name(message, "worker_type")
    worker_id = hex_id(address, "worker_id") or ""
    return Worker(
        worker_id=worker_id,
        is_alive=bool(message.is_alive),
        node_id=hex_id(address, "node_id"),
        worker_type=worker_type,
        ip=text(address, "ip_address"),
        pid=number(message, "pid"),
        job_id=hex_id(message, "job_id") or (_job_of_driver(worker_id) if worker_type == "DRIVER" else None),
        exit_type=None if exit_type is None else enum_value_name(types, exit_type),
        exit_detail=_exit_detail(message),
        worker_launch_time_ms=number(message, "worker_launch_time_ms"),
        start_time_ms=number(message, "start_time_ms"),
        end_time_ms=number(message, "end_time_ms"),
        num_paused_threads=optional(message, "num_paused_threads"),
        uncaught_exception=_uncaught_exception(message),
    )


def merge_worker(known: Worker | None, update: Worker) -> Worker:
    """A worker's row joined with the one kept: a row of the dead may come without where and when it lived."""
    if known is None:
        return update
    return replace(
        update,
        node_id=update.node_id or known.node_id,
        ip=update.ip or known.ip,
        pid=update.pid or known.pid,
        job_id=update.job_id or known.job_id,
        start_time_ms=update.start_time_ms or known.start_time_ms,
        worker_launch_time_ms=update.worker_launch_time_ms or known.worker_launch_time_ms,
        uncaught_exception=update.uncaught_exception or known.uncaught_exception,
        worker_type=update.worker_type if update.start_time_ms or not known.worker_type else known.worker_type,
    )


def ended_with_node(worker: Worker, node_end_time_ms: int | None) -> Worker:
    """A worker of a dead node. Ray 2.53 to 2.60 go on listing it as alive: nobody is left to report its end."""
    return replace(worker, is_alive=False, end_time_ms=worker.end_time_ms or node_end_time_ms, exit_detail=worker.exit_detail or NODE_DIED)


def lost_worker(known: Worker) -> Worker:
    """A worker that lived when it was last seen and that the GCS no longer knows."""
    return replace(known, is_alive=False, exit_detail=known.exit_detail or WORKER_LOST)


def lost_node(known: Node) -> Node:
    """A node that lived when it was last seen and that the GCS no longer lists."""
    return replace(known, state="DEAD", state_message=known.state_message or NODE_LOST)


def placement_group_of(message: Any) -> PlacementGroup:
    """A row of the placement group table (`PlacementGroupTableData`)."""
    stats = message.stats
    received_ns, latency_us = int(stats.creation_request_received_ns), int(stats.end_to_end_creation_latency_us)
    return PlacementGroup(
        placement_group_id=hex_id(message, "placement_group_id") or "",
        state=enum_name(message, "state"),
        name=text(message, "name"),
        creator_job_id=hex_id(message, "creator_job_id"),
        creator_actor_id=hex_id(message, "creator_actor_id"),
        strategy=enum_name(message, "strategy"),
        is_detached=bool(message.is_detached),
        bundles=[_bundle_of(bundle) for bundle in list(message.bundles)[:MAX_ENTRIES]],
        scheduling_state=enum_name(stats, "scheduling_state") if message.HasField("stats") else None,
        scheduling_attempt=stats.scheduling_attempt or None,
        highest_retry_delay_ms=stats.highest_retry_delay_ms or None,
        creation_request_received_ms=received_ns // 1_000_000 or None,
        end_to_end_creation_latency_ms=latency_us / 1000 if latency_us else None,
        topology=_topology_of(message),
    )


def removed_placement_group(known: PlacementGroup) -> PlacementGroup:
    """A placement group that the GCS no longer lists."""
    return replace(known, state="REMOVED", scheduling_state="REMOVED")


def _uncaught_exception(message: Any) -> str | None:
    """A driver's excepthook (`custom_excepthook` in `ray._private.worker`) puts its traceback's frames there, without the message."""
    frames = bytes(message.worker_info["exception"]) if "exception" in message.worker_info else b""
    return mask_text(clipped(frames.decode("utf-8", "backslashreplace"))) or None


def _job_of_driver(worker_id: str) -> str | None:
    """A driver's worker id is its job id, filled up with f. Of other live workers the GCS does not say the job."""
    return worker_id[:8] if len(worker_id) == 56 and set(worker_id[8:]) == {"f"} else None


def _bundle_of(message: Any) -> Bundle:
    return Bundle(
        bundle_index=message.bundle_id.bundle_index,
        unit_resources=resources(message.unit_resources),
        node_id=hex_id(message, "node_id"),
        label_selector=texts(getattr(message, "label_selector", {})),
    )


def _topology_of(message: Any) -> dict[str, str]:
    """Ray 2.60: how each topology level is placed, and where it was."""
    fields = message.DESCRIPTOR.fields_by_name
    if "topology_strategy" not in fields:
        return {}
    strategies = fields["topology_strategy"].message_type.fields_by_name["value"].enum_type
    found = {f"strategy:{level}": enum_value_name(strategies, value) for level, value in message.topology_strategy.items()}
    found.update((f"assignment:{level}", value) for level, value in message.topology_assignments.items())
    return texts(found)


def _death_message(message: Any) -> str | None:
    if not message.HasField("death_info"):
        return None
    reason = enum_name(message.death_info, "reason")
    word, detail = NODE_DEATHS.get(reason, "" if reason == "UNSPECIFIED" else reason), text(message.death_info, "reason_message")
    return ": ".join(part for part in (word, mask_text(detail) if detail else "") if part) or None


def _exit_detail(message: Any) -> str | None:
    """Ray's sentence about the end, with the exception of the actor's constructor where there is one."""
    parts = [optional(message, "exit_detail") or ""]
    if message.HasField("creation_task_exception"):
        parts.append(message.creation_task_exception.formatted_exception_string)
    detail = "\n".join(part for part in parts if part)
    return mask_text(clipped(detail)) if detail else None
