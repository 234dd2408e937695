"""Which processes of this machine a profiler may be pointed at: what a raylet that runs here lists now, and Ray's own beside it.

A raylet lists the pids that its clients told it. So a worker must stand below the raylet, and a driver must be of the raylet's user;
neither may be a process of ours.
"""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from clusterstate.profile_answers import ENDED, NOT_LISTED, OTHER_USER, UNSUPPORTED, WhyNot
from workers.handles import open_process
from workers.sources import host_decode
from workers.sources import processes_decode as decode
from workers.sources.processes_decode import RayletFlags, Stat

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
FIRST_PID, LAST_PID = 2, 1 << 22
"""1 is never profiled; 2^22 is the most that Linux gives out."""
MAX_DEPTH = 64
CLOCK_STEPS_MS = frozenset({-2000, -1000, 0, 1000, 2000})
"""Start times are counted from the boot time, which the kernel gives in whole seconds and moves when the clock is set."""
OUR_NAMES = ("rd:", "redis-server", "valkey-server", "gunicorn", "raydeck")


class Refused(Exception):
    """A process that nobody may look into; says why."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.why_not = WhyNot(reason, detail)


@dataclass(frozen=True, slots=True)
class Raylet:
    """A raylet that runs here."""

    pid: int
    user: int
    flags: RayletFlags


@dataclass(frozen=True, slots=True)
class Target:
    """A process that may be looked into, told from a later one with its pid by its start."""

    pid: int
    started_ms: int
    start_ticks: int
    user: int
    group: int
    pidfd: int = -1

    def released(self) -> Target:
        """The same, not held by a descriptor."""
        return replace(self, pidfd=-1)

    @property
    def is_alive(self) -> bool:
        """Whether the very process that was checked still runs: its descriptor says so, whoever has its number."""
        return self.pidfd < 0 or not select.select([self.pidfd], [], [], 0)[0]


def raylets(proc: Path = PROC) -> list[Raylet]:
    """Processes that say they are raylets, the oldest first."""
    return [raylet for stat in _stats(proc) if stat.name == "raylet" and (raylet := _raylet(proc, stat.pid)) is not None]


def find_raylet(node_id: str, session: str | None, proc: Path = PROC) -> Raylet:
    """The oldest process that says it is this node's raylet. Raises Refused, also if it is of another session than `session`."""
    if not decode.is_node_id(node_id):
        raise Refused(NOT_LISTED, "This is no node's id.")
    ours = [raylet for raylet in raylets(proc) if raylet.flags.node_id == node_id and session in (None, raylet.flags.session)]
    if not ours:
        raise Refused(NOT_LISTED, "The raylet of this node does not run on this machine (any more).")
    return ours[0]


