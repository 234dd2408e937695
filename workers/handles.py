"""Descriptors of processes and of memory, also where a Python was built without words for them, as those of uv are."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PIDFD_OPEN, PIDFD_SEND_SIGNAL = 434, 424
"""Numbers of the system calls, equal on all machines."""
CLOSES_ON_EXEC = 1

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None


def open_process(pid: int) -> int:
    """A descriptor that means this process, whoever gets its number later. Raises OSError: it is gone; ENOSYS: Linux before 5.3."""
    if hasattr(os, "pidfd_open"):
        return os.pidfd_open(pid)
    return _call(PIDFD_OPEN, pid, 0)


def signal_process(descriptor: int, signum: int) -> None:
    """Raises OSError: it has ended."""
    if hasattr(signal, "pidfd_send_signal"):
        signal.pidfd_send_signal(descriptor, signum)
    else:
        _call(PIDFD_SEND_SIGNAL, descriptor, signum, None, 0)


def memory_file(name: str) -> int:
    """A file without a place in any folder, gone with its last descriptor. Raises OSError."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name, os.MFD_CLOEXEC)
    if _libc is None:
        raise OSError("This system has no files in memory.")
    return _checked(_libc.memfd_create(name.encode(), CLOSES_ON_EXEC))


def _call(number: int, *arguments: int | None) -> int:
    if _libc is None:
        raise OSError("This system has no such call.")
    return _checked(_libc.syscall(number, *arguments))


def _checked(answer: int) -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(answer)
