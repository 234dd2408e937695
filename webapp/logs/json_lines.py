"""A line of a log that is a JSON object, as its time, level and message with the rest beside: Ray's own format and common others. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from webapp.logs.text import Span, spans

MOST_BYTES = 16 * 1024
"""Longer lines are shown as they are."""
MOST_FIELDS = 60
MOST_VALUE = 4_000
MOST_LINES = 200
TIMES = ("asctime", "timestamp", "time", "ts", "@timestamp")
LEVELS = ("levelname", "level", "severity")
MESSAGES = ("message", "msg", "event")


@dataclass(frozen=True, slots=True)
class Structured:
    """What stands in such a line. Texts may have several lines."""

    time: str | None
    level: str | None
    message: list[Span]
    fields: tuple[tuple[str, list[Span]], ...]  # the rest, in the line's order
    hidden: int  # fields that are not shown


def structured(line: bytes) -> Structured | None:
    """None where the line is no JSON object, or one without a message."""
    if len(line) > MOST_BYTES or line[:1] != b"{" or line.rstrip()[-1:] != b"}":
        return None
    try:
        told = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    message = _first(told, MESSAGES)
    if message is None:
        return None
    shown = {key: told[key] for key in (_first(told, TIMES), _first(told, LEVELS)) if key is not None}
    time, level = _first(shown, TIMES), _first(shown, LEVELS)
    rest = [(key, value) for key, value in told.items() if key not in {time, level, message}]
    return Structured(
        time=str(shown[time])[:40] if time else None,
        level=str(shown[level])[:16] if level else None,
        message=_lines(told[message]),
        fields=tuple((key[:100], _lines(_as_text(value))) for key, value in rest[:MOST_FIELDS]),
        hidden=max(0, len(rest) - MOST_FIELDS),
    )


def _first(told: dict[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if isinstance(told.get(name), str) and told[name]), None)


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _lines(text: str) -> list[Span]:
    return list(_joined(text))


def _joined(text: str) -> Iterator[Span]:
    lines = text[:MOST_VALUE].rstrip("\n").split("\n")
    for number, line in enumerate(lines[:MOST_LINES]):
        if number:
            yield Span("\n")
        yield from spans(line.encode("utf-8", "replace"))
    if len(text) > MOST_VALUE or len(lines) > MOST_LINES:
        yield Span("…", (), True)
