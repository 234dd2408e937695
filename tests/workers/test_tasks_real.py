"""Tasks of a real Ray cluster: what the GCS says, what its agents push, and what Ray's own state API makes of it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import ray_environments
from clusterstate.model import Task
from clusterstate.task_states import END_UNKNOWN, INFERRED, state_times
from tests.simulated_ray.client import Client
from tests.workers.real_ray_cluster import RealRay, real_ray
from workers.sources.events_decode import PushedBody
from workers.sources.events_decode_json import ExportedBody
from workers.sources.gcs import GcsClient
from workers.sources.gcs_decode_tasks import TaskReply
from workers.sources.task_merge import merge

pytestmark = pytest.mark.ray

ROOT = Path(__file__).resolve().parents[2]
WITHIN_S = 30.0
EVENTS = {"RAY_enable_core_worker_ray_event_to_aggregator": "1", "RAY_record_task_actor_creation_sites": "1"}
"""`ray[default]` of the tests' own release: a minimal install has no agent that pushes."""

WORKLOAD = """
import json
ids = {}
def note(name, ref):
    ids[name] = ref.task_id().hex()
    return ref
@ray.remote(num_cpus=0.1)
def plain(x=None): return x
@ray.remote(num_cpus=0.1, max_retries=1, retry_exceptions=True)
def flaky(): raise ValueError('boom password=hunter2')
@ray.remote(num_cpus=0.1)
def parent(): return ray.get([plain.options(name='child').remote(i) for i in range(3)])
@ray.remote(num_cpus=0.1)
def stream():
    for i in range(3): yield i
@ray.remote(num_cpus=0.1)
def sleeps(): time.sleep(600)
@ray.remote(num_cpus=0.1)
class Counter:
    def add(self): return 1
    def __repr__(self): return 'Counter(7)'
ray.get([note('named', plain.options(name='named').remote()), note('parent', parent.remote()), next(stream.remote())])
counter = Counter.remote()
ray.get([note('add', counter.add.remote()), note('adder', counter.add.options(name='adder').remote())])
try: ray.get(note('flaky', flaky.remote()))
except ValueError: pass
asleep = note('asleep', sleeps.remote())
note('dependent', plain.options(name='dependent').remote(asleep))
note('never', plain.options(name='never', num_cpus=99, label_selector={'zone': 'x'}).remote())
folder = os.environ['RAY_TMPDIR']
def tell(name, what):
    with open(folder + '/' + name + '.new', 'w') as file: json.dump(what, file)
    os.rename(folder + '/' + name + '.new', folder + '/' + name)
time.sleep(2.5)  # events are sent each second
tell('ids', ids)
"""
ASK_RAY = """
from ray.util.state import list_tasks
tell('listed', [vars(task) if not isinstance(task, dict) else task for task in list_tasks(detail=True, limit=1000)])
"""
WAIT = "while not os.path.exists(folder + '/go'): time.sleep(0.05)\n"


