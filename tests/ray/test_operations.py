"""Jobs submitted and stopped from the page on real clusters: through the head node's agent, and through a driver of Raydeck's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ray_environments
from tests.ray.killing import kill, pid_of
from tests.ray.onlookers import Person
from tests.running import Running, raydeck_up
from tests.workers.real_ray_cluster import real_ray
from workers.processes import all_stats

pytestmark = pytest.mark.ray
ROOT = Path(__file__).resolve().parents[2]
SUBMIT = "/c/default/jobs/submit"
KINDS = {"agent": ("2.60-default", "a-token-of-this-test"), "driver": (ray_environments.MINIMAL, None)}


@pytest.fixture(scope="module", params=KINDS)
def watched(request: pytest.FixtureRequest) -> Iterator[tuple[Running, Person]]:
    environment, token = KINDS[request.param]
    python = ray_environments.python(ROOT, environment)
    with (
        real_ray(token, python=python, dashboard=False, nodes=1) as ray,
        raydeck_up("--address", ray.address, environ=ray.environ, python=python) as running,
    ):
        yield running, Person(running)


def submit(running: Running, person: Person, **typed: str) -> str:
    """Fills in the form as it is shown; the submission id."""
    running.wait_until(lambda: "csrf_token" in person.open(SUBMIT)[1] and "<textarea" in person.open(SUBMIT)[1])
    form = person.open(SUBMIT)[1]
    hidden = dict(re.findall(r'name="(csrf_token|fresh_id)" value="([^"]+)"', form))
    status, page = person.open(SUBMIT, {**hidden, **typed})
    assert status == 200, page
    assert "Asked for here" in page
    return typed.get("submission_id") or hidden["fresh_id"]


def stop(person: Person, submission_id: str) -> None:
    path = f"/c/default/jobs/{submission_id}/stop"
    [token, *_] = re.findall(r'name="csrf_token" value="([^"]+)"', person.open(path)[1])
    status, page = person.open(path, {"csrf_token": token})
    assert status == 200, page


def job(running: Running, submission_id: str) -> dict[str, Any]:
    return next(iter(running.rows("jobs", f"?submission_id={submission_id}")["rows"]), {})


def has_status(running: Running, submission_id: str, status: str, within_s: float = 60.0) -> None:
    def holds() -> bool:
        return bool(job(running, submission_id).get("status") == status)

    running.wait_until(holds, within_s)


def test_a_job_is_submitted_from_the_page_and_succeeds(watched: tuple[Running, Person]) -> None:
    running, person = watched
    submission_id = submit(
        running,
        person,
        entrypoint="sh -c 'echo $GREETING && sleep 3'",
        runtime_env='{"env_vars": {"GREETING": "hello-canary"}}',
        metadata='{"job_name": "from the page"}',
    )
    has_status(running, submission_id, "RUNNING")
    has_status(running, submission_id, "SUCCEEDED")

    row = job(running, submission_id)
    assert row["name"] == "from the page"
    assert row["metadata"]["raydeck_submitted_by"] == "admin"
    assert "canary" not in str(row)
    page = person.open(f"/c/default/jobs/{submission_id}")[1]
    assert "DONE" in page
    assert "Ray has it" in page


def test_a_running_job_is_stopped_from_the_page(watched: tuple[Running, Person]) -> None:
    running, person = watched
    submission_id = submit(running, person, entrypoint="sleep 600", submission_id="sleeper.1")
    has_status(running, submission_id, "RUNNING")
    stop(person, submission_id)
    has_status(running, submission_id, "STOPPED")
    running.wait_until(lambda: "Ray was told to stop it." in person.open(f"/c/default/jobs/{submission_id}")[1])


def test_what_ray_cannot_start_is_said_in_its_words(watched: tuple[Running, Person]) -> None:
    running, person = watched
    submission_id = submit(running, person, entrypoint="true", runtime_env='{"pip": 3}')
    has_status(running, submission_id, "FAILED")
    assert "pip" in job(running, submission_id)["message"]


def test_a_job_that_was_promised_is_submitted_once_whatever_is_killed(watched: tuple[Running, Person]) -> None:
    running, person = watched
    promised = [submit(running, person, entrypoint=f"echo {number}") for number in range(3)]
    kill([pid_of(running, "operations")])
    for submission_id in promised:
        has_status(running, submission_id, "SUCCEEDED", within_s=120.0)
        assert len(running.rows("jobs", f"?submission_id={submission_id}")["rows"]) == 1


def test_a_killed_watch_over_submissions_is_taken_up_and_ends_with_the_jobs() -> None:
    """Where Ray has nobody for that: a submission whose supervisor dies is FAILED, also after who watched was killed."""
    with real_ray(nodes=1) as ray, raydeck_up("--address", ray.address, environ=ray.environ) as running:
        person = Person(running)
        submission_id = submit(running, person, entrypoint="sleep 600")
        has_status(running, submission_id, "RUNNING")
        running.wait_until(lambda: bool(watching(running)))
        kill([pid_of(running, "operations"), *watching(running)])
        running.wait_until(lambda: bool(watching(running)), within_s=90.0)
        [supervisor] = [row for row in running.rows("actors", "?state=ALIVE")["rows"] if row["class_name"] == "JobSupervisor"]
        kill([supervisor["pid"]])
        has_status(running, submission_id, "FAILED")
        running.wait_until(lambda: not watching(running))


def watching(running: Running) -> list[int]:
    """The Ray driver of Raydeck's own, by its command line; it may have another parent by now."""
    session = pid_of(running, "operations")
    found = [stat.pid for stat in all_stats() if stat.sid == session and stat.state not in "ZX"]
    return [pid for pid in found if b"ray_driver" in Path(f"/proc/{pid}/cmdline").read_bytes()]
