"""A raylet's GetNodeStats reply as our words. Pure; works on messages of Ray 2.53 to 2.60."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

WORKER_TYPES = ("WORKER", "DRIVER", "SPILL_WORKER", "RESTORE_WORKER")
"""`WorkerType` of Ray's common.proto, by number."""
GPU = "GPU"
GROUP_NAME = re.compile(r"(.+)_group_(?:\d+_)?[0-9a-f]{36}")


@dataclass(frozen=True, slots=True)
class CoreWorker:
    """One worker or driver of a raylet, as it answered."""

    pid: int
    worker_id: str
    worker_type: str
    job_id: str | None = None
    actor_id: str | None = None
    used_resources: dict[str, float] = field(default_factory=dict)
    gpu_slots: dict[int, float] = field(default_factory=dict)  # slot of the raylet -> share of it
    tasks_running: int = 0
    tasks_pending: int = 0
    tasks_executed: int = 0
    objects_owned: int = 0
    object_refs_in_scope: int = 0


@dataclass(frozen=True, slots=True)
class RayletReading:
    """One GetNodeStats reply."""

    at: float  # Unix seconds
    workers: dict[int, CoreWorker] = field(default_factory=dict)  # by pid
    num_workers: int | None = None
    object_store_capacity_bytes: int | None = None
    object_store_used_bytes: int | None = None
    object_store_objects: int | None = None
    object_store_spilled_bytes: int | None = None  # since the raylet's start
    object_store_restored_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """What the GCS knows of where a raylet listens."""

    node_id: str
    address: str
    port: int
    is_alive: bool


def decode_node_stats(reply: Any, at: float, limit: int) -> RayletReading:
    """At most `limit` workers; the raylet's own count is kept beside them."""
    workers = (decode_core_worker(stats) for stats, _ in zip(reply.core_workers_stats, range(limit), strict=False))
    store = reply.store_stats
    return RayletReading(
        at=at,
        workers={worker.pid: worker for worker in workers if worker.pid},
        num_workers=reply.num_workers,
        object_store_capacity_bytes=store.object_store_bytes_avail,  # all there is, whatever its name says: it does not shrink with use
        object_store_used_bytes=store.object_store_bytes_used,
        object_store_objects=store.num_local_objects,
        object_store_spilled_bytes=store.spilled_bytes_total,
        object_store_restored_bytes=store.restored_bytes_total,
    )


def decode_core_worker(stats: Any) -> CoreWorker:
    """One of `core_workers_stats`."""
    number = stats.worker_type
    return CoreWorker(
        pid=stats.pid,
        worker_id=stats.worker_id.hex(),
        worker_type=WORKER_TYPES[number] if 0 <= number < len(WORKER_TYPES) else str(number),
        job_id=hex_id(stats.job_id),
        actor_id=hex_id(stats.actor_id),
        used_resources=used_resources(stats.used_resources),
        gpu_slots=slots(stats.used_resources, GPU),
        tasks_running=stats.num_running_tasks,
        tasks_pending=stats.num_pending_tasks,
        tasks_executed=stats.num_executed_tasks,
        objects_owned=stats.num_owned_objects,
        object_refs_in_scope=stats.num_object_refs_in_scope,
    )


def hex_id(raw: bytes) -> str | None:
    """A Ray id; nil (all bits set, or empty) is None."""
    return raw.hex() if raw and raw.strip(b"\xff") else None


def used_resources(allocations: Mapping[str, Any]) -> dict[str, float]:
    """Logical resources a worker holds, to Ray's own precision of 1/10000.

    Inside a placement group Ray books each amount twice, as CPU_group_<id> and CPU_group_<bundle>_<id>: once here, as CPU.
    """
    totals: dict[str, float] = {}
    for name, held in allocations.items():
        plain = plain_resource(name)
        if plain is not None:
            totals[plain] = max(totals.get(plain, 0.0), round(sum(slot.allocation for slot in held.resource_slots), 4))
    return {name: total for name, total in sorted(totals.items()) if total > 0}


def plain_resource(name: str) -> str | None:
    """The resource behind a placement group's name for it; None for `bundle_group_...`, which only marks a bundle."""
    found = GROUP_NAME.fullmatch(name)
    if found is None:
        return name
    return None if found.group(1) == "bundle" else found.group(1)


def slots(allocations: Mapping[str, Any], resource: str) -> dict[int, float]:
    """Which instances of a resource a worker holds, and how much of each."""
    shares: dict[int, float] = {}
    for name, held in allocations.items():
        if plain_resource(name) != resource:
            continue
        for slot in held.resource_slots:
            if slot.allocation > 0:
                shares[slot.slot] = max(shares.get(slot.slot, 0.0), round(slot.allocation, 4))
    return dict(sorted(shares.items()))


def decode_node_address(info: Any) -> NodeAddress:
    """One `GcsNodeInfo`. State 0 is ALIVE."""
    return NodeAddress(info.node_id.hex(), info.node_manager_address, info.node_manager_port, info.state == 0)


def worker_ids_from_log_names(names: Iterable[str], pids: Iterable[int]) -> dict[int, str]:
    """pid → worker id from names such as python-core-worker-<worker_id>_<pid>.log, for when the raylet does not answer.

    A pid that appears twice in a session's log folder was given out again: it is left out.
    """
    wanted = set(pids)
    found: dict[int, str] = {}
    twice: set[int] = set()
    for name in names:
        if not (name.startswith("python-core-worker-") and name.endswith(".log")):
            continue
        worker_id, _, pid_text = name[len("python-core-worker-") : -len(".log")].partition("_")
        if not pid_text.isdigit() or int(pid_text) not in wanted:
            continue
        pid = int(pid_text)
        if pid in found and found[pid] != worker_id:
            twice.add(pid)
        found[pid] = worker_id
    return {pid: worker_id for pid, worker_id in found.items() if pid not in twice}
