"""A failed job opens with why: Ray's message, what failed first, and where its log lies. Failed actors are seen beside its progress."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest

from clusterstate.store.sqlite_reading import DeadlinePassed
from clusterstate.store.tasks_by_state import TasksByState
from tests.built_cluster import BuiltCluster
from tests.simulated_ray.hostile import TEXTS
from tests.webapp.conftest import Person

BEGAN = 1_700_000_000_000


def failed_job(cluster: BuiltCluster, **fields: Any) -> Any:
    return cluster.with_job(
        **{"type": "SUBMISSION", "submission_id": "nightly", "status": "FAILED", "message": "line one\n  line two", **fields}
    )


def failure(page: str) -> str:
    """The markup of what a failed job opens with."""
    found = re.search(r'<section class="card bad" id="failure">(.*?)</section>', page, re.DOTALL)
    return html.unescape(found[1]) if found else ""


def test_rays_message_comes_first_and_whole(cluster: BuiltCluster, vera: Person) -> None:
    failed_job(cluster, error_type="JOB_ENTRYPOINT_COMMAND_ERROR", driver_exit_code=3)
    page = vera.page("/c/demo/jobs/nightly").text
    assert "line one\n  line two</pre>" in failure(page)
    assert "JOB_ENTRYPOINT_COMMAND_ERROR" in failure(page)
    assert "<dd>3</dd>" in failure(page)
    assert page.index('id="failure"') < page.index('id="logs"') < page.index("Entrypoint")


@pytest.mark.parametrize("status", ["RUNNING", "SUCCEEDED", "STOPPED", "PENDING"])
def test_other_jobs_do_not_open_with_a_failure(cluster: BuiltCluster, vera: Person, status: str) -> None:
    failed_job(cluster, status=status)
    page = vera.page("/c/demo/jobs/nightly").text
    assert failure(page) == ""
    assert "line two" in page


def test_the_log_is_named_with_its_node_and_place(cluster: BuiltCluster, vera: Person) -> None:
    node = cluster.with_node(hostname="driver-host", session_dir="/tmp/ray/session_x")
    failed_job(cluster, driver_node_id=node.node_id)
    shown = failure(vera.page("/c/demo/jobs/nightly").text)
    assert "/tmp/ray/session_x/logs/job-driver-nightly.log</code>" in shown
    assert f'/c/demo/nodes/{node.node_id}">driver-host' in shown


def test_a_log_whose_place_is_not_known_says_so(cluster: BuiltCluster, vera: Person) -> None:
    failed_job(cluster)
    shown = failure(vera.page("/c/demo/jobs/nightly").text)
    assert "<code>logs/job-driver-nightly.log</code>" in shown
    assert "on a node that is not known, in the folder of session session_1" in shown


def test_the_first_task_that_failed_for_good_is_linked(cluster: BuiltCluster, vera: Person) -> None:
    job = failed_job(cluster)
    of = {"job_id": job.job_id, "state": "FAILED"}
    cluster.with_task(name="tried", task_id="ab" * 24, end_time_ms=BEGAN, **of)
    cluster.with_task(name="tried", task_id="ab" * 24, attempt_number=1, job_id=job.job_id, state="FINISHED")
    cluster.with_task(name="cancelled", end_time_ms=BEGAN + 1, error_type="TASK_CANCELLED", **of)
    cluster.with_task(name="of another", end_time_ms=BEGAN + 1, job_id="ffffff00", state="FAILED")
    cluster.with_task(name="later", end_time_ms=BEGAN + 9, **of)
    first = cluster.with_task(name="culprit", end_time_ms=BEGAN + 2, error_type="OUT_OF_MEMORY", **of)
    shown = failure(vera.page("/c/demo/jobs/nightly").text)
    assert f'/c/demo/tasks/{first.task_id}">culprit</a> OUT_OF_MEMORY' in shown
    assert "First actor that failed</dt><dd>none is known" in re.sub(r"<span.*?</span>", "", shown)


def test_the_first_actor_that_failed_is_linked_and_all_are_counted(cluster: BuiltCluster, vera: Person) -> None:
    job = failed_job(cluster)
    of = {"job_id": job.job_id, "state": "DEAD"}
    cluster.with_actor(name="ended", death_cause="OUT_OF_SCOPE", end_time_ms=BEGAN, **of)
    cluster.with_actor(name="unknown", death_cause=None, end_time_ms=BEGAN, **of)
    second = cluster.with_actor(name="second", death_cause="OOM", end_time_ms=BEGAN + 9, **of)
    first = cluster.with_actor(name="first", death_cause="WORKER_DIED", end_time_ms=BEGAN + 2, **of)
    cluster.with_actor(name="of another", death_cause="OOM", end_time_ms=BEGAN, state="DEAD", job_id="ffffff00")
    page = vera.page("/c/demo/jobs/nightly").text
    assert f'/c/demo/actors/{first.actor_id}">first</a> WORKER_DIED' in failure(page)
    [link] = re.findall(r'<a class="tag bad" href="([^"]*)">2 actors failed</a>', page)
    listed = vera.page(html.unescape(link)).text
    assert first.actor_id in listed
    assert second.actor_id in listed
    assert "ended" not in re.findall(r'<tr id="row-.*', listed)
    assert listed.count('<tr id="row-') == 2


def test_failed_actors_are_seen_while_the_job_runs(cluster: BuiltCluster, vera: Person) -> None:
    job = cluster.with_job()
    cluster.with_actor(job_id=job.job_id, state="DEAD", death_cause="WORKER_DIED")
    assert "1 actor failed" in vera.page(f"/c/demo/jobs/{job.job_key}").text
    calm = cluster.with_job()
    cluster.with_actor(job_id=calm.job_id, state="DEAD", death_cause="RAY_KILL")
    assert "actor failed" not in vera.page(f"/c/demo/jobs/{calm.job_key}").text


def test_a_submission_that_never_had_a_driver_still_says_why(cluster: BuiltCluster, vera: Person) -> None:
    failed_job(cluster, job_id=None, message=None)
    shown = failure(vera.page("/c/demo/jobs/nightly").text)
    assert "Ray gave no message." in shown
    assert "<dd>–</dd>" in shown


def test_what_takes_too_long_is_unknown(cluster: BuiltCluster, vera: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_long(*_: object) -> list[Any]:
        raise DeadlinePassed

    job = failed_job(cluster)
    cluster.with_task(job_id=job.job_id, state="FAILED", end_time_ms=BEGAN)
    monkeypatch.setattr(TasksByState, "ended_first", too_long)
    assert "none is known" in failure(vera.page("/c/demo/jobs/nightly").text)


def test_what_a_job_says_is_text(cluster: BuiltCluster, vera: Person) -> None:
    for number, one in enumerate(TEXTS):
        job = failed_job(
            cluster,
            submission_id=f"{number}{one.text}",
            job_key=f"job-{number}",
            job_id=f"{number:08x}",
            message=one.text,
            error_type=one.text,
        )
        cluster.with_task(job_id=job.job_id, state="FAILED", name=one.text, error_type=one.text, end_time_ms=BEGAN)
        cluster.with_actor(job_id=job.job_id, state="DEAD", name=one.text, death_cause=one.text or "X", end_time_ms=BEGAN)
        answer = vera.page(f"/c/demo/jobs/job-{number}")
        assert answer.status_code == 200
        assert 'id="failure"' in answer.text
        assert "<" not in one.text or one.text not in answer.text, one.name
