"""What may change the cluster: a closed list, done by a worker for a named person and recorded in the journal.

The queue carries the operation's id alone. What is asked, by whom and of which session stands in the journal, which is
written first: a lost Redis loses nothing, and whoever can write to Redis cannot make up an operation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol


class Operation(Protocol):
    """What every operation says of itself. It runs in the queue `operations.<cluster>`."""

    answered_by: ClassVar[str]
    time_limit_s: ClassVar[int]
    audit_action: ClassVar[str]

    @property
    def cluster(self) -> str: ...

    @property
    def operation_id(self) -> str: ...


@dataclass(frozen=True)
class SubmitJob:
    """Hand a job to Ray under the submission id that the journal has for it, once."""

    answered_by: ClassVar[str] = "workers.operations.jobs.submit_job"
    time_limit_s: ClassVar[int] = 90
    audit_action: ClassVar[str] = "job.submit"

    cluster: str
    operation_id: str


@dataclass(frozen=True)
class StopJob:
    """Ask Ray to stop a submission that waits or runs."""

    answered_by: ClassVar[str] = "workers.operations.jobs.stop_job"
    time_limit_s: ClassVar[int] = 90
    audit_action: ClassVar[str] = "job.stop"

    cluster: str
    operation_id: str


OPERATIONS: tuple[type[Any], ...] = (SubmitJob, StopJob)
BY_ACTION: dict[str, type[Any]] = {kind.audit_action: kind for kind in OPERATIONS}
