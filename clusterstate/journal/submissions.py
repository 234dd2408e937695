"""Job submissions: on the disk before they are acknowledged, so that none is lost or made twice."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from clusterstate.journal.audit import canonical
from clusterstate.journal.records import Submission
from clusterstate.journal.rules import BadAccount, shown


def record(connection: sqlite3.Connection, submission_id: str, cluster: str, who: str, request: Mapping[str, object], now: float) -> None:
    try:
        connection.execute(
            "INSERT INTO submissions (submission_id, cluster, who, recorded_at, request) VALUES (?, ?, ?, ?, ?)",
            (submission_id, cluster, who, float(now), canonical(request)),
        )
    except sqlite3.IntegrityError:
        raise BadAccount(f"There is a submission {shown(submission_id)} already.") from None


def finish(connection: sqlite3.Connection, submission_id: str, outcome: str, now: float) -> bool:
    """Whether this was the first word on it: an outcome is never replaced."""
    return (
        connection.execute(
            "UPDATE submissions SET outcome = ?, finished_at = ? WHERE submission_id = ? AND outcome IS NULL",
            (outcome, float(now), submission_id),
        ).rowcount
        == 1
    )


def unfinished(connection: sqlite3.Connection, limit: int) -> list[Submission]:
    """Recorded without a known outcome, oldest first: to be looked up in Ray by id, never sent again blindly."""
    rows = connection.execute("SELECT * FROM submissions WHERE outcome IS NULL ORDER BY recorded_at LIMIT ?", (limit,))
    return [_submission(row) for row in rows]


def _submission(row: sqlite3.Row) -> Submission:
    values = {key: row[key] for key in row.keys() if key != "request"}  # noqa: SIM118 - sqlite3.Row iterates values
    return Submission(request=json.loads(row["request"]), **values)
