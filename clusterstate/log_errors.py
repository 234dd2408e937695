"""Errors in log files: tracebacks and lines that say ERROR, with a fingerprint that the same error has each time. Pure.

A file comes in pieces; what is not decided at the end of one (a line, a traceback) is carried to the next, and is bounded.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace

from clusterstate import log_times
from clusterstate.log_error_prints import Traceback, of_line, of_traceback

TRACEBACK, LINE = "traceback", "line"
KINDS = (TRACEBACK, LINE)

MOST_LINE = 16 << 10
"""Bytes of a line that are looked at; a longer one is an error by itself, whatever follows."""
MOST_BLOCK = 64 << 10
MOST_LINES = 1_000
MOST_PREFIX = 100
HEAD_BYTES = 160
SAMPLE_BYTES = 8 << 10
MOST_MESSAGE = 400
MOST_AT_ONCE = 1_000
"""Errors of one piece: of a file with more the rest of the piece is passed over, and it is said."""

_SIGNS = (b"Traceback (most recent call last)", b"ERROR", b"CRITICAL", b"FATAL", b"Fatal Python error: ", b" E ", b" F ", b"\nE", b"\nF")
"""One of these is in the first line of every error: they are found far faster than what makes it one."""
_COLOURS = re.compile(rb"\x1b\[[0-9;:]{0,32}[A-Za-z]")
_COPY = re.compile(rb"\((?:[^()\n]{0,100}\bpid=\d{1,10}|raylet|gcs_server)[^()\n]{0,60}\) ?")
_CORE = re.compile(rb"\[\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[,.]\d+ [EF] ")
_GLOG = re.compile(rb"[EF]\d{4} \d\d:\d\d:\d\d")
_LEVEL = re.compile(
    rb"(?:^|(?<=[\s\[(<|\"':=]))(?P<level>FATAL|CRITICAL|SEVERE|ERROR|WARNING|WARN|NOTICE|INFO|DEBUG|TRACE)(?=$|[\s\])>|\"':,;-])"
)
_GRAVE = frozenset({b"FATAL", b"CRITICAL", b"ERROR"})
_JSON_LEVEL = re.compile(rb'"(?:level|levelname|severity)":\s{0,2}"$')
_BEFORE, _AFTER = (b"-", b"|", b":", b"]", b")", b">", b"="), (b"-", b"|", b":", b"]", b")")
_HEADER = re.compile(rb"(?:Exception Group )?Traceback \(most recent call last\)")
_FRAME = re.compile(rb'\s+File "(?P<file>[^"\n]{0,4096})", line \d{1,9}(?:,? in (?P<function>[^\n]{1,400}))?')
_EXCEPTION = re.compile(rb"(?P<type>[A-Za-z_][\w.<>]{0,200}(?:\([\w.]{1,200}\))?)(?:: ?(?P<message>.*))?$", re.DOTALL)
_CHAINED = (b"During handling of the above exception,", b"The above exception was the direct cause")
_MARGIN = re.compile(rb"\s*[|+]")
_FATAL = b"Fatal Python error: "
_INNER = re.compile(rb"ray::[^\n]")


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
        content = _plain(self.content)
        if len(content) > SAMPLE_BYTES:
            content = content[: SAMPLE_BYTES // 4] + b"\n...\n" + content[-SAMPLE_BYTES * 3 // 4 + 5 :]
        return content.decode("utf-8", "replace").rstrip()


@dataclass(frozen=True, slots=True)
class _Line:
    start: int
    end: int  # behind its newline
    text: bytes  # without colours and newline
    is_whole: bool


class _NeedsMore(Exception):
    """What follows decides."""


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
        except _NeedsMore:
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
    """The error whose first line begins at `start`, if one does, and where to look on. Raises _NeedsMore."""
    lines = _Lines(data, start, is_end)
    first = lines.next()
    if first.end - first.start > MOST_LINE or not first.is_whole:
        if first.end - first.start <= MOST_LINE and not lines.is_final:
            raise _NeedsMore
        line_end = _line_end(data, start)
        return _long_line(first, start), line_end or len(data) + 1
    copy = _COPY.match(first.text)
    text = first.text[copy.end() :] if copy else first.text
    block = _block_at(first, text, lines)
    if block is None or not (block[0].frames or block[0].causes or text.startswith(_FATAL)):
        one = _line_error(first, text, start, copy is not None) if _says_error(text) else None
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


def _block_at(first: _Line, text: bytes, lines: _Lines) -> tuple[Traceback, int] | None:
    """A traceback that begins with this line, or with the one after a line that says ERROR, and its end."""
    if text.startswith(_FATAL):
        return _fatal(text, lines, first.end)
    if text.startswith(b"{"):
        return None
    if (found := _HEADER.search(first.text[: MOST_PREFIX * 3])) is not None:
        return _traceback(lines, found, first.end)
    if not _says_error(text) or (following := lines.peek()) is None:
        return None
    if (found := _HEADER.search(following.text[: MOST_PREFIX * 3])) is not None:
        lines.skip(1)
        return _traceback(lines, found, following.end)
    prefix = first.text[: len(first.text) - len(text)]
    if _INNER.search(text) and _FRAME.match(_without(following.text, prefix)):
        return _chain(lines, prefix, first.end)
    return None


def _traceback(lines: _Lines, header: re.Match[bytes], end: int) -> tuple[Traceback, int]:
    """What follows a header: lines that have the same before them."""
    prefix = header.string[: header.start()] if header.start() <= MOST_PREFIX else b""
    if header[0].startswith(b"Exception Group"):
        return _group(lines, prefix, end)
    return _chain(lines, prefix, end)


def _chain(lines: _Lines, prefix: bytes, end: int) -> tuple[Traceback, int]:
    """A traceback, and those that were raised after it: the last is what it is called by."""
    causes: list[str] = []
    while True:
        frames, exception, message, end = _one(lines, prefix, end)
        while ("RayTaskError" in exception or _INNER.match(message)) and _goes_in(lines, prefix):
            inner_frames, inner, inner_message, end = _one(lines, prefix, end)
            frames += inner_frames
            causes += [inner] if inner else []
            message = inner_message
            if not inner:
                break
        end = _continued(lines, prefix, end)
        chained = _chained(lines, prefix) if exception else None
        if chained is None:
            return Traceback(exception, _text(message), tuple(frames), tuple(causes)), end
        causes.append(exception)
        end = chained


def _goes_in(lines: _Lines, prefix: bytes) -> bool:
    """Whether what a task raised follows: Ray leaves its own frames out, and at times every one."""
    line = lines.peek()
    return line is not None and _without(line.text, prefix)[:1] == b" "


def _one(lines: _Lines, prefix: bytes, end: int) -> tuple[list[tuple[str, str]], str, bytes, int]:
    """Frames, the exception's class and message, and where that ends; no class where it breaks off."""
    frames: list[tuple[str, str]] = []
    while (line := lines.peek()) is not None:
        text = _without(line.text, prefix)
        if text[:1] in (b" ", b"\t"):
            if frame := _FRAME.match(text):
                frames.append((_text(frame["file"]), _text(frame["function"] or b"")))
        elif found := _EXCEPTION.match(text):
            lines.skip(1)
            return frames, _text(found["type"]), found["message"] or b"", line.end
        else:
            break
        lines.skip(1)
        end = line.end
    return frames, "", b"", end


