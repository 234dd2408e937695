"""Folders that a process which is looked into may write to, and reading what it wrote: it may have put anything there."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from workers.sources.profile_targets import Target

PREFIX = "raydeck-profile-"
MOST_FILES = 1_000
REMOVE = "/bin/rm"
REMOVED_WITHIN_S = 30.0
FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Unfit(Exception):
    """What lies there is not taken; the message says why."""


@dataclass(frozen=True)
class Found:
    """A file beneath a folder, as it was when it was looked at."""

    name: str  # from the folder on
    size: int
    changed_ns: int


@dataclass(frozen=True)
class PrivateFolder:
    """It is held by a descriptor: who owns it can put another one in its place."""

    path: Path
    descriptor: int
    user: int

    def files(self, suffix: str) -> list[Found]:
        """Regular files whose names end so, beneath it, the newest first. Links are not followed."""
        found: list[Found] = []
        seen = 0
        for at, _, names, descriptor in os.fwalk(".", dir_fd=self.descriptor, onerror=None, follow_symlinks=False):
            seen += 1 + len(names)
            if seen > MOST_FILES:
                break
            for name in names:
                if name.endswith(suffix) and (looked := _looked(name, descriptor)) is not None and stat.S_ISREG(looked.st_mode):
                    found.append(Found(os.path.join(at, name), looked.st_size, looked.st_mtime_ns))
        return sorted(found, key=lambda one: one.changed_ns, reverse=True)

    def read(self, name: str, most: int) -> bytes:
        """A file of the folder's user. Raises Unfit: it is gone, a link, another's, or larger."""
        parts = [part for part in name.split("/") if part not in {"", "."}]
        descriptor = os.dup(self.descriptor)
        try:
            for place, part in enumerate(parts):
                flags = FILE_FLAGS if place == len(parts) - 1 else FOLDER_FLAGS
                inner = os.open(part, flags, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            return self._content(descriptor, most)
        except OSError as error:
            raise Unfit(f"It cannot be read: {error.strerror}.") from None
        finally:
            os.close(descriptor)

    def _content(self, descriptor: int, most: int) -> bytes:
        looked = os.fstat(descriptor)
        if not stat.S_ISREG(looked.st_mode) or looked.st_uid != self.user or looked.st_nlink != 1:
            raise Unfit("It is no file that the process itself wrote.")
        if looked.st_size > most:
            raise Unfit(f"It is larger than {most >> 20} MiB.")
        with os.fdopen(os.dup(descriptor), "rb") as file:
            return file.read(most)


@contextmanager
def private_folder(target: Target) -> Iterator[PrivateFolder]:
    """For the files of a process: its user's alone; removed whatever happens."""
    path = Path(tempfile.mkdtemp(prefix=PREFIX))
    descriptor = -1
    try:
        descriptor = os.open(path, FOLDER_FLAGS)
        if target.user != os.geteuid():
            os.chown(descriptor, target.user, -1)
        yield PrivateFolder(path, descriptor, target.user)
    finally:
        if descriptor >= 0:
            os.close(descriptor)
        remove(path)


def remove(path: Path) -> None:
    """A folder of `private_folder`."""
    if path.name.startswith(PREFIX) and path.is_absolute():
        words = [REMOVE, "-rf", "--one-file-system", "--", str(path)]  # rmtree goes as deep as Python's stack alone
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(words, env={}, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=REMOVED_WITHIN_S, check=False)


def _looked(name: str, descriptor: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    except OSError:
        return None
