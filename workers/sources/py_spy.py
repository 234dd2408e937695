"""Running py-spy: fixed words and our own numbers, no shell, little privilege, nothing left behind.

Whoever dies first, the program that is looked into goes on: py-spy goes with its parent, and what it left stopped is sent on.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from workers.handles import memory_file, open_process, signal_process
from workers.sources.profile_targets import PROC, Target

MOST_OUTPUT_BYTES = 24 << 20
MOST_WORDS_BYTES = 64 * 1024
MOST_HEAP_BYTES = 2 << 30
"""Beyond it it ends by itself: symbols of large libraries take some hundred MB."""
MOST_KEPT_BYTES = 512 << 20
"""Of a recording: beyond it that is stopped, and keeps what it has. Each different stack stays in memory until the end."""
ENDS_WITHIN_S = 10.0
"""After its time or a stop: a long native recording takes a while to be written."""
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38
DAC_READ_SEARCH, SYS_CHROOT, SYS_PTRACE, SYS_ADMIN = 2, 18, 19, 21
LAST_CAPABILITY = 63
ENVIRONMENT = {"LANG": "C.UTF-8", "RUST_BACKTRACE": "0"}

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None


def py_spy() -> Path | None:
    """The program: the one installed with Raydeck, else the machine's."""
    beside = Path(sys.executable).parent / "py-spy"
    if beside.exists():
        return beside
    found = shutil.which("py-spy")
    return Path(found).resolve() if found else None


