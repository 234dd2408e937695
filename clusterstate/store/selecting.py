"""Selections into SQL. Column names come from declared views only; every value is bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clusterstate.query import OPERATORS, AnyOf, Condition, Cursor, Selection, View
from clusterstate.store.derived import beside_texts, counts_table, texts_table
from clusterstate.store.schema import Column, column_of

EQUALITIES = frozenset({"is", "is_not"})
TEXT_OPERATORS = frozenset({"contains", "like", "starts"})
_NO_TEXT = frozenset({"lacks", "not_like"})
_HEX_DIGITS = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class Statement:
    """`resources` are those whose change may change the answer."""

    sql: str
    values: tuple[Any, ...]
    resources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Segment:
    """Rows with a value in the sorted column, or those without: the latter come last in both directions.

    `is_last`: those of them that the view shows after all others.
    """

    with_value: bool
    backwards: bool
    is_last: bool = False


def segments(view: View, selection: Selection) -> list[Segment]:
    """The segments to read, in order, from the cursor on."""
    backwards = selection.before is not None
    cursor = selection.before or selection.after
    groups = (False, True) if _last(view, selection) else (False,)
    order = [Segment(with_value, backwards, is_last) for is_last in groups for with_value in (True, False)]
    if backwards:
        order.reverse()
    if cursor is not None:
        started_in = Segment(cursor.value is not None, backwards, cursor.is_last and len(groups) > 1)
        order = order[order.index(started_in) :]
    return order


def _last(view: View, selection: Selection) -> tuple[str, Any] | None:
    return view.last if view.last is not None and view.last[0] != selection.sort else None


@dataclass(frozen=True)
class Plan:
    """How rows are found, where SQLite cannot know what is quick.

    `few_match`: find what matches first and sort that, rather than go through all rows in order until enough match.
    `by`: of several conditions for which an index finds the rows (`finders`), the one by whose index it is done.
    """

    few_match: bool = False
    by: Condition | AnyOf | None = None


def rows_statement(view: View, selection: Selection, segment: Segment, *, from_cursor: bool, limit: int, plan: Plan = Plan()) -> Statement:
    """Rows of one segment: the selected columns, then the sorted value, the row hash and whether the view shows it last."""
    cursor = (selection.before or selection.after) if from_cursor else None
    split = view.parts.get(selection.sort) if segment.with_value else None
    sorts = split or (("", view.sql(selection.sort)),)
    parts = [_part_statement(view, selection, segment, cursor, sort, limit, only, plan) for only, sort in sorts]
    if len(parts) == 1:
        return parts[0]
    width = len(selection.columns)
    direction = "DESC" if _is_descending(selection, segment) else "ASC"
    union = " UNION ALL ".join(f"SELECT * FROM ({part.sql})" for part in parts)  # noqa: S608 - statements made here
    sql = f"{union} ORDER BY {width + 1} {direction}, {width + 2} {direction} LIMIT {int(limit)}"
    return Statement(sql, tuple(value for part in parts for value in part.values))


def _part_statement(
    view: View, selection: Selection, segment: Segment, cursor: Cursor | None, sort: str, limit: int, only: str, plan: Plan
) -> Statement:
    hash_ = f"{view.base.name}.row_hash"
    where, values = conditions_sql(view, (*selection.always, *selection.where), plan)
    where += [only] if only else []
    if last := _last(view, selection):
        where.append(f"{view.sql(last[0])} IS {'' if segment.is_last else 'NOT '}?")
        values.append(last[1])
    where.append(f"{sort} IS {'NOT ' if segment.with_value else ''}NULL")
    descending = _is_descending(selection, segment)
    if cursor is not None:
        more, bound = _beyond(sort, hash_, cursor, descending)
        where.append(more)
        values.extend(bound)
    direction = "DESC" if descending else "ASC"
    plus = "+" if plan.few_match else ""  # SQLite then takes no index for the order
    order = f"{plus}{sort} {direction}, {plus}{hash_} {direction}" if segment.with_value else f"{plus}{hash_} {direction}"
    used = {*selection.columns, selection.sort, *_columns(selection)}
    columns = ", ".join(selected_sql(view, column) for column in selection.columns)
    selected = f"{columns}, {sort}, {hash_}, {int(segment.is_last)}"
    sql = f"SELECT {selected} FROM {_tables(view, used)} WHERE {' AND '.join(where)} ORDER BY {order} LIMIT {int(limit)}"  # noqa: S608 - declared names
    return Statement(sql, tuple(values))


def _is_descending(selection: Selection, segment: Segment) -> bool:
    return selection.descending != segment.backwards if segment.with_value else segment.backwards


def count_statement(view: View, conditions: tuple[Condition | AnyOf, ...], by: Condition | AnyOf | None = None) -> Statement:
    """How many rows there are for which the conditions hold. `by`: as in a Plan."""
    source = _source(view, conditions, by)
    return Statement(f"SELECT {source.number} FROM {source.tables} WHERE {source.where}", source.values, source.resources)  # noqa: S608 - declared names


def some_statement(view: View, condition: Condition | AnyOf, limit: int) -> Statement:
    """One empty row for each of the first rows for which the condition holds."""
    where, values = conditions_sql(view, (condition,), Plan(few_match=True))
    return Statement(f"SELECT 1 FROM {view.base.name} WHERE {where[0]} LIMIT {int(limit)}", tuple(values), (view.base.name,))  # noqa: S608


def group_statement(
    view: View, column: str, conditions: tuple[Condition | AnyOf, ...], limit: int, by: Condition | AnyOf | None = None
) -> Statement:
    """The values of a column with how many rows have each, most first. `by`: as in a Plan."""
    source = _source(view, conditions, by, column)
    grouped = f"GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {int(limit)}"
    plus = "+" if finders(view, conditions) else ""  # rather by the index of what is given than by that of the column
    sql = f"SELECT {plus}{view.sql(column)}, {source.number} FROM {source.tables} WHERE {source.where} {grouped}"  # noqa: S608 - declared names
    kept = stored_column(view, column)
    if kept is not None and kept.is_interned:
        sql = f"WITH found(value, number) AS ({sql}) SELECT (SELECT word FROM words WHERE n = value), number FROM found"  # noqa: S608
    return Statement(sql, source.values, source.resources)


def can_find_few(view: View, selection: Selection) -> bool:
    """Whether what matches can be found first and sorted: by a word, a text in a column of few values, or a given value."""
    conditions = (*selection.always, *selection.where)
    if any(_is_word(view, condition) for condition in conditions):
        return True
    indexed = view.base.indexed
    return any(not _is_given(one) or f"{columns_of(one)[0]},{selection.sort}" not in indexed for one in finders(view, conditions))


def finders(view: View, conditions: tuple[Condition | AnyOf, ...]) -> list[Condition | AnyOf]:
    """Those of the conditions for which an index finds the rows."""
    leading = _leading(view)
    return [
        condition
        for condition in conditions
        if _is_found_by_index(view, condition)
        or (_is_given(condition) and (name := columns_of(condition)[0]) in leading and name not in view.columns)
    ]


def _leading(view: View) -> set[str]:
    return {listed.split(",")[0] for listed in view.base.indexed}


@dataclass(frozen=True)
class Source:
    """Where rows are counted."""

    number: str
    tables: str
    where: str
    values: tuple[Any, ...]
    resources: tuple[str, ...]


def _source(view: View, conditions: tuple[Condition | AnyOf, ...], by: Condition | AnyOf | None, *columns: str) -> Source:
    """The shortest table that can tell: kept counts, the texts that words are looked for in, or the rows themselves."""
    base = view.base
    words = [condition for condition in conditions if _is_word(view, condition)]
    others = tuple(condition for condition in conditions if not _is_word(view, condition))
    used = {*columns, *(part.column for condition in others for part in _parts(condition) if not _cannot_be(view, part))}
    counts = counts_table(base, used) if used.isdisjoint(view.columns) else None
    if counts is None or (words and not used <= set(beside_texts(base))):
        where, values = conditions_sql(view, conditions, Plan(few_match=True, by=by))
        used |= {name for condition in words for name in columns_of(condition)}
        return Source("count(*)", _tables(view, used), " AND ".join(where) or "1", tuple(values), _resources(view, used))
    where, values = conditions_sql(view, others)
    if not words:
        return Source("coalesce(sum(n), 0)", f"{counts} AS {base.name}", " AND ".join(where) or "1", tuple(values), (base.name,))
    where += [f"instr({base.name}.text, ?) > 0" for _ in words]
    values += [_lower(_parts(condition)[0]) for condition in words]
    return Source("count(*)", f"{texts_table(base)} AS {base.name}", " AND ".join(where), tuple(values), (base.name,))


def conditions_sql(view: View, conditions: tuple[Condition | AnyOf, ...], plan: Plan = Plan()) -> tuple[list[str], list[Any]]:
    """SQL terms to be joined by AND, and the values bound in them."""
    terms: list[str] = []
    values: list[Any] = []
    base = view.base
    found = finders(view, conditions)
    for condition in conditions:
        if plan.few_match and _is_word(view, condition):
            terms.append(f"{base.name}.row_hash IN (SELECT row_hash FROM {texts_table(base)} WHERE instr(text, ?) > 0)")  # noqa: S608 - declared names
            values.append(_lower(_parts(condition)[0]))
            continue
        by_index = condition in found and (plan.by == condition if plan.by else plan.few_match)
        possible = [part for part in _parts(condition) if not _cannot_be(view, part)] or [_parts(condition)[0]]
        parts, bound = zip(*(_condition(view, part, by_index=by_index) for part in possible), strict=True)
        plus = "+" if plan.by and plan.by != condition and condition in found and _is_given(condition) else ""
        terms.append(f"({plus}{' OR '.join(parts)})")
        values.extend(value for some in bound for value in some)
    return terms, values


def _is_word(view: View, condition: Condition | AnyOf) -> bool:
    """Whether this is a word looked for in all searched columns: then it is looked for in their texts."""
    parts = _parts(condition)
    if not view.base.searched or {part.column for part in parts} != set(view.base.searched):
        return False
    value = parts[0].value
    return isinstance(value, str) and "\n" not in value and all(part.operator == "contains" and part.value == value for part in parts)


def _is_given(condition: Condition | AnyOf) -> bool:
    return isinstance(condition, Condition) and condition.operator == "is"


def _is_found_by_index(view: View, condition: Condition | AnyOf) -> bool:
    """Whether this is a text looked for in columns whose different values are few and indexed, or whose text it cannot be."""
    leading = _leading(view)
    return all(
        part.operator in TEXT_OPERATORS and (_cannot_be(view, part) or (part.column in leading and _has_few_values(view, part.column)))
        for part in _parts(condition)
    )


def _has_few_values(view: View, name: str) -> bool:
    column = stored_column(view, name)
    return name not in view.columns and (counts_table(view.base, {name}) is not None or (column is not None and column.is_interned))


def _cannot_be(view: View, condition: Condition) -> bool:
    """Whether this is a text looked for among hex digits that has others."""
    if condition.operator not in TEXT_OPERATORS | _NO_TEXT:
        return False
    column = stored_column(view, condition.column)
    return column is not None and column.is_packed and not _HEX_DIGITS.issuperset(str(condition.value).lower().replace("*", ""))


def _lower(condition: Condition) -> str:
    """As SQLite's lower() and LIKE do it: ASCII letters alone."""
    return str(condition.value).encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")


