"""What people type for a value, as conditions. Each kind of filter reads its own way."""

from __future__ import annotations

import math
import re
from datetime import datetime, timezone

from clusterstate.query import BadQuery, Condition
from webapp.tables.column import Column

COMPARED = re.compile(r"(<=|>=|<|>|=|)\s*(.+)\Z", re.DOTALL)
OPERATORS = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "=": "is", "": "is"}
NUMBER = re.compile(r"([+-]?\d+(?:\.\d+)?)\s*([A-Za-z%]*)\Z")
BYTES = {"": 1, "b": 1, "k": 1e3, "kb": 1e3, "m": 1e6, "mb": 1e6, "g": 1e9, "gb": 1e9, "t": 1e12, "tb": 1e12}
BYTES |= {"ki": 2**10, "kib": 2**10, "mi": 2**20, "mib": 2**20, "gi": 2**30, "gib": 2**30, "ti": 2**40, "tib": 2**40}
DURATIONS = {"": 1, "ms": 1, "s": 1e3, "m": 60e3, "min": 60e3, "h": 3600e3, "d": 86400e3}
UNITS: dict[str, dict[str, float]] = {"number": {"": 1, "%": 1}, "bytes": dict(BYTES), "duration": dict(DURATIONS)}
TRUE_WORDS, FALSE_WORDS = ("1", "true", "yes"), ("0", "false", "no")
LONGEST_PATTERN, MOST_STARS = 256, 8
UNKNOWN_STATE = re.compile(r"UNKNOWN\(-?\d+\)\Z")


def condition(column: Column, text: str, *, exactly: bool = False) -> Condition:
    """The condition that a filter's text stands for. `exactly`: text must be equal, not contained. Raises BadQuery."""
    if text == "*":
        return Condition(column.key, "known")
    reader = READERS[column.filter or "text"]
    return reader(column, text, exactly)


def negated(column: Column, text: str, *, exactly: bool = False) -> Condition:
    """The condition that a filter's text does not hold."""
    found = condition(column, text, exactly=exactly)
    opposite = {
        "is": "is_not",
        "contains": "lacks",
        "known": "unknown",
        "lt": "ge",
        "ge": "lt",
        "gt": "le",
        "le": "gt",
        "like": "not_like",
        "starts": "not_like",
    }
    operator = opposite[found.operator]
    value = f"{found.value}*" if found.operator == "starts" else found.value
    return Condition(found.column, operator, value)


def check_pattern(text: str) -> str:
    """A text to look for. Long ones and many stars would keep the index busy far beyond its deadline. Raises BadQuery."""
    if len(text) > LONGEST_PATTERN or text.count("*") > MOST_STARS:
        raise BadQuery(f"A text to look for may have {LONGEST_PATTERN} characters and {MOST_STARS} stars at most.")
    return text


def _text(column: Column, text: str, exactly: bool) -> Condition:
    if exactly or text.startswith("="):
        return Condition(column.key, "is", text if exactly else text[1:])
    check_pattern(text)
    return Condition(column.key, "like" if "*" in text else "contains", text)


def _id(column: Column, text: str, exactly: bool) -> Condition:
    """Whole ids are compared, beginnings found with a star at the end."""
    if text.endswith("*") and not exactly:
        return Condition(column.key, "starts", text.rstrip("*"))
    return Condition(column.key, "is", text)


def _choice(column: Column, text: str, exactly: bool) -> Condition:
    word = text.strip().upper() if column.choices else text
    if column.choices and word not in column.choices and not UNKNOWN_STATE.match(word):
        raise BadQuery(f"{column.key} is {text[:64]!r}; it must be one of {', '.join(column.choices)}.")
    return Condition(column.key, "is", word)


def _bool(column: Column, text: str, exactly: bool) -> Condition:
    word = text.strip().lower()
    if word not in TRUE_WORDS + FALSE_WORDS:
        raise BadQuery(f"{column.key} is {text[:64]!r}; it must be true or false.")
    return Condition(column.key, "is", int(word in TRUE_WORDS))


def _number(column: Column, text: str, exactly: bool) -> Condition:
    units = UNITS[column.filter or "number"]
    compared = COMPARED.match(text.strip())
    number = NUMBER.match(compared.group(2).strip()) if compared else None
    if compared is None or number is None or number.group(2).lower() not in units:
        named = ", ".join(unit for unit in units if unit)
        raise BadQuery(
            f"{column.key} is {text[:64]!r}; it must be a number, with <, <=, > or >= in front if wanted, and a unit of: {named}."
        )
    value = float(number.group(1)) * units[number.group(2).lower()]
    if not math.isfinite(value) or abs(value) > 2**62:
        raise BadQuery(f"{column.key} is {text[:64]!r}; that number is too large.")
    return Condition(column.key, OPERATORS[compared.group(1)], int(value) if value.is_integer() else value)


def _time(column: Column, text: str, exactly: bool) -> Condition:
    compared = COMPARED.match(text.strip())
    moment = _moment(compared.group(2).strip()) if compared else None
    if compared is None or moment is None:
        raise BadQuery(
            f"{column.key} is {text[:64]!r}; it must be a time such as 2026-01-31T12:00 (UTC unless it says otherwise) or Unix "
            "milliseconds, with <, <=, > or >= in front if wanted."
        )
    return Condition(column.key, OPERATORS[compared.group(1)], moment)


def _moment(text: str) -> int | None:
    """Unix milliseconds."""
    if text.isascii() and text.isdigit() and len(text) <= 15:
        return int(text)
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        return int((moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


READERS = {
    "text": _text,
    "id": _id,
    "choice": _choice,
    "bool": _bool,
    "number": _number,
    "bytes": _number,
    "duration": _number,
    "time": _time,
}