@cache
def version_of(program: Path) -> str:
    """Such as py-spy 0.4.3; empty if it does not say."""
    try:
        ran = subprocess.run([program, "--version"], capture_output=True, env=ENVIRONMENT, cwd="/", timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ran.stdout.decode("ascii", "replace").strip()[:100]


@dataclass(frozen=True)
class Ran:
    """How it ended."""

    code: int  # below zero: killed by that signal
    output: bytes
    words: str  # what it said beside its output

    @property
    def is_too_large(self) -> bool:
        return self.code == -signal.SIGXFSZ


def dump_words(pid: int, *, native: bool, nonblocking: bool = False) -> list[str]:
    """Arguments that print the stacks of a process."""
    return ["dump", "--json", "--full-filenames", "--pid", f"{pid:d}", *_if(native, "--native"), *_if(nonblocking, "--nonblocking")]


def record_words(
    pid: int, duration_s: int, rate_hz: int, *, native: bool, idle: bool, subprocesses: bool, gil: bool = False, nonblocking: bool = False
) -> list[str]:
    """Arguments that sample a process; `{output}` is where it is written. py-spy refuses native with nonblocking."""
    return [
        "record", "--format", "raw", "--threads", "--full-filenames", "--output", "{output}",
        "--pid", f"{pid:d}", "--duration", f"{duration_s:d}", "--rate", f"{rate_hz:d}",
        *_if(native, "--native"), *_if(idle, "--idle"), *_if(subprocesses, "--subprocesses"),
        *_if(gil, "--gil"), *_if(nonblocking, "--nonblocking"),
    ]  # fmt: skip


class Spy:
    """A py-spy that runs. It is started in the main thread: when the thread that started it ends, the kernel ends it too."""

    def __init__(self, program: Path, words: Collection[str], target: Target, writes_when_parent_dies: bool = False) -> None:
        """A recording takes an interrupt as its end and lets go of the target itself; a dump is too short for that."""
        dies_by = signal.SIGINT if writes_when_parent_dies else signal.SIGKILL
        self.target = target
        self.started_at = time.monotonic()
        self._was_stopped = is_stopped(target.pid)
        self._output, self._words = memory_file("output"), memory_file("words")
        is_dump = "{output}" not in words
        to_file = f"/proc/self/fd/{self._output}"
        try:
            self._process = subprocess.Popen(
                [program, *(word.replace("{output}", to_file) for word in words)],
                stdin=subprocess.DEVNULL,
                stdout=self._output if is_dump else self._words,
                stderr=self._words,
                env=ENVIRONMENT,
                cwd="/",
                pass_fds=() if is_dump else (self._output,),
                preexec_fn=_lower(os.getpid(), dies_by, kept_capabilities(target.pid)),
            )
        except BaseException:
            self._close()
            raise
        self.pid = self._process.pid
        self._ran: Ran | None = None

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.started_at

    @property
    def heap_bytes(self) -> int:
        """What it holds in memory that is of no file; 0: it has ended."""
        try:
            words = (PROC / str(self.pid) / "status").read_text().split("RssAnon:", 1)
        except OSError:
            return 0
        return int(words[1].split()[0]) * 1024 if len(words) > 1 else 0

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def wait(self, seconds: float) -> bool:
        """Whether it has ended by then."""
        try:
            self._process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            return False
        return True

    def said(self) -> str:
        """What it said beside its output so far."""
        return _read(self._words, MOST_WORDS_BYTES).decode("utf-8", "replace")

    def interrupt(self) -> None:
        """It writes what it has, and ends."""
        if not self.has_ended():
            self._process.send_signal(signal.SIGINT)

    def end(self) -> Ran:
        """What came of it, as often as that is asked. If it still runs it is killed, and the target goes on."""
        if self._ran is None:
            try:
                if not self.has_ended():
                    self._process.kill()
                    self._process.wait()
                    self.let_go()
                self._ran = Ran(self._process.returncode, _read(self._output, MOST_OUTPUT_BYTES), self.said())
            finally:
                self._close()
        return self._ran

    def let_go(self) -> None:
        """Has the target go on, where a killed tracer had just told it to stop."""
        if not self._was_stopped:
            send_on(self.target.pid, self.target.start_ticks)

    def _close(self) -> None:
        for number in (self._output, self._words):
            with contextlib.suppress(OSError):
                os.close(number)


def wait_for_any(spies: Collection[Spy], seconds: float) -> None:
    """Until one ends, or the time is over."""
    numbers = []
    try:
        for spy in spies:
            with contextlib.suppress(OSError):
                numbers.append(open_process(spy.pid))
        select.select(numbers, [], [], max(0.0, seconds))
    finally:
        for number in numbers:
            os.close(number)


def is_stopped(pid: int, proc: Path = PROC) -> bool:
    """Whether a process is stopped by a signal, and nobody traces it."""
    return _state(pid, proc)[0] == "T"


def send_on(pid: int, start_ticks: int, within_s: float = 0.3) -> None:
    """Sends SIGCONT to a process that stays stopped, if it is still the one that began then. The stop may come a moment late."""
    give_up = time.monotonic() + within_s
    while True:
        state, began = _state(pid, PROC)
        if began != start_ticks:
            return
        if state == "T":
            with contextlib.suppress(OSError):
                pidfd = open_process(pid)
                try:
                    if _state(pid, PROC)[1] == start_ticks:
                        signal_process(pidfd, signal.SIGCONT)
                finally:
                    os.close(pidfd)
            return
        if time.monotonic() > give_up:
            return
        time.sleep(0.01)


def kept_capabilities(pid: int, proc: Path = PROC) -> frozenset[int]:
    """What tracing takes; of a process in a container of its own also what entering that takes."""
    try:
        is_elsewhere = os.readlink(proc / str(pid) / "ns" / "mnt") != os.readlink(proc / "self" / "ns" / "mnt")
    except OSError:
        is_elsewhere = False
    return frozenset({DAC_READ_SEARCH, SYS_PTRACE}) | (frozenset({SYS_ADMIN, SYS_CHROOT}) if is_elsewhere else frozenset())


def _lower(parent: int, dies_by: signal.Signals, kept: frozenset[int]) -> Callable[[], None]:
    """What the child does before it becomes py-spy. It is not made nicer: the target waits while it is looked into."""

    def lower() -> None:
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_OUTPUT_BYTES, MOST_OUTPUT_BYTES))
        resource.setrlimit(resource.RLIMIT_DATA, (MOST_HEAP_BYTES, MOST_HEAP_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if _libc is None:
            return
        if os.geteuid() == 0:
            for number in range(LAST_CAPABILITY + 1):
                if number not in kept:
                    _libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)
            _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        _libc.prctl(PR_SET_PDEATHSIG, int(dies_by), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return lower


def _state(pid: int, proc: Path) -> tuple[str, int | None]:
    """(state, start in ticks); the start is None when it is gone."""
    try:
        rest = (proc / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
        return rest[0].decode(), int(rest[19])
    except (OSError, IndexError, ValueError):
        return "", None


def _read(number: int, most: int) -> bytes:
    return os.pread(number, min(most, os.fstat(number).st_size), 0)


def _if(wanted: bool, word: str) -> list[str]:
    return [word] if wanted else []
