"""A table, a question and its answer as what the template draws: every link is made here, none in templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from clusterstate.query import Condition, Page
from clusterstate.store.reader import SessionReader
from clusterstate.store.sqlite_reading import DeadlinePassed
from webapp.tables.column import Column
from webapp.tables.framework import LIMITS, Table, TableQuery

MOST_CHOICES = 30
FORMATS = ("json", "csv", "txt")


@dataclass(frozen=True)
class ColumnView:
    key: str
    label: str
    help: str
    cell: str
    numeric: bool
    sort_href: str | None
    sort_direction: str | None  # ascending, descending, or None: not sorted by this column


@dataclass(frozen=True)
class Choice:
    value: str
    count: int | None
    selected: bool


@dataclass(frozen=True)
class FilterView:
    key: str
    label: str
    kind: str
    value: str
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class Counter:
    """How many rows have a state; a link that shows just these, or all again."""

    value: str
    count: int
    href: str
    selected: bool


@dataclass(frozen=True)
class ColumnChoice:
    key: str
    label: str
    shown: bool
    toggle_href: str


@dataclass(frozen=True)
class TableView:
    """All that shared/_table.html may use."""

    table: Table
    columns: tuple[ColumnView, ...]
    rows: list[dict[str, Any]]
    total: int
    matching: int
    matching_is_exact: bool
    given_up: int  # rows that had ended and are not remembered any more
    counts: tuple[Counter, ...]
    q: str
    limit: int
    is_filtered: bool
    next_href: str | None
    previous_href: str | None
    first_href: str | None
    reset_href: str
    formats: dict[str, str]
    list_href: str  # the same rows on the table's own page, where they can be filtered
    empty: str
    query: TableQuery
    counted: Mapping[Any, int]

    @cached_property
    def filters(self) -> tuple[FilterView, ...]:
        """Like the rest below: of whole pages only, not made for a fragment that is polled."""
        return tuple(_filter(self.query, column, self.counted) for column in self.table.filters)

    @cached_property
    def column_choices(self) -> tuple[ColumnChoice, ...]:
        return _column_choices(self.query)

    @cached_property
    def hidden_inputs(self) -> tuple[tuple[str, str], ...]:
        return _hidden(self.query)

    @cached_property
    def limits(self) -> tuple[tuple[int, str, bool], ...]:
        """(rows, href, in force) of each."""
        return tuple((limit, self.query.href(limit=limit), limit == self.limit) for limit in LIMITS)


def draw(query: TableQuery, page: Page, reader: SessionReader, path: str, always: Sequence[Condition] = ()) -> TableView:
    """`path` is the URL of the whole table's page: its formats are reached below it."""
    table = query.table
    counts = _counts(query, reader, always)
    return TableView(
        table=table,
        columns=tuple(_column(query, column) for column in query.columns),
        rows=page.rows,
        total=page.total,
        matching=page.matching,
        matching_is_exact=page.matching_is_exact,
        given_up=page.given_up,
        counts=_counters(query, counts),
        q=query.q,
        limit=query.limit,
        is_filtered=query.is_filtered,
        next_href=query.href(after=page.after.as_text()) if page.after else None,
        previous_href=query.href(before=page.before.as_text()) if page.before else None,
        first_href=query.href() if query.after or query.before else None,
        reset_href="?" + urlencode(query.kept),
        formats=_formats(query, path, always),
        list_href=path + _arguments_of_the_list(query, always),
        empty="No row matches these filters." if query.is_filtered else table.empty,
        query=query,
        counted=counts,
    )


def _column(query: TableQuery, column: Column) -> ColumnView:
    if not column.sort:
        return ColumnView(column.key, column.label, column.help, column.cell, column.numeric, None, None)
    current = query.sorted_by == column.key
    descending = not query.descending if current else column.sort == "desc"
    href = query.href(sort=("-" if descending else "") + column.key)
    direction = ("descending" if query.descending else "ascending") if current else None
    return ColumnView(column.key, column.label, column.help, column.cell, column.numeric, href, direction)


def _counts(query: TableQuery, reader: SessionReader, always: Sequence[Condition]) -> dict[Any, int]:
    if query.table.counter is None:
        return {}
    try:
        return reader.counts(query.table.view, query.table.counter, (*always, *query.without_filter(query.table.counter)), MOST_CHOICES)
    except DeadlinePassed:
        return {}


def _counters(query: TableQuery, counts: Mapping[Any, int]) -> tuple[Counter, ...]:
    column = query.table.counter
    if column is None:
        return ()
    chosen = query.filters.get(column, ())
    return tuple(
        Counter(str(value), count, query.href(**{column: None if str(value) in chosen else str(value)}), str(value) in chosen)
        for value, count in sorted(counts.items(), key=lambda item: str(item[0]))
        if value is not None
    )


def _filter(query: TableQuery, column: Column, counts: Mapping[Any, int]) -> FilterView:
    chosen = query.filters.get(column.key, ())
    names: list[str] = list(column.choices)
    known = counts if column.key == query.table.counter else {}
    names += [str(value) for value in known if value is not None and str(value) not in names]
    choices = tuple(Choice(name, known.get(name) if known else None, name in chosen) for name in names)
    return FilterView(column.key, column.label, column.filter or "text", chosen[0] if chosen else "", choices)


def _column_choices(query: TableQuery) -> tuple[ColumnChoice, ...]:
    shown = [column.key for column in query.columns]
    choices = []
    for column in query.table.columns:
        if not column.is_drawn:
            continue
        wanted = [key for key in shown if key != column.key] if column.key in shown else [*shown, column.key]
        href = query.href(columns=",".join(wanted) or column.key)
        choices.append(ColumnChoice(column.key, column.label, column.key in shown, href))
    return tuple(choices)


def _formats(query: TableQuery, path: str, always: Sequence[Condition]) -> dict[str, str]:
    arguments = _arguments_of_the_list(query, always)
    return {name: f"{path}.{name}{arguments}" for name in FORMATS}


def _arguments_of_the_list(query: TableQuery, always: Sequence[Condition]) -> str:
    """The query string that asks the whole table for these rows."""
    narrowed = {condition.column: condition.value for condition in always if condition.operator == "is"}
    kept = {name: value for name, value in query.kept.items() if name == "theme"}
    return query.narrowed(kept=kept).href(**narrowed, limit=None)


def _hidden(query: TableQuery) -> tuple[tuple[str, str], ...]:
    """What a form of the filters must carry along: all but the filters and the place in the pages."""
    filters = {column.key for column in query.table.filters}
    pairs = [pair.split("=", 1) for pair in query.href().removeprefix("?").split("&") if pair]
    names = {name for name, _ in pairs} - filters - {"q"}
    own = {"sort": query.sort, "limit": str(query.limit), "columns": ",".join(column.key for column in query.columns)}
    return tuple((name, query.kept.get(name) or own[name]) for name in sorted(names))
