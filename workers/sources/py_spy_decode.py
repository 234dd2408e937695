"""What py-spy prints, as stacks. Pure: bytes in, stacks out.

Names in it are whatever the program that was looked into calls its functions, files and threads: they are bounded and never split
wrongly enough to lose a count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from clusterstate.profile_answers import ThreadStack
from clusterstate.stacks import MOST_DEPTH, MOST_NAME, Frame, Merging, Samples, Thread

MOST_THREADS = 5_000
MOST_LINE_BYTES = 1 << 20
"""Of a printed stack: a thousand frames with the longest names; beyond it a line is cut."""
LAST_LINE = 1 << 31
LAST_NUMBER = 1 << 53
DEEPER = Frame("(deeper than is kept)")

PROCESS = re.compile(r'process (\d{1,15})(?::"[^;]*(?:;(?!thread \(|process \d)[^;]*)*")?;')
"""Its command line may hold semicolons, and quotation marks."""
TORN = re.compile(r'";(?P<whole>(?:process \d{1,15}:"|thread \())')
"""Where a line goes on whose beginning, a command line of several lines, is lost."""
THREAD = re.compile(r"thread \((0x[0-9A-Fa-f]+|\d+)\)(?:: (.*))?", re.DOTALL)
COUNT = re.compile(r"[0-9]{1,15}")
COUNTS = re.compile(r"Samples: (\d+) Errors: (\d+)")


@dataclass(frozen=True)
class Counted:
    """What py-spy says at its end of how it went."""

    samples: int = 0
    errors: int = 0
    process_exited: bool = False


def parse_notice(words: str) -> Counted:
    """Its last lines on standard output."""
    found = list(COUNTS.finditer(words))
    samples, errors = (int(found[-1].group(1)), int(found[-1].group(2))) if found else (0, 0)
    return Counted(samples, errors, "process exited" in words)


def parse_raw(raw: bytes, pid: int, *, subprocesses: bool = False, most: int = LAST_NUMBER) -> Samples:
    """The `raw` format: a line `outermost;...;innermost count` for each stack. Each line's count is kept, whatever the line holds.

    Only with `subprocesses` a line may say of which process it is, and none counts more than `most`, how often py-spy looked: a function's
    name with a line break in it would make lines of its own otherwise.
    """
    merging = Merging()
    for line in _lines(raw):
        text, _, number = line.rpartition(" ")
        if COUNT.fullmatch(number):
            merging.add(*_stack(text, pid, subprocesses), min(int(number), most))
    return merging.samples()


def total_of(raw: bytes) -> int:
    """The sum of the counts."""
    numbers = (line.rpartition(b" ")[2].decode("latin-1") for line in raw.split(b"\n"))
    return sum(int(number) for number in numbers if COUNT.fullmatch(number))


def parse_dump(raw: bytes) -> list[tuple[int, list[ThreadStack]]]:
    """`dump --json`: (pid, threads) of each process, the one that was asked for first. Raises ValueError where it is no such thing."""
    try:
        found = msgspec.json.decode(_text(raw).encode(), type=list[_DumpedThread])
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)[:200]) from None
    processes: dict[int, list[ThreadStack]] = {}
    for thread in found[:MOST_THREADS]:
        processes.setdefault(thread.pid, []).append(_thread_stack(thread))
    return list(processes.items())


def name_of(text: str) -> str:
    """A name as it may be kept: cut, and nothing that is no character."""
    return text[:MOST_NAME].encode("utf-8", "replace").decode("utf-8", "replace")


class _DumpedFrame(msgspec.Struct):
    name: str = ""
    filename: str | None = None
    line: int = 0


class _DumpedThread(msgspec.Struct):
    pid: int = 0
    thread_name: str | None = None
    os_thread_id: int | None = None
    thread_id: int = 0
    active: bool = False
    owns_gil: bool = False
    frames: list[_DumpedFrame] = []


def _thread_stack(thread: _DumpedThread) -> ThreadStack:
    innermost_first = thread.frames
    kept = innermost_first[:MOST_DEPTH] if len(innermost_first) <= MOST_DEPTH else innermost_first[: MOST_DEPTH - 1]
    frames = [Frame(name_of(frame.name), name_of(frame.filename or ""), _line(frame.line)) for frame in reversed(kept)]
    if len(kept) < len(innermost_first):
        frames.insert(0, DEEPER)
    number = thread.os_thread_id if thread.os_thread_id is not None else thread.thread_id
    return ThreadStack(_number(number), name_of(thread.thread_name or ""), thread.active, thread.owns_gil, tuple(frames))


def _lines(raw: bytes) -> Iterator[str]:
    """Lines as text; of a huge one its end is kept, where the count and the innermost frames stand."""
    for line in raw.split(b"\n"):
        if line:
            yield _text(line[-MOST_LINE_BYTES:])


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _stack(text: str, pid: int, subprocesses: bool) -> tuple[Thread, list[Frame]]:
    if subprocesses:
        text, pid = _after_processes(text, pid)
    words = text.split(";")
    at, number, name = 0, 0, ""
    if thread := THREAD.fullmatch(words[0]):
        number = _number(int(thread.group(1), 0))
        at = next((place for place in range(1, len(words)) if _is_frame(words[place])), len(words))
        name = ";".join([thread.group(2) or "", *words[1:at]])  # which may hold anything
    frames = [_frame(word) for word in words[at:]]
    if len(frames) > MOST_DEPTH:
        frames = [DEEPER, *frames[-(MOST_DEPTH - 1) :]]
    return Thread(pid, number, name_of(name)), frames


def _after_processes(text: str, pid: int) -> tuple[str, int]:
    """With subprocesses, a stack begins with its process, below those above it: what follows them, and the last one's pid."""
    if not text.startswith("process ") and (begins := TORN.search(text)) is not None:
        text = text[begins.start("whole") :]
    at = 0
    while found := PROCESS.match(text, at):
        at, pid = found.end(), _number(int(found.group(1)))
    return text[at:], pid


def _is_frame(word: str) -> bool:
    return _placed(word) is not None


def _frame(word: str) -> Frame:
    return _placed(word) or Frame(name_of(word))


def _placed(word: str) -> Frame | None:
    """`function (file:line)`, or `function (library)` of a native one; None for what names no place."""
    start = word.rfind(" (")
    if start < 0 or not word.endswith(")"):
        return None
    name, place = word[:start], word[start + 2 : -1]
    file, _, line = place.rpartition(":")
    if file and COUNT.fullmatch(line[-12:]):
        return Frame(name_of(name), name_of(file), _line(int(line[-12:])))
    is_library = ("/" in place or "<" in place) and ")" not in place
    return Frame(name_of(name), name_of(place)) if is_library else None


def _line(number: int) -> int:
    return number if 0 <= number <= LAST_LINE else 0


def _number(number: int) -> int:
    return number if 0 <= number <= LAST_NUMBER else 0
