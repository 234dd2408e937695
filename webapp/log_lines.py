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
    at_ms: int | None = None  # when it says it was written
    is_cut: bool = False  # what stands before it in its line was not kept


@dataclass(frozen=True, slots=True)
class NextLine:
    """Where what comes after a window begins: the line that has not ended yet, if the last one has not."""

    offset: int
    number: int | None


@dataclass(frozen=True)
class LogWindow:
    """What is shown of a file."""

    name: str
    size: int
    modified_ms: int
    start: int
    end: int
    lines: list[Line]
    inode: str = ""
    first: int = 0  # what stands before was not kept
    is_kept: bool = False
    next_line: NextLine = NextLine(0, None)

    @property
    def grave(self) -> dict[str, list[int]]:
        """error, warning → offsets of the lines here that are."""
        found: dict[str, list[int]] = {"error": [], "warning": []}
        for line in self.lines:
            if line.level in found:
                found[line.level].append(line.offset)
        return found

    @property
    def has_times(self) -> bool:
        return any(line.at_ms is not None for line in self.lines)

    @property
    def has_earlier(self) -> bool:
        return self.start > self.first

    @property
    def has_later(self) -> bool:
        return self.end < self.size


def window_of(part: LogPart, *, raw: bool, since: int = 0, until: int | None = None) -> LogWindow:
    """What a node answered, drawn; of it what stands from byte `since` to before byte `until`. Raises Unreadable."""
    end = part.end if until is None else min(part.end, until)
    lines = list(_lines(part, raw, since, end))
    return LogWindow(
        part.name, part.size, part.modified_ms, max(part.start, since), end, lines, part.inode, part.first, part.is_kept, _next_line(part)
    )


def _next_line(part: LogPart) -> NextLine:
    counted = None if part.lines_before is None else part.lines_before + sum(ends for _, _, ends in part.pieces)
    if part.pieces and not part.pieces[-1][2]:
        length, starts, _ = part.pieces[-1]
        return NextLine(part.end - length, counted + 1 if counted is not None and starts else None)
    return NextLine(part.end, None if counted is None else counted + 1)


def _lines(part: LogPart, raw: bool, since: int, until: int) -> Iterator[Line]:
    content = part.bytes()
    at, offset, counted = 0, part.start, part.lines_before
    times = iter(part.times)
    for length, starts, ends in part.pieces:
        at_ms = next(times, None)
        first, last = max(0, since - offset), min(length, until - offset)
        if first < length + ends and last >= first and offset + first < until:
            text = content[at + first : at + last]
            number = counted + 1 if counted is not None and starts else None
            is_cut = not starts and 0 < part.first == offset
            goes_on = last < length or (not ends and offset + length < part.size)
            yield Line(offset + first, number, spans(text, raw=raw), level_of(text) if starts else None, goes_on, at_ms, is_cut)
        if counted is not None:
            counted += ends
        at, offset = at + length + ends, offset + length + ends
