"""What an attempt of a task waits for follows from its state and type."""

from __future__ import annotations

import pytest

from clusterstate.actor_deaths import was_meant
from clusterstate.task_states import TASK_STATES, is_pending
from clusterstate.task_waits import PENDING, RUNNING, UNFINISHED, Wait, wait_of


@pytest.mark.parametrize(
    ("state", "kind", "expected"),
    [
        ("PENDING_ARGS_AVAIL", "NORMAL_TASK", Wait.ARGUMENTS),
        ("PENDING_ARGS_AVAIL", "ACTOR_TASK", Wait.ARGUMENTS),
        ("PENDING_NODE_ASSIGNMENT", "NORMAL_TASK", Wait.PLACE),
        ("PENDING_NODE_ASSIGNMENT", None, Wait.PLACE),
        ("PENDING_NODE_ASSIGNMENT", "ACTOR_TASK", Wait.ACTOR),
        ("PENDING_NODE_ASSIGNMENT", "ACTOR_CREATION_TASK", Wait.ACTOR_START),
        ("SUBMITTED_TO_WORKER", "NORMAL_TASK", Wait.WORKER),
        ("SUBMITTED_TO_WORKER", "ACTOR_TASK", Wait.TURN),
        ("PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY", "ACTOR_TASK", Wait.TURN),
        ("PENDING_ACTOR_TASK_ARGS_FETCH", "ACTOR_TASK", Wait.FETCH),
        ("GETTING_AND_PINNING_ARGS", "NORMAL_TASK", Wait.FETCH),
        ("PENDING_OBJ_STORE_MEM_AVAIL", "NORMAL_TASK", Wait.STORE),
        ("RUNNING", "NORMAL_TASK", None),
        ("FAILED", "NORMAL_TASK", None),
        ("NIL", None, None),
        ("UNKNOWN(17)", None, None),
    ],
)
def test_the_state_and_the_type_say_what_is_waited_for(state: str, kind: str | None, expected: Wait | None) -> None:
    assert wait_of(state, kind) is expected


def test_every_state_in_which_a_task_waits_says_for_what() -> None:
    assert set(PENDING) == {state for state in TASK_STATES.values() if is_pending(state)}
    assert all(wait_of(state, kind) is not None for state in PENDING for kind in ("NORMAL_TASK", "ACTOR_TASK", "ACTOR_CREATION_TASK"))
    assert set(UNFINISHED) == {*PENDING, *RUNNING}


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        ("WORKER_DIED", False),
        ("OOM", False),
        ("CREATION_TASK_FAILED", False),
        ("RAY_KILL", True),
        ("OUT_OF_SCOPE", True),
        ("OWNER_DIED", True),
    ],
)
def test_an_actor_that_was_to_end_did_not_fail(cause: str, expected: bool) -> None:
    assert was_meant(cause) is expected
