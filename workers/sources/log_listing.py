"""The files of a session's log folder: what they are called, how large, when last written."""

from __future__ import annotations

import os
import stat
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice

from workers.sources.beneath import NotThere, Refused, regular_file

MAX_FILES = 50_000
"""More are not looked at: the listing says so."""
MOST_COUNTED = 100_000
"""Of those that are not looked at."""
MAX_FOLDERS = 2_000
MAX_DEPTH = 8
ID_BYTES = 12


@dataclass(frozen=True, slots=True)
class Entry:
    """A regular file beneath the folder."""

    name: str  # its path beneath the folder
    size: int
    modified_ms: int
    inode: str = ""  # which file it is, whatever its name

    @property
    def file_id(self) -> str:
        return file_id(self.name)


@dataclass(frozen=True)
class Listing:
    """All entries, unsorted."""

    entries: tuple[Entry, ...]
    left_out: int = 0  # files that are there besides, more than are looked at

    @property
    def is_whole(self) -> bool:
        return not self.left_out


def file_id(name: str) -> str:
    """How a file is addressed: it says nothing of the path, and only what a listing has can be addressed."""
    return urlsafe_b64encode(blake2b(os.fsencode(name), digest_size=ID_BYTES, person=b"raydeck log").digest()).decode()


def list_folder(folder: int, max_files: int = MAX_FILES) -> Listing:
    """Every regular file beneath a folder's descriptor (`beneath.folder_of`); links count if they stay within."""
    files = _walk(folder)
    found = tuple(islice(files, max_files))
    return Listing(found, sum(1 for _ in islice(files, MOST_COUNTED)))


def name_of(folder: int, wanted: str) -> str:
    """The name of the file with this id. Raises NotThere."""
    for name, _ in _names(folder):
        if file_id(name) == wanted:
            return name
    raise NotThere("There is no such file (any more): it was rotated away, or the session's folder was cleaned.")


def _walk(folder: int) -> Iterator[Entry]:
    for name, told in _names(folder):
        if stat.S_ISREG(told.st_mode) and told.st_nlink == 1:
            yield _entry(name, told)
        elif stat.S_ISLNK(told.st_mode):
            try:
                with regular_file(folder, name) as inner:
                    linked = os.fstat(inner)
            except Refused:
                continue
            yield _entry(name, linked)


def inode_of(told: os.stat_result) -> str:
    """Which file it is, whatever its name."""
    return f"{told.st_dev:x}-{told.st_ino:x}"


def _entry(name: str, told: os.stat_result) -> Entry:
    return Entry(name, told.st_size, told.st_mtime_ns // 1_000_000, inode_of(told))


def _names(folder: int) -> Iterator[tuple[str, os.stat_result]]:
    """Paths beneath the folder, with what they are themselves; folders are walked, links to folders are not."""
    waiting = [("", 0)]
    walked = 0
    while waiting and walked < MAX_FOLDERS:
        path, depth = waiting.pop()
        walked += 1
        try:
            # No link on the way: each part was seen to be a folder, and O_NOFOLLOW refuses if it is none any more.
            inner = _folder(folder, path)
        except OSError:
            continue
        try:
            with os.scandir(inner) as entries:
                for entry in entries:
                    try:
                        told = entry.stat(follow_symlinks=False)
                    except OSError:
                        continue
                    name = f"{path}/{entry.name}" if path else entry.name
                    if stat.S_ISDIR(told.st_mode):
                        if depth < MAX_DEPTH:
                            waiting.append((name, depth + 1))
                    else:
                        yield name, told
        except OSError:
            continue
        finally:
            os.close(inner)


def _folder(folder: int, path: str) -> int:
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    for part in path.split("/") if path else []:
        try:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
        finally:
            os.close(here)
        here = inner
    return here
