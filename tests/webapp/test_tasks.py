"""Tasks: the list, each task with its attempts, and a job's progress."""

from __future__ import annotations

import json
import time

import pytest

from clusterstate import model
from clusterstate.resources import COLLECTOR, TASK_TOTALS, TASKS_GIVEN_UP
from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import Person

BEGAN = 1_700_000_000_000
TASK = "ab" * 24


def test_the_last_attempt_is_shown_unless_another_is_asked_for(vera: Person, cluster: BuiltCluster) -> None:
    message = cluster.with_text("ValueError: first try")
    cluster.with_task(task_id=TASK, name="flaky", state="FAILED", error_type="TASK_EXECUTION_EXCEPTION", error_message_id=message)
    cluster.with_task(task_id=TASK, name="flaky", state="FINISHED", attempt_number=1)

    last, first = vera.page(f"/c/demo/tasks/{TASK}").text, vera.page(f"/c/demo/tasks/{TASK}?attempt=0").text

    assert "ValueError: first try" not in last
    assert "ValueError: first try" in first
    assert "?attempt=0" in last
    assert vera.page(f"/c/demo/tasks/{TASK}?attempt=7").status_code == 404
    assert "Attempts are: 0, 1." in vera.page(f"/c/demo/tasks/{TASK}?attempt=7").text
    assert vera.page(f"/c/demo/tasks/{TASK}?attempt=-1").status_code == 400
    assert vera.page(f"/c/demo/tasks/{'cd' * 24}").status_code == 404


def test_each_state_is_shown_with_how_long_it_lasted(vera: Person, cluster: BuiltCluster) -> None:
    cluster.with_task(
        task_id=TASK,
        state="FINISHED",
        creation_time_ms=BEGAN,
        pending_node_assignment_ms=BEGAN + 250,
        start_time_ms=BEGAN + 1_250,
        end_time_ms=BEGAN + 4_250,
        required_resources_id=cluster.with_text(json.dumps({"CPU": 2.0})),
    )
    page = vera.page(f"/c/demo/tasks/{TASK}").text
    for words in ("250 ms", "1.0 s", "3.0 s", "PENDING_NODE_ASSIGNMENT", "CPU 2"):
        assert words in page


def test_of_an_unknown_end_the_duration_is_unknown(vera: Person, cluster: BuiltCluster) -> None:
    cluster.with_task(task_id=TASK, state="END_UNKNOWN", start_time_ms=BEGAN)
    [row] = vera.get("/c/demo/tasks.json").get_json()["rows"]
    assert (row["state"], row["duration_ms"], row["end_time_ms"]) == ("END_UNKNOWN", None, None)
    assert "nobody reported how it ended" in vera.page(f"/c/demo/tasks/{TASK}").text


def test_the_list_sorts_and_filters_by_what_is_kept_apart(vera: Person, cluster: BuiltCluster) -> None:
    resources = cluster.with_text(json.dumps({"GPU": 1.0}))
    slow = cluster.with_task(name="slow", state="FINISHED", start_time_ms=BEGAN, end_time_ms=BEGAN + 9_000, required_resources_id=resources)
    quick = cluster.with_task(name="quick", state="FINISHED", start_time_ms=BEGAN, end_time_ms=BEGAN + 10)
    failed = cluster.with_task(name="slow", state="FAILED", error_message_id=cluster.with_text("boom"), actor_id="aa" * 16)

    def ids(query: str) -> list[str]:
        return [row["task_id"] for row in vera.get(f"/c/demo/tasks.json?{query}").get_json()["rows"]]

    assert ids("sort=-duration_ms") == [slow.task_id, quick.task_id, failed.task_id]
    assert ids("name=slow&state=FAILED") == [failed.task_id]
    assert ids("actor_id=" + "aa" * 16) == [failed.task_id]
    assert ids("q=quick") == [quick.task_id]
    rows = {row["task_id"]: row for row in vera.get("/c/demo/tasks.json").get_json()["rows"]}
    assert rows[slow.task_id]["required_resources"] == {"GPU": 1.0}
    assert rows[failed.task_id]["error_message"] == "boom"


def test_the_list_says_how_tasks_are_learnt_and_what_is_missing(vera: Person, cluster: BuiltCluster) -> None:
    cluster.with_job(job_id="01000000", job_key="01000000")
    cluster.with_task(job_id="01000000")
    assert "not collected yet" in vera.page("/c/demo/tasks").text
    source = model.SourceReport("tasks", "poll", 4.0, BEGAN / 1000, None)
    cluster.with_rows(COLLECTOR, model.CollectorReport(1.0, True, sources=[source], tasks_dropped=17, tasks_evicted=3))
    cluster.with_rows(TASK_TOTALS, model.TaskTotals("01000000", reported=30, dropped=17))
    cluster.with_rows(TASKS_GIVEN_UP, model.GivenUpTasks("ab", "01000000", "work", "FINISHED", "NORMAL_TASK", 3))
    page = vera.page("/c/demo/tasks").text
    assert "each 4.0 s" in page
    assert "records for 4 of 30 attempts" in page
    assert "17 dropped by Ray" in page
    assert "3 older ones given up" in page
    assert "records for 4 of 30 attempts" in vera.page("/c/demo/jobs/01000000?tab=tasks").text


