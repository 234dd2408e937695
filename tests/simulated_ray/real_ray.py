"""Starts a small real Ray cluster on loopback, lets an actor live and die in it, and prints which fields its GCS sent, as JSON.

Run as a process of its own, with the environment that keeps a cluster to loopback and to its own folder (`test_like_real_ray.py`).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from importlib import import_module
from typing import Any

from tests.simulated_ray.client import Client, Subscription, fields_of

CHANNELS = ("GCS_ACTOR_CHANNEL", "GCS_NODE_INFO_CHANNEL", "GCS_JOB_CHANNEL", "GCS_WORKER_DELTA_CHANNEL")
QUIET_S = 2.0
DEATH_LIMIT_S = 20.0


def record(address: str, act: Any) -> dict[str, Any]:
    """What is published while `act` runs, and what the tables hold in its end: names of the fields that are set."""
    with Client(address) as client:
        subscription = Subscription(client, *CHANNELS)
        act()
        messages = subscription.poll()
        deadline = time.monotonic() + DEATH_LIMIT_S
        while not any(message.HasField("node_info_message") and message.node_info_message.state for message in messages):
            messages += subscription.poll(max(0.1, deadline - time.monotonic()))
        tables = {
            "node": client.nodes().node_info_list,
            "job": client.call("JobInfoGcsService", "GetAllJobInfo", skip_is_running_tasks_field=True).job_info_list,
            "worker": client.call("WorkerInfoGcsService", "GetAllWorkerInfo").worker_table_data,
            "group": client.call("PlacementGroupInfoGcsService", "GetAllPlacementGroup").placement_group_table_data,
            "actor": client.actors(filters={"state": 4}).actor_table_data,
        }
    return {
        "published": [_published(one) for one in messages],
        "tables": {name: sorted(set().union(*map(fields_of, rows))) for name, rows in tables.items()},
    }


def _published(message: Any) -> dict[str, Any]:
    """One message: its channel, the state it tells and the fields it has."""
    kind = message.WhichOneof(message.DESCRIPTOR.oneofs[0].name)
    content = getattr(message, kind)
    return {"kind": kind, "state": getattr(content, "state", int(getattr(content, "is_dead", 0))), "fields": sorted(fields_of(content))}


def _live_and_die(cluster: Any, node: Any) -> None:
    """An actor is made, restarts and is killed; a placement group is made; the second node dies. As the simulated twin does."""
    ray = import_module("ray")

    class Reader:
        def pid(self) -> int:
            return os.getpid()

        def __repr__(self) -> str:
            return "Reader(1)"

    ray.init(address=cluster.address, log_to_driver=False)
    group = ray.util.placement_group([{"CPU": 0.5}], name="gang")
    ray.get(group.ready(), timeout=30)
    actor = ray.remote(num_cpus=1, max_restarts=1)(Reader).options(name="reader").remote()
    os.kill(ray.get(actor.pid.remote(), timeout=30), signal.SIGKILL)
    time.sleep(QUIET_S)
    ray.get(actor.pid.remote(), timeout=30)
    ray.kill(actor)
    time.sleep(QUIET_S)
    ray.shutdown()
    cluster.remove_node(node, allow_graceful=True)


def main() -> None:
    cluster_utils = import_module("ray.cluster_utils")
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        node = cluster.add_node(num_cpus=1)
        sys.stdout.write(json.dumps(record(cluster.address, lambda: _live_and_die(cluster, node))))
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