def _resources(view: View, columns: set[str]) -> tuple[str, ...]:
    used = " ".join(view.sql(column) for column in columns)
    return (view.base.name, *(join.resource.name for join in view.joins if f"{join.resource.name}." in used))


def _parts(condition: Condition | AnyOf) -> tuple[Condition, ...]:
    return condition.conditions if isinstance(condition, AnyOf) else (condition,)


def _condition(view: View, condition: Condition, *, by_index: bool = False) -> tuple[str, list[Any]]:
    column, operator = stored_column(view, condition.column), condition.operator
    if _cannot_be(view, condition):
        return ("0" if operator in TEXT_OPERATORS else "1"), []
    sql = view.sql(condition.column)
    if operator in TEXT_OPERATORS and (by_index or (condition.column not in view.columns and _has_few_values(view, condition.column))):
        term = _among_values(view, condition.column, operator, column)
        return (term if by_index else "+" + term), [_bound(condition)]
    term = _term(sql, operator, column)
    if operator in {"unknown", "known"}:
        return term, []
    value = _bound(condition)
    return term, [column.bind(value) if column is not None and operator in EQUALITIES else value]


def _among_values(view: View, name: str, operator: str, column: Column | None) -> str:
    """A text condition as a list of the values for which it holds: each is looked at once, not in each row."""
    if column is not None and column.is_interned:
        return _term(view.sql(name), operator, column)
    counts = counts_table(view.base, {name})
    return f"{view.sql(name)} IN (SELECT {name} FROM {counts} WHERE {OPERATORS[operator].format(name)})"  # noqa: S608 - declared names


