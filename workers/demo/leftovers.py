"""Finding and ending what an earlier demo left behind, and nothing else.

Two signs count: membership in the session that the earlier keeper led (Ray's own processes stay in it), and a file
below the demo's folder that is open for writing (drivers of submitted jobs lead sessions of their own, and agents
overwrite their environment). Reading a log there, as a log tail does, is no sign.
"""

from __future__ import annotations

import os
from pathlib import Path

from workers.processes import GONE, ProcessStat, all_stats, end_all, leftovers, started_now, write_started, writes_below


def note_keeper(folder: Path) -> None:
    """For the next demo: which session is ours."""
    write_started(_note(folder), [started_now("demo", os.getpid())])


def find(folder: Path) -> list[ProcessStat]:
    """Live processes of a demo in this folder, without this one and those above it."""
    found = {stat.pid: stat for stat in leftovers(_note(folder))}
    root = os.path.realpath(folder) + "/"
    for stat in all_stats():
        if stat.pid not in found and stat.state not in GONE and writes_below(stat.pid, root):
            found[stat.pid] = stat
    spared = _own_line()
    return [stat for pid, stat in sorted(found.items()) if pid not in spared]


def sweep(folder: Path, patience_s: float = 1.5) -> int:
    """End what an earlier demo left behind; how many processes that were. New ones of it are looked for three times."""
    count = 0
    for _ in range(3):
        found = find(folder)
        if not found:
            break
        end_all(found, patience_s)
        count += len(found)
    return count


def _note(folder: Path) -> Path:
    return folder / "keeper.json"


def _own_line() -> set[int]:
    """This process and its parents."""
    parents = {stat.pid: stat.ppid for stat in all_stats()}
    line, pid = set(), os.getpid()
    while pid > 0 and pid not in line:
        line.add(pid)
        pid = parents.get(pid, 0)
    return line
