"""The timeline as a Chrome trace: events of the shape that Ray writes, made while they are sent."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections import defaultdict
from dataclasses import fields
from itertools import pairwise
from typing import Any

import pytest
from ray._private.profiling import ChromeTracingCompleteEvent, ChromeTracingMetadataEvent

from clusterstate.model import Task
from clusterstate.resources import TASKS
from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import HOST, Clock, Person

PATH = "/c/demo/timeline.json"
BEGAN = 1_700_000_000_000
WORKER = "aa" * 28
HOSTILE = "</script><script>alert(1)</script>\"'\\\x00\x1b[31m\u202e\u2028{{7*7}}"
MANY = 20_000


def events(person: Person, path: str = PATH) -> list[dict[str, Any]]:
    answer = person.get(path)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = json.loads(answer.data)
    return found


def bars(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Events of attempts by the id of their task."""
    return {event["args"]["task_id"]: event for event in found if event["ph"] != "M"}


def names(found: list[dict[str, Any]]) -> dict[tuple[int, int | None], str]:
    """What metadata events call each (pid, tid)."""
    return {(event["pid"], event["tid"]): event["args"]["name"] for event in found if event["ph"] == "M"}


def test_each_attempt_is_a_bar_in_the_row_of_its_worker(vera: Person, cluster: BuiltCluster) -> None:
    node = cluster.with_node(node_ip="10.0.0.7")
    task = cluster.with_task(
        name="load",
        func_or_class_name="data.load",
        state="FAILED",
        attempt_number=2,
        job_id="01000000",
        actor_id="bb" * 16,
        node_id=node.node_id,
        worker_id=WORKER,
        start_time_ms=BEGAN,
        end_time_ms=BEGAN + 250,
        error_type="WORKER_DIED",
    )

    assert events(vera) == [
        {"name": "process_name", "args": {"name": "Node 10.0.0.7"}, "pid": 0, "tid": None, "ph": "M"},
        {"name": "thread_name", "args": {"name": f"worker:{WORKER}"}, "pid": 0, "tid": 0, "ph": "M"},
        {
            "cat": "task::load",
            "name": "load",
            "pid": 0,
            "tid": 0,
            "ts": BEGAN * 1000,
            "dur": 250_000,
            "cname": "terrible",
            "args": {
                "task_id": task.task_id,
                "job_id": "01000000",
                "attempt_number": 2,
                "func_or_class_name": "data.load",
                "actor_id": "bb" * 16,
                "node_id": node.node_id,
                "state": "FAILED",
                "error_type": "WORKER_DIED",
            },
            "ph": "X",
        },
    ]


def test_events_have_the_fields_that_the_installed_ray_writes(vera: Person, cluster: BuiltCluster) -> None:
    cluster.with_task(start_time_ms=BEGAN)
    shapes = {event["ph"]: set(event) for event in events(vera)}
    assert shapes == {
        "X": {field.name for field in fields(ChromeTracingCompleteEvent)},
        "M": {field.name for field in fields(ChromeTracingMetadataEvent)},
    }


def test_what_runs_lasts_until_now_and_what_never_began_is_left_out(vera: Person, cluster: BuiltCluster, clock: Clock) -> None:
    began = int(clock() * 1000) - 5_000
    running = cluster.with_task(start_time_ms=began)
    waiting = cluster.with_task(state="PENDING_NODE_ASSIGNMENT")
    lost = cluster.with_task(state="END_UNKNOWN", start_time_ms=began)
    skewed = cluster.with_task(state="FINISHED", start_time_ms=began, end_time_ms=began - 9)
    absurd = cluster.with_task(state="FINISHED", start_time_ms=2**62, end_time_ms=2**63 - 1)

    found = bars(events(vera))

    assert found[running.task_id]["dur"] == pytest.approx(5_000_000, abs=1000)
    assert waiting.task_id not in found
    assert found[lost.task_id]["ph"] == "i"
    assert "dur" not in found[lost.task_id]
    assert found[skewed.task_id]["dur"] == 0
    assert absurd.task_id not in found


