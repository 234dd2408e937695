"""Searching many files of a log folder with ripgrep: what is found comes while it is found, newest files first.

Files are opened here, beneath the folder, and handed to ripgrep as descriptors: it never resolves a name. Its expressions are finite
automata: no expression takes more than linear time. Two of them run at once, each on a batch of files at a time.
"""

from __future__ import annotations

import os
import queue
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import IO

from clusterstate.log_answers import FoundLine
from clusterstate.log_times import time_of
from workers.sources import log_matching
from workers.sources.beneath import Refused
from workers.sources.log_listing import Entry
from workers.sources.log_places import LogPlace, OpenFile

AT_ONCE = 2
BATCH_FILES = 64
FIRST_BATCH_BYTES, BATCH_BYTES = 8 << 20, 64 << 20
"""The first batches are small, so that the newest files answer at once."""
MOST_OF_A_FILE = 1_000
"""Hits told of one file."""
HELD = 2_000
"""Found lines that wait to be told: a faster search waits."""
MEMORY_BYTES = 1 << 30
"""Of one ripgrep: a line of hundreds of megabytes fits, one of gigabytes does not and is told as not searched."""
PRINTED_BYTES = 64 * 1024
AROUND_BYTES = 120
"""Shown before a hit that stands far within a line."""


class NotSearched(Exception):
    """The expression was refused, or there is no ripgrep; the message says why, for the asker."""


@dataclass(frozen=True)
class Wanted:
    """What is looked for."""

    pattern: str
    is_regex: bool = False
    any_case: bool = False
    context: int = 0
    from_ms: int | None = None
    to_ms: int | None = None

    @property
    def is_timed(self) -> bool:
        return self.from_ms is not None or self.to_ms is not None

    def arguments(self) -> list[str]:
        """For ripgrep, before the files."""
        chosen = [*log_matching.OPTIONS]
        if not self.is_regex:
            chosen.append("--fixed-strings")
        if self.any_case:
            chosen.append("--ignore-case")
        if self.context:
            chosen += ["--context", str(self.context)]
        if not self.is_timed:
            chosen += ["--max-count", str(MOST_OF_A_FILE)]
        return [*chosen, f"--regexp={self.pattern}"]


@dataclass(frozen=True)
class Found:
    """A line of a file; `at_ms` is when it says it was written."""

    entry: Entry
    line: FoundLine
    at_ms: int | None

    @property
    def is_hit(self) -> bool:
        return bool(self.line.marks)


@dataclass(frozen=True)
class Searched:
    """A file is done. `problem` says why it could not be searched (to its end)."""

    entry: Entry
    hits: int = 0
    problem: str | None = None


def ripgrep() -> Path | None:
    """The program: the one installed with Raydeck, else the machine's."""
    beside = Path(sys.executable).parent / "rg"
    if beside.exists():
        return beside
    found = shutil.which("rg")
    return Path(found) if found else None


def check(program: Path, wanted: Wanted) -> None:
    """Raises NotSearched if ripgrep does not take the expression."""
    if "\0" in wanted.pattern:
        raise NotSearched("An expression cannot hold the character NUL.")
    if "\n" in wanted.pattern:
        raise NotSearched("An expression is looked for in one line at a time: it cannot hold the end of a line.")
    command = [str(program), *wanted.arguments(), "--", "/dev/null"]
    ran = subprocess.run(command, capture_output=True, env={}, cwd="/", timeout=10, check=False)
    if ran.returncode > 1:
        raise NotSearched(f"The expression cannot be used: {log_matching.reason(ran.stderr)}.")