def test_what_was_given_up_or_never_recorded_counts_in_the_bar(vera: Person, cluster: BuiltCluster) -> None:
    cluster.with_job(job_id="01000000", job_key="01000000")
    cluster.with_task(state="RUNNING", job_id="01000000")
    cluster.with_rows(TASK_TOTALS, model.TaskTotals("01000000", reported=10, dropped=2))
    cluster.with_rows(TASKS_GIVEN_UP, model.GivenUpTasks("ab", "01000000", "work", "FINISHED", "NORMAL_TASK", 3))

    [job] = vera.get("/c/demo/jobs.json?columns=job_id,tasks").get_json()["rows"]
    assert job["tasks"] == {"RUNNING": 1, "FINISHED": 3, "NOT_RECORDED": 6}
    assert "Not recorded <b>6</b>" in vera.page("/c/demo/jobs/01000000").text


def test_pushed_tasks_say_so_and_what_could_not_be_read(vera: Person, cluster: BuiltCluster) -> None:
    actor = cluster.with_actor()
    task = cluster.with_task(actor_id=actor.actor_id, is_dropped=True)
    source = model.SourceReport("tasks", "push+poll", 150.0, BEGAN / 1000, None)
    pushed = model.PushReport(bodies=9, unreadable=2, set_aside=1, waiting_bytes=5_000_000, dropped=4)
    cluster.with_rows(COLLECTOR, model.CollectorReport(1.0, True, sources=[source], pushed=pushed, tasks_not_kept=7))
    page = vera.page("/c/demo/tasks").text
    assert "pushed by Ray's agents, and counted at the GCS each " in page
    assert "3 pushed events or bodies could not be read" in page
    assert "7 reports of attempts were not kept" in page
    assert "wait to be read" in page
    assert "of 4 Ray's workers or agents lost events" in page
    assert "lost events of this attempt" in vera.page(f"/c/demo/tasks/{task.task_id}").text
    assert "pushed by Ray's agents" in vera.page(f"/c/demo/actors/{actor.actor_id}").text


@pytest.mark.parametrize(
    ("states", "words"),
    [
        (("FINISHED", "FINISHED", "FAILED"), ("<b>2</b> of <b>3</b> finished", "Failed <b>1</b>")),
        (("RUNNING_IN_RAY_GET", "PENDING_ARGS_AVAIL"), ("Running <b>1</b>", "Waiting for dependencies <b>1</b>")),
        (("END_UNKNOWN", "UNKNOWN(17)"), ("Unknown <b>2</b>",)),
        ((), ("No task of it is known.",)),
    ],
)
def test_a_jobs_progress_counts_every_attempt_in_some_part(
    vera: Person, cluster: BuiltCluster, states: tuple[str, ...], words: tuple[str, ...]
) -> None:
    job = cluster.with_job()
    cluster.with_task(job_id="ffffff00", state="FINISHED")
    for state in states:
        cluster.with_task(job_id=job.job_id, state=state)
    page = vera.page(f"/c/demo/jobs/{job.job_key}").text
    for word in words:
        assert word in page


def test_each_job_of_the_list_shows_how_far_its_tasks_are(vera: Person, cluster: BuiltCluster) -> None:
    busy, idle = cluster.with_job(), cluster.with_job()
    for state in ("FINISHED", "FINISHED", "FAILED"):
        cluster.with_task(job_id=busy.job_id, state=state)
    rows = {row["job_key"]: row for row in vera.get("/c/demo/jobs.json").get_json()["rows"]}
    assert rows[busy.job_key]["tasks"] == {"FAILED": 1, "FINISHED": 2}
    assert rows[idle.job_key]["tasks"] == {}
    assert "2 of 3, 1 failed" in vera.page("/c/demo/jobs").text


@pytest.mark.parametrize("field", ["job_id", "node_id", "actor_id", "worker_id"])
def test_the_pages_of_what_tasks_belong_to_list_them(vera: Person, cluster: BuiltCluster, field: str) -> None:
    node, actor, worker, job = cluster.with_node(), cluster.with_actor(), cluster.with_worker(), cluster.with_job()
    ids = {"job_id": job.job_id, "node_id": node.node_id, "actor_id": actor.actor_id, "worker_id": worker.worker_id}
    path = {
        "job_id": f"jobs/{job.job_key}?tab=tasks",
        "node_id": f"nodes/{node.node_id}?tab=tasks",
        "actor_id": f"actors/{actor.actor_id}",
        "worker_id": f"workers/{worker.worker_id}",
    }[field]
    task = cluster.with_task(**{field: ids[field]})
    other = cluster.with_task()
    page = vera.page(f"/c/demo/{path}").text
    assert task.task_id in page
    assert other.task_id not in page


def test_tasks_that_are_polled_seldom_age_on_their_own_pages_alone(vera: Person, cluster: BuiltCluster) -> None:
    cluster.with_job(job_id="01000000", job_key="01000000")
    cluster.with_task(job_id="01000000")
    now = time.time()
    source = model.SourceReport("tasks", "poll", 100.0, now - 120, None)
    cluster.with_rows(COLLECTOR, model.CollectorReport(now, True, sources=[source]))
    cluster.refresh(now)
    cluster.writer.confirm({"tasks": now - 120})
    cluster.project(now)

    tasks, jobs = (vera.get(f"/c/demo/{table}.json").get_json() for table in ("tasks", "jobs"))
    assert (tasks["stale"], jobs["stale"]) == (False, False)
    assert tasks["age_s"] >= 119
    assert jobs["age_s"] < 60


def test_lists_show_the_line_of_an_error_that_says_what_went_wrong(vera: Person, cluster: BuiltCluster) -> None:
    error = 'User exception:\n\x1b[36mray::f()\x1b[39m (pid=7)\n  File "f.py", line 2, in f\nSensorError: calibration failed\n'
    cluster.with_task(state="FAILED", error_message_id=cluster.with_text(error))
    assert ">SensorError: calibration failed</span>" in vera.page("/c/demo/tasks?state=FAILED").text