def test_rows_are_named_by_node_and_by_worker(vera: Person, cluster: BuiltCluster) -> None:
    known, gone = cluster.with_node(node_ip="10.0.0.1").node_id, "cd" * 28
    placed = [(known, "w1"), (known, "w2"), (gone, "w3"), (None, None)]
    tasks = [cluster.with_task(node_id=node, worker_id=worker, job_id="02000000", start_time_ms=BEGAN) for node, worker in placed]

    found = events(vera)

    rows = [bars(found)[task.task_id] for task in tasks]
    named = names(found)
    assert [(named[row["pid"], None], named[row["pid"], row["tid"]]) for row in rows] == [
        ("Node 10.0.0.1", "worker:w1"),
        ("Node 10.0.0.1", "worker:w2"),
        (f"Node {gone}", "worker:w3"),
        ("Node unknown", "worker:unknown"),
    ]


def test_bars_of_a_row_never_overlap(vera: Person, cluster: BuiltCluster) -> None:
    spans = [(0, 100), (10, 20), (20, 30), (99, 140), (100, 110), (140, 150)]
    tasks = [
        cluster.with_task(worker_id=WORKER, state="FINISHED", start_time_ms=BEGAN + start, end_time_ms=BEGAN + end)
        for start, end in reversed(spans)
    ]

    found = events(vera)

    tids = [bars(found)[task.task_id]["tid"] for task in reversed(tasks)]
    assert tids == [0, 1, 1, 1, 0, 0]
    assert names(found) == {(0, None): "Node unknown", (0, 0): f"worker:{WORKER}", (0, 1): f"worker:{WORKER}"}


def test_a_job_s_timeline_has_its_attempts_alone(vera: Person, cluster: BuiltCluster) -> None:
    job = cluster.with_job(submission_id="my job/1")
    idle = cluster.with_job(submission_id="no-driver", job_id=None)
    mine = cluster.with_task(job_id=job.job_id, start_time_ms=BEGAN)
    other = cluster.with_task(job_id="07000000", start_time_ms=BEGAN)

    assert set(bars(events(vera))) == {mine.task_id, other.task_id}
    for name in (job.job_id, "my%20job%2F1"):
        answer = vera.get(f"{PATH}?job_id={name}")
        assert set(bars(answer.get_json())) == {mine.task_id}
        assert answer.headers["Content-Disposition"] == f'attachment; filename="timeline-demo-{job.job_id}.json"'
    assert set(bars(events(vera, f"{PATH}?job_id=07000000"))) == {other.task_id}  # a job whose row is gone
    assert events(vera, f"{PATH}?job_id={idle.submission_id}") == []
    assert vera.get(PATH).headers["Content-Disposition"] == 'attachment; filename="timeline-demo.json"'


def test_other_questions_are_refused_with_what_is_allowed(vera: Person, cluster: BuiltCluster) -> None:
    job = cluster.with_job()
    for unknown in ("ffffff00", "", "x" * 5000, "~~0000000000000000"):
        answer = vera.get(f"{PATH}?job_id={unknown}")
        assert answer.status_code == 404
        assert f"such as: {job.job_key}." in answer.get_json()["message"]
    answer = vera.get(f"{PATH}?job={job.job_id}")
    assert answer.status_code == 400
    assert "takes job_id" in answer.get_json()["message"]
    assert vera.get("/c/elsewhere/timeline.json").status_code == 404


