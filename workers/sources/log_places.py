"""Where the log files of a node are read: the folder of its raylet, or what the head kept of it when the node is gone.

Both list files and open them for reading; a kept file is unpacked into memory, and begins where what is kept begins.
"""

from __future__ import annotations

import os
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from clusterstate.store.kept_logs import BadPiece, KeptFile, KeptLogsReader
from workers.handles import memory_file
from workers.sources import log_listing
from workers.sources.beneath import NotThere, Refused, folder_of, regular_file
from workers.sources.log_listing import Entry, Listing, inode_of


@dataclass(frozen=True)
class OpenFile:
    """A file that can be read by its descriptor, whose byte 0 is byte `first` of the log file."""

    file: int
    inode: str
    modified_ns: int
    first: int = 0
    lines_before: int | None = 0  # newlines before `first`; None: not known
    begins_line: bool = True  # byte `first` does


class LogPlace(ABC):
    """Log files of a node."""

    is_kept = False

    @abstractmethod
    def listing(self) -> Listing:
        """All of them."""

    @abstractmethod
    def name_of(self, file_id: str) -> str:
        """The name of the file with this id. Raises NotThere."""

    @abstractmethod
    def open(self, name: str) -> AbstractContextManager[OpenFile]:
        """A file for reading. Raises NotThere, Refused."""

    def firsts(self) -> dict[str, int]:
        """Of files of which the beginning is not there: name to their first byte that is."""
        return {}


class LogFolder(LogPlace):
    """The log folder itself, by its descriptor."""

    def __init__(self, folder: int) -> None:
        self._folder = folder

    def listing(self) -> Listing:
        return log_listing.list_folder(self._folder)

    def name_of(self, file_id: str) -> str:
        return log_listing.name_of(self._folder, file_id)

    @contextmanager
    def open(self, name: str) -> Iterator[OpenFile]:
        with regular_file(self._folder, name) as file:
            told = os.fstat(file)
            yield OpenFile(file, inode_of(told), told.st_mtime_ns)


class KeptLogs(LogPlace):
    """What the head kept of a host's log folder."""

    is_kept = True

    def __init__(self, reader: KeptLogsReader) -> None:
        self._reader = reader
        self._files: dict[str, KeptFile] = {os.fsdecode(file.name): file for file in reader.files()}

    def listing(self) -> Listing:
        entries = (Entry(name, file.end, file.modified_ms, file.inode) for name, file in self._files.items())
        return Listing(tuple(entries), self._reader.left_out())

    def name_of(self, file_id: str) -> str:
        found = next((name for name in self._files if log_listing.file_id(name) == file_id), None)
        if found is None:
            raise NotThere("Nothing is kept of such a file.")
        return found

    @contextmanager
    def open(self, name: str) -> Iterator[OpenFile]:
        kept = self._files.get(name)
        if kept is None:
            raise NotThere("Nothing is kept of such a file.")
        file = memory_file("kept log")
        try:
            self._unpack(kept, file)
            yield OpenFile(file, kept.inode, kept.modified_ms * 1_000_000, kept.first, kept.lines_before, kept.begins_line)
        finally:
            os.close(file)

    def _unpack(self, kept: KeptFile, file: int) -> None:
        try:
            for chunk in self._reader.chunks(kept.inode):
                _write(file, chunk)
        except (BadPiece, sqlite3.Error) as error:
            raise Refused(f"What was kept of {os.fsdecode(kept.name)} is damaged: {error}") from None

    def firsts(self) -> dict[str, int]:
        return {name: file.first for name, file in self._files.items()}


@contextmanager
def log_folder_at(path: Path) -> Iterator[LogPlace]:
    """A log folder. Raises NotThere."""
    with folder_of(path) as folder:
        yield LogFolder(folder)


@contextmanager
def kept_logs_at(path: Path) -> Iterator[LogPlace]:
    """What is kept in the file that `clusterstate.store.kept_logs.of_node` found. Raises Refused."""
    try:
        with KeptLogsReader(path) as reader:
            yield KeptLogs(reader)
    except sqlite3.Error as error:
        raise Refused(f"What was kept of this node's log files cannot be read: {error}.") from None


def _write(file: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(file, left) :]