def _term(sql: str, operator: str, column: Column | None) -> str:
    """The condition, with a mark for its value, as the column is kept."""
    if column is None or column.is_plain or not (column.is_packed or column.is_interned) or operator in {"unknown", "known"}:
        return OPERATORS[operator].format(sql)
    if column.is_packed:
        return OPERATORS[operator].format(sql if operator in EQUALITIES else f"hex({sql})")  # LIKE does not mind upper case
    if operator == "is":
        return f"{sql} = (SELECT n FROM words WHERE word = ?)"  # noqa: S608 - declared names
    if operator in {"lacks", "not_like", "is_not"}:
        opposite = {"lacks": "contains", "not_like": "like", "is_not": "is"}[operator]
        return f"({sql} IS NULL OR {sql} NOT IN (SELECT n FROM words WHERE {OPERATORS[opposite].format('word')}))"  # noqa: S608
    return f"{sql} IN (SELECT n FROM words WHERE {OPERATORS[operator].format('word')})"  # noqa: S608 - declared names


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
    return [name for condition in (*selection.always, *selection.where) for name in columns_of(condition)]


def stored_column(view: View, name: str) -> Column | None:
    """The column whose value a name of the view stands for, as the index keeps it; None for computed ones."""
    if name not in view.columns:
        return column_of(view.base, name)
    table, _, field = view.columns[name].partition(".")
    joined = next((join.resource for join in view.joins if join.resource.name == table), None)
    return column_of(joined, field) if joined is not None else None


def selected_sql(view: View, name: str) -> str:
    """The expression whose value `Column.decode` takes."""
    column = stored_column(view, name)
    return view.sql(name) if column is None or not column.is_interned else column.sql(view.sql(name).partition(".")[0])


def columns_of(condition: Condition | AnyOf) -> list[str]:
    """The columns that a condition is about."""
    return [part.column for part in _parts(condition)]
