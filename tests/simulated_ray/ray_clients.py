"""Asks a GCS through Ray's own compiled clients and prints what they understood, as JSON. Run as a process of its own.

Usage: python -m tests.simulated_ray.ray_clients <address>
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import Any

from tests.simulated_ray import stubs

TIMEOUT_S = 10


def ask(raylet: Any, address: str) -> dict[str, Any]:
    """What Ray's GcsClient says of the cluster at that address."""
    client = raylet.GcsClient(address=address)
    nodes = client.get_all_node_info(timeout=TIMEOUT_S)
    jobs = client.get_all_job_info(skip_submission_job_info_field=False, skip_is_running_tasks_field=True, timeout=TIMEOUT_S)
    status = stubs.autoscaler.GetClusterStatusReply.FromString(client.get_cluster_status(TIMEOUT_S))
    return {
        "nodes": {node_id.hex(): node.node_manager_address for node_id, node in nodes.items()},
        "alive": client.check_alive(list(nodes), timeout=TIMEOUT_S),
        "jobs": {job_id.hex(): (job.entrypoint, job.job_info.status) for job_id, job in jobs.items()},
        "session_name": client.internal_kv_get(b"session_name", b"session", timeout=TIMEOUT_S).decode(),
        "submissions": sorted(key.decode() for key in client.internal_kv_keys(b"", b"job", timeout=TIMEOUT_S)),
        "cluster_id": client.cluster_id.hex(),
        "status_session": status.cluster_resource_state.cluster_session_name,
        "status_nodes": len(status.cluster_resource_state.node_states),
    }


def ask_state(raylet: Any, address: str) -> dict[str, Any]:
    """What GlobalStateAccessor says, on which Ray's own state module stands."""
    options = raylet.GcsClientOptions.create(address, None, allow_cluster_id_nil=True, fetch_cluster_id_if_nil=True)
    accessor = raylet.GlobalStateAccessor(options)
    accessor.connect()
    actors = [stubs.gcs.ActorTableData.FromString(data) for data in accessor.get_actor_table(None, None)]
    workers = [stubs.gcs.WorkerTableData.FromString(data) for data in accessor.get_worker_table()]
    groups = [stubs.gcs.PlacementGroupTableData.FromString(data) for data in accessor.get_placement_group_table()]
    return {
        "actors": {row.actor_id.hex(): row.class_name for row in actors},
        "workers": [row.worker_address.worker_id.hex() for row in workers],
        "placement_groups": [row.placement_group_id.hex() for row in groups],
    }


if __name__ == "__main__":
    compiled: Any = import_module("ray._raylet")
    sys.stdout.write(json.dumps({**ask(compiled, sys.argv[1]), **ask_state(compiled, sys.argv[1])}))
