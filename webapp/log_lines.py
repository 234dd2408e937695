"""The lines of a window that a node answered, as a page draws them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from clusterstate.log_answers import LogPart
from webapp.log_levels import level_of
from webapp.log_text import Span, spans


@dataclass(frozen=True, slots=True)
class Line:
    """A line, or a piece of a long one."""

    offset: int  # of its first byte in the file
    number: int | None  # from 1; None: not counted, or the line began before this piece
    spans: list[Span]
    level: str | None
    is_continued: bool  # it goes on in the next piece


@dataclass(frozen=True)
class LogWindow:
    """What is shown of a file."""

    name: str
    size: int
    modified_ms: int
    start: int
    end: int
    lines: list[Line]

    @property
    def has_earlier(self) -> bool:
        return self.start > 0

    @property
    def has_later(self) -> bool:
        return self.end < self.size


def window_of(part: LogPart, *, raw: bool) -> LogWindow:
    """What a node answered, drawn. Raises Unreadable."""
    return LogWindow(part.name, part.size, part.modified_ms, part.start, part.end, list(_lines(part, raw)))


def _lines(part: LogPart, raw: bool) -> Iterator[Line]:
    content = part.bytes()
    at, offset, counted = 0, part.start, part.lines_before
    for length, starts, ends in part.pieces:
        text = content[at : at + length]
        number = counted + 1 if counted is not None and starts else None
        yield Line(offset, number, spans(text, raw=raw), level_of(text) if starts else None, not ends and offset + length < part.size)
        if counted is not None:
            counted += ends
        at, offset = at + length + ends, offset + length + ends
