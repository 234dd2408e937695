"""Where the logs of a node are: the folder that its running raylet names."""

from __future__ import annotations

import os
from pathlib import Path

from workers.sources import processes_decode as decode
from workers.sources.beneath import NotThere, Refused

PROC = Path("/proc")


def log_folder(node_id: str, proc: Path = PROC) -> Path:
    """The log folder of the session that this node's raylet, a process of this machine, belongs to.

    Of several processes that say they are it the oldest counts, and the folder must be its user's: any program may call itself raylet and
    name any folder. Raises NotThere, Refused.
    """
    raylets = sorted(raylet for entry in proc.iterdir() if entry.name.isdigit() and (raylet := _raylet(entry, node_id)) is not None)
    if not raylets:
        raise NotThere("The raylet of this node does not run on this machine (any more).")
    _, user, session_dir = raylets[0]
    folder = Path(session_dir) / "logs"
    try:
        owner = os.stat(folder, follow_symlinks=False).st_uid
    except OSError as error:
        raise NotThere(f"The log folder {folder} cannot be opened: {error.strerror}.") from None
    if owner != user:
        raise Refused(f"The log folder {folder} is not of the user who runs the raylet.")
    return folder


def _raylet(entry: Path, node_id: str) -> tuple[int, int, str] | None:
    """(start in ticks, user, session folder) of a process, if it is the raylet of that node."""
    try:
        stat = decode.parse_stat((entry / "stat").read_bytes())
        if stat is None or stat.name != "raylet" or stat.is_zombie:
            return None
        flags = decode.raylet_flags(decode.parse_arguments((entry / "cmdline").read_bytes()))
        user = entry.stat().st_uid
    except OSError:
        return None  # gone
    if flags is None or flags.node_id != node_id or not flags.session_dir or Path(flags.session_dir).name != flags.session:
        return None
    return stat.start_ticks, user, flags.session_dir
