"""Tracebacks as they stand in log files: chained, grouped, of tasks, with something before each line. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from clusterstate.log_error_lines import message_of, says_error
from clusterstate.log_error_prints import Cause, Traceback

MOST_BLOCK = 64 << 10
"""Bytes of one."""
MOST_LINES = 1_000
MOST_PREFIX = 100
MOST_MESSAGE = 400

_COLOURS = re.compile(rb"\x1b\[[0-9;:]{0,32}[A-Za-z]")
COPY = re.compile(rb"\((?:[^()\n]{0,100}\bpid=\d{1,10}|raylet|gcs_server)[^()\n]{0,60}\) ?")
"""Before each line that Ray prints again at a driver."""
_HEADER = re.compile(rb"(?:Exception Group )?Traceback \(most recent call last\)")
_FRAME = re.compile(rb'\s+File "(?P<file>[^"\n]{0,4096})", line \d{1,9}(?:,? in (?P<function>[^\n]{1,400}))?')
_EXCEPTION = re.compile(rb"(?P<type>[A-Za-z_][\w.<>]{0,200}(?:\([\w.]{1,200}\))?)(?:: ?(?P<message>.*))?$", re.DOTALL)
_CHAINED = (b"During handling of the above exception,", b"The above exception was the direct cause")
_MARGIN = re.compile(rb"\s*[|+]")
FATAL = b"Fatal Python error: "
CRASH = re.compile(rb"\*\*\* (?P<signal>SIG[A-Z]{2,8})\b[^\n*]{0,200}")
_GOES_ON = re.compile(rb"(?:^|\s)(?:PC: )?@ {1,20}0x[0-9a-f]{1,20}\b|\*\*\* SIG[A-Z]|^\[failure_signal_handler|Unable to print stack trace")
_NATIVE = re.compile(rb"@ {1,20}0x[0-9a-f]{1,20} {1,20}(?:\d{1,10} {1,4})?(?P<function>[A-Za-z_~:][^\n]{0,200})")
_INNER = re.compile(rb"ray::[^\n]")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a block."""

    start: int  # from the block's beginning
    end: int  # behind its newline
    text: bytes  # without colours and newline
    is_whole: bool


class NeedsMore(Exception):
    """What follows decides."""


class Lines:
    """Lines from `start` on, MOST_BLOCK bytes of them, by how far from there. Asking beyond the end raises NeedsMore until it is final."""

    def __init__(self, data: bytes, start: int, is_final: bool) -> None:
        self.is_final = is_final or len(data) - start >= MOST_BLOCK
        self.taken = 0
        self._data = data
        self._start = start
        self._stop = min(len(data), start + MOST_BLOCK)
        self._at = start
        self._ahead: list[Line] = []

    def next(self) -> Line:
        line = self.peek()
        assert line is not None  # noqa: S101 - for the type checker: who takes a line knows of it
        self.skip(1)
        return line

    def skip(self, count: int) -> None:
        del self._ahead[:count]
        self.taken += count

    def peek(self, further: int = 0) -> Line | None:
        """The next line, or one behind it; None at the end. Raises NeedsMore."""
        while len(self._ahead) <= further:
            number = self.taken + len(self._ahead)
            if number >= MOST_LINES:
                return None
            line = self._read()
            if not self.is_final and (line is None or (number and not line.is_whole)):
                raise NeedsMore
            if line is None:
                return None
            self._ahead.append(line)
        return self._ahead[further]

    def _read(self) -> Line | None:
        if self._at >= self._stop:
            return None
        end = self._data.find(b"\n", self._at, self._stop) + 1
        text = without_colours(self._data[self._at : end or self._stop]).rstrip(b"\r\n")
        line = Line(self._at - self._start, (end or self._stop) - self._start, text.replace(b"\0", b""), end > 0)
        self._at = end or self._stop
        return line


def block_at(first: Line, text: bytes, lines: Lines) -> tuple[Traceback, int] | None:
    """A traceback that begins with this line, or with the one after a line that says ERROR, and its end."""
    if text.startswith(FATAL):
        return _fatal(text, lines, first.end)
    if (crash := CRASH.search(text[: MOST_PREFIX * 3])) is not None:
        return _crash(crash, lines, first.end)
    if text.startswith(b"{"):
        return None
    if (found := _HEADER.search(first.text[: MOST_PREFIX * 3])) is not None:
        return _traceback(lines, found, first.end)
    if not says_error(text) or (following := lines.peek()) is None:
        return None
    if (found := _HEADER.search(following.text[: MOST_PREFIX * 3])) is not None:
        lines.skip(1)
        return _traceback(lines, found, following.end)
    prefix = first.text[: len(first.text) - len(text)]
    if _INNER.search(text) and _FRAME.match(_without(following.text, prefix)):
        return _chain(lines, prefix, first.end)
    return None


def _traceback(lines: Lines, header: re.Match[bytes], end: int) -> tuple[Traceback, int]:
    """What follows a header: lines that have the same before them."""
    prefix = header.string[: header.start()] if header.start() <= MOST_PREFIX else b""
    if header[0].startswith(b"Exception Group"):
        return _group(lines, prefix, end)
    return _chain(lines, prefix, end)


def _chain(lines: Lines, prefix: bytes, end: int) -> tuple[Traceback, int]:
    """A traceback, and those that were raised after it: the last is what it is called by."""
    causes: list[Cause] = []
    while True:
        frames, exception, message, end = _one(lines, prefix, end)
        while ("RayTaskError" in exception or _INNER.match(message)) and _goes_in(lines, prefix):
            inner_frames, inner, inner_message, end = _one(lines, prefix, end)
            frames += inner_frames
            causes += [Cause(inner)] if inner else []
            message = inner_message
            if not inner:
                break
        end = _continued(lines, prefix, end)
        chained = _chained(lines, prefix) if exception else None
        if chained is None:
            return Traceback(exception, text_of(message), tuple(frames), tuple(causes)), end
        causes.append(Cause(exception, tuple(frames)))
        end = chained


