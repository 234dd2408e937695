"""A cluster that lives: actors come, move and go, jobs start and end, resources are taken and given back, so many times a second."""

from __future__ import annotations

import threading
import time

from tests.simulated_ray.placement_groups import PlacementGroups

KEPT = 500  # finished jobs and removed placement groups that the changes leave behind


def change(cluster: PlacementGroups, number: int) -> None:
    """The n-th change. Numbers of living actors stay about level."""
    with cluster.lock:
        CYCLE[number % len(CYCLE)](cluster, number)


def _start_actor(cluster: PlacementGroups, number: int) -> None:
    cluster.add_actor()


def _end_actor(cluster: PlacementGroups, number: int) -> None:
    living = cluster.actor_ids("ALIVE")
    if len(living) > 1:
        cluster.kill_actor(living[0], reason=cluster.random.choice(("RAY_KILL", "OUT_OF_SCOPE", "WORKER_DIED")))


def _move_actor(cluster: PlacementGroups, number: int) -> None:
    living = cluster.actor_ids("ALIVE")
    if living:
        cluster.restart_actor(cluster.random.choice(living))


def _use_node(cluster: PlacementGroups, number: int) -> None:
    nodes = cluster.node_ids()
    if nodes:
        node_id = cluster.random.choice(nodes)
        total = cluster.node_states.get(bytes.fromhex(node_id)).total_resources.get("CPU", 0.0)
        left = float(cluster.random.randint(0, int(total)))
        cluster.set_available(node_id, {"CPU": left}, status="IDLE" if left == total else "RUNNING")


def _rare(cluster: PlacementGroups, number: int) -> None:
    (_start_job, _add_group, _end_job, _remove_group)[number // 10 % 4](cluster, number)


def _start_job(cluster: PlacementGroups, number: int) -> None:
    cluster.add_job()


def _end_job(cluster: PlacementGroups, number: int) -> None:
    running = cluster.job_ids()
    if len(running) > 1:
        cluster.finish_job(running[0])
    ended = cluster.job_ids(alive=False)
    for job_id in ended[: max(0, len(ended) - KEPT)]:
        cluster.forget_job(job_id)


def _add_group(cluster: PlacementGroups, number: int) -> None:
    cluster.add_placement_group(state=cluster.random.choice(("CREATED", "PENDING")))


def _remove_group(cluster: PlacementGroups, number: int) -> None:
    created = cluster.placement_group_ids("CREATED")
    if len(created) > 1:
        cluster.remove_placement_group(created[0])
    removed = cluster.placement_group_ids("REMOVED")
    for group_id in removed[: max(0, len(removed) - KEPT)]:
        cluster.forget_placement_group(group_id)


CYCLE = (_start_actor, _end_actor, _use_node, _start_actor, _end_actor, _move_actor, _start_actor, _end_actor, _use_node, _rare)


class Changes:
    """Makes changes at a steady rate in a thread until stopped."""

    def __init__(self, cluster: PlacementGroups, per_second: float) -> None:
        self._cluster = cluster
        self._pause_s = 1.0 / per_second
        self._stop = threading.Event()
        self.made = 0
        self._thread = threading.Thread(target=self._run, name="simulated-ray-changes", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            change(self._cluster, self.made)
            self.made += 1
            due += self._pause_s
