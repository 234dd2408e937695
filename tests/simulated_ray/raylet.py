"""What a simulated raylet answers: GetNodeStats of one node."""

from __future__ import annotations

from typing import Any

from tests.simulated_ray import ids, stubs
from tests.simulated_ray.placement_groups import PlacementGroups


def get_node_stats(cluster: PlacementGroups, node_id: bytes) -> bytes:
    """The node's live workers with their actor and what it holds, and its object store."""
    reply = stubs.node_manager.GetNodeStatsReply()
    for worker_id in cluster.workers.in_state(1):
        row = cluster.workers.get(worker_id)
        if row.worker_address.node_id == node_id:
            _add_worker(cluster, reply, worker_id, row)
    reply.num_workers = len(reply.core_workers_stats)
    node = cluster.nodes.get(node_id)
    total = int(node.resources_total.get("object_store_memory", 0))
    used = total // 7
    reply.store_stats.object_store_bytes_avail = total - used
    reply.store_stats.object_store_bytes_used = used
    reply.store_stats.num_local_objects = len(reply.core_workers_stats) * 3
    return bytes(reply.SerializeToString())


def _add_worker(cluster: PlacementGroups, reply: Any, worker_id: bytes, row: Any) -> None:
    actor_id = cluster.actor_of_worker.get(worker_id, ids.NIL_ACTOR)
    actor = cluster.actors.get(actor_id) if actor_id in cluster.actors else None
    stats = reply.core_workers_stats.add(
        worker_id=worker_id,
        pid=row.pid,
        ip_address=row.worker_address.ip_address,
        port=row.worker_address.port,
        worker_type=row.worker_type,
        actor_id=actor_id,
        job_id=actor.job_id if actor else ids.NIL_JOB,
        num_executed_tasks=2 if actor else 0,
    )
    if actor is None:
        return
    slots = {entry.name: entry.resource_ids for entry in actor.resource_mapping}
    for name, amount in actor.required_resources.items():
        allocation = stats.used_resources[name]
        if name in slots:
            for slot in slots[name]:
                allocation.resource_slots.add(slot=slot.index, allocation=slot.quantity)
        elif amount:
            allocation.resource_slots.add(allocation=amount)