def _goes_in(lines: Lines, prefix: bytes) -> bool:
    """Whether what a task raised follows: Ray leaves its own frames out, and at times every one."""
    line = lines.peek()
    return line is not None and _without(line.text, prefix)[:1] == b" "


def _one(lines: Lines, prefix: bytes, end: int) -> tuple[list[tuple[str, str]], str, bytes, int]:
    """Frames, the exception's class and message, and where that ends; no class where it breaks off."""
    frames: list[tuple[str, str]] = []
    while (line := lines.peek()) is not None:
        text = _without(line.text, prefix)
        if text[:1] in (b" ", b"\t"):
            if frame := _FRAME.match(text):
                frames.append((text_of(frame["file"]), text_of(frame["function"] or b"")))
        elif found := _EXCEPTION.match(text):
            lines.skip(1)
            return frames, text_of(found["type"]), found["message"] or b"", line.end
        else:
            break
        lines.skip(1)
        end = line.end
    return frames, "", b"", end


def _continued(lines: Lines, prefix: bytes, end: int) -> int:
    """Behind the further lines of a message, which are known by standing further in."""
    while (line := lines.peek()) is not None:
        text = _without(line.text, prefix)
        if text[:1] not in (b" ", b"\t") or not text.strip() or _HEADER.search(text[:MOST_PREFIX]):
            break
        lines.skip(1)
        end = line.end
    return end


def _chained(lines: Lines, prefix: bytes) -> int | None:
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


def _group(lines: Lines, prefix: bytes, end: int) -> tuple[Traceback, int]:
    """An ExceptionGroup: its own frames, and the classes of those within as causes."""
    copied = COPY.match(prefix)
    lead = copied[0] if copied else b""
    margin = len(prefix[len(lead) :]) - len(prefix[len(lead) :].lstrip())
    frames: list[tuple[str, str]] = []
    exception, message = "", b""
    within: set[Cause] = set()
    inner: list[tuple[str, str]] = []
    while (line := lines.peek()) is not None and (edge := _MARGIN.match(_without(line.text, lead))) is not None:
        lines.skip(1)
        end = line.end
        text = _without(line.text, lead)[edge.end() :].removeprefix(b" ")
        is_own = edge.end() - 1 <= margin and not exception
        if frame := _FRAME.match(text):
            (frames if is_own else inner).append((text_of(frame["file"]), text_of(frame["function"] or b"")))
        elif text[:1] not in (b" ", b"\t", b"-", b"+") and (found := _EXCEPTION.match(text)):
            if is_own:
                exception, message = text_of(found["type"]), found["message"] or b""
            elif exception:
                within.add(Cause(text_of(found["type"]), tuple(inner)))
                inner.clear()
    causes = sorted(within, key=lambda cause: (cause.exception, cause.frames))
    return Traceback(exception, text_of(message), tuple(frames), tuple(causes)), end


def _fatal(text: bytes, lines: Lines, end: int) -> tuple[Traceback, int]:
    """The interpreter's last words: the frames of the first thread it names, innermost first."""
    frames: list[tuple[str, str]] = []
    while (line := lines.peek()) is not None:
        frame = _FRAME.match(line.text)
        if frame:
            frames.append((text_of(frame["file"]), text_of(frame["function"] or b"")))
        elif frames or lines.taken > 6 or _HEADER.search(line.text) or says_error(line.text):
            break
        lines.skip(1)
        end = line.end
    return Traceback("Fatal Python error", text_of(text[len(FATAL) :]), tuple(reversed(frames)), ()), end


def _crash(crash: re.Match[bytes], lines: Lines, end: int) -> tuple[Traceback, int]:
    """A signal that ended a process, with the native stack that its handler printed, mostly twice, and what Python says after it."""
    frames: list[tuple[str, str]] = []
    while (line := lines.peek()) is not None:
        said = message_of(line.text)
        if said.startswith(FATAL) or line.text.startswith(FATAL):
            lines.skip(1)
            python, end = _fatal(line.text[line.text.find(FATAL) :], lines, line.end)
            frames += python.frames
            break
        if not said.strip() and (after := lines.peek(1)) is not None and (_GOES_ON.search(after.text) or FATAL in after.text):
            lines.skip(1)
            continue
        if _GOES_ON.search(line.text[: MOST_PREFIX * 4]) is None:
            break
        if (native := _NATIVE.search(line.text[: MOST_PREFIX * 10])) and (frame := ("", text_of(native["function"]))) not in frames:
            frames.append(frame)
        lines.skip(1)
        end = line.end
    return Traceback(crash["signal"].decode("ascii"), text_of(crash[0].strip(b"* ")), tuple(reversed(frames)), ()), end


def _without(text: bytes, prefix: bytes) -> bytes:
    """A line of a block whose header had this before it."""
    if not prefix:
        return text
    return text[len(prefix) :] if text.startswith(prefix) else b"" if text == prefix.rstrip() else text


def without_colours(content: bytes) -> bytes:
    """Without the sequences that terminals read."""
    return _COLOURS.sub(b"", content) if b"\x1b" in content else content


def text_of(content: bytes) -> str:
    """As text, as long as a message may be."""
    return content[: MOST_MESSAGE * 4].decode("utf-8", "replace").strip()[:MOST_MESSAGE]
