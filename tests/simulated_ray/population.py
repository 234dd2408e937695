"""Fills a new simulated cluster: so many nodes, jobs, actors, workers and placement groups, with a past. Fast enough for 100,000 rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.simulated_ray import actors, ids, texts
from tests.simulated_ray.placement_groups import PlacementGroups
from tests.simulated_ray.tasks import NS, STATES, Tasks
from tests.simulated_ray.wire import fill

HOUR_MS = 3_600_000
PROTOTYPES = 256  # distinct dead actors; the rest vary these in id, pid, times, place and number


@dataclass(frozen=True)
class Population:
    """How much there is at the start."""

    nodes: int = 1
    dead_nodes: int = 0
    jobs: int = 0
    submissions: int = 0
    live_actors: int = 0
    dead_actors: int = 0
    idle_workers: int = 0
    dead_workers: int = 0
    placement_groups: int = 0
    tasks: int = 0


def populate(cluster: Tasks, population: Population) -> None:
    """Make the rows. Nothing is published: this is what was there before anyone looked."""
    with cluster.lock:
        _nodes(cluster, population)
        _jobs(cluster, population)
        _dead_actors(cluster, population.dead_actors)
        for number in range(population.live_actors):
            # Mostly living ones; some wait and some restart, as in any busy cluster.
            state = {97: "PENDING_CREATION", 98: "DEPENDENCIES_UNREADY", 99: "RESTARTING"}.get(number % 100, "ALIVE")
            started: dict[str, Any] = {"start_time": cluster.now_ms() - 60_000 * (1 + number)} if state == "ALIVE" else {}
            cluster.add_actor(state=state, publish=False, **started)
        _workers(cluster, population)
        _placement_groups(cluster, population.placement_groups)
        _tasks(cluster, population.tasks)


def _nodes(cluster: PlacementGroups, population: Population) -> None:
    for number in range(population.nodes + population.dead_nodes):
        started = cluster.now_ms() - HOUR_MS * (1 + number % 48)
        node_id = cluster.add_node(publish=False, start_time_ms=started)
        if number >= population.nodes:
            cluster.kill_node(node_id, reason=cluster.random.choice(list(texts.NODE_DEATHS)), publish=False)
        else:
            _use(cluster, node_id)


def _use(cluster: PlacementGroups, node_id: str) -> None:
    """Take a random part of a node's CPU and GPU."""
    state = cluster.node_states.get(bytes.fromhex(node_id))
    share = cluster.random.random()
    free = {name: float(round(total * share)) for name, total in state.total_resources.items() if name in ("CPU", "GPU")}
    activity = [f"Resource: {name} currently in use." for name, left in free.items() if left < state.total_resources[name]]
    cluster.set_available(node_id, free, status="RUNNING" if activity else "IDLE", node_activity=activity)


def _jobs(cluster: PlacementGroups, population: Population) -> None:
    for number in range(population.jobs):
        started = cluster.now_ms() - HOUR_MS * (number % 72) - 60_000
        job_id = cluster.add_job(publish=False, start_time=started, timestamp=started)
        if number % 5 > 1:
            cluster.finish_job(job_id, publish=False, end_time=started + 1000 * cluster.random.randrange(5, 3000))
    for number in range(population.submissions):
        status = ("SUCCEEDED", "RUNNING", "FAILED", "SUCCEEDED", "STOPPED", "PENDING")[number % 6]
        cluster.add_submission(status=status, driver=status != "PENDING" and number % 4 != 3)


def _dead_actors(cluster: PlacementGroups, count: int) -> None:
    if not count:
        return
    prototypes = [_prototype(cluster) for _ in range(min(count, PROTOTYPES))]
    nodes = [cluster.nodes.get(node_id) for node_id in cluster.nodes] or [cluster.nodes.message(node_id=ids.NIL_UNIQUE)]
    now = cluster.now_ms()
    random = cluster.random
    table = cluster.actors
    dead = actors.STATES["DEAD"]
    for number in range(count):
        row = prototypes[number % len(prototypes)]
        node = nodes[number % len(nodes)]
        end = now - (count - number) * 50 % (72 * HOUR_MS)
        row.actor_id = ids.actor(random, row.job_id)
        row.node_id = row.address.node_id = node.node_id
        row.address.ip_address = node.node_manager_address
        row.address.worker_id = random.randbytes(ids.UNIQUE_BYTES)
        row.pid = 20_000 + number
        row.end_time = end
        row.start_time = end - random.randrange(500, 600_000)
        row.timestamp = float(end)
        if row.name:
            row.name = f"{row.name.rpartition('-')[0]}-{number}"
        if row.death_cause.HasField("actor_died_error_context"):
            context = row.death_cause.actor_died_error_context
            context.actor_id = row.actor_id
            context.pid = row.pid
            context.name = row.name
        table.put_serialized(row.actor_id, row.SerializeToString(), dead)


