"""Opening files of a folder that hostile programs write to: nothing outside it is ever opened, whatever a name or a link says.

`openat2` with RESOLVE_BENEATH lets the kernel refuse a path that leaves the folder at any moment, links and races included. Where
there is no `openat2` (Linux before 5.6, some container profiles), each part of the path is opened by itself and no link is followed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SYS_OPENAT2 = 437  # the same on every architecture
RESOLVE_NO_MAGICLINKS, RESOLVE_BENEATH = 0x02, 0x08
FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
LOOK = os.O_PATH | os.O_CLOEXEC  # opens nothing: neither a pipe's other end nor a device notices
RETRIES = 64
"""A rename somewhere in the folder makes the kernel ask to try again."""

_libc = ctypes.CDLL(None, use_errno=True)


class Refused(Exception):
    """It is not a regular file of the folder; the message says why, for the asker."""


class NotThere(Refused):
    """There is no such file (any more)."""


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


@contextmanager
def folder_of(path: Path) -> Iterator[int]:
    """A descriptor of the folder. Its own path is trusted: it is the raylet's. Raises NotThere."""
    try:
        folder = os.open(path, FOLDER)
    except OSError as error:
        raise NotThere(f"The log folder cannot be opened: {error.strerror}.") from None
    try:
        yield folder
    finally:
        os.close(folder)


@contextmanager
def regular_file(folder: int, name: str) -> Iterator[int]:
    """A descriptor for reading the regular file `name`, a relative path, beneath the folder. Raises NotThere, Refused."""
    found = _look(folder, name)
    try:
        told = os.fstat(found)
        if not stat.S_ISREG(told.st_mode):
            raise Refused("It is not a regular file.")
        if told.st_nlink > 1:
            raise Refused("It has another name outside of what can be seen here (a hard link).")
        # What was looked at is what is opened: the name may be another file by now.
        opened = _opened(lambda: os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))
    finally:
        os.close(found)
    try:
        yield opened
    finally:
        os.close(opened)


def _look(folder: int, name: str) -> int:
    if not name or "\0" in name or len(os.fsencode(name)) > 4096:
        raise Refused("It is not the name of a file.")
    if name.startswith("/") or ".." in name.split("/"):
        raise Refused("It is outside the session's log folder.")
    for _ in range(RETRIES):
        try:
            return _openat2(folder, name)
        except OSError as error:
            if error.errno in {errno.ENOSYS, errno.EPERM}:
                return _opened(lambda: _step_by_step(folder, name))
            if error.errno != errno.EAGAIN:
                raise _refusal(error) from None
    raise Refused("The folder changes too fast.")


def _openat2(folder: int, name: str) -> int:
    how = _OpenHow(LOOK, 0, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)
    opened = _libc.syscall(SYS_OPENAT2, folder, os.fsencode(name), ctypes.byref(how), ctypes.sizeof(how))
    if opened < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(opened)


def _step_by_step(folder: int, name: str) -> int:
    """Without openat2: a folder at a time, no links."""
    *folders, last = [part for part in name.split("/") if part not in {"", "."}] or ["."]
    here = os.dup(folder)
    try:
        for part in folders:
            inner = os.open(part, FOLDER | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = inner
        return os.open(last, LOOK | os.O_NOFOLLOW, dir_fd=here)
    finally:
        os.close(here)


def _opened(opening: object) -> int:
    try:
        return int(opening())  # type: ignore[operator]
    except OSError as error:
        raise _refusal(error) from None


def _refusal(error: OSError) -> Refused:
    if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ENXIO}:
        return NotThere("There is no such file.")
    if error.errno in {errno.EXDEV, errno.ELOOP}:
        return Refused("It is outside the session's log folder.")
    return Refused(f"It cannot be opened: {error.strerror}.")
