"""A table is defined once: its columns say what may be shown, sorted and filtered, everywhere it is shown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from clusterstate.query import AnyOf, BadQuery, Condition, Cursor, Selection, View
from webapp.tables import grammar, values
from webapp.tables.column import Column

LIMITS = (50, 100, 500)
DEFAULT_LIMIT = 100
EXPORT_LIMIT = 10_000
"""Rows at most in one JSON, CSV or text answer; more by the link to the next page."""
OWN_ARGUMENTS = ("q", "sort", "limit", "after", "before", "columns")
LONGEST_ARGUMENT = 2_000
WHOLE_NUMBER = re.compile(r"[1-9][0-9]{0,8}\Z")


@dataclass(frozen=True)
class Table:
    """A resource as a table."""

    name: str  # in URLs
    label: str
    view: View
    columns: tuple[Column, ...]
    default_sort: str
    key: str  # the column that names a row
    endpoint: str  # of the page that shows the whole table
    counter: str | None = None  # the column whose values are counted above the table
    empty: str = "There is nothing here yet."
    kept: str | None = None  # the setting that says how many that ended are kept

    def column(self, key: str) -> Column:
        """The column of this name or alias. Raises BadQuery."""
        for column in self.columns:
            if key == column.key or key in column.alias:
                return column
        raise BadQuery(f"{self.label} has no column {key[:64]!r}. Columns are: {', '.join(c.key for c in self.columns)}.")

    def query(self, args: Any, *, keep: Sequence[str] = (), export: bool = False) -> TableQuery:
        """Reads a query string (a MultiDict or a mapping of lists). Raises BadQuery that says what is allowed."""
        given = _lists(args)
        kept = {name: given.pop(name)[-1] for name in keep if name in given}
        own = {name: _only(name, given.pop(name)) for name in OWN_ARGUMENTS if name in given}
        if export and own.get("before"):
            raise BadQuery("before is for pages on a screen. An answer for programs goes on with after, as its link to the next one does.")
        sort = own.get("sort") or self.default_sort
        self._check_sort(sort)
        return TableQuery(
            table=self,
            filters={key: self._as_shown(key, texts) for key, texts in given.items() if any(texts)},
            where=(*self._conditions(given), *grammar.conditions(self.label, self.columns, own.get("q", ""))),
            q=own.get("q", "").strip(),
            sort=sort,
            limit=self._limit(own.get("limit"), export),
            columns=self._shown(own.get("columns")),
            after=Cursor.from_text(own["after"]) if own.get("after") else None,
            before=Cursor.from_text(own["before"]) if own.get("before") else None,
            kept=kept,
            is_default_columns=not own.get("columns"),
        )

    @property
    def sorts(self) -> list[str]:
        """Columns that can be sorted."""
        return [column.key for column in self.columns if column.sort]

    @property
    def exported(self) -> tuple[Column, ...]:
        """The columns of JSON and CSV where none are chosen."""
        return tuple(column for column in self.columns if not column.is_part)

    @property
    def filters(self) -> list[Column]:
        return [column for column in self.columns if column.filter]

    def _check_sort(self, sort: str) -> None:
        if sort.removeprefix("-") not in self.sorts:
            named = ", ".join(self.sorts)
            raise BadQuery(f"{self.label} cannot be sorted by {sort[:64]!r}. Sorts are: {named}; - in front turns one round.")

    def _conditions(self, given: dict[str, list[str]]) -> list[Condition | AnyOf]:
        allowed = {column.key: column for column in self.filters}
        found: list[Condition | AnyOf] = []
        for key, texts in given.items():
            if key not in allowed:
                names = ", ".join((*allowed, *OWN_ARGUMENTS))
                raise BadQuery(f"{self.label} has no filter {key[:64]!r}. Allowed are: {names}.")
            conditions = tuple(values.condition(allowed[key], text) for text in texts if text != "")
            if conditions:
                found.append(AnyOf(conditions) if len(conditions) > 1 else conditions[0])
        return found

    def _as_shown(self, key: str, texts: list[str]) -> tuple[str, ...]:
        """Choices as Ray spells them, so that a link to one and the typed word are the same."""
        is_choice = bool(self.column(key).choices)
        return tuple(text.strip().upper() if is_choice else text for text in texts if text)

    def _limit(self, text: str | None, export: bool) -> int:
        most = EXPORT_LIMIT if export else LIMITS[-1]
        if not text:
            return DEFAULT_LIMIT
        if not WHOLE_NUMBER.match(text) or int(text) > most:
            raise BadQuery(f"limit is {text[:32]!r}; it must be a whole number from 1 to {most}.")
        return int(text)

    def _shown(self, text: str | None) -> tuple[Column, ...]:
        if not text:
            return tuple(column for column in self.columns if column.is_drawn and not column.hidden)
        wanted = [self.column(key).key for key in text.split(",") if key]
        return tuple(column for column in self.columns if column.is_drawn and column.key in wanted)


@dataclass(frozen=True)
class TableQuery:
    """A checked question to a table: all of it can be written back into a URL."""

    table: Table
    filters: dict[str, tuple[str, ...]]
    where: tuple[Condition | AnyOf, ...]
    q: str
    sort: str
    limit: int
    columns: tuple[Column, ...]
    after: Cursor | None
    before: Cursor | None
    kept: dict[str, str]
    is_default_columns: bool

    @property
    def sorted_by(self) -> str:
        return self.sort.removeprefix("-")

    @property
    def descending(self) -> bool:
        return self.sort.startswith("-")

    def selection(self, always: Sequence[Condition] = (), *, everything: bool = False) -> Selection:
        """For the reader: the shown columns and what their cells draw from, or (`everything`) all columns."""
        columns = self.table.exported if everything and self.is_default_columns else self.columns
        carried = [name for column in columns for name in (column.key, *column.carry)]
        return Selection(
            columns=tuple(dict.fromkeys((self.table.key, *carried))),
            sort=self.sorted_by,
            descending=self.descending,
            always=tuple(always),
            where=self.where,
            limit=self.limit,
            after=self.after,
            before=self.before,
            counter=None if everything else self.table.counter,
        )

    def without_filter(self, column: str) -> tuple[Condition | AnyOf, ...]:
        """The conditions but for one column's filter: what its values are counted under."""
        return tuple(condition for condition in self.where if not _is_about(condition, column))

    def href(self, **changes: Any) -> str:
        """This question with some arguments changed, as a relative link. None removes one. Paging starts anew unless given."""
        arguments: dict[str, Any] = {**self.kept, **self.filters, **self._own(), **changes}
        pairs = [(name, text) for name, value in arguments.items() for text in _texts(value)]
        return "?" + urlencode(pairs)

    @property
    def is_filtered(self) -> bool:
        return bool(self.filters or self.q)

    @property
    def is_long(self) -> bool:
        """Whether no index answers this: text is looked for in all rows, or they are sorted by what stands in another table."""
        parts = [part for condition in self.where for part in (condition.conditions if isinstance(condition, AnyOf) else (condition,))]
        base = self.table.view.base
        is_sorted = self.sorted_by in base.indexed or self.sorted_by in self.table.view.parts
        return not base.is_small and not (is_sorted and all(part.operator == "is" and part.column in base.filtered for part in parts))

    def narrowed(self, **changes: Any) -> TableQuery:
        """The same question with other fields."""
        return replace(self, **changes)

    def _own(self) -> dict[str, Any]:
        return {
            "q": self.q or None,
            "sort": self.sort if self.sort != self.table.default_sort else None,
            "limit": self.limit if self.limit != DEFAULT_LIMIT else None,
            "columns": None if self.is_default_columns else ",".join(column.key for column in self.columns),
        }


