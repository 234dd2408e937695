"""What may change the cluster: a closed list, done by a worker for a named person and recorded in the journal.

It is empty as yet: submitting, stopping and deploying have their place here.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol


class Operation(Protocol):
    """What every operation says of itself. It runs in the queue `operations.<cluster>`."""

    answered_by: ClassVar[str]
    time_limit_s: ClassVar[int]
    audit_action: ClassVar[str]


OPERATIONS: tuple[type[Any], ...] = ()