def _continued(lines: _Lines, prefix: bytes, end: int) -> int:
    """Behind the further lines of a message, which are known by standing further in."""
    while (line := lines.peek()) is not None:
        text = _without(line.text, prefix)
        if text[:1] not in (b" ", b"\t") or not text.strip() or _HEADER.search(text[:MOST_PREFIX]):
            break
        lines.skip(1)
        end = line.end
    return end


def _chained(lines: _Lines, prefix: bytes) -> int | None:
    """Behind the header of the traceback that follows as caused by, or beside, the one before; None where none does."""
    end = None
    for step in range(4):
        line = lines.peek(step)
        if line is None:
            return None
        text = _without(line.text, prefix).strip()
        if step == 3:
            is_next = text.startswith((b"Traceback (most recent call last)", b"ray::"))
        else:
            is_next = text.startswith(_CHAINED) if step == 1 else not text
        if not is_next:
            return None
        end = line.end
    lines.skip(4)
    return end


def _group(lines: _Lines, prefix: bytes, end: int) -> tuple[Traceback, int]:
    """An ExceptionGroup: its own frames, and the classes of those within as causes."""
    copied = _COPY.match(prefix)
    lead = copied[0] if copied else b""
    margin = len(prefix[len(lead) :]) - len(prefix[len(lead) :].lstrip())
    frames: list[tuple[str, str]] = []
    exception, message = "", b""
    within: set[str] = set()
    while (line := lines.peek()) is not None and (edge := _MARGIN.match(_without(line.text, lead))) is not None:
        lines.skip(1)
        end = line.end
        text = _without(line.text, lead)[edge.end() :].removeprefix(b" ")
        is_own = edge.end() - 1 <= margin and not exception
        if is_own and (frame := _FRAME.match(text)):
            frames.append((_text(frame["file"]), _text(frame["function"] or b"")))
        elif text[:1] not in (b" ", b"\t", b"-", b"+") and (found := _EXCEPTION.match(text)):
            if is_own:
                exception, message = _text(found["type"]), found["message"] or b""
            elif exception:
                within.add(_text(found["type"]))
    return Traceback(exception, _text(message), tuple(frames), tuple(sorted(within))), end


def _fatal(text: bytes, lines: _Lines, end: int) -> tuple[Traceback, int]:
    """The interpreter's last words: the frames of the first thread it names, innermost first."""
    frames: list[tuple[str, str]] = []
    while (line := lines.peek()) is not None:
        frame = _FRAME.match(line.text)
        if frame:
            frames.append((_text(frame["file"]), _text(frame["function"] or b"")))
        elif frames or lines.taken > 6 or _HEADER.search(line.text) or _says_error(line.text):
            break
        lines.skip(1)
        end = line.end
    return Traceback("Fatal Python error", _text(text[len(_FATAL) :]), tuple(reversed(frames)), ()), end


