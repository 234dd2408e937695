"""Answers questions about the node worker itself."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from clusterstate.hosts import boot_id
from workers.probes.running import running

PROGRAMS = ("py-spy", "rg", "gdb")


def check_node(node_id: str) -> dict[str, object]:
    """Versions, clock and abilities of the node worker that answers for `node_id`."""
    surroundings = running()
    return {
        "node_id": node_id,
        "host": surroundings.host,
        "hostname": platform.node(),
        "boot_id": boot_id(),
        "pid": os.getpid(),
        "user": os.geteuid(),
        "time": time.time(),
        "versions": {name: _version(name) for name in ("raydeck", "ray", "redis", "rq")} | {"python": platform.python_version()},
        "system": platform.platform(),
        "programs": {name: _is_installed(name) for name in PROGRAMS},
        "can_read_other_users": os.geteuid() == 0,
    }


def _is_installed(program: str) -> bool:
    """Beside our own Python (where wheels put programs) or on PATH."""
    return shutil.which(program, path=str(Path(sys.executable).parent)) is not None or shutil.which(program) is not None


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
