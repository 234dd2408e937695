"""Where the logs of a node are: the folder that its running raylet names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from workers.sources import processes_decode as decode
from workers.sources.beneath import NotThere, Refused

PROC = Path("/proc")


def log_folder(node_id: str, proc: Path = PROC) -> Path:
    """The log folder of the session that this node's raylet, a process of this machine, belongs to.

    Of several processes that say they are it the oldest counts, and the folder must be its user's: any program may call itself raylet and
    name any folder. Raises NotThere, Refused.
    """
    found = [raylet for raylet in _raylets(proc) if raylet.flags.node_id == node_id]
    if not found:
        raise NotThere("The raylet of this node does not run on this machine (any more).")
    return _folder(found[0])


def log_folders(session: str, proc: Path = PROC) -> dict[Path, tuple[str, ...]]:
    """The log folders of this machine's raylets of a session, each with the ids of its nodes. What cannot be trusted is left out."""
    found: dict[Path, list[str]] = {}
    seen: set[str] = set()
    for raylet in _raylets(proc):
        if raylet.flags.session != session or raylet.flags.node_id in seen:
            continue
        seen.add(raylet.flags.node_id)
        try:
            found.setdefault(_folder(raylet), []).append(raylet.flags.node_id)
        except Refused:
            continue
    return {folder: tuple(node_ids) for folder, node_ids in found.items()}


@dataclass(frozen=True)
class _Raylet:
    start_ticks: int
    user: int
    flags: decode.RayletFlags
    session_dir: str


def _folder(raylet: _Raylet) -> Path:
    folder = Path(raylet.session_dir) / "logs"
    try:
        owner = os.stat(folder, follow_symlinks=False).st_uid
    except OSError as error:
        raise NotThere(f"The log folder {folder} cannot be opened: {error.strerror}.") from None
    if owner != raylet.user:
        raise Refused(f"The log folder {folder} is not of the user who runs the raylet.")
    return folder


def _raylets(proc: Path) -> list[_Raylet]:
    """Processes that say they are raylets, the oldest first."""
    found = (raylet for entry in proc.iterdir() if entry.name.isdigit() and (raylet := _raylet(entry)) is not None)
    return sorted(found, key=lambda raylet: (raylet.start_ticks, raylet.user, raylet.session_dir))


def _raylet(entry: Path) -> _Raylet | None:
    try:
        stat = decode.parse_stat((entry / "stat").read_bytes())
        if stat is None or stat.name != "raylet" or stat.is_zombie:
            return None
        flags = decode.raylet_flags(decode.parse_arguments((entry / "cmdline").read_bytes()))
        user = entry.stat().st_uid
    except OSError:
        return None  # gone
    if flags is None or not flags.session_dir or Path(flags.session_dir).name != flags.session:
        return None
    return _Raylet(stat.start_ticks, user, flags, flags.session_dir)
