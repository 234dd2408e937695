"""The lines of a window that a node answered, as a page draws them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from clusterstate.log_answers import Finding, LogPart, Unreadable
from clusterstate.log_levels import level_of
from webapp.logs.json_lines import Structured, structured
from webapp.logs.text import Span, spans


@dataclass(frozen=True, slots=True)
class Line:
    """A line, or a piece of a long one."""

    offset: int  # of its first byte in the file
    number: int | None  # from 1; None: not counted, or the line began before this piece
    spans: list[Span]
    level: str | None
    is_continued: bool  # it goes on in the next piece
    at_ms: int | None = None  # when it says it was written
    told: Structured | None = None  # what it says, where it is a JSON object; the spans are it as it stands
    is_here: bool = False  # one came to it
    is_beside: bool = False  # it stands beside lines that match, where only those are shown
    is_apart: bool = False  # it does not follow the one before it
    is_cut: bool = False  # what stands before it in its line was not kept

    @property
    def look(self) -> str:
        """Names of classes."""
        named = {self.level: self.level, "here": self.is_here, "beside": self.is_beside, "gap": self.is_apart}
        return " ".join(name for name, is_so in named.items() if name and is_so)


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
    return _window(part, max(part.start, since), end, list(_lines(part, raw, since, end)))


def found_window(finding: Finding, *, raw: bool, only: bool, level: str | None) -> LogWindow:
    """Lines around one that matches, or those that match alone. Raises Unreadable."""
    marks = iter(finding.marks)
    mark = next(marks, None)
    lines: list[Line] = []
    for number, part in enumerate(finding.parts):
        for at, (line, text) in enumerate(_texts(part, 0, part.end)):
            found: list[tuple[int, int]] = []
            while mark is not None and mark[0] < line.offset + len(text):
                if mark[0] >= line.offset:
                    found.append((mark[0] - line.offset, mark[0] - line.offset + max(0, mark[1])))
                mark = next(marks, None)
            is_one = bool(found) or (level is not None and line.level == level)
            lines.append(
                replace(
                    drawn(line, text, raw=raw, found=found),
                    is_here=line.offset == finding.current,
                    is_beside=only and not is_one,
                    is_apart=number > 0 and at == 0,
                )
            )
    if not finding.parts:
        raise Unreadable("The answer has no lines.")
    return _window(finding.parts[-1], finding.parts[0].start, finding.parts[-1].end, lines)


def drawn(line: Line, text: bytes, *, raw: bool, found: Sequence[tuple[int, int]] = ()) -> Line:
    """A line with its text. What was found in a JSON object is shown where it stands."""
    told = None if raw or found or line.is_continued else structured(text)
    return replace(line, spans=spans(text, raw=raw, found=found), told=told)


def _window(part: LogPart, start: int, end: int, lines: list[Line]) -> LogWindow:
    return LogWindow(
        name=part.name,
        size=part.size,
        modified_ms=part.modified_ms,
        start=start,
        end=end,
        lines=lines,
        inode=part.inode,
        first=part.first,
        is_kept=part.is_kept,
        next_line=_next_line(part),
    )


def _next_line(part: LogPart) -> NextLine:
    counted = None if part.lines_before is None else part.lines_before + sum(ends for _, _, ends in part.pieces)
    if part.pieces and not part.pieces[-1][2]:
        length, starts, _ = part.pieces[-1]
        return NextLine(part.end - length, counted + 1 if counted is not None and starts else None)
    return NextLine(part.end, None if counted is None else counted + 1)


def _lines(part: LogPart, raw: bool, since: int, until: int) -> Iterator[Line]:
    for line, text in _texts(part, since, until):
        yield drawn(line, text, raw=raw)


def _texts(part: LogPart, since: int, until: int) -> Iterator[tuple[Line, bytes]]:
    """Lines that are not drawn yet, and their bytes."""
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
            yield Line(offset + first, number, [], level_of(text) if starts else None, goes_on, at_ms, is_cut=is_cut), text
        if counted is not None:
            counted += ends
        at, offset = at + length + ends, offset + length + ends