def _line_error(line: _Line, text: bytes, start: int, is_copy: bool) -> FoundError:
    kind, exception, message, fingerprint = LINE, "", _text(_message(text)), ""
    said = _in_json(text)
    if said is not None:
        trace, said_message = said
        message = _text(said_message)
        fingerprint = of_line(message)
        lines = _Lines(trace + b"\n", 0, True)
        first = lines.next()
        block = _block_at(first, first.text, lines)
        if block is not None:
            kind, exception, message, fingerprint = TRACEBACK, block[0].exception, block[0].message, of_traceback(block[0])
    fingerprint = fingerprint or of_line(text[: MOST_MESSAGE * 4].decode("utf-8", "replace"))
    return FoundError(kind, start, line.text[:4096], exception, message, fingerprint, line.text, is_copy)


def _long_line(first: _Line, start: int) -> FoundError | None:
    text = first.text[:MOST_LINE]
    copy = _COPY.match(text)
    text = text[copy.end() :] if copy else text
    if not _says_error(text):
        return None
    return _line_error(_Line(first.start, first.end, first.text[:SAMPLE_BYTES], True), text[:SAMPLE_BYTES], start, copy is not None)


def _says_error(text: bytes) -> bool:
    """Whether a line calls itself an error, in the forms of Ray, Python's logging and common libraries."""
    if _CORE.match(text) or _GLOG.match(text):
        return True
    head = text[:HEAD_BYTES]
    found = _LEVEL.search(head)
    if found is None or found["level"] not in _GRAVE:
        return False
    before, after = head[: found.start("level")].rstrip(), head[found.end("level") :].lstrip()
    if before in (b"", b"[", b"<", b"("):
        return True
    if log_times.ISO.match(text) or (text.startswith(b"{") and _JSON_LEVEL.search(before)):
        return True
    return before.endswith(_BEFORE) and after.startswith(_AFTER)


def _message(text: bytes) -> bytes:
    """What a line says, without time, level and where in the program."""
    head = text[:HEAD_BYTES]
    if found := _CORE.match(text):
        return text[text.find(b"]", found.end()) + 1 :].strip() or text
    if _GLOG.match(text):
        return text.partition(b"]")[2].strip() or text
    level = _LEVEL.search(head)
    if level is None:
        return text
    return text[level.end() :].lstrip(b" \t:|]->)") or text


def _in_json(text: bytes) -> tuple[bytes, bytes] | None:
    """(traceback, message) of a line that is a JSON object."""
    if not text.startswith(b"{"):
        return None
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None

    def words(*names: str) -> bytes:
        found = next((said[name] for name in names if isinstance(said.get(name), str)), "")
        return str(found).encode("utf-8", "replace")

    return words("exc_text", "exc_info", "exception", "traceback", "stack_trace"), words("message", "msg", "event") or text


def _without(text: bytes, prefix: bytes) -> bytes:
    """A line of a block whose header had this before it."""
    if not prefix:
        return text
    return text[len(prefix) :] if text.startswith(prefix) else b"" if text == prefix.rstrip() else text


def _plain(content: bytes) -> bytes:
    return _COLOURS.sub(b"", content) if b"\x1b" in content else content


def _text(content: bytes) -> str:
    return content[: MOST_MESSAGE * 4].decode("utf-8", "replace").strip()[:MOST_MESSAGE]


def _line_end(data: bytes, start: int) -> int:
    """Behind the newline; 0 where none has come."""
    return data.find(b"\n", start) + 1


class _Lines:
    """Lines from `start` on, MOST_BLOCK bytes of them, by how far from there. Asking beyond the end raises _NeedsMore until it is final."""

    def __init__(self, data: bytes, start: int, is_final: bool) -> None:
        self.is_final = is_final or len(data) - start >= MOST_BLOCK
        self.taken = 0
        self._data = data
        self._start = start
        self._stop = min(len(data), start + MOST_BLOCK)
        self._at = start
        self._ahead: list[_Line] = []

    def next(self) -> _Line:
        line = self.peek()
        assert line is not None  # noqa: S101 - for the type checker: who takes a line knows of it
        self.skip(1)
        return line

    def skip(self, count: int) -> None:
        del self._ahead[:count]
        self.taken += count

    def peek(self, further: int = 0) -> _Line | None:
        """The next line, or one behind it; None at the end. Raises _NeedsMore."""
        while len(self._ahead) <= further:
            number = self.taken + len(self._ahead)
            if number >= MOST_LINES:
                return None
            line = self._read()
            if not self.is_final and (line is None or (number and not line.is_whole)):
                raise _NeedsMore
            if line is None:
                return None
            self._ahead.append(line)
        return self._ahead[further]

    def _read(self) -> _Line | None:
        if self._at >= self._stop:
            return None
        end = self._data.find(b"\n", self._at, self._stop) + 1
        text = _plain(self._data[self._at : end or self._stop]).rstrip(b"\r\n")
        line = _Line(self._at - self._start, (end or self._stop) - self._start, text.replace(b"\0", b""), end > 0)
        self._at = end or self._stop
        return line
