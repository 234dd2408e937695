"""Errors in log files: tracebacks and lines that say ERROR, with a fingerprint that the same error has each time. Pure.

A file comes in pieces; what is not decided at the end of one (a line, a traceback) is carried to the next, and is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from clusterstate.log_error_lines import HEAD_BYTES, in_json, message_of, says_error
from clusterstate.log_error_prints import of_line, of_traceback
from clusterstate.log_tracebacks import (
    COPY,
    CRASH,
    FATAL,
    MOST_MESSAGE,
    MOST_PREFIX,
    Line,
    Lines,
    NeedsMore,
    block_at,
    text_of,
    without_colours,
)

TRACEBACK, LINE = "traceback", "line"
KINDS = (TRACEBACK, LINE)

MOST_LINE = 16 << 10
"""Bytes of a line that are looked at; a longer one is an error by itself, whatever follows."""
SAMPLE_BYTES = 8 << 10
MOST_AT_ONCE = 1_000
"""Errors of one piece: of a file with more the rest of the piece is passed over, and it is said."""

_SIGNS = (
    b"Traceback (most recent call last)", b"ERROR", b"CRITICAL", b"FATAL", b"Fatal Python error: ", b"*** SIG",
    b" E ", b" F ", b" C ", b"\nE", b"\nF",
)  # fmt: skip
"""One of these is in the first line of every error: they are found far faster than what makes it one."""


@dataclass(frozen=True, slots=True)
class Tail:
    """What of a file is not decided yet: its bytes from `start` on."""

    start: int = 0
    content: bytes = b""
    is_late: bool = False  # `start` is within a line whose beginning was decided
    is_pending: bool = False  # an error is in it, of which more may come
    is_cut: bool = False  # there were more errors before it than are looked at

    @property
    def end(self) -> int:
        return self.start + len(self.content)


@dataclass(frozen=True, slots=True)
class FoundError:
    """An error as it stands in a file."""

    kind: str
    offset: int  # of the first byte of its first line
    first_line: bytes  # the beginning of it
    exception: str  # class, without its module's folders; "" of a line
    message: str
    fingerprint: str
    content: bytes  # as it stands there, bounded
    is_copy: bool  # Ray printed it again at the driver: it stands in the file of who wrote it

    @property
    def sample(self) -> str:
        """As text, its middle left out where it is long."""
        content = without_colours(self.content)
        if len(content) > SAMPLE_BYTES:
            content = content[: SAMPLE_BYTES // 4] + b"\n...\n" + content[-SAMPLE_BYTES * 3 // 4 + 5 :]
        return content.decode("utf-8", "replace").rstrip()


def find(tail: Tail, content: bytes, *, is_end: bool = False) -> tuple[list[FoundError], Tail]:
    """The errors that are decided once `content` has come behind `tail`; with `is_end` nothing is waited for."""
    data, base = tail.content + content, tail.start
    at = 0
    if tail.is_late:
        at = data.find(b"\n") + 1
        if not at:
            return [], Tail(base + len(data), is_late=True)
    found: list[FoundError] = []
    signs = _Signs(data, at)
    while (sign := signs.first_from(at)) is not None:
        line_start = max(at, data.rfind(b"\n", at, sign) + 1)
        if sign - line_start > MOST_LINE:
            at = _line_end(data, sign)
            if not at:
                return found, Tail(base + len(data), is_late=True)
            continue
        try:
            one, at = _error_at(data, line_start, is_end)
        except NeedsMore:
            return found, Tail(base + line_start, data[line_start:], is_pending=True)
        if one is not None:
            found.append(replace(one, offset=base + one.offset))
        if at > len(data) or (at == len(data) and not data.endswith(b"\n")):
            return found, Tail(base + len(data), is_late=True)
        if len(found) >= MOST_AT_ONCE:
            return found, replace(_rest(data, at, base, is_end), is_cut=True)
    return found, _rest(data, at, base, is_end)


def _rest(data: bytes, at: int, base: int, is_end: bool) -> Tail:
    line_start = max(at, data.rfind(b"\n") + 1)
    left = len(data) - line_start
    if is_end or left > MOST_LINE + MOST_PREFIX:
        return Tail(base + len(data), is_late=left > 0)
    return Tail(base + line_start, data[line_start:])


class _Signs:
    """Where signs of errors stand; each is looked for once, however many lines are looked at."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._next = [self._find(sign, at) for sign in _SIGNS]

    def first_from(self, at: int) -> int | None:
        """The first sign that stands there or behind; None if there is none."""
        for number, sign in enumerate(_SIGNS):
            if 0 <= self._next[number] < at:
                self._next[number] = self._find(sign, at)
        return min((place for place in self._next if place >= 0), default=None)

    def _find(self, sign: bytes, at: int) -> int:
        if not sign.startswith(b"\n"):
            return self._data.find(sign, at)
        if at == 0 and self._data.startswith(sign[1:]):
            return 0
        return self._data.find(sign, max(0, at - 1)) + 1 or -1


def _error_at(data: bytes, start: int, is_end: bool) -> tuple[FoundError | None, int]:
    """The error whose first line begins at `start`, if one does, and where to look on. Raises NeedsMore."""
    lines = Lines(data, start, is_end)
    first = lines.next()
    if first.end - first.start > MOST_LINE or not first.is_whole:
        if first.end - first.start <= MOST_LINE and not lines.is_final:
            raise NeedsMore
        line_end = _line_end(data, start)
        return _long_line(first, start), line_end or len(data) + 1
    copy = COPY.match(first.text)
    text = first.text[copy.end() :] if copy else first.text
    block = block_at(first, text, lines)
    if block is None or not (block[0].frames or block[0].causes or text.startswith(FATAL) or CRASH.search(text[:HEAD_BYTES])):
        one = _line_error(first, text, start, copy is not None) if says_error(text) else None
        return one, start + first.end
    error, end = block
    made = FoundError(
        kind=TRACEBACK,
        offset=start,
        first_line=first.text[:HEAD_BYTES],
        exception=error.exception,
        message=error.message if error.exception else f"A traceback that breaks off in {error.frames[-1][1] or 'a file'}",
        fingerprint=of_traceback(error),
        content=data[start : start + end],
        is_copy=copy is not None,
    )
    return made, start + end


def _line_error(line: Line, text: bytes, start: int, is_copy: bool) -> FoundError:
    kind, exception, message, fingerprint = LINE, "", text_of(message_of(text)), ""
    said = in_json(text)
    if said is not None:
        trace, said_message = said
        message = text_of(said_message)
        fingerprint = of_line(message)
        lines = Lines(trace + b"\n", 0, True)
        first = lines.next()
        block = block_at(first, first.text, lines)
        if block is not None:
            kind, exception, message, fingerprint = TRACEBACK, block[0].exception, block[0].message, of_traceback(block[0])
    fingerprint = fingerprint or of_line(text[: MOST_MESSAGE * 4].decode("utf-8", "replace"))
    return FoundError(kind, start, line.text[:4096], exception, message, fingerprint, line.text, is_copy)


def _long_line(first: Line, start: int) -> FoundError | None:
    text = first.text[:MOST_LINE]
    copy = COPY.match(text)
    text = text[copy.end() :] if copy else text
    if not says_error(text):
        return None
    return _line_error(Line(first.start, first.end, first.text[:SAMPLE_BYTES], True), text[:SAMPLE_BYTES], start, copy is not None)


def _line_end(data: bytes, start: int) -> int:
    """Behind the newline; 0 where none has come."""
    return data.find(b"\n", start) + 1
