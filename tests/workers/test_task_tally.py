"""Attempts that were given up for the limit go on counting, by name as far as there are not too many."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from clusterstate.model import OTHER_NAMES, Task, TaskTotals
from clusterstate.resources import TASK_TOTALS, TASKS, TASKS_GIVEN_UP
from clusterstate.settings import Settings
from clusterstate.store.projection import Projection
from clusterstate.store.reader import SessionReader
from clusterstate.task_states import NOT_RECORDED
from tests.built_cluster import BuiltCluster
from tests.simulated_ray import SimulatedRay
from tests.workers.collecting import CLUSTER, Seen, collecting, eventually
from tests.workers.pushing import Spooling, told_of
from workers.collectors import cluster_follow, cluster_pushed, task_tally
from workers.collectors.cluster_tasks import is_of_the_past
from workers.collectors.task_tally import GivenUp
from workers.sources.task_update import TaskUpdate

JOB, OTHER_JOB = "01000000", "02000000"
ID = "ab" * 24


def task(number: int, name: str | None = "work", job_id: str = JOB, state: str = "FINISHED") -> Task:
    end = None if state == "RUNNING" else 1_795_000_000_000 + number
    return Task(f"{number:016x}{'f' * 24}{job_id}", state=state, name=name, job_id=job_id, type="NORMAL_TASK", end_time_ms=end)


def give_up(cluster: BuiltCluster, tally: GivenUp, tasks: list[Task], keep: int = 0) -> None:
    cluster.writer.record(TASKS, tasks, 0)
    cluster.writer.trim_dead(TASKS, keep, 0, tally.tally)


def counted(cluster: BuiltCluster) -> Counter[tuple[str | None, str | None, str]]:
    """What is given up: by job, name and state."""
    return Counter({(row.job_id, row.name, row.state): row.n for row in cluster.writer.rows(TASKS_GIVEN_UP)})


def test_what_is_given_up_counts_by_job_name_and_state(cluster: BuiltCluster) -> None:
    tally = GivenUp()
    give_up(cluster, tally, [task(number, state="FAILED" if number % 3 else "FINISHED") for number in range(9)], keep=2)
    give_up(cluster, tally, [task(9, "other"), task(10, job_id=OTHER_JOB), task(11, None), task(12, state="RUNNING")], keep=1)

    assert counted(cluster) == {
        (JOB, "work", "FINISHED"): 3,
        (JOB, "work", "FAILED"): 6,
        (JOB, "other", "FINISHED"): 1,
        (OTHER_JOB, "work", "FINISHED"): 1,
    }
    cluster.refresh()
    assert cluster.reader.task_states(JOB) == {"FINISHED": 5, "FAILED": 6, "RUNNING": 1}
    assert cluster.reader.task_states(None) == {"FINISHED": 6, "FAILED": 6, "RUNNING": 1}


def test_names_beyond_ten_thousand_of_a_job_count_together(cluster: BuiltCluster) -> None:
    tally = GivenUp()
    give_up(cluster, tally, [task(number, f"made-up-{number}") for number in range(10_050)])
    give_up(cluster, GivenUp(), [task(20_000, "made-up-3"), task(20_001, "new"), task(20_002, "new", OTHER_JOB)])

    found = counted(cluster)
    assert task_tally.NAMES_OF_A_JOB == 10_000
    assert found[JOB, OTHER_NAMES, "FINISHED"] == 51
    assert found[JOB, "made-up-3", "FINISHED"] == 2
    assert found[OTHER_JOB, "new", "FINISHED"] == 1
    assert len(found) == 10_002
    cluster.refresh()
    assert cluster.reader.task_states(JOB) == {"FINISHED": 10_052}


def test_what_ray_counts_beyond_what_is_recorded_and_given_up_was_not_recorded(cluster: BuiltCluster) -> None:
    give_up(cluster, GivenUp(), [task(number) for number in range(5)], keep=3)
    cluster.writer.record(TASK_TOTALS, [TaskTotals(JOB, reported=8, dropped=3)], 0)
    cluster.refresh()

    assert cluster.reader.task_states(JOB) == {"FINISHED": 5, NOT_RECORDED: 3}


def test_attempts_that_a_collector_gave_up_go_on_counting_through_restarts(
    redis_client: redis.Redis, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_follow, "TRIM_EVERY_S", 0.1)
    monkeypatch.setattr(cluster_follow, "TASKS_EVERY_S", 0.25)
    monkeypatch.setattr(cluster_pushed, "EVERY_S", 0.05)
    settings = replace(settings, poll_interval_s=0.25, max_tasks=5)
    spool = Spooling(settings.state_dir)
    with SimulatedRay(nodes=1, jobs=1) as ray:
        ids = [ray.add_task(state=state, at_ms=ray.now_ms() - 60_000 + number) for number, state in enumerate(("FINISHED", "FAILED") * 15)]
        ids.append(ray.add_task(state="RUNNING"))
        for restarts in range(2):
            with collecting(redis_client, settings, ray.address) as seen:
                for task_id in ids:
                    spool.put(*told_of(ray, [task_id]))
                eventually(lambda: seen.report and seen.report.pushed and seen.report.pushed.bodies == len(ids) * (1 + restarts))  # noqa: B023 - asked here and now
                eventually(lambda: len(seen.rows(TASKS)) == 6)
                assert states(redis_client, tmp_path / f"{restarts}.db", seen) == {"FINISHED": 15, "FAILED": 15, "RUNNING": 1}
    spool.close()


def states(redis_client: redis.Redis, path: Path, seen: Seen) -> dict[str, int]:
    """As the pages count, from an index of its own."""
    session = seen.session or ""
    projection = Projection(redis_client, path, CLUSTER, session, 1800)
    try:
        projection.catch_up()
        streams: Any = projection.streams
        reply: Any = redis_client.xread(streams, count=10_000)
        entries = dict(reply)
        changes, samples = (entries.get(key, []) for key in streams)
        projection.apply(changes, samples, time.time())
        return SessionReader(path, CLUSTER, session, deadline_ms=5000).task_states(None)
    finally:
        projection.close()


@pytest.mark.parametrize(
    ("updates", "was_seen", "is_past"),
    [
        ([TaskUpdate(ID, 0, {}, {"RUNNING": 900})], True, True),
        ([TaskUpdate(ID, 0, {}, {"RUNNING": 900})], False, False),
        ([TaskUpdate(ID, 0, {}, {"RUNNING": 900}, "FINISHED", "FINISHED", 1000)], False, True),
        ([TaskUpdate(ID, 0, {}, {"RUNNING": 900}), TaskUpdate(ID, 0, {}, {"RUNNING": 1001})], True, False),
        ([TaskUpdate(ID, 0, {}, {}, "FINISHED", "FINISHED", 1001)], True, False),
        ([TaskUpdate(ID, 0, {"is_dropped": True})], True, True),
        ([TaskUpdate(ID, 0, {"is_dropped": True})], False, False),
    ],
)
def test_a_late_event_of_an_attempt_that_was_given_up_does_not_bring_it_back(
    updates: list[TaskUpdate], was_seen: bool, is_past: bool
) -> None:
    assert is_of_the_past(updates, 1000, was_seen) is is_past
    assert not is_of_the_past(updates, 0, was_seen)
