"""What is known first of a job that failed: Ray's message, how its driver ended, what failed first in it, where its log lies."""

from __future__ import annotations

from dataclasses import dataclass

from clusterstate import model
from clusterstate.actor_deaths import was_meant
from clusterstate.query import ACTORS, AnyOf, Condition, Selection
from clusterstate.resources import ACTORS as ACTOR_ROWS
from clusterstate.resources import NODES, TASKS
from clusterstate.store.reader import SessionReader
from clusterstate.store.sqlite_reading import DeadlinePassed

LOOKED_AT = 20
"""Failed attempts of which the first is looked for that was not tried again."""
MOST_CAUSES = 100
LOG_FILE = "job-driver-{}.log"
"""Where Ray's job supervisor lets the entrypoint write, in the folder `logs` of its session (Ray 2.53 to 2.60)."""


@dataclass(frozen=True)
class FailedActors:
    """Actors of a job that died of a failure."""

    count: int
    causes: tuple[str, ...]

    @property
    def filters(self) -> list[str]:
        """Values of the filter by cause that show them."""
        return [f"={cause}" for cause in self.causes]


@dataclass(frozen=True)
class DriverLog:
    """Where the output of a submission's entrypoint lies."""

    node: model.Node | None  # None: not known
    file: str  # below the session's folder
    session_dir: str | None  # None: Ray does not tell; below its temporary folder


@dataclass(frozen=True)
class JobFailure:
    """Of a job that is FAILED. None: not known, or there is none."""

    task: model.Task | None  # the first that failed and was not tried again
    actor: model.Actor | None  # the first that died of a failure
    log: DriverLog | None  # of a submission


def failure_of(reader: SessionReader, job: model.Job, failed: FailedActors | None) -> JobFailure | None:
    """None for a job that did not fail. `failed` are its failed actors."""
    if job.status != "FAILED":
        return None
    return JobFailure(_first_task(reader, job), _first_actor(reader, job, failed), _log(reader, job))


def failed_actors(reader: SessionReader, job: model.Job) -> FailedActors | None:
    """None: there is none, or counting took too long."""
    if job.job_id is None:
        return None
    try:
        counts = reader.counts(ACTORS, "death_cause", _dead(job.job_id), MOST_CAUSES)
    except DeadlinePassed:
        return None
    causes = {cause: count for cause, count in counts.items() if cause is not None and not was_meant(cause)}
    return FailedActors(sum(causes.values()), tuple(causes)) if causes else None


def _dead(job_id: str) -> tuple[Condition, ...]:
    return Condition("job_id", "is", job_id), Condition("state", "is", "DEAD")


def _first_task(reader: SessionReader, job: model.Job) -> model.Task | None:
    if job.job_id is None:
        return None
    try:
        failed = reader.tasks_by_state().ended_first("FAILED", {"job_id": job.job_id}, LOOKED_AT)
    except DeadlinePassed:
        return None
    final = [one for one in failed if one.error_type != "TASK_CANCELLED" and not _was_tried_again(reader, one)]
    return final[0] if final else None


def _was_tried_again(reader: SessionReader, task: model.Task) -> bool:
    return any(one.attempt_number > task.attempt_number for one in reader.find(TASKS, "task_id", task.task_id))


def _first_actor(reader: SessionReader, job: model.Job, failed: FailedActors | None) -> model.Actor | None:
    if job.job_id is None or failed is None:
        return None
    causes = AnyOf(tuple(Condition("death_cause", "is", cause) for cause in failed.causes))
    selection = Selection(("actor_id",), sort="end_time_ms", always=_dead(job.job_id), where=(causes,), limit=1)
    try:
        rows = reader.page(ACTORS, selection, 0.0).rows
    except DeadlinePassed:
        return None
    first: model.Actor | None = reader.get(ACTOR_ROWS, rows[0]["actor_id"]) if rows else None
    return first


def _log(reader: SessionReader, job: model.Job) -> DriverLog | None:
    if job.submission_id is None or job.type != "SUBMISSION":
        return None
    node: model.Node | None = reader.get(NODES, job.driver_node_id) if job.driver_node_id else None
    return DriverLog(node, f"logs/{LOG_FILE.format(job.submission_id)}", node.session_dir if node else None)
