"""Which processes are looked into on this machine now: one profile of each at a time, and what a killed worker left is put right.

A note is a locked file in a folder of ours. Its lock ends with the process that holds it: a note that nobody locks is of one that was
killed, and what it had started is ended then.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from clusterstate import paths
from workers.processes import GONE, ProcessStat, command_line, end_all, read_stat
from workers.sources import memray_running, private_folders
from workers.sources.profile_targets import Target
from workers.sources.py_spy import is_stopped, send_on

log = logging.getLogger("raydeck.profiles")

GOES_BY_ITSELF_S = 1.0
"""A profiler whose parent was killed has that long to let the target go and end."""
MOST_NOTE_BYTES = 4096
LOOKED_AT_S = 0.1


class Busy(Exception):
    """Somebody else is at this process."""


@dataclass
class Note:
    """Held while a process is looked into."""

    file: int
    left: _Left

    def follows(self, folder: str) -> None:
        """Before the process is told to follow its own allocations, into a folder that goes with this profile."""
        self._write(msgspec.structs.replace(self.left, folder=folder, follows=True))

    def began(self, profiler: int, folder: str = "") -> None:
        """Which process does it, and the folder that goes with it."""
        stat = read_stat(profiler)
        began = stat.start_ticks if stat is not None else 0
        self._write(msgspec.structs.replace(self.left, profiler=profiler, profiler_ticks=began, folder=folder or self.left.folder))

    def _write(self, left: _Left) -> None:
        self.left = left
        os.pwrite(self.file, msgspec.json.encode(left).ljust(MOST_NOTE_BYTES), 0)


class _Left(msgspec.Struct):
    """What a killed worker leaves."""

    pid: int
    start_ticks: int
    user: int
    group: int
    was_stopped: bool
    profiler: int = 0  # 0: none had begun
    profiler_ticks: int = 0
    folder: str = ""
    follows: bool = False  # memray was told, or about to be told, to make it follow its allocations


def notes_folder(state_dir: Path) -> Path:
    """Made if it is missing. Raises BadFolder."""
    return paths.make_private_dir(paths.profiling_dir(state_dir))


@contextmanager
def profiling(folder: Path, target: Target, kind: str = "profile") -> Iterator[Note]:
    """While this process is looked into. Raises Busy if another profile of that kind is at it."""
    path = folder / f"{kind}.{target.pid:d}"
    file = _locked(path)
    try:
        note = Note(file, _Left(target.pid, target.start_ticks, target.user, target.group, is_stopped(target.pid)))
        note.began(0)
        yield note
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # still locked: nobody else has taken it
        os.close(file)


def tidy(state_dir: Path, look: Callable[[str], object] = lambda words: None) -> int:
    """Puts right what killed workers left: ends their profilers, sends targets on, removes folders. Returns how many there were."""
    folder = paths.profiling_dir(state_dir)
    found = 0
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return 0
    for name in names:
        path = folder / name
        if not path.is_file():
            continue
        try:
            file = _locked(path)
        except (Busy, OSError):
            continue
        try:
            _put_right(os.pread(file, MOST_NOTE_BYTES, 0))
        except (OSError, subprocess.SubprocessError) as error:
            log.warning("What was left of %s cannot be put right: %s", name, error)
        finally:
            path.unlink(missing_ok=True)
            os.close(file)
        look(name)
        found += 1
    return found


def _put_right(blob: bytes) -> None:
    try:
        left = msgspec.json.decode(blob.strip(b" \0"), type=_Left)
    except msgspec.DecodeError:
        return  # killed before it had begun
    profiler = read_stat(left.profiler) if left.profiler else None
    if left.follows:
        _send_away(left)
    elif profiler is not None and profiler.start_ticks == left.profiler_ticks:
        _end(profiler)
    if not left.was_stopped:
        send_on(left.pid, left.start_ticks)
    if left.follows and (target := read_stat(left.pid)) is not None and target.start_ticks == left.start_ticks:
        memray_running.detach(left.pid, left.user, left.group)
    if left.folder:
        private_folders.remove(Path(left.folder))


def _end(profiler: ProcessStat) -> None:
    give_up = time.monotonic() + GOES_BY_ITSELF_S
    while (stat := read_stat(profiler.pid)) is not None and stat.start_ticks == profiler.start_ticks and stat.state not in GONE:
        if time.monotonic() > give_up:
            end_all([stat], 0.0)
            return
        time.sleep(0.02)


def _send_away(left: _Left) -> None:
    """The debugger that our memray had: memray leads its session, and was told our folder. Anybody else's stays."""
    give_up = time.monotonic() + memray_running.LEFT_WITHIN_S
    while (tracer := memray_running.tracer_of(left.pid)) and time.monotonic() < give_up:
        time.sleep(0.05)
    stat = read_stat(tracer) if tracer else None
    if stat is not None and (left.profiler == stat.sid or left.folder in command_line(stat.sid)):
        memray_running.send_debugger_away(left.pid, stat.sid)


def _locked(path: Path) -> int:
    """A file that we alone hold, made if it is missing. Raises Busy: who only looks at notes lets go of them at once."""
    give_up = time.monotonic() + LOOKED_AT_S
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file).st_nlink and os.path.samestat(os.fstat(file), os.stat(path)):
                return file
        except BlockingIOError:
            if time.monotonic() > give_up:
                os.close(file)
                raise Busy(f"{path.name} is looked into already.") from None
            time.sleep(0.02)
        except FileNotFoundError:
            pass  # another one has just ended and removed it
        os.close(file)
