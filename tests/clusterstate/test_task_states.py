"""States of tasks: in Ray's order, counted as in Ray's progress bar."""

from __future__ import annotations

import pytest

from clusterstate.model import Task, attempt_id
from clusterstate.task_states import (
    END_UNKNOWN,
    GCS,
    INFERRED,
    PUSHED,
    TASK_STATES,
    has_ended,
    is_pending,
    is_running,
    progress,
    rank,
    segment_of,
    state_name,
    state_times,
)


def test_an_attempt_is_named_by_its_task_and_later_ones_by_their_number_too() -> None:
    assert attempt_id("ab" * 24, 0) == Task("ab" * 24).attempt_id == "ab" * 24
    assert Task("ab" * 24, 17).attempt_id == "ab" * 24 + "00000011"


def test_states_come_in_the_order_in_which_a_task_goes_through_them() -> None:
    under_way = [state for state in TASK_STATES.values() if not has_ended(state)]
    order = [rank(state) for state in [*under_way, "UNKNOWN(14)", "UNKNOWN(99)", END_UNKNOWN]]

    assert order == sorted(order)
    assert len(set(order)) == len(order)
    assert rank("GETTING_AND_PINNING_ARGS") < rank("RUNNING")


def test_of_two_ends_the_better_evidence_holds_and_then_the_failure() -> None:
    ends = [("FAILED", INFERRED), ("FINISHED", PUSHED), ("FAILED", PUSHED), ("FINISHED", GCS), ("FAILED", GCS)]

    assert sorted(ends, key=lambda end: rank(*end)) == ends
    assert rank(END_UNKNOWN) < rank(*ends[0])


def test_numbers_of_a_later_ray_are_shown_and_made_up_ones_are_all_the_same() -> None:
    assert [state_name(number) for number in (8, 14, 999, 1000, 2**31 - 1, -1)] == [
        "RUNNING",
        "UNKNOWN(14)",
        "UNKNOWN(999)",
        "UNKNOWN",
        "UNKNOWN",
        "UNKNOWN",
    ]


@pytest.mark.parametrize(
    ("state", "segment"),
    [
        ("PENDING_ARGS_AVAIL", "waiting_for_dependencies"),
        ("PENDING_NODE_ASSIGNMENT", "waiting_for_scheduling"),
        ("PENDING_ARGS_FETCH", "waiting_for_scheduling"),
        ("SUBMITTED_TO_WORKER", "waiting_for_scheduling"),
        ("PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY", "waiting_for_scheduling"),
        ("RUNNING_IN_RAY_GET", "running"),
        ("FINISHED", "finished"),
        ("FAILED", "failed"),
        ("NIL", "unknown"),
        (END_UNKNOWN, "unknown"),
        ("UNKNOWN(14)", "unknown"),
    ],
)
def test_the_progress_bar_counts_states_as_rays_does(state: str, segment: str) -> None:
    assert segment_of(state) == segment
    assert is_running(state) is (segment == "running")
    assert is_pending(state) is segment.startswith("waiting")


def test_progress_loses_no_attempt() -> None:
    counts = {"FINISHED": 5, "RUNNING": 2, "RUNNING_IN_RAY_WAIT": 1, "UNKNOWN(77)": 4, END_UNKNOWN: 3, "PENDING_ARGS_AVAIL": 6}

    shown = progress(counts)

    assert sum(shown.values()) == sum(counts.values())
    assert (shown["running"], shown["unknown"], shown["failed"]) == (3, 7, 0)


def test_the_history_of_states_comes_in_order() -> None:
    task = Task("ab" * 24, state="FAILED", creation_time_ms=5, start_time_ms=9, end_time_ms=9, other_states_ms={"PENDING_ARGS_FETCH": 7})

    assert state_times(task) == [("PENDING_ARGS_AVAIL", 5), ("PENDING_ARGS_FETCH", 7), ("RUNNING", 9), ("FAILED", 9)]
    assert state_times(Task("ab" * 24)) == []
