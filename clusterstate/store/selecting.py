"""Selections into SQL. Column names come from declared views only; every value is bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clusterstate.query import OPERATORS, AnyOf, Condition, Cursor, Selection, View


@dataclass(frozen=True)
class Statement:
    sql: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Segment:
    """Rows with a value in the sorted column, or those without: the latter come last in both directions."""

    with_value: bool
    backwards: bool


def segments(selection: Selection) -> list[Segment]:
    """The segments to read, in order, from the cursor on."""
    backwards = selection.before is not None
    cursor = selection.before or selection.after
    order = [Segment(True, backwards), Segment(False, backwards)]
    if backwards:
        order.reverse()
    if cursor is not None:
        started_in = cursor.value is not None
        while order[0].with_value is not started_in:
            order.pop(0)
    return order


def rows_statement(view: View, selection: Selection, segment: Segment, *, from_cursor: bool, limit: int) -> Statement:
    """Rows of one segment: the selected columns, then the sorted value, then the row hash."""
    cursor = (selection.before or selection.after) if from_cursor else None
    split = view.parts.get(selection.sort) if segment.with_value else None
    parts = [
        _part_statement(view, selection, segment, cursor, sort, limit, only) for only, sort in split or (("", view.sql(selection.sort)),)
    ]
    if len(parts) == 1:
        return parts[0]
    width = len(selection.columns)
    direction = "DESC" if _is_descending(selection, segment) else "ASC"
    union = " UNION ALL ".join(f"SELECT * FROM ({part.sql})" for part in parts)  # noqa: S608 - statements made here
    sql = f"{union} ORDER BY {width + 1} {direction}, {width + 2} {direction} LIMIT {int(limit)}"
    return Statement(sql, tuple(value for part in parts for value in part.values))


def _part_statement(
    view: View, selection: Selection, segment: Segment, cursor: Cursor | None, sort: str, limit: int, only: str
) -> Statement:
    hash_ = f"{view.base.name}.row_hash"
    where, values = conditions_sql(view, (*selection.always, *selection.where))
    where += [only] if only else []
    where.append(f"{sort} IS {'NOT ' if segment.with_value else ''}NULL")
    descending = _is_descending(selection, segment)
    if cursor is not None:
        more, bound = _beyond(sort, hash_, cursor, descending)
        where.append(more)
        values.extend(bound)
    direction = "DESC" if descending else "ASC"
    order = f"{sort} {direction}, {hash_} {direction}" if segment.with_value else f"{hash_} {direction}"
    used = {*selection.columns, selection.sort, *_columns(selection)}
    columns = ", ".join(view.sql(column) for column in selection.columns)
    sql = f"SELECT {columns}, {sort}, {hash_} FROM {_tables(view, used)} WHERE {' AND '.join(where)} ORDER BY {order} LIMIT {int(limit)}"  # noqa: S608 - declared names
    return Statement(sql, tuple(values))


def _is_descending(selection: Selection, segment: Segment) -> bool:
    return selection.descending != segment.backwards if segment.with_value else segment.backwards


def count_statement(view: View, conditions: tuple[Condition | AnyOf, ...]) -> Statement:
    """How many rows there are for which the conditions hold."""
    where, values = conditions_sql(view, conditions)
    used = {column for condition in conditions for column in _columns_of(condition)}
    return Statement(f"SELECT count(*) FROM {_tables(view, used)} WHERE {' AND '.join(where) or '1'}", tuple(values))  # noqa: S608 - declared names


def group_statement(view: View, column: str, conditions: tuple[Condition | AnyOf, ...], limit: int) -> Statement:
    """The values of a column with how many rows have each, most first."""
    where, values = conditions_sql(view, conditions)
    used = {column, *(name for condition in conditions for name in _columns_of(condition))}
    sql = f"SELECT {view.sql(column)}, count(*) FROM {_tables(view, used)} WHERE {' AND '.join(where) or '1'} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {int(limit)}"  # noqa: S608, E501 - declared names
    return Statement(sql, tuple(values))


def conditions_sql(view: View, conditions: tuple[Condition | AnyOf, ...]) -> tuple[list[str], list[Any]]:
    """SQL terms to be joined by AND, and the values bound in them."""
    terms: list[str] = []
    values: list[Any] = []
    for condition in conditions:
        parts, bound = zip(*(_condition(view, part) for part in _parts(condition)), strict=True)
        terms.append(f"({' OR '.join(parts)})")
        values.extend(value for some in bound for value in some)
    return terms, values


def _parts(condition: Condition | AnyOf) -> tuple[Condition, ...]:
    return condition.conditions if isinstance(condition, AnyOf) else (condition,)


def _condition(view: View, condition: Condition) -> tuple[str, list[Any]]:
    term = OPERATORS[condition.operator].format(view.sql(condition.column))
    if condition.operator in {"unknown", "known"}:
        return term, []
    return term, [_bound(condition)]


def _bound(condition: Condition) -> Any:
    if condition.operator not in {"contains", "lacks", "starts", "like", "not_like"}:
        return condition.value
    text = str(condition.value).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    if condition.operator in {"like", "not_like"}:
        return text.replace("*", "%")
    return f"{text}%" if condition.operator == "starts" else f"%{text}%"


def _beyond(sort: str, hash_: str, cursor: Cursor, descending: bool) -> tuple[str, list[Any]]:
    beyond = "<" if descending else ">"
    if cursor.value is None:
        return f"{hash_} {beyond} ?", [int(cursor.key)]
    return f"{sort} {beyond}= ? AND ({sort} {beyond} ? OR {hash_} {beyond} ?)", [cursor.value, cursor.value, int(cursor.key)]


def _tables(view: View, columns: set[str]) -> str:
    """The base table and those joins that a used column stands in."""
    used = " ".join(view.sql(column) for column in columns)
    tables = [view.base.name]
    for join in view.joins:
        if f"{join.resource.name}." in used:
            tables.append(f"LEFT JOIN {join.resource.name} ON {join.on}")
    return " ".join(tables)


def _columns(selection: Selection) -> list[str]:
    return [name for condition in (*selection.always, *selection.where) for name in _columns_of(condition)]


def _columns_of(condition: Condition | AnyOf) -> list[str]:
    return [part.column for part in _parts(condition)]
