"""What the web app reads: one session's index, by SQLite alone, so that it answers while Redis is away."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from clusterstate.model import ClusterMetadata, ClusterStatus, CollectorReport
from clusterstate.query import AnyOf, BadQuery, Condition, Cursor, Page, Selection, View
from clusterstate.resources import (
    ACTORS,
    COLLECTOR,
    JOBS,
    METADATA,
    NODES,
    RESOURCES,
    STATUS,
    STATUS_HISTORY,
    TASK_TOTALS,
    TASKS,
    TASKS_GIVEN_UP,
    WORKERS,
    Resource,
)
from clusterstate.store import scanning, selecting
from clusterstate.store.derived import counts_table
from clusterstate.store.durations import Durations, durations
from clusterstate.store.history import cluster_points, node_points
from clusterstate.store.lineage_reading import Lineage
from clusterstate.store.row_ids import SINGLE_ROW_ID
from clusterstate.store.schema import COMMITS, Column, column_of, decode_row, decode_value, row_place, selected
from clusterstate.store.sqlite_reading import DeadlinePassed, IndexMissing, ask, characters, inode_of
from clusterstate.store.task_states import reported, task_states
from clusterstate.store.tasks_by_state import TasksByState
from clusterstate.utilisation import History, history_of, steps_of

COUNTS_KEPT = 512
TASK_COUNTS = (TASKS.name, TASK_TOTALS.name, TASKS_GIVEN_UP.name)
FILES_HEARD = 64
COUNTED_VALUES = 30
"""Values of a column that are counted at most."""
CONFIRMED = frozenset(resource.name for resource in RESOURCES) - {
    METADATA.name,  # never ages
    COLLECTOR.name,  # its own witness
    STATUS_HISTORY.name,  # as its present
    TASK_TOTALS.name,  # as tasks, these two
    TASKS_GIVEN_UP.name,
}
"""Resources with a freshness of their own."""
SELDOM = 1.5
"""Tasks that are polled are stale after so many intervals more than others: a big list is asked for each few minutes."""
LOOKED_AT = 10_000
"""Rows that are counted one by one to learn by which of several values they are found soonest."""
COUNTS_MAY_TAKE = 0.6
"""Deadlines."""
ROWS_MAY_TAKE = 8.0
"""Deadlines that the rows themselves may take: without a count a page is still a page, without rows it is none."""

OLD_POINTS_MAY_TAKE = 0.2
"""Deadlines that old points of a chart may take at once, where the page comes again in a second; 50 ms unless set."""


@dataclasses.dataclass(frozen=True)
class Partial:
    """A node whose own collector is silent."""

    node_id: str
    reason: str
    since: float | None  # Unix seconds of its last word, None: never heard


@dataclasses.dataclass(frozen=True)
class Freshness:
    """How old an answer is and what is missing from it."""

    as_of: float | None  # Unix seconds, None: nothing known yet
    age_s: float | None
    stale: bool
    partial: tuple[Partial, ...] = ()
    source: str | None = None
    exact: bool = True  # False: there were more, which are not remembered
    is_past: bool = False  # the session has ended: old, but not stale

    @property
    def word(self) -> str:
        """fresh, stale, past or unknown."""
        if self.is_past:
            return "past"
        if self.as_of is None:
            return "unknown"
        return "stale" if self.stale else "fresh"


@dataclasses.dataclass(frozen=True)
class Heard:
    """What is known of when each part was last known right."""

    moments: dict[str, float]  # resource, or node:<node_id> → Unix seconds
    ended_ms: int | None
    sources: tuple[tuple[str, str], ...]  # resource, where it comes from
    tasks_interval_s: float  # between polls of tasks; 0: not polled, or not known
    never: tuple[Partial, ...]  # living nodes without a collector
    nodes: tuple[tuple[float, str], ...]  # the others: when they were heard last, id
    given_up: dict[str, int]  # resource → rows given up for the limit
    inexact: frozenset[str]  # resources of which rows are missing, for that reason or another

    def silent(self, since: float) -> tuple[Partial, ...]:
        """Living nodes that have not been heard since then."""
        late = tuple(Partial(node_id, "its node collector is silent", at) for at, node_id in self.nodes if at < since)
        return self.never + late if late else self.never


class SessionReader:
    """Answers about one session. Cheap to make: connections are kept per thread.

    Methods raise IndexMissing when the file is gone, DeadlinePassed when a question is too dear.
    """

    def __init__(self, path: Path, cluster: str, session: str, *, stale_after_s: float = 5.0, deadline_ms: int = 250) -> None:
        self.path = path
        self.cluster = cluster
        self.session = session
        self._stale_after_s = stale_after_s
        self._deadline_ms = deadline_ms
        self._versions: dict[tuple[str, ...], str] = {}

    def version(self, *names: str) -> str:
        """Changes whenever a row of one of these resources changes."""
        inode, numbers = self._numbers()
        return f"{inode:x}." + ".".join(str(numbers[name]) for name in sorted(names) if name in numbers)

    def freshness(self, *names: str, now: float, nodes_matter: bool = False) -> Freshness:
        """How old the oldest of these resources is. With `nodes_matter`, also which live nodes' collectors are silent.

        Tasks count where they come first: what shows them beside something else says by itself as of when they are.
        """
        heard = self._heard()
        wanted = [name for name in names if name in CONFIRMED and (name != TASKS.name or name == names[0])]
        known = [heard.moments[name] for name in wanted if name in heard.moments]
        as_of = min(known) if known and len(known) == len(wanted) else None
        exact = heard.inexact.isdisjoint(wanted)
        if heard.ended_ms is not None:
            return Freshness(heard.ended_ms / 1000, now - heard.ended_ms / 1000, stale=False, exact=exact, is_past=True)
        partial = heard.silent(now - self._stale_after_s * 2) if nodes_matter else ()
        age = None if as_of is None else max(0.0, now - as_of)
        seldom = SELDOM * heard.tasks_interval_s if TASKS.name in wanted else 0.0
        stale = age is None or age > self._stale_after_s + seldom
        sources = [part for resource, source in heard.sources if resource in wanted for part in source.split("+")]
        return Freshness(as_of, age, stale, partial, "+".join(dict.fromkeys(sources)) or None, exact)

    def moment(self, now: float) -> float:
        """What is now in this session: when it ended, once it has. What still ran then has lasted until then."""
        ended_ms = self._heard().ended_ms
        return now if ended_ms is None else ended_ms / 1000

    def confirmed(self, name: str) -> float | None:
        """As of when a resource, or what a collector calls so, was last known right, Unix seconds."""
        return self._heard().moments.get(name)

    def given_up(self, resource: Resource) -> int:
        """How many rows that had ended are not here any more, for the limit."""
        return self._heard().given_up.get(resource.name, 0)

    def get(self, resource: Resource, row_id: str) -> Any | None:
        """The row with this id."""
        row = self._row(resource, *row_place(resource, row_id))
        return row if row is None or resource.key is None or getattr(row, resource.key) == row_id else None

    def hashed(self, resource: Resource, key: int) -> Any | None:
        """The row whose id has this `row_hash`, of 63 bits."""
        return self._row(resource, "row_hash = ?", (key,))

    def find(self, resource: Resource, column: str, value: Any, limit: int = 100) -> list[Any]:
        """Rows whose column has this value."""
        wanted = _declared(resource, column)
        sql = f"SELECT {selected(resource)} FROM {resource.name} WHERE {wanted.equals(resource.name)} LIMIT ?"  # noqa: S608 - declared names
        return [decode_row(resource, values) for values in ask(self.path, sql, (wanted.bind(value), limit), self._deadline())]

    def ids(self, resource: Resource, column: str, value: Any, limit: int = 10_000) -> set[str]:
        """Ids of the rows whose column has this value."""
        wanted = _declared(resource, column)
        sql = f"SELECT {resource.key} FROM {resource.name} WHERE {wanted.equals(resource.name)} LIMIT ?"  # noqa: S608 - declared names
        return {str(found) for (found,) in ask(self.path, sql, (wanted.bind(value), limit), self._deadline())}

    def starting(self, resource: Resource, column: str, text: str, limit: int = 20) -> list[Any]:
        """Rows whose column starts with this text."""
        start, end = _declared(resource, column).range_of(text)
        sql = f"SELECT {selected(resource)} FROM {resource.name} WHERE {column} >= ? AND {column} < ? LIMIT ?"  # noqa: S608 - declared names
        return [decode_row(resource, found) for found in ask(self.path, sql, (start, end, limit), self._deadline())]

    def all(self, resource: Resource, limit: int = 10_000) -> list[Any]:
        """Every row of a small resource."""
        sql = f"SELECT {selected(resource)} FROM {resource.name} LIMIT ?"  # noqa: S608 - declared names
        return [decode_row(resource, values) for values in ask(self.path, sql, (limit,))]

    def scan(self, resource: Resource, names: tuple[str, ...], sort: str, only: tuple[str, Any] | None = None) -> Iterator[list[Any]]:
        """Values of these columns of all rows with a value in `sort`, in its order, piece by piece: see `scanning.pieces`."""
        for column in (*names, sort, *((only[0],) if only else ())):
            _declared(resource, column)
        return scanning.pieces(self.path, resource, names, sort, only, lambda: self._deadline(ROWS_MAY_TAKE))

    def _row(self, resource: Resource, where: str, values: tuple[Any, ...]) -> Any | None:
        sql = f"SELECT {selected(resource)} FROM {resource.name} WHERE {where}"  # noqa: S608 - declared names
        found = ask(self.path, sql, values)
        return decode_row(resource, found[0]) if found else None

    def metadata(self) -> ClusterMetadata | None:
        found: ClusterMetadata | None = self.get(METADATA, SINGLE_ROW_ID)
        return found

    def status(self) -> ClusterStatus | None:
        found: ClusterStatus | None = self.get(STATUS, SINGLE_ROW_ID)
        return found

    def collector(self) -> CollectorReport | None:
        found: CollectorReport | None = self.get(COLLECTOR, SINGLE_ROW_ID)
        return found

    def counts(self, view: View, column: str, conditions: Sequence[Condition | AnyOf] = (), limit: int = COUNTED_VALUES) -> dict[Any, int]:
        """Values of a column → number of rows, most first."""
        kept = selecting.stored_column(view, column)
        found = self._asked(selecting.group_statement(view, column, tuple(conditions), limit, self._found_by(view, conditions)))
        return {value if kept is None else decode_value(kept, value): number for value, number in found}

    def task_states(self, job_id: str | None = None) -> dict[str, int]:
        """Attempts by state, of a job or of all: recorded ones, those given up, and as NOT_RECORDED what Ray counts beyond them."""
        key = (str(self.path), self._version_now(TASK_COUNTS), "task_states", job_id)
        return {str(state): int(n) for state, n in _cached(key, lambda: list(task_states(self.path, job_id, self._deadline()).items()))}

    def reported_tasks(self, job_id: str | None = None) -> tuple[int, int]:
        """(attempts that the GCS counts, those of them that it knows were lost), of a job or of all."""
        return reported(self.path, job_id)

    def tasks_by_state(self) -> TasksByState:
        """Questions about attempts that wait, run or failed."""
        return TasksByState(self.path, self._deadline)

    def durations(self, job_id: str | None = None, limit: int = 50) -> list[Durations]:
        """How long attempts ran, by name, of a job or of all: the names with most of them."""
        key = (str(self.path), self._version_now((TASKS.name,)), "durations", job_id, limit)
        rows = _cached(key, lambda: [(one,) for one in durations(self.path, job_id, limit, self._deadline())])
        return [one for (one,) in rows]

    def lineage(self, job_id: str, *, hide_finished: bool = False) -> Lineage:
        """The tree of a job's tasks and actors."""
        return Lineage(self.path, job_id, self._deadline(), hide_finished=hide_finished)

    def group(self, resource: Resource, column: str) -> dict[Any, int]:
        """Values of a resource's own column → number of rows, most first."""
        return self.counts(View(resource), column)

    def keys_in(self, resource: Resource, column: str, limit: int) -> list[str]:
        """The keys in a column of mappings, the most frequent first. Raises DeadlinePassed."""
        wanted = _declared(resource, column).sql(resource.name)
        sql = f"SELECT key, count(*) FROM {resource.name}, json_each({wanted}) GROUP BY key ORDER BY 2 DESC, 1 LIMIT ?"  # noqa: S608 - declared names
        return [str(key) for key, _ in self._asked(selecting.Statement(sql, (limit,), (resource.name,)))]

    def count(self, view: View, conditions: Sequence[Condition | AnyOf] = ()) -> int:
        """How many rows. Raises DeadlinePassed."""
        return int(self._asked(selecting.count_statement(view, tuple(conditions), self._found_by(view, conditions)))[0][0])

    def page(self, view: View, selection: Selection, now: float) -> Page:
        """One page of rows with honest counts."""
        return next(self.parts(view, selection, now))

    def parts(self, view: View, selection: Selection, now: float, most: int | None = None) -> Iterator[Page]:
        """The page in parts of `most` characters of text, each read when it is asked for; one part if that is enough.

        Only the last part is not `is_cut`, and its cursors are those of the whole page. Cannot read backwards in parts.
        """
        cursor = selection.before or selection.after
        now_ms = cursor.now_ms if cursor else int(self.moment(now) * 1000)
        total, exact = self._counted(view, selection.always)
        matching = total
        if selection.where:
            matching, exact = self._matching(view, selection)
        plan = self._plan(view, selection, matching if exact else None, total)
        given_up = self.given_up(view.base)
        is_cut = True
        while is_cut:
            rows = [] if exact and not matching else self._rows(view, selection, now_ms, plan, most)
            more = len(rows) > selection.limit
            is_cut = not more and most is not None and sum(map(characters, rows)) >= most
            part = _page(view, selection, rows[: selection.limit], now_ms, more=more or is_cut)
            is_cut = is_cut and len(part.rows) < selection.limit
            if not exact:
                matching = max(matching, len(part.rows))
            yield dataclasses.replace(
                part, total=max(total, matching), matching=matching, matching_is_exact=exact, is_cut=is_cut, given_up=given_up
            )
            selection = dataclasses.replace(selection, after=part.after, limit=selection.limit - len(part.rows))

    def history(self, node_id: str | None, now: float, minutes: float) -> History:
        """Charts of the last minutes of a node, or of the whole cluster (None): up to now, or to the session's end.

        Those of a cluster may lack old points at first: what takes too long is added up with the next calls.
        """
        until = self.moment(now)
        step_s, steps = steps_of(until, minutes)
        if node_id is not None:
            return history_of(node_points(self.path, node_id, steps, step_s, self._deadline()), step_s, steps)
        deadline = self._deadline(OLD_POINTS_MAY_TAKE if until == now else ROWS_MAY_TAKE)
        return history_of(cluster_points(self.path, steps, step_s, deadline), step_s, steps)

    def _rows(self, view: View, selection: Selection, now_ms: int, plan: selecting.Plan, most: int | None) -> list[tuple[Any, ...]]:
        """Up to one row more than the limit, to know whether there is a next page, or those that reach `most` characters."""
        rows: list[tuple[Any, ...]] = []
        wanted = selection.limit + 1
        for number, segment in enumerate(selecting.segments(view, selection)):
            statement = selecting.rows_statement(view, selection, segment, from_cursor=number == 0, limit=wanted - len(rows), plan=plan)
            found = ask(self.path, self._sql(statement.sql, now_ms), statement.values, self._deadline(ROWS_MAY_TAKE), most)
            rows += found
            if most is not None:
                most -= sum(map(characters, found))
            if len(rows) >= wanted or (most is not None and most <= 0):
                break
        return rows

    def _counted(self, view: View, conditions: Sequence[Condition | AnyOf]) -> tuple[int, bool]:
        """How many rows, and whether that is exact: a count that takes too long is given up."""
        try:
            return self.count(view, conditions), True
        except DeadlinePassed:
            return 0, False

    def _matching(self, view: View, selection: Selection) -> tuple[int, bool]:
        """Where the page also shows the counts under these conditions, their sum: the index is gone through once for both."""
        conditions = (*selection.always, *selection.where)
        counted = selection.counter
        if counted is not None and not any(counted in selecting.columns_of(condition) for condition in selection.where):
            try:
                counts = self.counts(view, counted, conditions, COUNTED_VALUES)
            except DeadlinePassed:
                return 0, False
            if len(counts) < COUNTED_VALUES:
                return sum(counts.values()), True
        return self._counted(view, conditions)

    def _plan(self, view: View, selection: Selection, matching: int | None, total: int) -> selecting.Plan:
        """How the rows are found soonest. `matching`: None where it is not known.

        What matches is sorted where that is cheaper than going through all rows in order until a page is full.
        """
        is_few = matching is not None and matching * matching < selection.limit * total
        by = self._found_by(view, (*selection.always, *selection.where))
        return selecting.Plan(few_match=is_few and selecting.can_find_few(view, selection), by=by)

    def _found_by(self, view: View, conditions: Sequence[Condition | AnyOf]) -> Condition | AnyOf | None:
        """Of several conditions for which an index finds the rows, that with the fewest."""
        found = selecting.finders(view, tuple(conditions))
        return min(found, key=lambda condition: self._at_most(view, condition)) if len(found) > 1 else None

    def _at_most(self, view: View, condition: Condition | AnyOf) -> int:
        """How many rows a condition holds for, as far as that is quick to say."""
        if counts_table(view.base, set(selecting.columns_of(condition))) is None:
            return len(self._asked(selecting.some_statement(view, condition, LOOKED_AT)))
        return self._counted(view, (condition,))[0]

    def _numbers(self) -> tuple[int, dict[str, int]]:
        """Which file it is, the version of each resource, and under COMMITS how often anything was written at all."""
        return inode_of(self.path), dict(ask(self.path, "SELECT resource, n FROM versions"))

    def _heard(self) -> Heard:
        """What every poll asks for: read once for each state of the file, by this process."""
        inode, numbers = self._numbers()
        state = (inode, numbers.get(COMMITS))
        known = _heard.get(self.path)
        if known is None or known[0] != state or state[1] is None:
            known = _heard[self.path] = (state, self._read_heard())
            while len(_heard) > FILES_HEARD:
                _heard.pop(next(iter(_heard)), None)
        return known[1]

    def _read_heard(self) -> Heard:
        moments = {str(name): float(at) for name, at in ask(self.path, "SELECT name, at FROM fresh")}
        alive = [str(node_id) for (node_id,) in ask(self.path, "SELECT node_id FROM nodes WHERE state = 'ALIVE'")]
        metadata, report = self.metadata(), self.collector()
        given_up = {} if report is None else _given_up(report)
        return Heard(
            moments,
            None if metadata is None else metadata.ended_ms,
            () if report is None else tuple((source.resource, source.source) for source in report.sources),
            next((source.interval_s or 0.0 for source in report.sources if source.resource == TASKS.name), 0.0) if report else 0.0,
            tuple(Partial(node_id, "no node collector runs there", None) for node_id in alive if f"node:{node_id}" not in moments),
            tuple((moments[f"node:{node_id}"], node_id) for node_id in alive if f"node:{node_id}" in moments),
            given_up,
            frozenset(given_up) | ({TASKS.name} if report is not None and report.tasks_dropped else set()),
        )

    def _asked(self, statement: selecting.Statement) -> list[tuple[Any, ...]]:
        """The answer, kept as long as the version of what it is made from."""
        key = (str(self.path), self._version_now(statement.resources), statement)
        if key in _too_dear:
            raise DeadlinePassed
        try:
            return _cached(key, lambda: ask(self.path, self._sql(statement.sql, 0), statement.values, self._deadline(COUNTS_MAY_TAKE)))
        except DeadlinePassed:
            _too_dear[key] = None
            while len(_too_dear) > COUNTS_KEPT:
                _too_dear.pop(next(iter(_too_dear)), None)
            raise

    def _version_now(self, names: tuple[str, ...]) -> str:
        """As it was when this reader was first asked for it: one is made for each request."""
        if names not in self._versions:
            self._versions[names] = self.version(*names)
        return self._versions[names]

    def _deadline(self, times: float = 1.0) -> float:
        return time.monotonic() + times * self._deadline_ms / 1000

    @staticmethod
    def _sql(sql: str, now_ms: int) -> str:
        return sql.replace(":now_ms", str(int(now_ms)))