def _is_about(condition: Condition | AnyOf, column: str) -> bool:
    parts = condition.conditions if isinstance(condition, AnyOf) else (condition,)
    return all(part.column == column for part in parts)


def _texts(value: Any) -> list[str]:
    if value is None or value == "":
        return []
    return [str(item) for item in value] if isinstance(value, (tuple, list)) else [str(value)]


def _only(name: str, texts: list[str]) -> str:
    filled = [text for text in texts if text]
    if len(filled) > 1:
        raise BadQuery(f"{name} is given {len(filled)} times; it may be given once.")
    return filled[0] if filled else ""


def _lists(args: Any) -> dict[str, list[str]]:
    lists: dict[str, list[str]]
    if hasattr(args, "to_dict"):
        lists = args.to_dict(flat=False)
    elif isinstance(args, Mapping):
        lists = {key: list(value) if isinstance(value, (list, tuple)) else [value] for key, value in args.items()}
    else:
        raise TypeError("a query string is a MultiDict or a mapping")
    for key, texts in lists.items():
        if any(len(text) > LONGEST_ARGUMENT for text in texts):
            raise BadQuery(f"{key[:64]} is too long; at most {LONGEST_ARGUMENT} characters are allowed.")
        if len(texts) > 50:
            raise BadQuery(f"{key[:64]} is given {len(texts)} times; at most 50 are allowed.")
    return lists
