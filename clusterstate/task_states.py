"""States of tasks: Ray's numbers, their order, and how they are counted in a progress bar."""

from __future__ import annotations

import re
from collections.abc import Mapping

from clusterstate.model.task import Task

END_UNKNOWN = "END_UNKNOWN"
UNKNOWN = "UNKNOWN"
NOT_RECORDED = "NOT_RECORDED"
"""What Ray counts and nothing else is known of: no row has this state."""
GCS, PUSHED, INFERRED = "GCS", "PUSHED", "INFERRED"
"""Who says how an attempt ended. What is pushed is a claim; INFERRED: the GCS saw its worker die and heard no more of it."""

TASK_STATES: dict[int, str] = {
    0: "NIL",
    1: "PENDING_ARGS_AVAIL",
    2: "PENDING_NODE_ASSIGNMENT",
    3: "PENDING_OBJ_STORE_MEM_AVAIL",
    4: "PENDING_ARGS_FETCH",
    5: "SUBMITTED_TO_WORKER",
    6: "PENDING_ACTOR_TASK_ARGS_FETCH",
    7: "PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY",
    13: "GETTING_AND_PINNING_ARGS",  # comes before RUNNING, whatever its number
    8: "RUNNING",
    9: "RUNNING_IN_RAY_GET",
    10: "RUNNING_IN_RAY_WAIT",
    11: "FINISHED",
    12: "FAILED",
}
"""Ray's `TaskStatus` (2.53 to 2.60), in the order in which an attempt goes through them."""

STATE_FIELDS: dict[str, str] = {
    "PENDING_ARGS_AVAIL": "creation_time_ms",
    "PENDING_NODE_ASSIGNMENT": "pending_node_assignment_ms",
    "SUBMITTED_TO_WORKER": "submitted_to_worker_ms",
    "PENDING_ACTOR_TASK_ARGS_FETCH": "actor_args_fetch_ms",
    "PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY": "actor_ordering_ms",
    "RUNNING": "start_time_ms",
}
"""States whose time has a field of its own in a row."""

SEGMENTS: dict[str, tuple[str, ...]] = {
    "finished": ("FINISHED",),
    "failed": ("FAILED",),
    "running": ("RUNNING", "RUNNING_IN_RAY_GET", "RUNNING_IN_RAY_WAIT"),
    "waiting_for_scheduling": (
        "PENDING_NODE_ASSIGNMENT",
        "PENDING_OBJ_STORE_MEM_AVAIL",
        "PENDING_ARGS_FETCH",
        "SUBMITTED_TO_WORKER",
        "PENDING_ACTOR_TASK_ARGS_FETCH",
        "PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY",
        "GETTING_AND_PINNING_ARGS",  # Ray's own page counts it as unknown
    ),
    "waiting_for_dependencies": ("PENDING_ARGS_AVAIL",),
    "unknown": ("NIL", UNKNOWN, END_UNKNOWN),
    "not_recorded": (NOT_RECORDED,),
}
"""Ray's progress bar: segment -> the states it counts. Every other state is unknown."""

_SEGMENT_OF = {state: segment for segment, states in SEGMENTS.items() for state in states}
_MAX_UNKNOWN = 1000  # numbers above are all one state: they are made up
_UNKNOWN_NUMBER = re.compile(r"UNKNOWN\((\d{1,3})\)\Z")
_UNDER_WAY = {state: rank for rank, state in enumerate(s for s in TASK_STATES.values() if s not in ("FINISHED", "FAILED"))}
_RANKS: dict[tuple[str, str | None], int] = {
    **{(state, None): rank for state, rank in _UNDER_WAY.items()},
    (UNKNOWN, None): 100,
    (END_UNKNOWN, None): 2000,
    ("FAILED", INFERRED): 2001,
    ("FINISHED", PUSHED): 2003,
    ("FAILED", PUSHED): 2004,
    ("FINISHED", GCS): 2005,
    ("FAILED", GCS): 2006,
}


def state_name(number: int) -> str:
    """Ray's name; UNKNOWN(17) for a state of a later Ray; UNKNOWN where the number makes no sense."""
    known = TASK_STATES.get(number)
    if known is not None:
        return known
    return f"{UNKNOWN}({number})" if 0 <= number < _MAX_UNKNOWN else UNKNOWN


def rank(state: str, evidence: str | None = None) -> int:
    """How far along a state is. Ends outrank all; of two ends the better evidence, then, as in Ray, the failure."""
    known = _RANKS.get((state, evidence))
    if known is not None:
        return known
    if state in ("FINISHED", "FAILED"):
        return _RANKS[state, PUSHED]
    found = _UNKNOWN_NUMBER.match(state)
    return _RANKS[UNKNOWN, None] + 1 + int(found.group(1)) if found else _UNDER_WAY.get(state, 0)


def segment_of(state: str) -> str:
    """The segment of the progress bar that counts the state."""
    return _SEGMENT_OF.get(state, "unknown")


def progress(counts: Mapping[str, int]) -> dict[str, int]:
    """Attempts by segment, all of them named, from attempts by state."""
    found = dict.fromkeys(SEGMENTS, 0)
    for state, count in counts.items():
        found[segment_of(state)] += count
    return found


def has_ended(state: str) -> bool:
    return state in ("FINISHED", "FAILED", END_UNKNOWN)


def is_running(state: str) -> bool:
    return segment_of(state) == "running"


def is_pending(state: str) -> bool:
    return segment_of(state) in ("waiting_for_scheduling", "waiting_for_dependencies")


def state_times(task: Task) -> list[tuple[str, int]]:
    """(state, Unix ms) of every state whose moment is known, in Ray's order of states."""
    times = dict(task.other_states_ms)
    times.update((state, ms) for state, name in STATE_FIELDS.items() if (ms := getattr(task, name)) is not None)
    if task.end_time_ms is not None:
        times[task.state] = task.end_time_ms
    return sorted(times.items(), key=lambda entry: (rank(entry[0]), entry[0]))
