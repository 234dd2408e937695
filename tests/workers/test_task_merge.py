"""What is said of an attempt may come in any order, twice, and from several sources: the row is the same."""

from __future__ import annotations

import random
from typing import Any

import pytest

from clusterstate.model import Task
from clusterstate.store.encoding import codec
from clusterstate.task_states import END_UNKNOWN, GCS, INFERRED, PUSHED
from workers.sources.task_merge import merge, merge_all, update_of
from workers.sources.task_update import TaskUpdate, end_unknown

TASK, ACTOR_TASK = "ab" * 8 + "f" * 24 + "01000000", "ab" * 8 + "cd" * 12 + "01000000"
NOW = 1_795_391_545_000
UNDER_WAY = ("PENDING_ARGS_AVAIL", "PENDING_NODE_ASSIGNMENT", "SUBMITTED_TO_WORKER", "PENDING_ARGS_FETCH", "RUNNING", "UNKNOWN(14)")


def said(state: str = "NIL", at: int | None = None, **fields: Any) -> TaskUpdate:
    """One state of an attempt with its moment, in ms after NOW."""
    evidence = fields.pop("end_evidence", PUSHED if state in ("FINISHED", "FAILED") else None)
    ends = evidence is not None
    return TaskUpdate(
        fields.pop("task_id", TASK),
        fields.pop("attempt_number", 0),
        fields.pop("said", {}),
        {} if ends or at is None else {state: NOW + at},
        state,
        evidence,
        NOW + at if ends and at is not None else None,
        **fields,
    )


def some_update(rng: random.Random) -> TaskUpdate:
    """Any update of one attempt, also such as contradict each other."""
    fields = {
        "name": ("work", "Counter.add", "Counter(7).add", "Other.add"),
        "func_or_class_name": ("Counter.add", "add"),
        "actor_repr_name": ("Counter(7)", "Other"),
        "type": ("ACTOR_TASK", "NORMAL_TASK"),
        "node_id": ("aa" * 28, "bb" * 28),
        "worker_pid": (7, 8),
        "stdout_end": (0, 40),
        "parent_task_id": (TASK,),
    }
    chosen = {name: rng.choice(values) for name, values in fields.items() if rng.random() < 0.4}
    state = rng.choice((*UNDER_WAY, END_UNKNOWN, "NIL", "FINISHED", "FAILED"))
    evidence = rng.choice((PUSHED, GCS, INFERRED) if state == "FAILED" else (PUSHED, GCS)) if state in ("FINISHED", "FAILED") else None
    times = {name: NOW + rng.randrange(50) for name in UNDER_WAY if rng.random() < 0.3}
    end_ms = NOW + rng.randrange(50) if evidence and rng.random() < 0.7 else None
    error = (rng.choice(("WORKER_DIED", "OUT_OF_MEMORY")), rng.choice((None, "11" * 8, "22" * 8))) if rng.random() < 0.3 else None
    debugger = (NOW + rng.randrange(3), rng.random() < 0.5) if rng.random() < 0.3 else None
    return TaskUpdate(TASK, 0, chosen, times, state, evidence, end_ms, error, debugger)


def one_by_one(updates: list[TaskUpdate]) -> Task:
    task = None
    for update in updates:
        task = merge(task, update)
    assert task is not None
    return task


@pytest.mark.parametrize("seed", range(300))
def test_neither_order_nor_repetition_nor_grouping_matters(seed: int) -> None:
    rng = random.Random(seed)
    updates = [some_update(rng) for _ in range(rng.randrange(1, 9))]
    task = one_by_one(updates)
    again = [*updates, *rng.choices(updates, k=4)]
    rng.shuffle(again)
    split = rng.randrange(len(updates) + 1)
    halves = [one_by_one(part) for part in (updates[:split], updates[split:]) if part]

    assert one_by_one(again) == task
    assert merge_all(None, again) == task
    assert merge_all(None, [update_of(half) for half in reversed(halves)]) == task
    assert merge(task, updates[0]) is task


def test_the_furthest_state_holds_and_each_state_keeps_its_earliest_moment() -> None:
    task = one_by_one([said("RUNNING", 9), said("PENDING_ARGS_AVAIL", 5), said("PENDING_ARGS_AVAIL", 3), said("PENDING_ARGS_FETCH", 7)])

    assert (task.state, task.start_time_ms, task.creation_time_ms) == ("RUNNING", NOW + 9, NOW + 3)
    assert task.other_states_ms == {"PENDING_ARGS_FETCH": NOW + 7}
    assert task.end_time_ms is None