@contextmanager
def receiver() -> Iterator[tuple[str, list[bytes]]]:
    """An HTTP server that takes what is posted to its /api/task_events or /ingest; yields host:port and the bodies."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path in ("/api/task_events", "/ingest"):
                bodies.append(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}", bodies
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def default_ray(exported: dict[str, str], dashboard: bool = False) -> AbstractContextManager[RealRay]:
    """A cluster of `ray[default]` that was started with this environment."""
    return real_ray(python=ray_environments.python(ROOT, "2.60-default"), nodes=1, dashboard=dashboard, exported=exported)


def read(ray: RealRay, name: str) -> Any:
    return json.loads(until((ray.folder / name).exists) and (ray.folder / name).read_text())


def until(holds: Callable[[], Any]) -> Any:
    give_up = time.monotonic() + WITHIN_S
    while not (found := holds()):
        assert time.monotonic() < give_up
        time.sleep(0.1)
    return found


def polled(ray: RealRay) -> dict[str, Task]:
    async def ask() -> TaskReply:
        client = GcsClient(ray.address)
        try:
            return TaskReply(await client.task_events(), int(time.time() * 1000))
        finally:
            await client.close()

    reply = asyncio.run(ask())
    tasks = {update.attempt_id: merge(None, update) for update in reply.updates()}
    assert (reply.unreadable, reply.totals.num_total_stored, reply.totals.num_attempts_dropped) == (0, len(tasks), 0)
    return tasks


def pushed(bodies: list[bytes], kind: type[PushedBody], session: str) -> dict[str, Task]:
    tasks: dict[str, Task] = {}
    for raw in list(bodies):
        body = kind(raw, int(time.time() * 1000), session)
        for update in body.updates():
            tasks[update.attempt_id] = merge(tasks.get(update.attempt_id), update)
        assert (body.unreadable, body.of_other_sessions, body.dropped) == (0, 0, [])
    return tasks


def told(task: Task) -> dict[str, Any]:
    """All but who says it."""
    return {f.name: getattr(task, f.name) for f in dataclasses.fields(Task) if f.name != "end_evidence"}


def session_of(ray: RealRay) -> str:
    with Client(ray.address) as client:
        return str(client.call("InternalKVGcsService", "InternalKVGet", key=b"session_name", namespace=b"session").value.decode())


def assert_did(tasks: dict[str, Task], ids: dict[str, str]) -> None:
    """What the driver knows of itself."""
    of = {name: tasks[task_id] for name, task_id in ids.items()}
    states = {name: task.state for name, task in of.items()}
    assert states == {
        **dict.fromkeys(("named", "parent", "add", "adder"), "FINISHED"),
        "flaky": "FAILED",
        "asleep": "RUNNING",
        "dependent": "PENDING_ARGS_AVAIL",
        "never": "PENDING_NODE_ASSIGNMENT",
    }
    assert (of["add"].name, of["adder"].name, of["add"].func_or_class_name) == ("Counter(7).add", "adder", "Counter.add")
    assert tasks[ids["flaky"] + "00000001"].error_type == of["flaky"].error_type == "TASK_EXECUTION_EXCEPTION"
    assert [task.name for task in tasks.values() if task.parent_task_id == ids["parent"]] == ["child"] * 3
    assert {task.type for task in tasks.values()} == {"NORMAL_TASK", "ACTOR_CREATION_TASK", "ACTOR_TASK", "DRIVER_TASK"}


def test_what_agents_push_joins_to_what_the_gcs_says() -> None:
    exported = {**EVENTS, "RAY_enable_task_events_to_dashboard_head": "1"}
    with receiver() as (address, bodies), default_ray(exported) as ray, Client(ray.address) as client:
        client.call(
            "InternalKVGcsService", "InternalKVPut", key=b"dashboard", value=address.encode(), namespace=b"dashboard", overwrite=True
        )
        driver = ray.start_driver(WORKLOAD + WAIT)
        ids, session = read(ray, "ids"), session_of(ray)
        by_poll = polled(ray)
        by_push = until(lambda: (now := pushed(bodies, PushedBody, session)).keys() == by_poll.keys() and now)

        assert_did(by_poll, ids)
        assert {key: told(task) for key, task in by_push.items()} == {key: told(task) for key, task in by_poll.items()}

        (ray.folder / "go").touch()
        driver.wait(WITHIN_S)
        asleep = until(lambda: (task := polled(ray)[ids["asleep"]]).state != "RUNNING" and task)
        # Nobody reports an end: on a busy machine the GCS may hear of the worker's death first, and infer a failure from that.
        assert (asleep.state, asleep.end_evidence) in ((END_UNKNOWN, None), ("FAILED", INFERRED))


def test_rows_say_what_rays_own_state_api_says() -> None:
    with receiver() as (address, bodies):
        exported = {**EVENTS, "RAY_DASHBOARD_AGGREGATOR_AGENT_EVENTS_EXPORT_ADDR": f"http://{address}/ingest"}
        with default_ray(exported, dashboard=True) as ray:
            ray.start_driver(WORKLOAD + ASK_RAY + WAIT)
            ids, listed, session = read(ray, "ids"), read(ray, "listed"), session_of(ray)
            by_poll = polled(ray)
            by_export = until(lambda: (now := pushed(bodies, ExportedBody, session)).keys() == by_poll.keys() and now)

    assert_did(by_poll, ids)
    assert {key: told(task) for key, task in by_export.items()} == {key: told(task) for key, task in by_poll.items()}
    drivers = [key for key, task in by_poll.items() if task.type == "DRIVER_TASK"]
    rows = {key: task for key, task in by_poll.items() if key not in drivers}  # the state API leaves them out
    theirs = {Task(one["task_id"], one["attempt_number"]).attempt_id: one for one in listed}
    assert rows.keys() == theirs.keys()
    for key, one in theirs.items():
        assert as_listed(rows[key]) == {name: one[name] or None for name in as_listed(rows[key])} | {
            "attempt_number": one["attempt_number"]
        }
        assert state_times(rows[key]) == [(event["state"], int(event["created_ms"])) for event in one["events"]]


def as_listed(task: Task) -> dict[str, Any]:
    names = ("attempt_number", "name", "state", "job_id", "actor_id", "type", "func_or_class_name", "parent_task_id", "node_id")
    more = ("worker_id", "worker_pid", "error_type", "placement_group_id", "creation_time_ms", "start_time_ms", "end_time_ms")
    return {name: getattr(task, name) for name in (*names, *more)}