@dataclass
class Search:
    """A search that runs. Iterating gives what is found; `stop` ends it."""

    program: Path
    place: LogPlace
    entries: tuple[Entry, ...]  # in the order in which they are searched
    wanted: Wanted
    _batches: queue.SimpleQueue[tuple[Entry, ...]] = field(default_factory=queue.SimpleQueue)
    _told: queue.Queue[Found | Searched | None] = field(default_factory=lambda: queue.Queue(HELD))
    _running: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _is_stopped: bool = False

    def __post_init__(self) -> None:
        for batch in batches(self.entries):
            self._batches.put(batch)

    def results(self, wait_s: float) -> Iterator[Found | Searched | None]:
        """What is found, as it is found; None when nothing was for `wait_s`, so that the caller may look at its clock."""
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        ended = 0
        while ended < len(threads):
            try:
                told = self._told.get(timeout=wait_s)
            except queue.Empty:
                yield None
                continue
            if told is None:
                ended += 1
                continue
            yield told

    def stop(self) -> None:
        """Ends what runs; `results` ends soon after."""
        with self._lock:
            self._is_stopped = True
            running = list(self._running.values())
        for process in running:
            process.kill()

    def _work(self) -> None:
        try:
            while not self._is_stopped:
                try:
                    batch = self._batches.get_nowait()
                except queue.Empty:
                    break
                self._search(batch)
        finally:
            self._tell(None)

    def _search(self, batch: tuple[Entry, ...]) -> None:
        with ExitStack() as stack:
            opened: dict[bytes, _Opened] = {}
            for entry in batch:
                try:
                    file = stack.enter_context(self.place.open(entry.name))
                except Refused as why:
                    self._tell(Searched(entry, problem=str(why)))
                    continue
                if self._was_seen(file.inode):
                    self._tell(Searched(entry))
                    continue
                opened[b"/proc/self/fd/%d" % file.file] = _Opened(entry, file)
            if not opened:
                return
            problem = self._run(opened)
            for one in opened.values():
                self._tell(Searched(one.entry, one.hits, problem if not one.hits else None))

    def _run(self, opened: dict[bytes, _Opened]) -> str | None:
        command = [str(self.program), *self.wanted.arguments(), "--", *(path.decode() for path in opened)]
        with tempfile.TemporaryFile() as errors:
            with self._lock:
                if self._is_stopped:
                    return None
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env={},
                    cwd="/",
                    pass_fds=[one.file for one in opened.values()],
                )
                self._running[process.pid] = process
            limit_memory(process.pid)
            assert process.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
            try:
                self._read(process.stdout, opened)
            finally:
                process.stdout.close()
                process.kill()
                process.wait()
                with self._lock:
                    del self._running[process.pid]
            if self._is_stopped or process.returncode in {0, 1}:
                return None
            errors.seek(0)
            return log_matching.reason(errors.read(4096)) if process.returncode > 0 else "a line of it is too long to be searched"

    def _read(self, output: IO[bytes], opened: dict[bytes, _Opened]) -> None:
        for printed in _lines(output):
            found = log_matching.parse(printed)
            if found is None:
                continue
            one = opened[found.path]
            line = _line(found, one)
            at_ms = time_of(line.bytes(), one.year)
            if at_ms is not None and not self._is_in_time(at_ms):
                continue
            if found.column is not None:
                one.hits += 1
                if one.hits > MOST_OF_A_FILE:
                    continue
            elif one.hits > MOST_OF_A_FILE:
                continue
            self._tell(Found(one.entry, one.placed(line) if one.opened.first else line, at_ms))

    def _is_in_time(self, at_ms: int) -> bool:
        first, last = self.wanted.from_ms, self.wanted.to_ms
        return (first is None or at_ms >= first) and (last is None or at_ms <= last)

    def _was_seen(self, inode: str) -> bool:
        """A file with two names (a link) is searched once."""
        with self._lock:
            before = len(self._seen)
            self._seen.add(inode)
            return len(self._seen) == before

    def _tell(self, what: Found | Searched | None) -> None:
        while True:
            try:
                self._told.put(what, timeout=0.5)
                return
            except queue.Full:
                if self._is_stopped and what is not None:
                    return


@dataclass
class _Opened:
    entry: Entry
    opened: OpenFile
    hits: int = 0

    @property
    def file(self) -> int:
        return self.opened.file

    @cached_property
    def year(self) -> int:
        """Of lines that name none."""
        return time.localtime(self.opened.modified_ns / 1e9).tm_year

    def placed(self, line: FoundLine) -> FoundLine:
        """A line where it stands in the log file, of which the beginning may not be there."""
        number = None if self.opened.lines_before is None or line.number is None else line.number + self.opened.lines_before
        return replace(line, number=number, offset=line.offset + self.opened.first)


def batches(entries: tuple[Entry, ...]) -> Iterator[tuple[Entry, ...]]:
    """Entries in their order, as many at a time as are worth a process."""
    batch: list[Entry] = []
    size, most = 0, FIRST_BATCH_BYTES
    for entry in entries:
        if batch and (size + entry.size > most or len(batch) >= BATCH_FILES):
            yield tuple(batch)
            batch, size, most = [], 0, min(most * 2, BATCH_BYTES)
        batch.append(entry)
        size += entry.size
    if batch:
        yield tuple(batch)


def _lines(output: IO[bytes]) -> Iterator[bytes]:
    """Lines without their newline, cut where they are longer than any should be (one character may have megabytes of accents)."""
    is_rest = False
    while printed := output.readline(PRINTED_BYTES):
        ends = printed.endswith(b"\n")
        if not is_rest:
            yield printed[:-1] if ends else printed
        is_rest = not ends


def _line(found: log_matching.Printed, one: _Opened) -> FoundLine:
    line = FoundLine(found.number, found.offset, found.text.decode("latin-1"), found.marks)
    if not found.may_be_cut:
        return line
    column = found.column or 0
    if column + 1 < log_matching.SHOWN_BYTES:
        text, is_cut = _text_at(one.file, found.offset)
        marks = tuple((start, min(end, len(text))) for start, end in found.marks if start < len(text))
        if found.column is not None and not marks:
            marks = ((min(column, len(text)), min(column, len(text))),)
        return replace(line, text=text.decode("latin-1"), marks=marks, is_cut=is_cut)
    # The hit stands beyond what ripgrep shows: what stands around it is shown instead. Where it ends is not known.
    skipped = column - AROUND_BYTES
    text, is_cut = _text_at(one.file, found.offset + skipped)
    start = min(AROUND_BYTES, len(text))
    return replace(line, text=text.decode("latin-1"), marks=((start, start),), skipped=skipped, is_cut=is_cut)


def _text_at(file: int, offset: int) -> tuple[bytes, bool]:
    block = os.pread(file, log_matching.SHOWN_BYTES + 1, offset)
    newline = block.find(b"\n")
    if newline >= 0:
        return block[:newline], False
    return block[: log_matching.SHOWN_BYTES], len(block) > log_matching.SHOWN_BYTES


def limit_memory(pid: int) -> None:
    """Of a ripgrep that runs."""
    try:
        resource.prlimit(pid, resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    except (ProcessLookupError, PermissionError):
        pass  # it has ended
