"""What ran when: the tasks of a window of time by worker, read from the index so that a million of them cost as much as are drawn.

A task belongs to a window [from, to) if it started before `to` and ended after `from`, or started in it. Everything is asked
worker by worker along the index on (worker_id, start_time_ms, end_time_ms): starts are counted there without a look at any row,
and what began long before the window is found however long ago that was. All times are Unix milliseconds.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from clusterstate.query import TASKS as VIEW
from clusterstate.query import AnyOf, Condition
from clusterstate.resources import TASKS
from clusterstate.store.schema import column_of, decode_value
from clusterstate.store.selecting import conditions_sql
from clusterstate.store.sqlite_reading import DeadlinePassed, ask
from clusterstate.task_states import SEGMENTS

ANSWER_S = 2.0
"""What a question may take that the picture is nothing without."""
ASIDE_S = 0.5
"""What one may take that the picture can do without."""
SEARCH_S = 0.5
"""What a search may take: it looks at rows, some 300,000 in that time."""
ENDED = "('FINISHED', 'FAILED', 'END_UNKNOWN')"
RUNS = f"(end_time_ms IS NULL AND state NOT IN {ENDED})"
WORKERS = (
    "WITH RECURSIVE w(id) AS (SELECT min(worker_id) FROM tasks UNION ALL"
    " SELECT (SELECT min(worker_id) FROM tasks WHERE worker_id > w.id) FROM w WHERE id IS NOT NULL)"
)
"""Every worker of the table by one look at the index each; the last row is NULL, for tasks of which no worker is known."""


class Window(NamedTuple):
    """From a moment until before another."""

    from_ms: int
    to_ms: int

    @property
    def span_ms(self) -> int:
        return self.to_ms - self.from_ms


@dataclass(frozen=True)
class Track:
    """A worker that ran tasks. `number` is the index's own for it, None: tasks of which no worker is known."""

    number: int | None
    worker_id: str | None
    node_id: str | None
    job_id: str | None  # of a task of it: Ray keeps the workers of jobs apart
    only: Condition | AnyOf | None = None  # where no worker is known: which tasks; they may be of any job and node


class Span(NamedTuple):
    """An attempt that started."""

    key: int
    worker: int | None
    task_id: str
    attempt_number: int
    name: str | None
    state: str
    job_id: str | None
    creation_ms: int | None
    start_ms: int
    end_ms: int | None  # None: it runs, or nobody knows (END_UNKNOWN)
    error_type: str | None


class Cell(NamedTuple):
    """Tasks of a worker that started in one column of the window; `name` is that of the first and the last of them, None: they differ."""

    worker: int | None
    column: int
    tasks: int
    name: str | None


class Match(NamedTuple):
    """A task that was looked for."""

    key: int
    worker: int | None
    start_ms: int


class Matches(NamedTuple):
    """What was found, and the numbers of the workers whose tasks were all looked at."""

    rows: list[Match]
    searched: frozenset[int | None]


class Found(NamedTuple):
    """Some rows, and whether there are more than that."""

    rows: list[Any]
    is_cut: bool


