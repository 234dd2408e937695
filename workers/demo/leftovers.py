"""Finding and ending what an earlier demo left behind, and nothing else.

Three signs count: membership in the session that the earlier keeper led (Ray's own processes stay in it), a file below
the demo's folder that is open for writing (drivers of submitted jobs lead sessions of their own, and agents overwrite
their environment), and the demo's own home folder (the shell that Ray sets beside a submitted job opens no file).
Reading a log there, as a log tail does, is no sign.
"""

from __future__ import annotations

import os
from pathlib import Path

from workers.demo.environment import home_of
from workers.processes import GONE, PROC, ProcessStat, all_stats, end_all, leftovers, started_now, write_started, writes_below


def note_keeper(folder: Path) -> None:
    """For the next demo: which session is ours."""
    write_started(_note(folder), [started_now("demo", os.getpid())])


def find(folder: Path) -> list[ProcessStat]:
    """Live processes of a demo in this folder, without this one and those above it."""
    found = {stat.pid: stat for stat in leftovers(_note(folder))}
    root = os.path.realpath(folder) + "/"
    for stat in all_stats():
        if stat.pid not in found and stat.state not in GONE and (writes_below(stat.pid, root) or _is_at_home(stat.pid, folder)):
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


def _is_at_home(pid: int, folder: Path) -> bool:
    """Whether a process was started with the demo's home folder, which a user's driver that joined it is not given."""
    try:
        variables = (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:  # another user's, or gone
        return False
    return b"HOME=" + os.fsencode(home_of(folder)) in variables


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
