"""Operations on a cluster: on the disk with their audit record before they are acknowledged, so that none is lost or done twice.

What waits is kept twice: masked, to be shown and audited, and whole but sealed (see `sealing`), to be carried out. The
sealed copy goes as soon as the outcome is known.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from clusterstate.journal import audit
from clusterstate.journal.audit import canonical
from clusterstate.journal.records import DONE, QUEUED, REFUSED, SENDING, UNKNOWN, Operation

MAX_OUTCOME = 2000
COLUMNS = (
    "operation_id, cluster, session, action, target, who, asked_at, request, state, tries, started_at, finished_at, outcome, intent,"
    " is_sent, mark"
)


class OperationExists(ValueError):
    """There is such a submission, or such an operation id, already."""


def record(connection: sqlite3.Connection, operation: Operation, sealed: bytes, detail: Mapping[str, object]) -> Operation:
    """Audit intent and operation, both or neither."""
    told = {
        "operation_id": operation.operation_id,
        "cluster": operation.cluster,
        "session": operation.session,
        "submission_id": operation.target,
        **operation.request,
        **detail,
    }
    intent = audit.append(connection, "intent", operation.who, operation.action, told, operation.asked_at)
    try:
        connection.execute(
            "INSERT INTO operations (operation_id, cluster, session, action, target, who, asked_at, request, sealed, state, intent, mark)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                operation.operation_id,
                operation.cluster,
                operation.session,
                operation.action,
                operation.target,
                operation.who,
                operation.asked_at,
                canonical(operation.request),
                sealed,
                QUEUED,
                intent,
                operation.mark,
            ),
        )
    except sqlite3.IntegrityError:
        raise OperationExists(f"There is a submission {operation.target[:64]!a} in this session already.") from None
    return _existing(connection, operation.operation_id)


def take(connection: sqlite3.Connection, operation_id: str, cluster: str, action: str, now: float) -> tuple[Operation, bytes] | None:
    """The operation, marked as under way, with its sealed request. None: there is no such one, or it is not to be started now."""
    taken = connection.execute(
        "UPDATE operations SET state = ?, started_at = ?, tries = tries + 1"
        " WHERE operation_id = ? AND cluster = ? AND action = ? AND state IN (?, ?) AND sealed IS NOT NULL",
        (SENDING, float(now), operation_id, cluster, action, QUEUED, UNKNOWN),
    )
    if taken.rowcount != 1:
        return None
    sealed = connection.execute("SELECT sealed FROM operations WHERE operation_id = ?", (operation_id,)).fetchone()["sealed"]
    return _existing(connection, operation_id), bytes(sealed)


def put_back(connection: sqlite3.Connection, operation_id: str, state: str, outcome: str) -> bool:
    """An operation under way goes back: QUEUED, nothing was sent; UNKNOWN, that cannot be told yet."""
    changed = connection.execute(
        "UPDATE operations SET state = ?1, outcome = ?2, is_sent = is_sent OR ?1 = ?5 WHERE operation_id = ?3 AND state = ?4",
        (state, _outcome(outcome), operation_id, SENDING, UNKNOWN),
    )
    return changed.rowcount == 1


def interrupt(connection: sqlite3.Connection, cluster: str, operation_id: str | None, outcome: str) -> int:
    """What was under way when its worker died: one, or all of a cluster. How many there were."""
    return connection.execute(
        "UPDATE operations SET state = ?1, outcome = ?2, is_sent = 1"
        " WHERE state = ?3 AND cluster = ?4 AND (?5 IS NULL OR operation_id = ?5)",
        (UNKNOWN, _outcome(outcome), SENDING, cluster, operation_id),
    ).rowcount


def finish(connection: sqlite3.Connection, operation_id: str, state: str, outcome: str, now: float) -> bool:
    """The final word, with its audit record; whether this was the first."""
    changed = connection.execute(
        "UPDATE operations SET state = ?, outcome = ?, finished_at = ?, sealed = NULL WHERE operation_id = ? AND finished_at IS NULL",
        (state, _outcome(outcome), float(now), operation_id),
    )
    if changed.rowcount != 1:
        return False
    audit.append_result(connection, _existing(connection, operation_id).intent, {"state": state, "outcome": _outcome(outcome)}, now)
    return True


def operation(connection: sqlite3.Connection, operation_id: str) -> Operation | None:
    row = connection.execute(f"SELECT {COLUMNS} FROM operations WHERE operation_id = ?", (operation_id,)).fetchone()  # noqa: S608 - our own columns
    return None if row is None else _operation(row)


def of_target(connection: sqlite3.Connection, cluster: str, session: str, target: str, limit: int) -> list[Operation]:
    """What was asked of one submission, newest first."""
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM operations WHERE cluster = ? AND session = ? AND target = ? ORDER BY asked_at DESC, intent DESC LIMIT ?",  # noqa: S608 - our own columns
        (cluster, session, target, limit),
    )
    return [_operation(row) for row in rows]


def unfinished(connection: sqlite3.Connection, cluster: str | None, limit: int) -> list[Operation]:
    """Recorded without a final word, oldest first."""
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM operations WHERE finished_at IS NULL AND (?1 IS NULL OR cluster = ?1) ORDER BY asked_at LIMIT ?2",  # noqa: S608 - our own columns
        (cluster, limit),
    )
    return [_operation(row) for row in rows]


def _existing(connection: sqlite3.Connection, operation_id: str) -> Operation:
    found = operation(connection, operation_id)
    if found is None:
        raise LookupError(operation_id)
    return found


def _operation(row: sqlite3.Row) -> Operation:
    values = {key: row[key] for key in row.keys() if key not in ("request", "is_sent")}  # noqa: SIM118 - sqlite3.Row iterates values
    return Operation(request=json.loads(row["request"]), is_sent=bool(row["is_sent"]), **values)


def _outcome(text: str) -> str:
    """Short and storable: Ray's words may be long, and half a character has no UTF-8."""
    return text[:MAX_OUTCOME].encode("utf-8", "backslashreplace").decode()


__all__ = ["DONE", "QUEUED", "REFUSED", "SENDING", "UNKNOWN", "OperationExists"]
