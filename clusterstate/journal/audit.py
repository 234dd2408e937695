"""The audit trail: who did what, in a chain of hashes that shows any later change.

An effect is written twice: the intent before it happens, the result after. What the journal itself does in one
transaction (accounts, tokens) is one event in that same transaction.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

FIRST_HASH = "0" * 64
MAX_WORD = 300
MAX_STRING = 2_000
MAX_ITEMS = 200
MAX_DEPTH = 6
MAX_DETAIL = 64 * 1024
MAX_PROBLEMS = 100


@dataclass(frozen=True)
class AuditRecord:
    seq: int
    at: float  # Unix seconds
    kind: str  # event, intent, result
    who: str
    action: str
    detail: dict[str, object]
    intent: int | None  # of a result: the seq of its intent
    previous: str
    hash: str


@dataclass(frozen=True)
class AuditProblem:
    seq: int
    sentence: str


@dataclass(frozen=True)
class AuditReport:
    """What a check of the whole trail found; `problems` holds the first ones, lowest seq first."""

    count: int
    head_seq: int
    head_hash: str  # note it elsewhere: a trail rolled back as a whole shows against it alone
    problems: tuple[AuditProblem, ...] = ()

    @property
    def is_whole(self) -> bool:
        return not self.problems


class NoSuchIntent(LookupError):
    """A result for something that is not an intent, or that has its result already."""


def append(
    connection: sqlite3.Connection, kind: str, who: str, action: str, detail: Mapping[str, object], now: float, intent: int | None = None
) -> int:
    """Add one record within the caller's writing transaction."""
    head = connection.execute("SELECT seq, hash FROM audit_head").fetchone()
    seq, previous = (head["seq"] + 1, head["hash"]) if head else (1, FIRST_HASH)
    row = (seq, float(now), kind, _word(who), _word(action), canonical(_bounded_detail(detail)), intent, previous)
    own_hash = _hash_of(row)
    connection.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, own_hash))
    connection.execute(
        "INSERT INTO audit_head VALUES (1, ?, ?) ON CONFLICT (only) DO UPDATE SET seq = excluded.seq, hash = excluded.hash", (seq, own_hash)
    )
    return seq


def append_result(connection: sqlite3.Connection, intent: int, result: Mapping[str, object], now: float) -> int:
    row = connection.execute("SELECT who, action, kind FROM audit WHERE seq = ?", (intent,)).fetchone()
    done = connection.execute("SELECT 1 FROM audit WHERE intent = ?", (intent,)).fetchone()
    if row is None or row["kind"] != "intent" or done:
        raise NoSuchIntent(f"Audit record {intent} is not an intent without a result.")
    return append(connection, "result", row["who"], row["action"], result, now, intent)


def records(connection: sqlite3.Connection, after: int, limit: int) -> list[AuditRecord]:
    rows = connection.execute("SELECT * FROM audit WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit))
    return [_record(row) for row in rows]


def newest_records(connection: sqlite3.Connection, before: int | None, limit: int) -> list[AuditRecord]:
    rows = connection.execute("SELECT * FROM audit WHERE ? IS NULL OR seq < ? ORDER BY seq DESC LIMIT ?", (before, before, limit))
    return [_record(row) for row in rows]


def open_intents(connection: sqlite3.Connection, limit: int) -> list[AuditRecord]:
    """Intents without a result, oldest first: what was under way when something died."""
    rows = connection.execute(
        "SELECT * FROM audit a WHERE kind = 'intent' AND NOT EXISTS (SELECT 1 FROM audit r WHERE r.intent = a.seq) ORDER BY seq LIMIT ?",
        (limit,),
    )
    return [_record(row) for row in rows]


def verify(connection: sqlite3.Connection) -> AuditReport:
    """Read the whole trail and recompute every hash."""
    rows = connection.execute("SELECT seq, at, kind, who, action, detail, intent, previous, hash FROM audit ORDER BY seq")
    head = connection.execute("SELECT seq, hash FROM audit_head").fetchone()
    last_seq, last_hash, count = 0, FIRST_HASH, 0
    problems: list[AuditProblem] = []
    for row in rows:
        problems.extend(_problems_of(tuple(row), last_seq, last_hash))
        last_seq, last_hash, count = row["seq"], row["hash"], count + 1
        if len(problems) >= MAX_PROBLEMS:
            break
    else:
        problems.extend(_problems_of_head(tuple(head) if head else (0, FIRST_HASH), last_seq, last_hash))
    return AuditReport(count, last_seq, last_hash, tuple(problems[:MAX_PROBLEMS]))


def canonical(value: object) -> str:
    """One spelling for one value; ASCII, so a line break in a name cannot start a second line."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _problems_of(row: tuple[object, ...], last_seq: int, last_hash: str) -> Iterator[AuditProblem]:
    seq = row[0] if isinstance(row[0], int) else 0
    if seq != last_seq + 1:
        yield AuditProblem(last_seq + 1, f"Record {last_seq + 1} is missing.")
    elif row[7] != last_hash:
        yield AuditProblem(seq, f"Record {seq} does not follow the one before it.")
    if not _hash_is_right(row):
        yield AuditProblem(seq, f"Record {seq} was changed.")


def _problems_of_head(head: tuple[int, str], last_seq: int, last_hash: str) -> Iterable[AuditProblem]:
    if head[0] > last_seq:
        return [AuditProblem(last_seq + 1, f"Records {last_seq + 1} to {head[0]} at the end are missing.")]
    if head != (last_seq, last_hash):
        first = max(head[0], 1)
        return [AuditProblem(first, f"Record {first}: the trail was closed with record {head[0]}, but ends with {last_seq}.")]
    return []


def _hash_of(row: tuple[object, ...]) -> str:
    return hashlib.sha256(canonical(row).encode()).hexdigest()


def _hash_is_right(row: tuple[object, ...]) -> bool:
    try:
        return _hash_of(row[:8]) == row[8]
    except (TypeError, ValueError):  # a value of another kind than we write
        return False


def _record(row: sqlite3.Row) -> AuditRecord:
    try:
        detail = json.loads(row["detail"])
    except ValueError:  # changed behind our back: verify() says so; the list still shows what is there
        detail = {"unreadable": str(row["detail"])}
    values = {key: row[key] for key in row.keys() if key != "detail"}  # noqa: SIM118 - sqlite3.Row iterates values
    return AuditRecord(detail=detail if isinstance(detail, dict) else {"unreadable": detail}, **values)


def _word(text: str) -> str:
    """Short and storable: a lone surrogate has no UTF-8."""
    return text[:MAX_WORD].encode("utf-8", "backslashreplace").decode()


def _bounded_detail(detail: Mapping[str, object]) -> object:
    bounded = _bounded(detail, MAX_DEPTH)
    text = canonical(bounded)
    return bounded if len(text) <= MAX_DETAIL else {"shortened": text[: MAX_DETAIL // 2], "length": len(text)}


def _bounded(value: object, depth: int) -> object:
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)  # NaN and infinities are not JSON
    if isinstance(value, Mapping) and depth > 0:
        return {str(key)[:MAX_WORD]: _bounded(item, depth - 1) for key, item in list(value.items())[:MAX_ITEMS]}
    if isinstance(value, (list, tuple, set, frozenset)) and depth > 0:
        return [_bounded(item, depth - 1) for item in list(value)[:MAX_ITEMS]]
    text = str(value)
    return text if len(text) <= MAX_STRING else f"{text[:MAX_STRING]}... ({len(text)} characters)"
