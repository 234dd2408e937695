"""What the Ray that a raylet was started from says of itself, read beside the raylet's program. Ray is not imported."""

from __future__ import annotations

import os
import re
import stat

PROGRAM = "/core/src/ray/raylet/raylet"
"""Where a raylet lies below the `ray` package."""
COMMIT = re.compile(rb"""^commit = ["']([0-9a-f]{7,64})["']""", re.MULTILINE)
"""In `ray/_version.py`. A build from source has a placeholder there."""
FILE_LIMIT_BYTES = 4096


def ray_commit(proc: str, raylet_pid: int) -> str | None:
    """The commit of a raylet's Ray; None where it is not ours to look at, or not said. A raylet in a container is looked up there."""
    try:
        program = os.readlink(f"{proc}/{raylet_pid}/exe").removesuffix(" (deleted)")
        if not program.endswith(PROGRAM):
            return None
        text = _read(f"{proc}/{raylet_pid}/root{program.removesuffix(PROGRAM)}/_version.py")
    except OSError:
        return None
    found = COMMIT.search(text)
    return found[1].decode() if found else None


def _read(path: str) -> bytes:
    """The beginning of a file that may be anything: a pipe is not waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(FILE_LIMIT_BYTES) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
