"""Finding a place in one log file with ripgrep: lines that match on both sides of it, and how many there are in all.

The file is ripgrep's standard input, from a place in it on: it resolves no name, and a file of any size is read from where one looks.
"""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from workers.handles import memory_file
from workers.sources import log_matching, log_windows
from workers.sources.log_search import NotSearched, limit_memory

COUNTED_WITHIN_S = 0.8
"""For all lines of the file that match; what takes longer is counted so far, and "at least" is said."""
NEAR_WITHIN_S = 0.4
"""For those on one side of the place, where counting did not come so far."""
FIRST_BACK_BYTES, MOST_BACK_BYTES = 4 << 20, 32 << 20
READ_BYTES = 256 * 1024
PREVIEW = ("400", "--max-columns-preview")
"""How much of a line is looked at where the expression alone does not tell."""
OPTIONS = (
    "--no-config", "--text", "--encoding", "none", "--no-mmap", "--threads", "1", "--engine", "default", "--color", "never",
    "--no-heading", "--no-filename", "--byte-offset", "--regex-size-limit", "4M", "--dfa-size-limit", "32M",
)  # fmt: skip
"""Of every run. No option may come from outside; the expression stands behind --regexp=."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A line that matches."""

    start: int  # of the line's first byte in the file
    at: int  # of the first byte of it that matches
    number: int | None = None  # of the line, from 1; None: not counted


@dataclass(frozen=True)
class Expression:
    """What is looked for. `is_one` looks at the beginning of a line that ripgrep gave: the expression alone may match more."""

    program: Path
    pattern: str
    is_regex: bool = True
    any_case: bool = False
    is_one: Callable[[bytes], bool] | None = None

    def command(self, *options: str) -> list[str]:
        chosen = [str(self.program), *OPTIONS, *options]
        chosen += [] if self.is_regex else ["--fixed-strings"]
        chosen += ["--ignore-case"] if self.any_case else []
        return [*chosen, f"--regexp={self.pattern}", "-"]


@dataclass
class Found:
    """Lines that match around a place, and how many match in the whole file."""

    before: deque[Hit]  # the last of those before the place, in their order
    after: list[Hit] = field(default_factory=list)  # the first of those that match at the place or after it
    count: int = 0
    count_before: int | None = 0  # None: not counted
    is_exact: bool = True


def find(file: int, wanted: Expression, at: int, most: int) -> Found:
    """Up to `most` lines on each side of byte `at`: also where the file is too large to be looked through in time.

    Raises NotSearched.
    """
    found = Found(deque(maxlen=most))
    deadline = time.monotonic() + COUNTED_WITHIN_S
    count_before = 0
    for hit in _hits(file, 0, wanted, deadline):
        if hit is None:
            found.is_exact = False
            break
        found.count += 1
        if hit.at < at:
            count_before += 1
            found.before.append(hit)
        elif len(found.after) < most:
            found.after.append(hit)
    came_there = found.is_exact or bool(found.after)
    found.count_before = count_before if came_there else None
    if not found.is_exact and len(found.after) < most:
        found.after = list(_after(file, wanted, at, most))
    if not came_there:
        found.before = deque(_before(file, wanted, at, most), most)
        found.count = max(found.count, len(found.before) + len(found.after))
    return found


def matches(content: bytes, wanted: Expression, most: int) -> list[tuple[int, int]]:
    """(offset, length) of what matches in some lines, as far as there is time."""
    found: list[tuple[int, int]] = []
    command = wanted.command("--only-matching", "--no-line-number")
    with _memory(content) as file, closing(_printed(file, 0, command, time.monotonic() + NEAR_WITHIN_S)) as printed:
        for line in printed:
            if line is None or len(found) >= most:
                break
            offset, _, text = line.partition(b":")
            if text and offset.isdigit():
                found.append((int(offset), len(text)))
    return found