@dataclass(frozen=True)
class Finder:
    """Checks what is asked for against a raylet and what it lists."""

    raylet: Raylet
    listed: dict[int, bool] | None  # pid → whether it is a driver; None: the raylet does not answer
    own: frozenset[int] = frozenset()  # sessions (as in setsid) of Raydeck's roles on this machine
    proc: Path = PROC

    @contextmanager
    def open(self, pid: int, started_ms: int | None) -> Iterator[Target]:
        """The process, held by a descriptor meanwhile. Raises Refused."""
        with self._held(pid) as pidfd:
            yield replace(self._check(pid, started_ms), pidfd=pidfd)

    @contextmanager
    def open_child(self, pid: int, of: Target) -> Iterator[Target]:
        """The same of a process below one that may be looked into, and of the same user."""
        with self._held(pid) as pidfd:
            yield replace(self._check_child(pid, of), pidfd=pidfd)

    @contextmanager
    def _held(self, pid: int) -> Iterator[int]:
        if not _is_pid(pid):
            raise Refused(NOT_LISTED, "No process has such a pid.")
        try:
            pidfd = open_process(pid)
        except OSError as error:
            if error.errno == errno.ENOSYS:
                raise Refused(UNSUPPORTED, "This kernel has no descriptors of processes: Linux has them from 5.3 on.") from None
            raise Refused(ENDED, f"There is no process {pid} (any more).") from None
        try:
            yield pidfd
        finally:
            os.close(pidfd)

    def _check(self, pid: int, started_ms: int | None) -> Target:
        stat = _stat(self.proc, pid)
        if stat is None or stat.is_zombie:
            raise Refused(ENDED, f"There is no process {pid} (any more).")
        found = start_ms(self.proc, stat)
        is_other = started_ms is not None and (found - started_ms) not in CLOCK_STEPS_MS
        if not self._is_ray(stat) or self._is_ours(stat):
            raise Refused(NOT_LISTED, f"Process {pid} is none that the raylet lists now.")
        if is_other:
            raise Refused(ENDED, f"Process {pid} is another one by now.")
        user, group = _owner(self.proc, pid)
        if user != self.raylet.user:
            raise Refused(OTHER_USER, f"Process {pid} is of user {user}, the raylet of user {self.raylet.user}.")
        return Target(pid, found, stat.start_ticks, user, group)

    def _check_child(self, pid: int, of: Target) -> Target:
        stat = _stat(self.proc, pid)
        if stat is None or stat.is_zombie:
            raise Refused(ENDED, "It ended meanwhile.")
        user, group = _owner(self.proc, pid)
        if of.pid not in self._above(stat) or self._is_ours(stat) or user != of.user:
            raise Refused(NOT_LISTED, f"Process {pid} is none below {of.pid}, or another user's.")
        return Target(pid, start_ms(self.proc, stat), stat.start_ticks, user, group)

    def children_of(self, target: Target) -> list[int]:
        """Pids of all processes below one, nearest first."""
        parents = {stat.pid: stat.parent_pid for stat in _stats(self.proc)}
        found, at = [], {target.pid}
        while at:
            at = {pid for pid, parent in parents.items() if parent in at}
            found += sorted(at)
        return found

    def _is_listed(self, pid: int) -> bool:
        return self.listed is not None and pid in self.listed

    def _is_ray(self, stat: Stat) -> bool:
        if stat.pid == self.raylet.pid:
            return True
        is_below = self.raylet.pid in self._above(stat)
        if self._is_listed(stat.pid) and (is_below or (self.listed or {})[stat.pid]):
            return True
        arguments = _arguments(self.proc, stat.pid)
        title = arguments[0] if arguments else ""
        if stat.parent_pid == self.raylet.pid and (title in decode.AGENT_TITLES or _is_agent(arguments)):
            return True
        if self.listed is None and stat.parent_pid == self.raylet.pid and title.startswith(decode.RAY_TITLE):
            return True  # it cannot be asked: what it started itself is its own
        return not is_below and decode.belongs_to_session(arguments, self.raylet.flags.session)

    def _is_ours(self, stat: Stat) -> bool:
        """Ourselves, whoever started us, Raydeck's roles and what they started, and a Redis."""
        me = _stat(self.proc, os.getpid())
        above_us = {os.getpid(), *(self._above(me) if me is not None else ())}
        return stat.pid in above_us or stat.session_id in self.own or stat.name.startswith(OUR_NAMES)

    def _above(self, stat: Stat) -> list[int]:
        """Its parent, and so on."""
        found: list[int] = []
        at: Stat | None = stat
        while at is not None and at.parent_pid > 0 and len(found) < MAX_DEPTH:
            found.append(at.parent_pid)
            at = _stat(self.proc, at.parent_pid)
        return found


def is_same(target: Target, proc: Path = PROC) -> bool:
    """Whether the process is the one that was checked, of the same user, after a profiler was at it."""
    stat = _stat(proc, target.pid)
    return target.is_alive and stat is not None and stat.start_ticks == target.start_ticks and _owner(proc, target.pid)[0] == target.user


def start_ms(proc: Path, stat: Stat) -> int:
    """When a process began, as rows of processes say it."""
    boot_ms = host_decode.boot_time_ms((proc / "stat").read_text()) or 0
    return boot_ms + stat.start_ticks * 1000 // TICKS


def title_of(pid: int, proc: Path = PROC) -> str:
    """What a process calls itself now; empty when it is gone."""
    stat = _stat(proc, pid)
    return decode.title_of(_arguments(proc, pid), stat.name) if stat is not None else ""


def _is_pid(pid: object) -> bool:
    return type(pid) is int and FIRST_PID <= pid <= LAST_PID


def _is_agent(arguments: list[str]) -> bool:
    """An agent that has not taken its title yet, or of a Ray that gives it none."""
    return any(word.endswith(("dashboard/agent.py", "runtime_env/agent/main.py")) for word in arguments[:8])


def _raylet(proc: Path, pid: int) -> Raylet | None:
    flags = decode.raylet_flags(_arguments(proc, pid))
    return Raylet(pid, _owner(proc, pid)[0], flags) if flags is not None else None


def _stats(proc: Path) -> list[Stat]:
    """Every process, the oldest first."""
    found = (_stat(proc, int(name)) for name in os.listdir(proc) if name.isdigit())
    return sorted((stat for stat in found if stat is not None and not stat.is_zombie), key=lambda stat: (stat.start_ticks, stat.pid))


def _stat(proc: Path, pid: int) -> Stat | None:
    try:
        return decode.parse_stat((proc / str(pid) / "stat").read_bytes())
    except OSError:
        return None


def _arguments(proc: Path, pid: int) -> list[str]:
    try:
        with open(proc / str(pid) / "cmdline", "rb") as file:
            return decode.parse_arguments(file.read(8 * decode.MAX_COMMAND_LINE))
    except OSError:
        return []


def _owner(proc: Path, pid: int) -> tuple[int, int]:
    """User and group; (-1, -1): it is gone."""
    try:
        found = os.stat(proc / str(pid))
    except OSError:
        return -1, -1
    return found.st_uid, found.st_gid
