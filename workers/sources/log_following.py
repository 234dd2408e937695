"""Reading on in a log file while it is written, rotated and cut: every line once, in its order, and a word where that cannot be said.

A file is held open: what was written before it was renamed is read to its end. Then its way is looked up among the numbered names
beside it, so that files which came and went between two looks are read too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from clusterstate.store.follows import BACK, GONE, ROTATED, STARTED, TRUNCATED, WRITTEN
from workers.sources.beneath import Refused, regular_file

PIECE_BYTES = 64 * 1024
MOST_AT_ONCE_BYTES = 2 << 20
"""Of a file at one look: the rest comes at the next."""
MOST_ROTATED = 32
"""Numbered names that are looked through for the one that was read."""
REMEMBERED_BYTES = 64
"""Last bytes read, by which a file that was cut and grew again is told from one that only grew."""


@dataclass(frozen=True)
class Happened:
    """See clusterstate.store.follows.Told."""

    kind: str
    inode: str
    offset: int
    content: bytes = b""
    has_gap: bool = False


@dataclass
class FollowedFile:
    """A file and how far it was read. `look` tells what happened since the last look."""

    name: str  # beneath the folder
    _file: int | None = None
    _inode: tuple[int, int] = (0, 0)
    _offset: int = 0
    _tail: bytes = b""
    _is_gone: bool = False
    _has_begun: bool = False

    def look(self, folder: int) -> Iterator[Happened]:
        """What happened since the last look; the first one begins at the end of the file."""
        if self._file is None:
            yield from self._start(folder)
            return
        left = MOST_AT_ONCE_BYTES
        for _ in range(MOST_ROTATED):
            for happened in self._read(left):
                left -= len(happened.content)
                yield happened
            found = self._identity(folder, self.name)
            if left <= 0 or found == self._inode or found is None:
                break
            for happened in self._move_on(folder, max(left, PIECE_BYTES)):
                left -= len(happened.content)
                yield happened
            if not self._is_open:
                return
        if left > 0:
            yield from self._look_after_name(found)

    def _look_after_name(self, found: tuple[int, int] | None) -> Iterator[Happened]:
        if (found is None) != self._is_gone:
            self._is_gone = found is None
            yield Happened(GONE if self._is_gone else BACK, self.inode, self._offset)

    @property
    def inode(self) -> str:
        return f"{self._inode[0]:x}-{self._inode[1]:x}"

    @property
    def _is_open(self) -> bool:
        return self._file is not None

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _start(self, folder: int) -> Iterator[Happened]:
        if not self._open(folder, self.name):
            yield from self._look_after_name(None)
            return
        assert self._file is not None  # noqa: S101 - for the type checker: it was opened just now
        self._is_gone = False
        if self._has_begun:  # it was between two names at the last look: all of this one is new
            yield Happened(ROTATED, self.inode, 0, has_gap=True)
            return
        self._has_begun = True
        self._offset = os.fstat(self._file).st_size
        first = max(0, self._offset - REMEMBERED_BYTES)
        self._tail = os.pread(self._file, self._offset - first, first)
        yield Happened(STARTED, self.inode, self._offset)

    def _read(self, most: int) -> Iterator[Happened]:
        assert self._file is not None  # noqa: S101 - for the type checker: look() saw it
        size = os.fstat(self._file).st_size
        if size < self._offset or not self._is_as_remembered():
            self._offset, self._tail = 0, b""
            yield Happened(TRUNCATED, self.inode, 0, has_gap=True)
        while most > 0 and (block := os.pread(self._file, PIECE_BYTES, self._offset)):
            yield Happened(WRITTEN, self.inode, self._offset, block)
            self._offset += len(block)
            self._tail = (self._tail + block)[-REMEMBERED_BYTES:]
            most -= len(block)

    def _move_on(self, folder: int, most: int) -> Iterator[Happened]:
        """To the file that followed the one that was read. What was still written to that one comes first."""
        for happened in self._read(most):
            most -= len(happened.content)
            yield happened
        if most <= 0:
            return
        numbers = range(1, MOST_ROTATED + 1)
        number = next((number for number in numbers if self._identity(folder, f"{self.name}.{number}") == self._inode), None)
        # One that was renamed once is followed by the one that has its name now; one renamed n times by the one renamed n - 1 times.
        following = f"{self.name}.{number - 1}" if number is not None and number > 1 else self.name
        before = self._inode
        self.close()
        self._offset, self._tail = 0, b""
        if not self._open(folder, following) and not self._open(folder, self.name):
            return
        self._is_gone = False
        if self._inode != before:
            yield Happened(ROTATED, self.inode, 0, has_gap=number is None)

    def _open(self, folder: int, name: str) -> bool:
        try:
            with regular_file(folder, name) as file:
                told = os.fstat(file)
                self._file, self._inode = os.dup(file), (told.st_dev, told.st_ino)
        except Refused:
            return False
        return True

    def _identity(self, folder: int, name: str) -> tuple[int, int] | None:
        try:
            with regular_file(folder, name) as file:
                told = os.fstat(file)
        except Refused:
            return None
        return told.st_dev, told.st_ino

    def _is_as_remembered(self) -> bool:
        assert self._file is not None  # noqa: S101 - for the type checker: it is open
        return os.pread(self._file, len(self._tail), self._offset - len(self._tail)) == self._tail
