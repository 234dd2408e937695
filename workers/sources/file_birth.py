"""Which file it is: an inode's number is given to another file when the first is gone, the moment of its making is not."""

from __future__ import annotations

import ctypes
import os
import struct

from workers.sources.log_listing import inode_of

AT_EMPTY_PATH = 0x1000
STATX_BTIME = 0x800
STATX_BYTES = 256
MASK, BORN = struct.Struct("I"), struct.Struct("qI")
BORN_AT = 80
"""Where in `struct statx` the time of birth stands, the same on every architecture."""

_libc = ctypes.CDLL(None, use_errno=True)


def file_key(file: int) -> str:
    """A name for an open file that no later one has; where its file system notes no time of birth (NFS), that of its inode alone."""
    born = _born_ns(file)
    inode = inode_of(os.fstat(file))
    return inode if born is None else f"{inode}-{born:x}"


def _born_ns(file: int) -> int | None:
    told = ctypes.create_string_buffer(STATX_BYTES)
    try:
        if _libc.statx(file, b"", AT_EMPTY_PATH, STATX_BTIME, told):
            return None
    except AttributeError:  # a C library from before 2018
        return None
    if not MASK.unpack_from(told)[0] & STATX_BTIME:
        return None
    seconds, nanoseconds = BORN.unpack_from(told, BORN_AT)
    return int(seconds * 1_000_000_000 + nanoseconds)
