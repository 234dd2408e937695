"""What the machine and given processes do while something is measured: load, CPU seconds, proportional memory."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """What a process and its descendants take."""

    pss_bytes: int
    cpu_s: float  # since they started, children that ended included


def load_average() -> str:
    """The three load averages, and over how many cores."""
    one, five, fifteen = os.getloadavg()
    return f"{one:.2f} {five:.2f} {fifteen:.2f} on {os.cpu_count()} cores"


def busy_seconds() -> tuple[float, float]:
    """CPU seconds of all cores since boot: busy, total."""
    values = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = values[3] + values[4]
    return (sum(values) - idle) / TICKS, sum(values) / TICKS


def costs(pids: dict[str, int]) -> dict[str, Cost]:
    """By role: its process and all below it, unless those are a role of their own."""
    children = _children()
    roles = set(pids.values())
    found: dict[str, Cost] = {}
    for role, pid in pids.items():
        family = _family(pid, children, roles)
        found[role] = Cost(sum(map(_pss, family)), sum(map(_cpu_s, family)))
    return found


def share_of_core(pid: int, seconds: float) -> float:
    """What share of a core a process takes over this time, without its children."""
    before, began = _own_cpu_s(pid), time.monotonic()
    time.sleep(seconds)
    return (_own_cpu_s(pid) - before) / (time.monotonic() - began)


def descendant(pid: int, name: str) -> int:
    """The pid of the first process below `pid` of that name, as in /proc/<pid>/comm. Raises LookupError."""
    for member in _family(pid, _children(), set()):
        if Path(f"/proc/{member}/comm").read_text().strip() == name:
            return member
    raise LookupError(f"There is no {name} below process {pid}.")


def _family(pid: int, children: dict[int, list[int]], roles: set[int]) -> list[int]:
    members, waiting = [], [pid]
    while waiting:
        member = waiting.pop()
        members.append(member)
        waiting += [child for child in children.get(member, ()) if child not in roles]
    return members


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            fields = _stat(int(folder.name))
            if fields:
                found.setdefault(int(fields[1]), []).append(int(folder.name))
    return found


def _stat(pid: int) -> list[str]:
    """Fields of /proc/<pid>/stat from the state on; empty if the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _own_cpu_s(pid: int) -> float:
    return sum(int(value) for value in _stat(pid)[11:13]) / TICKS


def _cpu_s(pid: int) -> float:
    fields = _stat(pid)
    return sum(int(value) for value in fields[11:15]) / TICKS if fields else 0.0


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