_heard: dict[Path, tuple[tuple[int, int | None], Heard]] = {}
_counts: dict[Any, list[tuple[Any, ...]]] = {}
_counts_lock = threading.Lock()
_too_dear: dict[Any, None] = {}
"""What was given up: a page asks for some counts twice."""


def _cached(key: Any, compute: Any) -> list[tuple[Any, ...]]:
    """Counts are kept until the version they belong to is pushed out."""
    found = _counts.get(key)
    if found is None:
        found = compute()
        with _counts_lock:
            while len(_counts) >= COUNTS_KEPT:
                _counts.pop(next(iter(_counts)), None)
            _counts[key] = found
    return found


def _given_up(report: CollectorReport) -> dict[str, int]:
    """Resource → how many of its rows were given up, of those that lost any."""
    counts = {
        NODES.name: report.nodes_evicted,
        JOBS.name: report.jobs_evicted,
        WORKERS.name: report.workers_evicted,
        ACTORS.name: report.actors_evicted,
        TASKS.name: report.tasks_evicted,
    }
    return {name: count for name, count in counts.items() if count}


def _declared(resource: Resource, name: str) -> Column:
    column = column_of(resource, name)
    if column is None:
        raise BadQuery(f"{resource.name} has no column {name}.")
    return column


def _page(view: View, selection: Selection, rows: list[tuple[Any, ...]], now_ms: int, *, more: bool) -> Page:
    """Rows as read, as a page without counts; `more`: there are others beyond them."""
    if selection.before:
        rows.reverse()
    first = _cursor(rows[0], now_ms) if rows else None
    last = _cursor(rows[-1], now_ms) if rows else None
    has_next = more if not selection.before else bool(rows)
    has_previous = more if selection.before else selection.after is not None
    decoders = [_decoder(view, name) for name in selection.columns]
    decoded = [
        {
            name: value if column is None else decode_value(column, value)
            for name, column, value in zip(selection.columns, decoders, row[:-3], strict=True)
        }
        for row in rows
    ]
    return Page(decoded, 0, 0, False, last if has_next else None, first if has_previous else None)


def _cursor(row: tuple[Any, ...], now_ms: int) -> Cursor:
    value, key, is_last = row[-3:]
    return Cursor(value, key, now_ms, bool(is_last))


def _decoder(view: View, name: str) -> Column | None:
    """How a selected column is read, by the resource whose field it is; None for computed ones."""
    if name in view.composed:
        return Column(name, "TEXT", json.loads)
    return selecting.stored_column(view, name)


__all__ = ["Freshness", "IndexMissing", "Partial", "SessionReader"]
