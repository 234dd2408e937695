"""How much room kept logs take on the head's disk, and what goes when that is too much. The keeper of the head alone calls it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from clusterstate import paths
from clusterstate.store import log_error_groups

SUFFIX = ".db"
LEAST_FREE_BYTES = 1_000_000_000
LEAST_FREE_SHARE = 0.05


@dataclass(frozen=True)
class Disk:
    """The file system of the state directory."""

    size: int
    free: int

    @property
    def least_free(self) -> int:
        """Kept logs do not grow into this: a twentieth of it, 1 GB of a large one."""
        return int(min(LEAST_FREE_BYTES, LEAST_FREE_SHARE * self.size))

    @property
    def is_low(self) -> bool:
        return self.free < self.least_free

    @property
    def is_full(self) -> bool:
        """So little is free that nothing is written: giving up old bytes needs some room, too."""
        return self.free < self.least_free // 4


def disk_of(state_dir: Path) -> Disk:
    told = shutil.disk_usage(state_dir)
    return Disk(told.total, told.free)


def files_of(state_dir: Path, cluster: str) -> list[Path]:
    """What is kept of a cluster, a file for each host of each session: what was written to longest ago first."""
    return sorted((paths.kept_logs_dir(state_dir) / cluster).glob(f"*/*{SUFFIX}"), key=changed_s)


def delete_beyond(files: list[Path], most_bytes: int, spared: frozenset[Path]) -> list[Path]:
    """Deletes the first of these files until all fit, or only `spared` ones are left. Returns what was deleted."""
    sizes = {path: size_of(path) for path in files}
    total = sum(sizes.values())
    deleted: list[Path] = []
    for path in files:
        if total <= most_bytes:
            break
        if path not in spared:
            total -= sizes[path]
            deleted.append(path)
            delete(path)
    return deleted


def delete_before(files: list[Path], oldest_s: float, spared: frozenset[Path]) -> list[Path]:
    """Deletes what was not written to since then (Unix seconds). Returns what was deleted."""
    deleted = [path for path in files if path not in spared and changed_s(path) < oldest_s]
    for path in deleted:
        delete(path)
    return deleted


def delete_session(state_dir: Path, cluster: str, session: str) -> None:
    """Deletes what is kept of a session."""
    for path in files_of(state_dir, cluster):
        if path.parent.name == session:
            delete(path)


def delete(path: Path) -> None:
    """Deletes what is kept of a host, and the folder of a session of which nothing is kept any more."""
    for one in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        one.unlink(missing_ok=True)
    if not any(path.parent.glob(f"*{SUFFIX}")):
        log_error_groups.delete(path.parent)
    with suppress(OSError):
        path.parent.rmdir()


def level(sizes: Iterable[int], most: int) -> int | None:
    """The size to which larger ones are cut, so that all together are at most so much; None if they are already."""
    ordered = sorted(sizes)
    left = most
    for number, size in enumerate(ordered):
        share = left // (len(ordered) - number)
        if size > share:
            return max(0, share)
        left -= size
    return None


def changed_s(path: Path) -> float:
    """When it was last written to, Unix seconds."""
    return max((told.st_mtime for told in _told(path)), default=0.0)


def size_of(path: Path) -> int:
    return sum(told.st_size for told in _told(path))


def _told(path: Path) -> Iterator[os.stat_result]:
    for one in (path, path.with_name(path.name + "-wal")):
        with suppress(FileNotFoundError):  # SQLite takes the second away
            yield one.stat()
