"""Answers questions about the node worker itself."""

from __future__ import annotations

import os
import platform
import shutil
import time
from importlib.metadata import PackageNotFoundError, version

from clusterstate.hosts import boot_id
from workers.probes.running import running

PROGRAMS = ("py-spy", "rg")


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
        "programs": {name: shutil.which(name) is not None for name in PROGRAMS},
        "can_read_other_users": os.geteuid() == 0,
    }


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
