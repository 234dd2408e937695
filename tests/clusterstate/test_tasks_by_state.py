"""Attempts found by their state: a few, how many, and those that wait for the same together."""

from __future__ import annotations

from typing import Any

import pytest

from clusterstate import model
from clusterstate.resources import TASKS
from clusterstate.store import tasks_by_state
from clusterstate.store.sqlite_reading import DeadlinePassed
from clusterstate.store.tasks_by_state import Alike, AtLeast
from tests.built_cluster import BuiltCluster

BEGAN = 1_700_000_000_000
PLACE = "PENDING_NODE_ASSIGNMENT"


def tasks(cluster: BuiltCluster, count: int, first: int = 1, **fields: Any) -> list[model.Task]:
    made = [
        model.Task(**{"task_id": f"{number:048x}", "state": PLACE, "name": "step", "creation_time_ms": BEGAN + number, **fields})
        for number in range(first, first + count)
    ]
    cluster.with_rows(TASKS, *made)
    return made


def test_rows_come_in_the_order_in_which_they_were_made_over_all_states(cluster: BuiltCluster) -> None:
    first, second, third = (
        cluster.with_task(state=state, creation_time_ms=BEGAN + at) for at, state in enumerate((PLACE, "RUNNING", PLACE))
    )
    cluster.with_task(state="FINISHED")
    asked = cluster.reader.tasks_by_state()
    assert asked.rows((PLACE, "RUNNING"), {}, limit=10) == [first, second, third]
    assert asked.rows((PLACE, "RUNNING"), {}, limit=2) == [first, second]
    assert asked.rows((PLACE, "RUNNING"), {}, newest=True, limit=1) == [third]


def test_values_narrow_whether_they_are_packed_interned_plain_or_missing(cluster: BuiltCluster) -> None:
    ids = {"parent_task_id": "ab" * 24, "actor_id": "cd" * 16, "job_id": "01000000", "required_resources_id": "ef" * 8}
    wanted = cluster.with_task(state=PLACE, **ids)
    other = cluster.with_task(state=PLACE)
    asked = cluster.reader.tasks_by_state()
    for name, value in ids.items():
        assert asked.rows((PLACE,), {name: value}, limit=10) == [wanted]
        assert asked.rows((PLACE,), {name: None}, limit=10) == [other]
    assert asked.counts((PLACE, "RUNNING"), ids) == {PLACE: AtLeast(1, is_exact=True)}
    with pytest.raises(LookupError):
        asked.rows((PLACE,), {"no_such": 1}, limit=1)


def test_earlier_ones_are_those_created_before_or_tried_again(cluster: BuiltCluster) -> None:
    earlier = cluster.with_task(state=PLACE, creation_time_ms=BEGAN)
    same_moment = cluster.with_task(state=PLACE, creation_time_ms=BEGAN + 5, sequence=7)
    task = cluster.with_task(state=PLACE, creation_time_ms=BEGAN + 5, sequence=8)
    cluster.with_task(state=PLACE, creation_time_ms=BEGAN + 9, sequence=9)
    again = cluster.with_task(state=PLACE, creation_time_ms=BEGAN + 9, sequence=10, attempt_number=1)
    found = cluster.reader.tasks_by_state().rows((PLACE,), {}, before=task, limit=10)
    assert [one.task_id for one in found] == [earlier.task_id, same_moment.task_id, again.task_id]


def test_a_count_that_goes_on_says_so(cluster: BuiltCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks_by_state, "COUNTED", 5)
    tasks(cluster, 6)
    assert cluster.reader.tasks_by_state().counts((PLACE,), {}) == {PLACE: AtLeast(5, is_exact=False)}


def test_the_first_to_end_comes_first(cluster: BuiltCluster) -> None:
    late = cluster.with_task(state="FAILED", end_time_ms=BEGAN + 9, creation_time_ms=BEGAN, job_id="01000000")
    early = cluster.with_task(state="FAILED", end_time_ms=BEGAN + 3, creation_time_ms=BEGAN + 1, job_id="01000000")
    cluster.with_task(state="FAILED", end_time_ms=BEGAN + 1, job_id="02000000")
    assert cluster.reader.tasks_by_state().ended_first("FAILED", {"job_id": "01000000"}, 5) == [early, late]


def test_those_that_ask_for_the_same_are_one_group(cluster: BuiltCluster) -> None:
    tasks(cluster, 3, required_resources_id="aa" * 8, pending_node_assignment_ms=BEGAN + 70)
    tasks(cluster, 2, first=10, required_resources_id="bb" * 8, label_selector_id="cc" * 8, placement_group_id="dd" * 18)
    tasks(cluster, 1, first=20, type="ACTOR_TASK", actor_id="ee" * 16, required_resources_id="aa" * 8)
    assert cluster.reader.tasks_by_state().alike(PLACE) == [
        Alike(PLACE, None, "aa" * 8, None, None, None, 3, BEGAN + 70),
        Alike(PLACE, None, "bb" * 8, "cc" * 8, "dd" * 18, None, 2, BEGAN + 10),
        Alike(PLACE, "ACTOR_TASK", None, None, None, "ee" * 16, 1, BEGAN + 20),
    ]


def test_what_does_not_matter_in_a_state_does_not_set_groups_apart(cluster: BuiltCluster) -> None:
    tasks(cluster, 2, state="PENDING_ARGS_AVAIL", required_resources_id="aa" * 8, job_id="01000000")
    tasks(cluster, 2, first=10, state="PENDING_ARGS_AVAIL", actor_id="ee" * 16, job_id="02000000")
    asked = cluster.reader.tasks_by_state()
    assert asked.alike("PENDING_ARGS_AVAIL") == [Alike("PENDING_ARGS_AVAIL", None, None, None, None, None, 4, BEGAN + 1)]
    assert [one.count for one in asked.alike("PENDING_ARGS_AVAIL", "02000000")] == [2]


def test_of_very_many_the_oldest_are_told(cluster: BuiltCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks_by_state, "GROUPED", 4)
    tasks(cluster, 3, required_resources_id="aa" * 8)
    tasks(cluster, 3, first=10, required_resources_id="bb" * 8)
    assert [one.count for one in cluster.reader.tasks_by_state().alike(PLACE)] == [3, 1]


def test_questions_end_at_their_deadline(cluster: BuiltCluster) -> None:
    tasks(cluster, 20_000)
    asked = tasks_by_state.TasksByState(cluster.path, lambda: 0.0)
    for question in (lambda: asked.alike(PLACE), lambda: asked.counts((PLACE,), {}), lambda: asked.rows((PLACE,), {"name": "x"}, limit=1)):
        with pytest.raises(DeadlinePassed):
            question()
