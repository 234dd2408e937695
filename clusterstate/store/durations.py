"""How long attempts ran, by job and name: a histogram kept beside the rows, from which quantiles of a million are read at once.

Below 32 ms each millisecond has a bucket of its own; above, sixteen share a doubling, so that a figure is right within 2.2 %
or a millisecond.
"""

from __future__ import annotations

import math
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clusterstate.model import OTHER_NAMES
from clusterstate.store.sqlite_reading import ask

EXACT_MS = 32
IN_A_DOUBLING = 16
NAMES_OF_A_JOB = 10_000
READS = ("job_id", "name", "start_time_ms", "end_time_ms")
NAMES = (
    "WITH RECURSIVE known(name) AS (SELECT min(name) FROM task_durations WHERE job_id = ?1 UNION ALL"
    " SELECT (SELECT min(name) FROM task_durations WHERE job_id = ?1 AND name > known.name) FROM known WHERE name IS NOT NULL)"
    " SELECT count(name) FROM known"
)
"""How many names a job has, by one look at the index each, however many durations each has had."""
QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Durations:
    """Of the attempts of one name that ended and whose start is known. `quantiles_ms`: as QUANTILES, within 2.2 % or 1 ms."""

    name: str | None
    count: int
    quantiles_ms: tuple[int, ...]


def create(db: sqlite3.Connection) -> None:
    """The empty table."""
    columns = "job_id TEXT NOT NULL, name TEXT NOT NULL, bucket INTEGER NOT NULL, n INTEGER NOT NULL"
    db.execute(f"CREATE TABLE IF NOT EXISTS task_durations({columns}, PRIMARY KEY(job_id, name, bucket)) WITHOUT ROWID")


def fill(db: sqlite3.Connection) -> None:
    """From all rows of tasks."""
    db.create_function("duration_bucket", 1, bucket_of, deterministic=True)
    found = db.execute(
        "SELECT coalesce(job_id, ''), coalesce(name, ''), duration_bucket(end_time_ms - start_time_ms), count(*) FROM tasks"
        " WHERE end_time_ms IS NOT NULL AND start_time_ms IS NOT NULL GROUP BY 1, 2, 3"
    )
    _write(db, Counter({(job_id, name, bucket): number for job_id, name, bucket, number in found}))


def follow(db: sqlite3.Connection, changes: Iterable[tuple[int, Row | None, Row | None]]) -> None:
    """Brings the table along with changed rows of tasks. Those that are gone go on counting."""
    deltas: Counter[tuple[str, str, int]] = Counter()
    for _, before, after in changes:
        if after is not None:
            old, new = None if before is None else _place(before), _place(after)
            if old != new:
                deltas.update([new] if new is not None else [])
                deltas.subtract([old] if old is not None else [])
    _write(db, deltas)


def bucket_of(ms: int) -> int:
    """The bucket that a duration counts in; one that ended before it began counts as none."""
    if ms < EXACT_MS:
        return max(ms, 0)
    return EXACT_MS + int(math.log2(ms / EXACT_MS) * IN_A_DOUBLING)


def middle_of(bucket: int) -> int:
    """A duration that stands for a bucket, in ms."""
    return bucket if bucket < EXACT_MS else round(EXACT_MS * 2 ** ((bucket - EXACT_MS + 0.5) / IN_A_DOUBLING))


def quantiles(buckets: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """The QUANTILES of (bucket, number) pairs in the order of buckets; none of nothing."""
    total = sum(number for _, number in buckets)
    found: list[int] = []
    if not total:
        return ()
    for quantile in QUANTILES:
        wanted, seen = max(1, math.ceil(quantile * total)), 0
        for bucket, number in buckets:
            seen += number
            if seen >= wanted:
                found.append(middle_of(bucket))
                break
    return tuple(found)


def durations(path: Path, job_id: str | None, limit: int, deadline: float) -> list[Durations]:
    """Of the names with most attempts, in a job or in all. Raises IndexMissing, DeadlinePassed."""
    of_job, values = ("job_id = ?", (job_id,)) if job_id is not None else ("1", ())
    most = f"SELECT name FROM task_durations WHERE {of_job} GROUP BY name HAVING sum(n) > 0 ORDER BY sum(n) DESC, name LIMIT ?"  # noqa: S608 - words above
    sql = f"SELECT name, bucket, sum(n) FROM task_durations WHERE {of_job} AND name IN ({most}) GROUP BY 1, 2 ORDER BY 1, 2"  # noqa: S608
    by_name: dict[str, list[tuple[int, int]]] = {}
    for name, bucket, number in ask(path, sql, (*values, *values, limit), deadline):
        by_name.setdefault(name, []).append((bucket, number))
    found = [Durations(name or None, sum(n for _, n in buckets), quantiles(buckets)) for name, buckets in by_name.items()]
    return sorted(found, key=lambda one: (-one.count, one.name or ""))


def _place(row: Row) -> tuple[str, str, int] | None:
    start, end = row["start_time_ms"], row["end_time_ms"]
    return None if start is None or end is None else (row["job_id"] or "", row["name"] or "", bucket_of(end - start))


def _write(db: sqlite3.Connection, deltas: Counter[tuple[str, str, int]]) -> None:
    counted: dict[tuple[str, str], str] = {}  # job, name → the name that it counts under
    room: dict[str, int] = {}  # job → how many more names it may have
    for (job_id, name, bucket), delta in deltas.items():
        if (job_id, name) not in counted:
            counted[job_id, name] = _counted_under(db, job_id, name, room)
        place = (job_id, counted[job_id, name], bucket)
        if delta > 0:
            db.execute("INSERT INTO task_durations VALUES(?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n", (*place, delta))
        elif delta < 0:
            db.execute("UPDATE task_durations SET n = max(0, n + ?) WHERE job_id = ? AND name = ? AND bucket = ?", (delta, *place))


def _counted_under(db: sqlite3.Connection, job_id: str, name: str, room: dict[str, int]) -> str:
    """The name itself, or OTHER_NAMES where the job has too many. The names of a job are only counted for one that is new."""
    if db.execute("SELECT 1 FROM task_durations WHERE job_id = ? AND name = ? LIMIT 1", (job_id, name)).fetchone() is not None:
        return name
    if job_id not in room:
        room[job_id] = NAMES_OF_A_JOB - int(db.execute(NAMES, (job_id,)).fetchone()[0])
    room[job_id] -= 1
    return name if room[job_id] >= 0 else OTHER_NAMES
