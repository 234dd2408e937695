"""What an attempt of a task waits for, by its state and type. Pure."""

from __future__ import annotations

from enum import Enum

from clusterstate.task_states import SEGMENTS, is_pending

PENDING = (*SEGMENTS["waiting_for_dependencies"], *SEGMENTS["waiting_for_scheduling"])
"""States in which an attempt waits, in Ray's order."""
RUNNING = SEGMENTS["running"]
BLOCKED = RUNNING[1:]
"""Running, but waiting in ray.get() or ray.wait(): Ray lets others have its CPUs meanwhile."""
UNFINISHED = (*RUNNING, *PENDING)


class Wait(Enum):
    """What an attempt waits for."""

    ARGUMENTS = "arguments"  # objects that other tasks make
    PLACE = "place"  # a node with room, and there a worker
    ACTOR = "actor"  # its actor, which has not taken it yet
    ACTOR_START = "actor start"  # as PLACE, of the task that makes an actor
    TURN = "turn"  # the actor has it, and runs others first
    FETCH = "fetch"  # arguments on their way to where it will run
    STORE = "store"  # memory of the object store, for its arguments
    WORKER = "worker"  # the worker that it was given to


_ALWAYS = {
    "PENDING_ARGS_AVAIL": Wait.ARGUMENTS,
    "PENDING_OBJ_STORE_MEM_AVAIL": Wait.STORE,
    "PENDING_ARGS_FETCH": Wait.FETCH,
    "PENDING_ACTOR_TASK_ARGS_FETCH": Wait.FETCH,
    "GETTING_AND_PINNING_ARGS": Wait.FETCH,
    "PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY": Wait.TURN,
}
_BY_TYPE = {
    ("PENDING_NODE_ASSIGNMENT", "ACTOR_TASK"): Wait.ACTOR,
    ("PENDING_NODE_ASSIGNMENT", "ACTOR_CREATION_TASK"): Wait.ACTOR_START,
    ("SUBMITTED_TO_WORKER", "ACTOR_TASK"): Wait.TURN,
}
_OTHERWISE = {"PENDING_NODE_ASSIGNMENT": Wait.PLACE, "SUBMITTED_TO_WORKER": Wait.WORKER}


def wait_of(state: str, kind: str | None) -> Wait | None:
    """None for a state in which nothing is waited for. `kind`: the task's type; unknown is taken for a normal task."""
    if not is_pending(state):
        return None
    return _ALWAYS.get(state) or _BY_TYPE.get((state, kind or "")) or _OTHERWISE.get(state)