def test_hostile_names_are_text(vera: Person, cluster: BuiltCluster) -> None:
    job = cluster.with_job(job_id='a"\r\nX: y', job_key="odd")
    node = cluster.with_node(node_ip=HOSTILE)
    task = cluster.with_task(
        name=HOSTILE,
        func_or_class_name=HOSTILE,
        worker_id=HOSTILE,
        job_id=job.job_id,
        node_id=node.node_id,
        state=HOSTILE,
        start_time_ms=BEGAN,
    )

    answer = vera.get(f"{PATH}?job_id=odd")

    found = answer.get_json()
    assert bars(found)[task.task_id]["name"] == HOSTILE
    assert set(names(found).values()) == {f"Node {HOSTILE}", f"worker:{HOSTILE}"}
    assert answer.content_type == "application/json"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="timeline-demo-a___X__y.json"'
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("query", ["", "?job_id=01000000"])
def test_many_attempts_come_in_order_and_in_bounded_pieces(viewers_program: Person, cluster: BuiltCluster, query: str) -> None:
    """Three of four attempts are of the job; ties of the start, which are told apart by their hash, span a piece."""
    cluster.with_rows(TASKS, *(attempt(number) for number in range(MANY)))
    viewers_program.get(f"{PATH}?job_id=02000000")  # what is loaded once is not counted

    tracemalloc.start()
    answer = viewers_program.client.get(PATH + query, headers={"Host": HOST, **viewers_program.headers}, buffered=False)
    pieces = [len(piece) for piece in answer.response]
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    whole = viewers_program.get(PATH + query).data
    squeezed = viewers_program.get(PATH + query, {"Accept-Encoding": "gzip"})
    assert sum(pieces) == len(whole)
    assert "Content-Length" not in answer.headers
    assert len(pieces) >= MANY // 2000
    assert max(pieces) < 1_200_000
    assert held < 10 * 2**20
    assert squeezed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(squeezed.data) == whole
    found = [event for event in json.loads(whole) if event["ph"] == "X"]
    wanted = {f"{number:048x}" for number in range(MANY) if not query or number % 4}
    assert len(found) == len(wanted)
    assert {event["args"]["task_id"] for event in found} == wanted
    assert all(earlier["ts"] <= later["ts"] for earlier, later in pairwise(found))
    ends: dict[int, int] = defaultdict(int)
    for event in found:
        assert event["ts"] >= ends[event["tid"]]
        ends[event["tid"]] = event["ts"] + event["dur"]


def attempt(number: int) -> Task:
    start = BEGAN + (number * 7919 % MANY) // 5000 * 1000
    return Task(
        f"{number:048x}",
        state="FINISHED",
        name="step",
        job_id="01000000" if number % 4 else "02000000",
        worker_id=f"{number % 50:056x}",
        start_time_ms=start,
        end_time_ms=start + number % 3,
    )


def test_long_texts_make_pieces_of_fewer_rows(viewers_program: Person, cluster: BuiltCluster) -> None:
    for number in range(24):
        cluster.with_task(name=f"{number}" + "x" * 2**19, job_id=f"0{number % 2}000000", start_time_ms=BEGAN + number)
    for query, count in (("", 24), ("?job_id=01000000", 12)):
        answer = viewers_program.client.get(PATH + query, headers={"Host": HOST, **viewers_program.headers}, buffered=False)
        pieces = [piece for piece in answer.response if isinstance(piece, bytes)]
        assert max(map(len, pieces)) < 8 * 2**20
        assert len(bars(json.loads(b"".join(pieces)))) == count


def test_of_an_ended_session_it_goes_to_the_end(vera: Person, cluster: BuiltCluster, clock: Clock) -> None:
    ended = int(clock()) - 60
    job = cluster.with_job()
    task = cluster.with_task(job_id=job.job_id, start_time_ms=(ended - 10) * 1000)
    cluster.end(ended)

    for path in (PATH, f"/c/demo/s/session_1/timeline.json?job_id={job.job_id}"):
        assert bars(events(vera, path))[task.task_id]["dur"] == 10_000_000
    page = vera.page("/c/demo/s/session_1/tasks").text
    assert '"/c/demo/s/session_1/timeline.json"' in page


def test_without_a_task_it_is_an_empty_trace(vera: Person, cluster: BuiltCluster) -> None:
    assert events(vera) == []


def test_the_pages_of_tasks_lead_to_it(vera: Person, cluster: BuiltCluster) -> None:
    job = cluster.with_job()
    cluster.with_task(job_id=job.job_id)
    assert '"/c/demo/timeline.json"' in vera.page("/c/demo/tasks").text
    assert f'"/c/demo/timeline.json?job_id={job.job_id}"' in vera.page(f"/c/demo/jobs/{job.job_key}?tab=tasks").text
    assert "timeline.json" not in vera.page(f"/c/demo/jobs/{job.job_key}?tab=actors").text


def test_only_those_signed_in_get_it(anybody: Person, cluster: BuiltCluster) -> None:
    cluster.with_task(name="secret plan", start_time_ms=BEGAN)
    answer = anybody.get(PATH)
    assert answer.status_code == 401
    assert "secret" not in answer.text
