"""Starting, finding and ending our own processes."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from clusterstate.hosts import boot_id
from workers.handles import open_process, signal_process

PROC = Path("/proc")
PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
GONE = frozenset({"Z", "X"})

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None


@dataclass(frozen=True)
class ProcessStat:
    """What /proc/<pid>/stat says."""

    pid: int
    state: str
    ppid: int
    sid: int
    cpu_s: float  # user and system, with waited-for children left out
    start_ticks: int  # since boot


@dataclass(frozen=True)
class Started:
    """A process that we started, told apart from a later one with the same pid."""

    role: str
    pid: int
    start_ticks: int
    boot_id: str


def die_with_parent(parent: int, signum: signal.Signals = signal.SIGKILL) -> None:
    """Has the kernel send `signum` to this process when `parent` dies, also if that was a moment ago."""
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, int(signum), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def name_process(name: str) -> None:
    """What `ps -e` and `top` call this process; 15 bytes of it."""
    if _libc is not None:
        _libc.prctl(PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def change_nice(by: int) -> None:
    """Changes this process' nice value, and that of its session, by which Linux shares CPU out among sessions (sched(7)).

    Less than before takes CAP_SYS_NICE; without, nothing changes. It must lead a session of its own.
    """
    if not by:
        return
    nice = max(-20, min(os.getpriority(os.PRIO_PROCESS, 0) + by, 19))
    for set_nice in (lambda: os.setpriority(os.PRIO_PROCESS, 0, nice), lambda: (PROC / "self/autogroup").write_text(str(nice))):
        with contextlib.suppress(OSError):
            set_nice()


def read_stat(pid: int) -> ProcessStat | None:
    """None: there is no such process (any more)."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    rest = text[text.rindex(")") + 2 :].split()  # the name before it may hold anything
    return ProcessStat(pid, rest[0], int(rest[1]), int(rest[3]), (int(rest[11]) + int(rest[12])) / TICKS_PER_S, int(rest[19]))


def command_line(pid: int) -> str:
    """Its words, with blanks between them; empty: it is gone, or another's."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""


def all_stats() -> list[ProcessStat]:
    """Every process there is. A few ms."""
    pids = [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]
    return [stat for stat in map(read_stat, pids) if stat is not None]


def session_members(sid: int) -> list[ProcessStat]:
    """The live processes of a session (each role leads its own)."""
    return [stat for stat in all_stats() if stat.sid == sid and stat.state not in GONE]


def pss_bytes(pid: int) -> int | None:
    """Proportional share of memory; None where the kernel does not say."""
    try:
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def started_now(role: str, pid: int) -> Started:
    """How a process that was just started is recognised later."""
    stat = read_stat(pid)
    return Started(role, pid, stat.start_ticks if stat else 0, boot_id() or "")


def write_started(path: Path, processes: Iterable[Started]) -> None:
    """Notes what runs, for `sweep`. Whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump([asdict(process) for process in processes], file)
    temporary.replace(path)


def read_started(path: Path) -> list[Started]:
    """What an earlier supervisor noted; nothing if the note is missing or torn."""
    try:
        return [Started(**entry) for entry in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError):
        return []


def leftovers(path: Path, *folders: Path) -> list[ProcessStat]:
    """Processes of an earlier supervisor that still live: those it noted, and the sessions they lead.

    A pid that another process has by now is told by its start time. Where a leader is gone its number may have been
    another's meanwhile, and the members of that one's session are not ours: then only those count that write or work
    below the note's folder or one of `folders`, as ours do (their log is there).
    """
    ours = [process for process in read_started(path) if process.boot_id == (boot_id() or "")]
    if not ours:
        return []
    stats = {stat.pid: stat for stat in all_stats()}
    led = {one.pid for one in ours if one.pid in stats and stats[one.pid].start_ticks == one.start_ticks}
    orphaned = {one.pid for one in ours if one.pid not in stats}
    roots = [os.path.realpath(folder) + "/" for folder in (path.parent, *folders)]
    living = [stat for stat in stats.values() if stat.state not in GONE]
    return [stat for stat in living if stat.sid in led or (stat.sid in orphaned and _is_at_home(stat.pid, *roots))]


def sweep(path: Path, *folders: Path, patience_s: float = 5.0) -> int:
    """Ends what an earlier supervisor left behind (see `leftovers`); returns how many processes that were."""
    found = leftovers(path, *folders)
    end_all(found, patience_s)
    return len(found)


def _is_at_home(pid: int, *roots: str) -> bool:
    try:
        if (os.readlink(PROC / str(pid) / "cwd") + "/").startswith(roots):
            return True
    except OSError:
        return False  # another user's, or gone
    return writes_below(pid, *roots)


def writes_below(pid: int, *roots: str) -> bool:
    """Whether a process has a file open for writing below a root, which ends in a slash.

    Only our own user's processes let us look; those of others are none of ours.
    """
    try:
        if (PROC / str(pid)).stat().st_uid != os.geteuid():
            return False
        numbers = os.listdir(PROC / str(pid) / "fd")
    except OSError:
        return False
    return any(_is_open_for_writing(pid, number, roots) for number in numbers)


def _is_open_for_writing(pid: int, number: str, roots: tuple[str, ...]) -> bool:
    try:
        if not os.readlink(PROC / str(pid) / "fd" / number).startswith(roots):
            return False
        lines = (PROC / str(pid) / "fdinfo" / number).read_text().splitlines()
    except OSError:  # closed meanwhile
        return False
    flags = next((line.split()[1] for line in lines if line.startswith("flags:")), "0")
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY


def end_all(found: Iterable[ProcessStat], patience_s: float) -> None:
    """SIGTERM, then after `patience_s` SIGKILL, each only while it is still the same process."""
    found = list(found)
    for signum, limit_s in ((signal.SIGTERM, patience_s), (signal.SIGKILL, 2.0)):
        found = [stat for stat in found if _is_alive(stat)]
        for stat in found:
            send(stat, signum)
        give_up = time.monotonic() + limit_s
        while any(_is_alive(stat) for stat in found) and time.monotonic() < give_up:
            time.sleep(0.02)


def send(stat: ProcessStat, signum: int) -> None:
    """Signals a process, never another one that got its pid."""
    try:
        descriptor = open_process(stat.pid)
    except ProcessLookupError:
        return
    except OSError:  # a kernel that has no such descriptors
        descriptor = None
    try:
        if _is_alive(stat):
            if descriptor is None:
                os.kill(stat.pid, signum)
            else:
                signal_process(descriptor, signum)
    except ProcessLookupError:
        pass
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _is_alive(stat: ProcessStat) -> bool:
    now = read_stat(stat.pid)
    return now is not None and now.start_ticks == stat.start_ticks and now.state not in GONE
