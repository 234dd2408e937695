"""Tasks that are polled from a simulated GCS: what is kept of them, and what is asked of whom."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import redis

from clusterstate.model import Task
from clusterstate.resources import TASKS, TEXTS
from clusterstate.settings import Settings
from tests.simulated_ray import SimulatedRay
from tests.workers.collecting import Seen, collecting, eventually
from workers.collectors import cluster_follow, cluster_tasks


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, poll_interval_s=0.25)


@pytest.fixture(autouse=True)
def _in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_follow, "TASKS_EVERY_S", 0.25)


@pytest.fixture
def ray() -> Iterator[SimulatedRay]:
    with SimulatedRay(nodes=1, jobs=1) as cluster:
        yield cluster


@pytest.fixture
def seen(ray: SimulatedRay, redis_client: redis.Redis, settings: Settings) -> Iterator[Seen]:
    with collecting(redis_client, settings, ray.address) as found:
        eventually(lambda: found.as_of("tasks"))
        yield found


def tasks(seen: Seen) -> dict[str, Task]:
    return seen.rows(TASKS)


def states(seen: Seen) -> dict[str, str]:
    return {attempt_id: task.state for attempt_id, task in tasks(seen).items()}


def test_a_task_is_followed_through_its_states(ray: SimulatedRay, seen: Seen) -> None:
    task_id = ray.add_task(state="PENDING_NODE_ASSIGNMENT", info={"name": "resize"})
    eventually(lambda: states(seen).get(task_id) == "PENDING_NODE_ASSIGNMENT")

    ray.set_task(task_id, "RUNNING")
    eventually(lambda: states(seen)[task_id] == "RUNNING")
    ray.set_task(task_id, "FINISHED")
    eventually(lambda: states(seen)[task_id] == "FINISHED")

    task = tasks(seen)[task_id]
    assert task.name == "resize"
    assert task.creation_time_ms is not None
    assert task.start_time_ms is not None
    assert task.end_time_ms is not None


def test_attempts_are_rows_of_their_own_and_never_flip(ray: SimulatedRay, seen: Seen) -> None:
    task_id = ray.add_task(state="FAILED", info={"name": "flaky"})
    eventually(lambda: states(seen).get(task_id) == "FAILED")
    ray.retry_task(task_id, 1, state="FINISHED")

    eventually(lambda: {"FAILED", "FINISHED"} == {state for key, state in states(seen).items() if key.startswith(task_id)})
    assert states(seen)[task_id] == "FAILED"


def test_what_the_gcs_gives_up_stays(ray: SimulatedRay, seen: Seen) -> None:
    task_id = ray.add_task(state="FINISHED")
    eventually(lambda: task_id in tasks(seen))
    ray.forget_task(task_id)

    eventually(lambda: seen.report and seen.report.tasks_dropped == 1)
    assert task_id in tasks(seen)


def test_texts_that_tasks_share_are_kept_once(ray: SimulatedRay, seen: Seen) -> None:
    ids = [ray.add_task(state="RUNNING", info={"name": "big", "required_resources": {"CPU": 3.0}}) for _ in range(3)]
    eventually(lambda: set(ids) <= tasks(seen).keys())

    [text_id] = {tasks(seen)[task_id].required_resources_id for task_id in ids}
    assert seen.rows(TEXTS)[str(text_id)].text == '{"CPU":3.0}'


def test_a_job_that_is_over_is_asked_for_once_more_and_what_has_no_end_then_is_unknown(
    ray: SimulatedRay, redis_client: redis.Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_tasks, "LAST_WORD_S", 0.5)
    job_id = ray.add_job()
    lost = ray.add_task(state="RUNNING", job_id=job_id)
    told = ray.add_task(state="RUNNING", job_id=job_id)
    with collecting(redis_client, settings, ray.address) as seen:
        eventually(lambda: states(seen).get(lost) == "RUNNING")
        ray.forget_task(lost)
        ray.finish_job(job_id)
        ray.set_task(told, "FINISHED")

        eventually(lambda: states(seen)[lost] == "END_UNKNOWN" and states(seen)[told] == "FINISHED", within_s=8)
        ray.add_task(state="FINISHED", job_id=job_id)
        counted = len(tasks(seen))
        as_of = seen.as_of("tasks")
        eventually(lambda: seen.as_of("tasks") > as_of)
        assert len(tasks(seen)) == counted


def test_a_new_watch_knows_what_was_given_up_before(redis_client: redis.Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_follow, "TRIM_EVERY_S", 0.2)
    with SimulatedRay(nodes=1, jobs=1) as ray:
        for number in range(4):
            ray.add_task(state="FINISHED", at_ms=int(time.time() * 1000) - 10_000 + number)
        for _ in range(2):
            with collecting(redis_client, replace(settings, max_tasks=1), ray.address) as seen:
                eventually(lambda: seen.report and seen.report.tasks_evicted == 3)


def test_of_those_that_ended_the_oldest_are_given_up_and_counted(
    redis_client: redis.Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_follow, "TRIM_EVERY_S", 0.2)
    with SimulatedRay(nodes=1, jobs=1) as ray:
        now = int(time.time() * 1000)
        running = ray.add_task(state="RUNNING")
        ended = [ray.add_task(state="FINISHED", at_ms=now - 10_000 + number) for number in range(8)]
        with collecting(redis_client, replace(settings, max_tasks=3), ray.address) as seen:
            eventually(lambda: seen.report and seen.report.tasks_evicted == 5)
            assert set(tasks(seen)) == {running, *ended[-3:]}
            eventually(lambda: seen.as_of("tasks"))
            assert set(tasks(seen)) == {running, *ended[-3:]}


def test_beyond_a_limit_new_attempts_that_have_not_ended_are_counted_and_not_kept(
    redis_client: redis.Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_tasks, "LEAST_OPEN", 1)
    with SimulatedRay(nodes=1, jobs=1) as ray, collecting(redis_client, replace(settings, max_tasks=2), ray.address) as seen:
        first = [ray.add_task(state="RUNNING") for _ in range(4)]
        eventually(lambda: set(tasks(seen)) == set(first))
        late, ended = ray.add_task(state="RUNNING"), ray.add_task(state="FINISHED")
        eventually(lambda: ended in tasks(seen) and seen.report and seen.report.tasks_not_kept >= 1)
        assert late not in tasks(seen)
        ray.set_task(late, "FINISHED")
        eventually(lambda: states(seen).get(late) == "FINISHED")
        ray.set_task(first[0], "FINISHED")
        eventually(lambda: states(seen)[first[0]] == "FINISHED")
        again = ray.add_task(state="RUNNING")
        eventually(lambda: again in tasks(seen))
