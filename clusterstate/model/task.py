"""A Ray task: one row for each attempt. Texts that many attempts share are kept once, beside the rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

TASK_DIGITS = 48
"""Hex digits of a task's id."""


@dataclass(frozen=True, slots=True)
class Task:
    """One attempt of a task. Times are Unix milliseconds; None: not known (yet, or Ray lost it)."""

    moments_since: ClassVar[str] = "creation_time_ms"  # other moments are stored as the time from there on

    task_id: str  # 48 hex digits; the last 8 are the job's id, the last 32 the actor's where there is one
    attempt_number: int = 0
    state: str = "NIL"  # Ray's (task_states.TASK_STATES), UNKNOWN(n), or END_UNKNOWN: the job is over and no end was reported
    name: str | None = None  # None: only its states were reported
    func_or_class_name: str | None = None
    type: str | None = None  # NORMAL_TASK, ACTOR_CREATION_TASK, ACTOR_TASK, DRIVER_TASK
    job_id: str | None = None
    actor_id: str | None = None  # None: not a task of an actor
    node_id: str | None = None
    worker_id: str | None = None
    worker_pid: int | None = None
    parent_task_id: str | None = None
    placement_group_id: str | None = None
    creation_time_ms: int | None = None  # PENDING_ARGS_AVAIL
    start_time_ms: int | None = None  # RUNNING
    end_time_ms: int | None = None  # FINISHED or FAILED
    pending_node_assignment_ms: int | None = None  # when it came to that state, as the next three
    submitted_to_worker_ms: int | None = None
    actor_args_fetch_ms: int | None = None  # PENDING_ACTOR_TASK_ARGS_FETCH
    actor_ordering_ms: int | None = None  # PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY
    other_states_ms: dict[str, int] = field(default_factory=dict)  # states that Ray 2.53 to 2.60 hardly report, by name
    error_type: str | None = None  # TASK_EXECUTION_EXCEPTION, WORKER_DIED, ...
    error_message_id: str | None = None  # of a Text, as the next five
    required_resources_id: str | None = None  # JSON
    label_selector_id: str | None = None  # JSON
    runtime_env_id: str | None = None  # JSON, secrets masked
    call_site_id: str | None = None  # needs RAY_record_task_actor_creation_sites
    log_files_id: str | None = None  # JSON: [stdout_file, stderr_file] on the node; None for concurrent actors
    stdout_start: int | None = None  # bytes into its file, as the next three
    stdout_end: int | None = None
    stderr_start: int | None = None
    stderr_end: int | None = None
    actor_repr_name: str | None = None
    is_named_by_repr: bool = False  # `name` is repr.method in place of Class.method, as in Ray's state API
    is_debugger_paused: bool | None = None
    debugger_changed_ms: int | None = None  # when that was said last
    end_evidence: str | None = None  # who says how it ended: GCS, PUSHED, or INFERRED by the GCS from its worker's death
    sequence: int = 0  # the order in which this session's attempts were first heard of, from 1; 0: noted by an older Raydeck
    is_dropped: bool = False  # its worker said that it lost events of it: its end may be one of them

    @property
    def attempt_id(self) -> str:
        """Names the row."""
        return attempt_id(self.task_id, self.attempt_number)


@dataclass(frozen=True, slots=True)
class TaskTotals:
    """What Ray itself counts of a job's attempts, whatever of them is recorded here."""

    job_id: str
    reported: int  # attempts that the GCS stores and those that it knows were lost, as of the last poll
    dropped: int  # of these, those lost


@dataclass(frozen=True, slots=True)
class GivenUpTasks:
    """Attempts that were given up for the limit: their rows are gone, they still count."""

    key: str  # job_id, name and state, by hash
    job_id: str | None
    name: str | None  # OTHER_NAMES for those beyond the number of names that is kept
    state: str
    type: str | None
    n: int


OTHER_NAMES = "(other names)"


@dataclass(frozen=True, slots=True)
class Text:
    """A text that rows refer to by its hash."""

    text_id: str  # 16 hex digits
    text: str


def attempt_id(task_id: str, attempt_number: int) -> str:
    """The task's id for its first attempt, with the number in 8 hex digits behind it for others."""
    return f"{task_id}{attempt_number:08x}" if attempt_number else task_id


def attempt_of(attempt: str) -> dict[str, str | int | None]:
    """The task and number that an attempt's id stands for. The number is None for what is no such id."""
    try:
        return {"task_id": attempt[:TASK_DIGITS], "attempt_number": int(attempt[TASK_DIGITS:] or "0", 16)}
    except ValueError:
        return {"task_id": attempt, "attempt_number": None}
