"""The processes of Ray on this host, from /proc: which raylets run here, what belongs to each, what it uses.

The whole process list is walked, but a process that is none of Ray's is looked at once a minute only, so that the
cost follows the number of Ray's processes. What one look could not read is None: processes end while being read.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from clusterstate.masking import mask_arguments, mask_text
from workers.sources import host_decode
from workers.sources import processes_decode as decode
from workers.sources.processes_decode import NodeProcesses, ProcessReading, RayletProcess, Stat
from workers.sources.ray_install import ray_commit

FOREIGN_AGAIN_S = 60.0
EXPENSIVE_EVERY_S = 60.0
MAX_PROCESSES = 2000
"""Of one node. Ray itself starts hundreds; only a program that forks without end has more."""
MAX_DEPTH = 64
TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
NOTHING = b""


@dataclass(slots=True)
class _Known:
    """What is remembered of one process, told from others by pid and start time."""

    stat: Stat
    looked_at: float
    arguments: list[str] | None = None  # of the first look, to tell what it is
    user: str | None = None
    is_ours: bool = False
    is_new: bool = True  # looked at with this walk
    cpu: tuple[float, int] | None = None  # when, clock ticks
    expensive: decode.ExpensiveMemory | None = None
    expensive_at: float | None = None
    raylet_pid: int | None = None  # RAY_RAYLET_PID of a worker whose parent is gone
    environ_read: bool = False


@dataclass(frozen=True, slots=True)
class Scan:
    """One walk: the raylets of the session that run here and what belongs to each."""

    at: float
    nodes: tuple[NodeProcesses, ...] = ()
    num_processes: int = 0  # on the host, of anyone
    left_out: int = 0  # of Ray, over MAX_PROCESSES


@dataclass(slots=True)
class _Walk:
    """Work sheet of one scan."""

    now: float
    session: str
    raylets: dict[int, RayletProcess] = field(default_factory=dict)
    owner: dict[int, int | None] = field(default_factory=dict)  # pid -> pid of its raylet


class ProcessReader:
    """Walks /proc. One instance a collector: CPU use is the difference between two walks."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = str(proc)
        self._known: dict[int, _Known] = {}
        self._raylets: dict[tuple[int, int], RayletProcess | None] = {}
        self._raylet_pids: set[int] = set()
        self._listed: frozenset[int] = frozenset()
        self._users: dict[int, str] = {}
        self._boot_ms = host_decode.boot_time_ms(self._text("stat").decode()) or 0
        self._session = ""

    def scan(self, session: str, now: float, listed: dict[int, Collection[int]] | None = None) -> Scan:
        """All nodes of a session on this host. `listed`: raylet pid → pids that the raylet itself calls its workers.

        Drivers are no children of a raylet, so they are found by that list alone.
        """
        listed = listed or {}
        self._forget_strangers(session, frozenset(pid for pids in listed.values() for pid in pids))
        pids = [int(name) for name in os.listdir(self._proc) if name.isdigit()]
        self._refresh(pids, now)
        walk = _Walk(now, session)
        self._find_raylets(walk)
        self._find_owners(walk, listed)
        nodes, left_out = self._read(walk)
        return Scan(now, nodes, len(pids), left_out)

    def measure_memory(self, now: float, at_most: int) -> int:
        """The expensive figures (PSS, USS) of processes whose last ones are a minute old, longest waiting first.

        About 2 ms each for a worker of 80 MB. Returns how many were read; the next scan shows them.
        """
        due = [known for known in self._known.values() if known.is_ours and _is_due(known, now)]
        due.sort(key=lambda known: known.expensive_at or 0.0)
        for known in due[:at_most]:
            known.expensive_at = now
            known.expensive = decode.parse_smaps_rollup(self._text(known.stat.pid, "smaps_rollup"))
        return min(len(due), at_most)

    def count(self) -> int:
        """Ray's processes at the last scan."""
        return sum(known.is_ours for known in self._known.values())

    def is_running(self, raylet: RayletProcess) -> bool:
        """Whether this very process still lives (a zombie does not)."""
        stat = decode.parse_stat(self._text(raylet.pid, "stat"))
        return stat is not None and not stat.is_zombie and self._start_ms(stat) == raylet.start_time_ms

    def _forget_strangers(self, session: str, listed: frozenset[int]) -> None:
        """Another session, or a worker nobody knew of: whatever was none of ours may be ours now."""
        if session != self._session or not listed <= self._listed:
            self._known = {pid: known for pid, known in self._known.items() if known.is_ours}
        self._session, self._listed = session, listed

    def _refresh(self, pids: list[int], now: float) -> None:
        known: dict[int, _Known] = {}
        for pid in pids:
            before = self._known.get(pid)
            if before is not None and not before.is_ours and 0 <= now - before.looked_at < FOREIGN_AGAIN_S:
                before.is_new = False
                known[pid] = before
                continue
            stat = decode.parse_stat(self._text(pid, "stat"))
            if stat is None or stat.is_zombie:
                continue
            if before is None or before.stat.start_ticks != stat.start_ticks:
                before = _Known(stat, _spread(pid, now))
            elif not before.is_ours:
                before.arguments, before.looked_at = None, now
            before.stat, before.is_new = stat, True
            known[pid] = before
        self._known = known

    def _find_raylets(self, walk: _Walk) -> None:
        running: dict[tuple[int, int], RayletProcess | None] = {}
        for pid, known in self._known.items():
            if known.stat.name == "raylet":
                key = (pid, known.stat.start_ticks)
                running[key] = self._raylets.get(key) or self._raylet(known)
        self._raylets = running
        ours = [raylet for raylet in running.values() if raylet is not None and raylet.flags.session == walk.session]
        by_node: dict[str, RayletProcess] = {}
        for raylet in sorted(ours, key=lambda raylet: (raylet.start_time_ms, raylet.pid)):
            by_node.setdefault(raylet.flags.node_id, raylet)  # a second with the same id is an impostor or a fork
        walk.raylets = {raylet.pid: raylet for raylet in by_node.values()}
        if set(walk.raylets) != self._raylet_pids:  # what seemed a stranger may be this raylet's
            self._raylet_pids = set(walk.raylets)
            for known in self._known.values():
                known.is_new, known.arguments = True, known.arguments if known.is_ours else None

    def _raylet(self, known: _Known) -> RayletProcess | None:
        arguments = decode.parse_arguments(self._text(known.stat.pid, "cmdline"))
        flags = decode.raylet_flags(arguments)
        if flags is None:
            return None  # not yet executed, or only called raylet: looked at again with the next walk
        environ = decode.parse_environ(self._text(known.stat.pid, "environ"), ("CUDA_VISIBLE_DEVICES",))
        return RayletProcess(
            pid=known.stat.pid,
            start_time_ms=self._start_ms(known.stat),
            flags=flags,
            command_line=mask_text(decode.short_command_line(mask_arguments(arguments))),
            visible_gpus=environ.get("CUDA_VISIBLE_DEVICES"),
            ray_commit=ray_commit(self._proc, known.stat.pid),
        )

    def _find_owners(self, walk: _Walk, listed: dict[int, Collection[int]]) -> None:
        walk.owner = {pid: pid for pid in walk.raylets}
        for raylet_pid, pids in listed.items():
            if raylet_pid in walk.raylets:
                walk.owner.update({pid: raylet_pid for pid in pids if pid in self._known and pid not in walk.raylets})
        for pid in self._known:
            self._owner(pid, walk)
        keeper = self._keeper_of_helpers(walk)
        for pid, known in self._known.items():
            owner = walk.owner.get(pid)
            if owner is None and keeper is not None and known.is_new:
                owner = walk.owner[pid] = self._owner_by_word(known, walk, keeper)
            known.is_ours = owner is not None

    def _owner(self, pid: int, walk: _Walk) -> int | None:
        """The raylet above a process: the first one on its way to the top."""
        path: list[int] = []
        at: int = pid
        while at not in walk.owner and at in self._known and len(path) < MAX_DEPTH:
            path.append(at)
            at = self._known[at].stat.parent_pid
        owner = walk.owner.get(at)
        walk.owner.update(dict.fromkeys(path, owner))
        return owner

    def _owner_by_word(self, known: _Known, walk: _Walk, keeper: int) -> int | None:
        """The node of a process that no raylet is above of: Ray's helpers by their flags, orphaned workers by environment."""
        if known.arguments is None:
            known.arguments = decode.parse_arguments(self._text(known.stat.pid, "cmdline"))
        if decode.belongs_to_session(known.arguments, walk.session):
            return keeper
        if known.arguments and known.arguments[0].startswith(decode.RAY_TITLE):
            if not known.environ_read:
                environ = decode.parse_environ(self._text(known.stat.pid, "environ"), ("RAY_RAYLET_PID",))
                known.raylet_pid, known.environ_read = _number(environ.get("RAY_RAYLET_PID")), True
            return known.raylet_pid if known.raylet_pid in walk.raylets else None
        return None

    @staticmethod
    def _keeper_of_helpers(walk: _Walk) -> int | None:
        """Who is shown the GCS and what else names only the session: the head node, else the oldest raylet here."""
        in_order = sorted(walk.raylets.values(), key=lambda raylet: (not raylet.flags.is_head_node, raylet.start_time_ms, raylet.pid))
        return in_order[0].pid if in_order else None

    def _read(self, walk: _Walk) -> tuple[tuple[NodeProcesses, ...], int]:
        nodes, left_out = [], 0
        members: dict[int, list[int]] = {pid: [] for pid in walk.raylets}
        for pid, owner in walk.owner.items():
            if owner is not None and pid in self._known:
                members[owner].append(pid)
        for raylet_pid, raylet in walk.raylets.items():
            chosen = self._at_most(members[raylet_pid])
            left_out += len(members[raylet_pid]) - len(chosen)
            readings = (self._reading(self._known[pid], walk.now) for pid in chosen)
            nodes.append(NodeProcesses(raylet, {reading.pid: reading for reading in readings}))
        return tuple(nodes), left_out

    def _at_most(self, pids: list[int]) -> list[int]:
        """The raylet's own children first, then by age, where there are too many."""
        if len(pids) <= MAX_PROCESSES:
            return pids
        return sorted(pids, key=lambda pid: (pid not in self._listed, self._known[pid].stat.start_ticks))[:MAX_PROCESSES]

    def _reading(self, known: _Known, now: float) -> ProcessReading:
        stat = known.stat
        if known.user is None:
            known.user = self._user(stat.pid)
        memory = decode.parse_statm(self._text(stat.pid, "statm"), PAGE_BYTES)
        arguments = decode.parse_arguments(self._text(stat.pid, "cmdline"))
        expensive = known.expensive
        return ProcessReading(
            pid=stat.pid,
            parent_pid=stat.parent_pid,
            name=stat.name,
            start_time_ms=self._start_ms(stat),
            seen_at=now,
            title=mask_text(decode.title_of(arguments, stat.name)),
            command_line=mask_text(decode.command_line(mask_arguments(arguments))),
            user=known.user,
            cpu_percent=self._cpu_percent(known, now),
            cpu_user_s=stat.user_ticks / TICKS,
            cpu_system_s=stat.system_ticks / TICKS,
            rss_bytes=memory[0] if memory else None,
            shared_bytes=memory[1] if memory else None,
            pss_bytes=expensive.pss_bytes if expensive else None,
            uss_bytes=expensive.uss_bytes if expensive else None,
            num_threads=stat.num_threads,
            num_fds=self._count_fds(stat.pid),
            stdout=self._leads_to(stat.pid, 1),
            stderr=self._leads_to(stat.pid, 2),
        )

    def _cpu_percent(self, known: _Known, now: float) -> float | None:
        """Of one core, since the last walk; for a process first seen, since its start if that was less than a minute ago."""
        ticks = known.stat.user_ticks + known.stat.system_ticks
        before, known.cpu = known.cpu, (now, ticks)
        if before is None:
            age_s = now - self._start_ms(known.stat) / 1000
            before = (now - age_s, 0) if 1.0 <= age_s <= FOREIGN_AGAIN_S else None
        if before is None or now <= before[0] or ticks < before[1]:
            return None
        return round(100.0 * (ticks - before[1]) / TICKS / (now - before[0]), 1)

    def _start_ms(self, stat: Stat) -> int:
        return self._boot_ms + stat.start_ticks * 1000 // TICKS

    def _user(self, pid: int) -> str | None:
        try:
            number = os.stat(f"{self._proc}/{pid}").st_uid
        except OSError:
            return None
        if number not in self._users:
            self._users[number] = _user_name(number)
        return self._users[number]

    def _count_fds(self, pid: int) -> int | None:
        try:
            return len(os.listdir(f"{self._proc}/{pid}/fd"))
        except OSError:
            return None  # another user's, or ended meanwhile

    def _leads_to(self, pid: int, descriptor: int) -> str | None:
        try:
            return mask_text(os.readlink(f"{self._proc}/{pid}/fd/{descriptor}"))
        except OSError:
            return None  # another user's, closed, or ended meanwhile

    def _text(self, *parts: object) -> bytes:
        try:
            with open("/".join([self._proc, *map(str, parts)]), "rb", buffering=0) as file:
                return _all(iter(lambda: file.read(65536), NOTHING))
        except OSError:
            return NOTHING


def _all(chunks: Iterable[bytes], limit: int = 16) -> bytes:
    """What /proc gives, in pieces of 64 kB; a command line may be megabytes long and is not read to its end."""
    found: list[bytes] = []
    for chunk in chunks:
        found.append(chunk)
        if len(found) >= limit:
            break
    return NOTHING.join(found)


def _is_due(known: _Known, now: float) -> bool:
    return known.expensive_at is None or not 0 <= now - known.expensive_at < EXPENSIVE_EVERY_S


def _spread(pid: int, now: float) -> float:
    """A first look dated back by up to a minute, so that strangers come due over the minute and not all at once."""
    return now - (pid % int(FOREIGN_AGAIN_S)) * 0.9


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None