def count(file: int, wanted: Expression, kind_of: Callable[[bytes], str | None]) -> tuple[dict[str, int], bool]:
    """How many of the lines that match are of each kind, by their beginning; whether all were counted. Raises NotSearched."""
    found: Counter[str] = Counter()
    command = wanted.command("--max-columns", *PREVIEW)
    for line in _printed(file, 0, command, time.monotonic() + COUNTED_WITHIN_S):
        if line is None:
            return dict(found), False
        kind = kind_of(line.partition(b":")[2])
        if kind is not None:
            found[kind] += 1
    return dict(found), True


def _after(file: int, wanted: Expression, at: int, most: int) -> Iterator[Hit]:
    start = log_windows.start_of_line(file, at)
    count = 0
    with closing(_hits(file, start, wanted, time.monotonic() + NEAR_WITHIN_S)) as hits:
        for hit in hits:
            if hit is None:
                return
            if hit.at >= at:
                yield Hit(hit.start, hit.at)
                count += 1
            if count >= most:
                return


def _before(file: int, wanted: Expression, at: int, most: int) -> list[Hit]:
    """Blocks back from the place, each larger than the one after it, until there is enough or no more time."""
    deadline = time.monotonic() + NEAR_WITHIN_S
    found: list[Hit] = []
    end, size = at, FIRST_BACK_BYTES
    while end > 0 and len(found) < most and time.monotonic() < deadline:
        start = log_windows.start_of_line(file, max(0, end - size))
        with _memory(os.pread(file, end - start, start)) as block:
            hits = [Hit(start + hit.start, start + hit.at) for hit in _hits(block, 0, wanted, deadline) if hit is not None]
        found = hits + found
        end, size = start, min(size * 2, MOST_BACK_BYTES)
    return found[-most:]


def _hits(file: int, start: int, wanted: Expression, deadline: float) -> Generator[Hit | None, None, None]:
    """Lines that match from byte `start` on, where a line begins; None, and no more, when time is up. Raises NotSearched."""
    command = wanted.command("--line-number", "--column", "--max-columns", *(("1",) if wanted.is_one is None else PREVIEW))
    for line in _printed(file, start, command, deadline):
        if line is None:
            yield None
            return
        number, column, offset, text = line.split(b":", 3)
        if wanted.is_one is None or wanted.is_one(text):
            begins = start + int(offset)
            yield Hit(begins, begins + int(column) - 1, None if start else int(number))


def _printed(file: int, start: int, command: list[str], deadline: float) -> Generator[bytes | None, None, None]:
    """Lines that ripgrep prints; None, and no more, when time is up. Raises NotSearched where it fails."""
    with tempfile.TemporaryFile() as errors:
        os.lseek(file, start, os.SEEK_SET)
        process = subprocess.Popen(command, stdin=file, stdout=subprocess.PIPE, stderr=errors, env={}, cwd="/")
        assert process.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
        try:
            limit_memory(process.pid)
            rest = b""
            while block := _read(process.stdout.fileno(), deadline):
                *lines, rest = (rest + block).split(b"\n")
                yield from lines
            if block is None:
                yield None
                return
        finally:
            process.stdout.close()
            process.kill()
            process.wait()
        if process.returncode not in {0, 1}:
            errors.seek(0)
            why = log_matching.reason(errors.read(4096)) if process.returncode > 0 else "a line of it is too long to be searched"
            raise NotSearched(f"The file cannot be searched: {why}.")


def _read(pipe: int, deadline: float) -> bytes | None:
    """What is printed next; nothing at its end, None when time is up."""
    left = deadline - time.monotonic()
    if left <= 0 or not select.select([pipe], [], [], left)[0]:
        return None
    return os.read(pipe, READ_BYTES)


@contextmanager
def _memory(content: bytes) -> Iterator[int]:
    file = memory_file("lines")
    try:
        with open(file, "wb", closefd=False) as writing:
            writing.write(content)
        yield file
    finally:
        os.close(file)
