"""What a writer remembers so that it need not ask Redis: never wrong, and bounded."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from clusterstate.model import Task
from clusterstate.resources import TASKS
from clusterstate.store.recent import Recent, Seen
from clusterstate.store.writer import SessionWriter
from tests.built_cluster import BuiltCluster


def test_an_id_that_was_noted_is_always_known_and_few_others_are() -> None:
    seen = Seen(20_000)
    ids = [f"{number:048x}" for number in range(100_000)]
    assert sum(seen.note(item) for item in ids) < 2_000
    assert all(seen.note(item) for item in ids)
    assert sum(seen.note(f"{number:040x}ffffffff") for number in range(5_000)) < 250


def test_the_least_used_rows_are_forgotten_first() -> None:
    recent = Recent(most=2)
    for name in (b"a", b"b", b"a", b"c"):
        recent.put(name, b"blob", name)
    assert [recent.get(name) is not None for name in (b"a", b"b", b"c")] == [True, False, True]
    recent.drop([b"a", b"nowhere"])
    assert recent.get(b"a") is None


@pytest.mark.parametrize("is_new", [None, lambda _: True])
def test_rows_that_are_joined_again_and_again_are_what_redis_has(
    is_new: Callable[[str], bool] | None, cluster: BuiltCluster, redis_client: redis.Redis
) -> None:
    """Also after they were removed, given up, or written by another way."""
    writer = cluster.writer
    task = Task("ab" * 24, state="RUNNING", end_time_ms=5)
    told: list[Task | None] = []

    def how(known: Task | None, update: Task) -> Task:
        told.append(known)
        return update

    def join(state: str, by: SessionWriter = writer) -> None:
        by.join(TASKS, {task.attempt_id: Task(task.task_id, state=state, end_time_ms=5)}, how, is_new)

    join("RUNNING")
    join("FINISHED")
    writer.record(TASKS, [Task(task.task_id, state="FAILED", end_time_ms=5)], 1.0)
    join("FINISHED")
    assert [known and known.state for known in told] == [None, "RUNNING", "FAILED"]
    assert writer.get(TASKS, [task.attempt_id])[0].state == "FINISHED"

    writer.forget(TASKS, [task.attempt_id], 1.0)
    join("FINISHED")
    assert told[-1] is None
    assert writer.trim_dead(TASKS, 0, 1.0) == 1
    join("FINISHED")
    assert told[-1] is None
    assert writer.get(TASKS, [task.attempt_id]) == [None], "what was given up stays so"

    another = SessionWriter(redis_client, writer.cluster, writer.session)
    another.join(TASKS, {"cd" * 24: Task("cd" * 24)}, how)
    another.join(TASKS, {"cd" * 24: Task("cd" * 24)}, how)
    assert told[-1] == Task("cd" * 24)
