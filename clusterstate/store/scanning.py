"""All rows of a large resource in an order that an index has, piece by piece: each costs the same, however many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from clusterstate.resources import Resource
from clusterstate.store.schema import Column, column_of, decode_value
from clusterstate.store.sqlite_reading import ask, characters

ROWS_AT_ONCE = 2000
CHARACTERS_AT_ONCE = 2_000_000
"""Of texts in a piece: where they are longer than usual, it has fewer rows."""

Row = tuple[Any, ...]


def pieces(
    path: Path, resource: Resource, names: tuple[str, ...], sort: str, only: tuple[str, Any] | None, deadline: Callable[[], float]
) -> Iterator[list[Row]]:
    """Values of these columns of every row that has a value in `sort`, ordered by it and then by row hash.

    Names are declared ones, `sort` is an indexed whole number. `only` is a column and its value: other rows are passed over, so
    that pieces may be empty. Rows that come in meanwhile are there if their place is yet to come. `deadline` is asked anew for
    each question; raises DeadlinePassed.
    """
    columns = [_column(resource, name) for name in names]
    listed = ", ".join((*(column.sql(resource.name) for column in columns), sort, "row_hash"))
    place = f"({sort}, row_hash)"
    order = f"ORDER BY {sort}, row_hash"
    matching, values = "", tuple[Any, ...]()
    if only is not None:
        wanted = _column(resource, only[0])
        matching, values = f" AND +{wanted.equals(resource.name)}", (wanted.bind(only[1]),)  # + keeps SQLite with the index of the order
    ends = f"SELECT {sort}, row_hash FROM {resource.name} WHERE {place} > (?, ?) {order} LIMIT 1 OFFSET {ROWS_AT_ONCE - 1}"  # noqa: S608 - declared names
    rows = f"SELECT {listed} FROM {resource.name} WHERE {place} > (?, ?) AND {place} <= (?, ?){matching} {order}"  # noqa: S608 - declared names
    after: Row = (-(2**63), -1)
    last: Row = (2**63 - 1, 2**63 - 1)
    while after != last:
        found = ask(path, ends, after, deadline())
        end = found[0] if found else last
        read = ask(path, rows, (*after, *end, *values), deadline(), CHARACTERS_AT_ONCE)
        is_cut = sum(map(characters, read)) >= CHARACTERS_AT_ONCE
        after = read[-1][-2:] if is_cut else end
        yield [tuple(decode_value(column, value) for column, value in zip(columns, row, strict=False)) for row in read]


def _column(resource: Resource, name: str) -> Column:
    """Raises KeyError for what is not declared."""
    column = column_of(resource, name)
    if column is None:
        raise KeyError(name)
    return column