class Timeline:
    """Questions about one session's index. Starts outside `bounds` are no possible moments of it, and left out.

    Methods raise DeadlinePassed where they do not say otherwise.
    """

    def __init__(self, path: Path, bounds: Window) -> None:
        self._path = path
        self._bounds = bounds

    def extent(self, tracks: Sequence[Track] | None = None) -> Window | None:
        """From the first start to the last moment that is known, of all tasks or of these workers; None: nothing has started."""
        low, high = self._bounds
        started = f"start_time_ms >= {low} AND start_time_ms < {high}"
        ended = f"end_time_ms >= {low} AND end_time_ms < {high}"
        if tracks is None:
            sql = (
                f"SELECT (SELECT min(start_time_ms) FROM tasks WHERE {started}), (SELECT max(start_time_ms) FROM tasks WHERE {started}),"  # noqa: S608 - numbers
                f" (SELECT max(end_time_ms) FROM tasks WHERE {ended})"
            )
            rows = self._ask(sql)
        else:
            sql = (
                f"SELECT min(start_time_ms), max(start_time_ms), max(CASE WHEN {ended} THEN end_time_ms END)"  # noqa: S608 - numbers
                f" FROM tasks WHERE {{}} AND {started}"
            )
            rows = [row for track in tracks for row in self._ask(sql.format(_rows_of(track)), _values_of(track))]
        firsts = [first for first, _, _ in rows if first is not None]
        lasts = [moment for _, *moments in rows for moment in moments if moment is not None]
        return Window(min(firsts), max(lasts) + 1) if firsts else None

    def runs(self, tracks: Sequence[Track] | None = None) -> bool:
        """Whether a task that started has not ended, of all or of these workers."""
        low, high = self._bounds
        some = f"SELECT 1 FROM tasks WHERE start_time_ms >= {low} AND start_time_ms < {high} AND {RUNS}"  # noqa: S608 - numbers
        if tracks is None:
            states = ", ".join(f"'{state}'" for state in SEGMENTS["running"])
            return bool(self._ask(f"{some} AND state IN ({states}) LIMIT 1"))  # pending tasks have no end either: they may be a million
        return any(self._ask(f"{some} AND {_rows_of(track)} LIMIT 1", _values_of(track)) for track in tracks)

    def tracks(self, window: Window, condition: Condition | AnyOf | None = None) -> list[Track]:
        """Workers with a task in the window, in the order in which they were first heard of; those without a known worker last.

        `condition` is about the `job_id`, `node_id` or `worker_id` that all tasks of a worker share. Where no worker is known,
        it is asked of each task.
        """
        low, high = self._bounds
        start, end = max(low, window.from_ms), min(high, window.to_ms)
        of_worker = "FROM tasks t WHERE t.worker_id IS w.id"
        is_there = (
            f"(EXISTS(SELECT 1 {of_worker} AND t.start_time_ms >= {start} AND t.start_time_ms < {end})"
            f" OR EXISTS(SELECT 1 {of_worker} AND t.start_time_ms >= {low} AND t.start_time_ms < {start}"
            f" AND (t.end_time_ms > {start} OR (t.end_time_ms IS NULL AND t.state NOT IN {ENDED}))))"
        )
        first = (
            f"(SELECT row_hash FROM tasks x WHERE x.worker_id IS w.id AND x.start_time_ms >= {low} AND x.start_time_ms < {high} LIMIT 1)"  # noqa: S608
        )
        columns = ("worker_id", "node_id", "job_id")
        where, values = conditions_sql(VIEW, (condition,)) if condition is not None else ([], [])
        selected = ", ".join(_sql(name) for name in columns)
        of_known = " AND ".join(("w.id IS NOT NULL", *where, is_there))
        sql = f"{WORKERS} SELECT w.id, {selected} FROM w JOIN tasks ON tasks.row_hash = {first} WHERE {of_known}"  # noqa: S608
        found = sorted(
            (Track(number, *_decoded(columns, rest)) for number, *rest in self._ask(sql, values)), key=lambda one: one.number or 0
        )
        unknown = Track(None, None, None, None, only=condition)
        overlaps = f"start_time_ms >= {low} AND start_time_ms < {end} AND (start_time_ms >= {start} OR end_time_ms > {start} OR {RUNS})"
        sql = f"SELECT {selected} FROM tasks WHERE {_rows_of(unknown)} AND {overlaps} LIMIT 1"  # noqa: S608 - numbers
        return [*found, *(replace(Track(None, *_decoded(columns, row)), only=condition) for row in self._ask(sql, _values_of(unknown)))]

    def counts(self, tracks: Sequence[Track], window: Window) -> dict[int | None, int]:
        """Tasks that started in the window, by the number of their worker."""
        start, end = self._within(window)
        sql = f"SELECT count(*) FROM tasks WHERE {{}} AND start_time_ms >= {start} AND start_time_ms < {end}"  # noqa: S608 - numbers
        return {track.number: int(self._ask(sql.format(_rows_of(track)), _values_of(track))[0][0]) for track in tracks}

    def spans(self, tracks: Sequence[Track], window: Window, shortest_ms: int, limit: int) -> Found:
        """Tasks in the window of these workers that lasted at least so long, or still run: `limit` at most.

        Those that began before the window are there however short they are.
        """
        start, end = self._within(window)
        low = self._bounds.from_ms
        lasted = f" AND (end_time_ms - start_time_ms >= {int(shortest_ms)} OR {RUNS})" if shortest_ms else ""
        parts = (
            f"start_time_ms >= {low} AND start_time_ms < {start} AND (end_time_ms > {start} OR {RUNS})",
            f"start_time_ms >= {start} AND start_time_ms < {end}{lasted}",
        )
        names = ("task_id", "attempt_number", "name", "state", "job_id", "creation_time_ms", "start_time_ms", "end_time_ms", "error_type")
        selected = ", ".join(_sql(name) for name in names)
        deadline = time.monotonic() + ANSWER_S
        rows: list[Span] = []
        for track in tracks:
            for part in parts:
                where = f"{_rows_of(track)} AND {part}"
                sql = f"SELECT row_hash, worker_id, {selected} FROM tasks WHERE {where} LIMIT {limit + 1 - len(rows)}"  # noqa: S608
                found = ask(self._path, sql, _values_of(track), deadline)
                rows += [Span(key, worker, *_decoded(names, rest)) for key, worker, *rest in found]
                if len(rows) > limit:
                    return Found(rows[:limit], is_cut=True)
        return Found(rows, is_cut=False)

    def cells(self, tracks: Sequence[Track], window: Window, columns: int, *, named: bool) -> Found:
        """How many tasks of each worker started in each of so many equal columns of the window; empty ones are left out.

        `is_cut`: it took too long, the last workers are not there.
        """
        step = _step(window, columns)
        low, high = self._within(window)
        place = (
            f"FROM tasks WHERE :rows AND start_time_ms >= max({low}, {window.from_ms} + i * {step})"
            f" AND start_time_ms < min({high}, {window.from_ms} + (i + 1) * {step})"
        )
        name = f"(SELECT name {place} ORDER BY start_time_ms"
        ends = f"{name} LIMIT 1), {name} DESC LIMIT 1)" if named else "NULL, NULL"
        sql = f"{_columns(columns)} SELECT i, n, {ends} FROM (SELECT i, (SELECT count(*) {place}) AS n FROM c) WHERE n"  # noqa: S608 - numbers
        deadline = time.monotonic() + ANSWER_S
        rows: list[Cell] = []
        for track in tracks:
            try:
                found = ask(self._path, sql.replace(":rows", _rows_of(track)), _values_of(track), deadline)
            except DeadlinePassed:
                return Found(rows, is_cut=True)
            rows += [Cell(track.number, column, count, first if first == last else None) for column, count, first, last in found]
        return Found(rows, is_cut=False)

    def starts(self, window: Window, columns: int, tracks: Sequence[Track] | None = None) -> list[int] | None:
        """How many tasks started in each of so many equal columns, of all or of these workers; None: that takes too long to count."""
        step = _step(window, columns)
        place = f"start_time_ms >= {window.from_ms} + i * {step} AND start_time_ms < {window.from_ms} + (i + 1) * {step}"
        sql = f"{_columns(columns)} SELECT (SELECT count(*) FROM tasks WHERE :rows{place}) FROM c"  # noqa: S608 - numbers
        deadline = time.monotonic() + ASIDE_S
        counts = [0] * columns
        try:
            asked = [("", [])] if tracks is None else [(f"{_rows_of(track)} AND ", _values_of(track)) for track in tracks]
            for rows, values in asked:
                for column, (count,) in enumerate(ask(self._path, sql.replace(":rows", rows), values, deadline)):
                    counts[column] += count
        except DeadlinePassed:
            return None
        return counts

    def matching(self, tracks: Sequence[Track], window: Window, conditions: Sequence[Condition | AnyOf], limit: int) -> Matches:
        """Tasks of these workers in the window for which the conditions hold, worker by worker until it takes too long."""
        low = self._bounds.from_ms
        start, end = self._within(window)
        where, values = conditions_sql(VIEW, tuple(conditions))
        meets = f"(start_time_ms >= {start} OR end_time_ms > {start} OR {RUNS})"
        sql = (
            "SELECT row_hash, worker_id, start_time_ms FROM tasks"  # noqa: S608 - declared names
            f" WHERE :rows AND start_time_ms >= {low} AND start_time_ms < {end} AND {meets} AND {' AND '.join(where)} LIMIT ?"
        )
        deadline = time.monotonic() + SEARCH_S
        rows: list[Match] = []
        searched: set[int | None] = set()
        for track in tracks:
            try:
                bound = (*_values_of(track), *values, limit + 1 - len(rows))
                found = ask(self._path, sql.replace(":rows", _rows_of(track)), bound, deadline)
            except DeadlinePassed:
                break
            rows += [Match(*row) for row in found]
            if len(rows) > limit:
                break
            searched.add(track.number)
        return Matches(rows[:limit], frozenset(searched))

    def failures(self, window: Window, limit: int) -> Found:
        """A Match for each task that started in the window and failed, of all workers: `limit` at most, none if that takes too long.

        Goes through all failures of the session: for where these are fewer than the tasks in the window.
        """
        start, end = self._within(window)
        sql = (
            "SELECT row_hash, worker_id, start_time_ms FROM tasks"  # noqa: S608 - numbers
            f" WHERE state = 'FAILED' AND +start_time_ms >= {start} AND +start_time_ms < {end} LIMIT {limit + 1}"
        )
        try:
            rows = [Match(*row) for row in ask(self._path, sql, (), time.monotonic() + ASIDE_S)]
        except DeadlinePassed:
            return Found([], is_cut=True)
        return Found(rows[:limit], is_cut=len(rows) > limit)

    def _within(self, window: Window) -> Window:
        return Window(max(self._bounds.from_ms, window.from_ms), min(self._bounds.to_ms, window.to_ms))

    def _ask(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return ask(self._path, sql, values, time.monotonic() + ANSWER_S)


def _step(window: Window, columns: int) -> int:
    """Milliseconds of a column: whole ones, so that the last column may end after the window."""
    return -(-window.span_ms // columns)


def _columns(number: int) -> str:
    return f"WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < {number - 1})"  # noqa: S608 - a number


def _rows_of(track: Track) -> str:
    """The condition on rows that are of a track, its marks numbered, so that it may stand in a question more than once."""
    terms, _ = conditions_sql(VIEW, (track.only,)) if track.only is not None else ([], [])
    numbers = count(2)
    only = "".join(f" AND +{term}" for term in terms)  # rather by the index of workers
    return "worker_id IS ?1" + re.sub(r"\?", lambda _: f"?{next(numbers)}", only)


def _values_of(track: Track) -> list[Any]:
    return [track.number, *(conditions_sql(VIEW, (track.only,))[1] if track.only is not None else ())]


def _sql(name: str) -> str:
    column = column_of(TASKS, name)
    if column is None:
        raise KeyError(name)
    return column.sql(TASKS.name)


def _decoded(names: Sequence[str], values: Sequence[Any]) -> list[Any]:
    columns = [column_of(TASKS, name) for name in names]
    return [value if column is None else decode_value(column, value) for column, value in zip(columns, values, strict=True)]