def _prototype(cluster: PlacementGroups) -> Any:
    """A dead actor of some class and job, with some cause of death."""
    actor_id = bytes.fromhex(cluster.add_actor(state="DEPENDENCIES_UNREADY", publish=False))
    row = cluster.actors.get(actor_id)
    cluster.actors.remove(actor_id)
    jobs = list(cluster.jobs)
    row.job_id = cluster.random.choice(jobs)
    row.address.port = 10_002
    weights = [weight for weight, _, _ in texts.DEATHS]
    _, reason, message = cluster.random.choices(texts.DEATHS, weights)[0]
    if cluster.random.random() < 0.03:
        text = texts.CREATION_FAILURE.format(name=row.class_name, pid=4711, ip="10.0.0.7")
        cause: dict[str, Any] = {
            "creation_task_failure_context": {"formatted_exception_string": text, "serialized_exception": b"\x80\x05N."}
        }
    else:
        said = message.format(
            owner=row.owner_address.worker_id.hex(), ip="10.0.0.7", node="c924f688774984287aeeb43b1971b073dcf586e2a6d0fc2b29d87ad2"
        )
        cause = {
            "actor_died_error_context": {
                "error_message": said,
                "reason": reason,
                "class_name": row.class_name,
                "ray_namespace": row.ray_namespace,
            }
        }
    fill(row, {"state": "DEAD", "death_cause": cause})
    return row


def _workers(cluster: PlacementGroups, population: Population) -> None:
    for _ in range(population.idle_workers):
        cluster.add_worker()
    for _ in range(population.dead_workers):
        exit_type, _text = cluster.random.choice(texts.WORKER_EXITS)
        ended = cluster.now_ms() - cluster.random.randrange(HOUR_MS)
        worker_id = cluster.add_worker(start_time_ms=ended - cluster.random.randrange(HOUR_MS))
        cluster.kill_worker(worker_id, exit_type=exit_type, publish=False, end_time_ms=ended, timestamp=ended // 1000)


def _placement_groups(cluster: PlacementGroups, count: int) -> None:
    for number in range(count):
        state = ("CREATED", "CREATED", "PENDING", "REMOVED")[number % 4]
        cluster.add_placement_group([{"CPU": 1.0}, {"CPU": 1.0, "GPU": 1.0}][: 1 + number % 2], state=state)


def _tasks(cluster: Tasks, count: int) -> None:
    """Attempts of some hundred prototypes that differ in id, parent and times; nine of ten have finished."""
    if not count:
        return
    states = ("FINISHED",) * 90 + ("FAILED",) * 5 + ("RUNNING",) * 3 + ("PENDING_NODE_ASSIGNMENT",) * 2
    prototypes = [cluster.task(cluster.add_task(state=state)) for state in states[: min(count, len(states))]]
    cluster.tasks.clear()
    parent, first = b"", cluster.now_ms() - HOUR_MS
    for number in range(count):
        row = prototypes[number * 37 % len(prototypes)]
        row.task_id = row.task_info.task_id = cluster.random.randbytes(8) + row.task_id[8:]
        row.task_info.parent_task_id = parent if number % 3 else b"\xff" * 20 + row.job_id
        began = first + number * HOUR_MS // count
        for at, state in enumerate(sorted(row.state_updates.state_ts_ns)):
            row.state_updates.state_ts_ns[state] = (began + at * at * 10) * NS + number % NS
        parent = row.task_id if number % 100 == 0 else parent
        state = STATES[states[number * 37 % len(prototypes)]]
        cluster.tasks.put_serialized(row.task_id + bytes(4), row.SerializeToString(), state)
