"""Finding the processes of a running Raydeck, killing one, and knowing when all is fresh again."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable

from clusterstate import paths
from tests.ray.onlookers import TABLES, Onlookers, Person, looking_on
from tests.ray.timing import seen_at
from tests.running import Running
from workers.processes import all_stats, read_started

FRESH_WITHIN_S = 10.0
MAY_BREAK_OFF = 5
"""Requests that a killed web process was answering."""


def pid_of(running: Running, role: str) -> int:
    """The process that has this role now."""
    started = read_started(paths.processes_file(running.state_dir, "up"))
    return next((one.pid for one in started if one.role == role), 0)


def children_of(pid: int) -> list[int]:
    return [stat.pid for stat in all_stats() if stat.ppid == pid and stat.state not in "ZX"]


def everything_of(running: Running) -> list[int]:
    """The supervisor, its roles, and all that they started."""
    started = read_started(paths.processes_file(running.state_dir, "up"))
    sessions = {one.pid for one in started}
    return [running.process.pid, *(stat.pid for stat in all_stats() if stat.sid in sessions)]


def kill(pids: list[int]) -> None:
    assert pids
    for pid in pids:
        assert pid > 1
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def is_fresh(running: Running, since: float) -> bool:
    """Whether all that is shown was known right after this moment, and every live node was measured after it."""
    try:
        answers = [running.rows(table, "?limit=1") for table in TABLES]
        nodes = running.rows("nodes", "?state=ALIVE&limit=100")
    except (OSError, AssertionError):
        return False
    told = all(answer["as_of"] is not None and answer["as_of"] > since and not answer["stale"] for answer in answers)
    return told and nodes["partial"] == [] and all((row["collected_at"] or 0) > since for row in nodes["rows"])


def fresh_after(running: Running, since: float, within_s: float = 60.0) -> float:
    """Seconds from this moment until all was fresh."""
    return seen_at(lambda: is_fresh(running, since), "all of it fresh", within_s) - since


def survives(running: Running, person: Person, act: Callable[[], None], has_returned: Callable[[], object]) -> tuple[float, Onlookers]:
    """Does it while people look on; (seconds from its return until all is fresh, what they saw)."""
    fresh_after(running, time.time())
    with looking_on(running, person) as onlookers:
        time.sleep(0.5)
        act()
        returned = seen_at(has_returned, "the process that was killed")
        took = fresh_after(running, returned)
        time.sleep(0.5)
    return took, onlookers


def survives_kill(running: Running, person: Person, role: str, child: bool = False) -> tuple[float, Onlookers]:
    """`kill -9` of a role, or of all that it started."""
    role_pid = pid_of(running, role)
    victims = children_of(role_pid) if child else [role_pid]

    def has_returned() -> bool:
        now = pid_of(running, role)
        living = set(children_of(now)) if child else {now}
        return bool(living) and now > 1 and living.isdisjoint(victims)

    return survives(running, person, lambda: kill(victims), has_returned)
