"""Which processes are looked into on this machine now: one profile of each at a time, and what a killed worker left is put right.

A note is a locked file in a folder of ours. Its lock ends with the process that holds it: a note that nobody locks is of one that was
killed, and what it had started is ended then.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from clusterstate import paths
from workers.processes import end_all, read_stat
from workers.sources import memray_running, private_folders
from workers.sources.profile_targets import Target
from workers.sources.py_spy import is_stopped, send_on

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
    target: Target
    was_stopped: bool

    def began(self, profiler: int, folder: str = "", follows_user: int | None = None) -> None:
        """Which process does it, the folder that goes with it, and as whose a process that follows itself is told to end that."""
        stat = read_stat(profiler)
        began = stat.start_ticks if stat is not None else 0
        left = _Left(self.target.pid, self.target.start_ticks, self.was_stopped, profiler, began, folder, follows_user)
        blob = msgspec.json.encode(left)
        os.pwrite(self.file, blob.ljust(MOST_NOTE_BYTES), 0)


class _Left(msgspec.Struct):
    pid: int
    start_ticks: int
    was_stopped: bool
    profiler: int
    profiler_ticks: int
    folder: str = ""
    follows_user: int | None = None  # memray was told to make it follow its allocations


def notes_folder(state_dir: Path) -> Path:
    """Made if it is missing. Raises BadFolder."""
    return paths.make_private_dir(paths.profiling_dir(state_dir))


@contextmanager
def profiling(folder: Path, target: Target, kind: str = "profile") -> Iterator[Note]:
    """While this process is looked into. Raises Busy if another profile of that kind is at it."""
    path = folder / f"{kind}.{target.pid:d}"
    file = _locked(path)
    try:
        note = Note(file, target, is_stopped(target.pid))
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
            look(name)
            found += 1
            path.unlink(missing_ok=True)
        finally:
            os.close(file)
    return found


def _put_right(blob: bytes) -> None:
    try:
        left = msgspec.json.decode(blob.strip(b" \0"), type=_Left)
    except msgspec.DecodeError:
        return  # killed before it had begun
    within_s = GOES_BY_ITSELF_S if left.follows_user is None else memray_running.DEBUGGER_WITHIN_S
    give_up = time.monotonic() + within_s
    while (stat := read_stat(left.profiler)) is not None and stat.start_ticks == left.profiler_ticks and stat.state not in {"Z", "X"}:
        if time.monotonic() > give_up:
            end_all([stat], 0.0)
            break
        time.sleep(0.02)
    if not left.was_stopped:
        send_on(left.pid, left.start_ticks)
    if left.follows_user is not None and (target := read_stat(left.pid)) is not None and target.start_ticks == left.start_ticks:
        memray_running.detach(left.pid, left.follows_user)
    if left.folder:
        private_folders.remove(Path(left.folder))


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