def test_what_was_defined_is_never_taken_away_and_an_error_stays() -> None:
    task = one_by_one([said(said={"name": "work", "type": "NORMAL_TASK"}), said("FAILED", 8, error=("OUT_OF_MEMORY", "11" * 8)), said()])

    assert (task.name, task.type, task.state, task.error_type, task.error_message_id) == (
        "work",
        "NORMAL_TASK",
        "FAILED",
        "OUT_OF_MEMORY",
        "11" * 8,
    )


def test_job_and_actor_are_in_the_tasks_id() -> None:
    assert [(task.job_id, task.actor_id) for task in (one_by_one([said()]), one_by_one([said(task_id=ACTOR_TASK)]))] == [
        ("01000000", None),
        ("01000000", "cd" * 12 + "01000000"),
    ]
    driver = one_by_one([said(task_id="f" * 40 + "01000000")])
    assert (driver.job_id, driver.actor_id) == ("01000000", None)


@pytest.mark.parametrize("order", [1, -1])
def test_what_the_gcs_says_of_an_end_is_not_overridden_by_what_is_pushed(order: int) -> None:
    ends = [said("FINISHED", 8, end_evidence=GCS), said("FAILED", 2, error=("ACTOR_DIED", None))]

    task = one_by_one(ends[::order])

    assert (task.state, task.end_time_ms, task.end_evidence) == ("FINISHED", NOW + 8, GCS)


@pytest.mark.parametrize("order", [1, -1])
def test_a_reported_end_outranks_an_inferred_one_and_an_unknown_one(order: int) -> None:
    inferred = said("FAILED", 9, end_evidence=INFERRED, error=("WORKER_DIED", None))

    assert one_by_one([inferred, said("FINISHED", 8)][::order]).state == "FINISHED"
    assert one_by_one([end_unknown(TASK, 0), said("FINISHED", 8)][::order]).end_time_ms == NOW + 8
    assert one_by_one([end_unknown(TASK, 0), inferred][::order]).state == "FAILED"


def test_an_attempt_of_an_ended_job_without_an_end_is_neither_running_nor_failed() -> None:
    task = one_by_one([said("RUNNING", 9), end_unknown(TASK, 0)])

    assert (task.state, task.start_time_ms, task.end_time_ms, task.error_type) == (END_UNKNOWN, NOW + 9, None, None)


@pytest.mark.parametrize("order", [1, -1])
def test_a_method_is_called_by_what_its_actor_calls_itself_unless_it_was_given_a_name(order: int) -> None:
    of_method = {"func_or_class_name": "Counter.add", "type": "ACTOR_TASK"}
    by_repr = said("RUNNING", 1, said={"actor_repr_name": "Counter(7)"}, task_id=ACTOR_TASK)

    plain = one_by_one([said(said={**of_method, "name": "Counter.add"}, task_id=ACTOR_TASK), by_repr][::order])
    named = one_by_one([said(said={**of_method, "name": "adder"}, task_id=ACTOR_TASK), by_repr][::order])

    assert (plain.name, plain.func_or_class_name, named.name) == ("Counter(7).add", "Counter.add", "adder")


@pytest.mark.parametrize("order", [1, -1])
def test_the_last_word_on_the_debugger_holds(order: int) -> None:
    words = [said(debugger=(NOW, True)), said(debugger=(NOW + 5, False))]

    assert one_by_one(words[:1]).is_debugger_paused is True
    assert one_by_one(words[::order]).is_debugger_paused is False


def test_a_joined_row_is_a_frozen_one_that_goes_through_the_store() -> None:
    task = one_by_one([said("RUNNING", 9, said={"name": "work", "call_site_id": "0a" * 8})])

    assert codec(Task).decode(codec(Task).encode(task)) == task
    for name in ("state", "task_id"):
        with pytest.raises(AttributeError):
            setattr(task, name, "FAILED")


def test_there_must_be_something_to_join() -> None:
    with pytest.raises(ValueError, match="no update"):
        merge_all(None, [])
