"""The query box: words and terms such as `class:Trainer state=ALIVE -name:tmp* memory>1GiB "two words"`.

term   = ["-"] column (":" | "=" | "!=" | "<" | "<=" | ">" | ">=") value | ["-"] word
value  = text without blanks, or "quoted text"; * stands for any text; column:* for any value at all
A bare word is looked for in every searched column. All terms must hold.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from clusterstate.query import AnyOf, BadQuery, Condition
from webapp.tables import values
from webapp.tables.column import Column

TERM = re.compile(
    r"""(?P<not>-)?
    (?:(?P<column>metadata\.[A-Za-z0-9_.-]+|[A-Za-z_][A-Za-z0-9_]*)(?P<operator>!=|<=|>=|[:=<>]))?
    (?:"(?P<quoted>[^"]*)"|(?P<plain>[^\s"]*))""",
    re.VERBOSE,
)
MOST_TERMS = 20


def conditions(label: str, columns: Sequence[Column], text: str) -> list[Condition | AnyOf]:
    """What must hold of a row of the table called `label` for each term. Raises BadQuery that shows the term and what is allowed."""
    found: list[Condition | AnyOf] = []
    for number, term in enumerate(_terms(text)):
        if number >= MOST_TERMS:
            raise BadQuery(f"The query has too many terms; at most {MOST_TERMS} are allowed.")
        found += _term(label, columns, term)
    return found


def _terms(text: str) -> list[re.Match[str]]:
    terms = []
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        term = TERM.match(text, position)
        if term is None or term.end() == position:
            raise BadQuery(f"The query cannot be read from {text[position : position + 32]!r} on: a quote is not closed.")
        terms.append(term)
        position = term.end()
    return terms


def _term(label: str, columns: Sequence[Column], term: re.Match[str]) -> list[Condition | AnyOf]:
    value = term["quoted"] if term["quoted"] is not None else term["plain"]
    if term["column"] is None:
        return _word(columns, value, negative=bool(term["not"])) if value else []
    column = _filtered(label, columns, term["column"])
    if value == "":
        raise BadQuery(f"{term.group()!r} has no value; write {column.key}:* for rows that have any.")
    operator = term["operator"]
    negative = bool(term["not"]) != (operator == "!=")
    text = operator + value if operator[0] in "<>" else value
    make = values.negated if negative else values.condition
    return [make(column, text, exactly=operator in {"=", "!="} or (term["quoted"] is not None and column.filter == "choice"))]


def _word(columns: Sequence[Column], word: str, *, negative: bool) -> list[Condition | AnyOf]:
    values.check_pattern(word)
    searched = [column for column in columns if column.searched]
    operator = "like" if "*" in word else "contains"
    text = f"*{word}*" if "*" in word else word
    if negative:
        return [Condition(column.key, {"contains": "lacks", "like": "not_like"}[operator], text) for column in searched]
    return [AnyOf(tuple(Condition(column.key, operator, text) for column in searched))]


def _filtered(label: str, columns: Sequence[Column], name: str) -> Column:
    allowed = [column for column in columns if column.filter]
    for column in allowed:
        if name == column.key or name in column.alias:
            return column
    named = ", ".join(column.alias[0] if column.alias else column.key for column in allowed)
    raise BadQuery(f"The query names a column {name[:64]!r} that {label} cannot be filtered by. Allowed are: {named}.")
