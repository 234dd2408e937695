"""What Ray's agents push, on its way from the receiver to the cluster collector: bounded files on this host's disk.

Receivers append and answer at once; the collector reads behind them. A file has one writer, which holds its lock while it
lives, and is removed when its writer is gone or has gone on to the next, and all of it was taken. What was read but not
confirmed is read again: whoever takes it must not mind what comes twice.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

FILE_BYTES = 16 * 1024 * 1024
"""A writer goes on to its next file beyond this. What was read counts against the limit until then: that is far larger."""
MEASURED_EVERY_S = 0.5
SUFFIX = ".spool"
_HEAD = struct.Struct(">BdI")

PROTOBUF, JSON, SET_ASIDE = 1, 2, 3
"""Kinds of records: an AddEventsRequest, a JSON list of events, and a word on a body that was too big to keep (its size in digits)."""


class SpoolFull(Exception):
    """There is no room: whoever sends must try again later."""


@dataclass(frozen=True)
class Record:
    """One body as it came."""

    kind: int
    received_at: float  # Unix seconds
    body: bytes


class SpoolWriter:
    """Appends records. One for each process; the folder is shared."""

    def __init__(self, folder: Path, limit_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._clock = clock
        self._file: int | None = None
        self._written = 0
        self._number = 0
        self._measured: tuple[float, int] | None = None

    def append(self, kind: int, body: bytes) -> None:
        """Keeps one record, whole or not at all. Raises SpoolFull."""
        record = _HEAD.pack(kind, self._clock(), len(body)) + body
        if self._size() + len(record) > self._limit_bytes:
            raise SpoolFull(f"More than {self._limit_bytes} bytes wait to be read.")
        try:
            if self._file is None or self._written + len(record) > FILE_BYTES:
                self._begin()
            assert self._file is not None  # noqa: S101 - for the type checker
            if os.write(self._file, record) != len(record):
                raise OSError("not all of it was written")
        except OSError as problem:
            self.close()  # readers pass over what is cut
            raise SpoolFull(f"The spool cannot be written: {problem.strerror or problem}.") from None
        self._written += len(record)
        if self._measured is not None:
            self._measured = (self._measured[0], self._measured[1] + len(record))

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _begin(self) -> None:
        self.close()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._number += 1
        path = self._folder / f"{int(self._clock() * 1000):015d}-{os.getpid()}-{self._number}{SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        unlocked = path.with_suffix(".new")  # no reader sees it before it is locked
        self._file = os.open(unlocked, flags, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        unlocked.rename(path)
        self._written = 0

    def _size(self) -> int:
        """Bytes of all writers, looked up now and then."""
        now = time.monotonic()
        if self._measured is None or now - self._measured[0] > MEASURED_EVERY_S:
            self._measured = (now, sum(size_of(path) for path in _files(self._folder)))
        return self._measured[1]


@dataclass
class _Reading:
    """Where the reader is in a file."""

    taken: int = 0  # bytes that were confirmed
    read: int = 0  # bytes that were read since


@dataclass
class SpoolReader:
    """Reads what was appended, the oldest file first. There is one for each cluster: who holds its collector's lease."""

    folder: Path
    broken: int = 0  # records that were cut short, for ever
    _files: dict[Path, _Reading] = field(default_factory=dict)

    def read(self, most_bytes: int) -> list[Record]:
        """Records that came since the last `confirm`, some `most_bytes` of them: at least one if there is any."""
        found: list[Record] = []
        left = most_bytes
        for place in self._files.values():
            place.read = place.taken  # what was read before and not confirmed is not confirmed with this
        for path in _files(self.folder):
            place = self._files.setdefault(path, _Reading())
            for record, end in _records(path, place.taken):
                found.append(record)
                place.read = end
                left -= len(record.body)
                if left <= 0:
                    return found
        return found

    def confirm(self) -> None:
        """What was read is safe elsewhere: it is not read again, and files that are done are removed."""
        for path, place in list(self._files.items()):
            place.taken = place.read
            if not path.exists():
                del self._files[path]
            elif _is_final(path) and next(_records(path, place.taken), None) is None:
                self.broken += size_of(path) > place.taken
                path.unlink(missing_ok=True)
                del self._files[path]

    @property
    def waiting_bytes(self) -> int:
        """Bytes that were not taken yet."""
        known = self._files
        return sum(size_of(path) - (known[path].taken if path in known else 0) for path in _files(self.folder))


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == SUFFIX)
    except OSError:
        return []


def _records(path: Path, start: int) -> Iterator[tuple[Record, int]]:
    """(record, where it ends) from there on, as far as they are whole."""
    with suppress(OSError), os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        file.seek(start)
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            kind, at, length = _HEAD.unpack(head)
            if len(body := file.read(length)) < length:
                return
            yield Record(kind, at, body), file.tell()


def _is_final(path: Path) -> bool:
    """Whether its writer is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
