"""Keeps roles running: forks them from one preloaded parent, restarts what dies, stops all in order.

The parent starts no thread and opens no gRPC channel, so that forking is safe at any time.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from clusterstate import paths
from clusterstate.settings import Settings
from clusterstate.store.connection import connect
from workers.backoff import LIVED_LONG_S, back_off_s
from workers.costs import CostMeter
from workers.processes import Started, change_nice, die_with_parent, end_all, name_process, session_members, started_now, write_started
from workers.roles import Role
from workers.schedule import LoopWatch

log = logging.getLogger("raydeck")

TICK_S = 0.2
LOOK_EVERY_S = 0.5
HOUSEKEEPING_EVERY_S = 10.0
STUCK_AFTER_UNTAKEN = 3
"""A worker that did not take up its loop so many times (3 s each) is started anew."""
LOG_LIMIT_BYTES = 8 * 1024 * 1024
SIGNALS = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
STOPPED_AS_ASKED, FAILED = 0, 1


@dataclass
class Running:
    """A role and what became of it."""

    role: Role
    process: Started | None = None
    started_at: float = 0.0  # monotonic
    next_start: float = 0.0
    failures: int = 0
    restarts: int = 0
    is_ready: bool = False
    watch: LoopWatch | None = None

    @property
    def state(self) -> str:
        return "RUNNING" if self.process is not None else "RESTARTING" if self.restarts else "STARTING"


class Supervisor:
    """Runs roles until it is told to stop. `say` is given sentences for the person at the terminal."""

    def __init__(self, settings: Settings, roles: Iterable[Role], *, command: str, host: str, say: Callable[[str], None]) -> None:
        self.settings = settings
        self.host = host
        self.say = say
        self.running = {role.name: Running(role) for role in roles}
        self.on_tick: Callable[[], None] = lambda: None
        self.close_in_children: list[int] = []
        self._processes_file = paths.processes_file(settings.state_dir, command)
        self._log_dir = paths.make_private_dir(paths.log_dir(settings.state_dir))
        self._redis = connect(settings, timeout_s=0.5)
        self._stop_signals = 0
        self._next_look = self._next_housekeeping = 0.0
        self._redis_quiet_until = 0.0
        self._meter = CostMeter(host)

    # --- What others ask ---

    def pids(self) -> dict[str, int]:
        """The process of each role that runs, with its supervisor's."""
        found = {name: one.process.pid for name, one in self.running.items() if one.process is not None}
        return {"supervisor": os.getpid(), **found}

    def is_healthy(self, *names: str) -> bool:
        """Whether these roles (else all that may start) run and are ready."""
        asked = [self.running[name] for name in names] if names else list(self.running.values())
        return all(one.process is not None and one.is_ready for one in asked if names or one.role.may_start())

    def restart(self, *names: str) -> None:
        """Stops these roles; they are started again at once, with what they read at their start."""
        self._stop_together([self.running[name] for name in names])
        for name in names:
            self.running[name].next_start = 0.0

    # --- The loop ---

    def run(self) -> int:
        """Runs until SIGTERM or SIGINT (a second one kills); returns the exit code."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        gc.collect()
        gc.freeze()
        try:
            while not self._stop_signals:
                self._tick()
                self._wait(TICK_S)
            return STOPPED_AS_ASKED
        except Exception:
            log.exception("The supervisor failed; all it started is stopped.")
            return FAILED
        finally:
            self._stop_all()
            gc.unfreeze()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _tick(self) -> None:
        now = time.monotonic()
        self._reap()
        for one in self.running.values():
            if one.process is None and now >= one.next_start and self._may_start(one):
                self._start(one)
        if now >= self._next_look:
            self._next_look = now + LOOK_EVERY_S
            self._look(now)
            self.on_tick()
        if now >= self._next_housekeeping:
            self._next_housekeeping = now + HOUSEKEEPING_EVERY_S
            self._keep_house()

    def _wait(self, seconds: float) -> None:
        """Sleeps until a signal comes."""
        received = signal.sigtimedwait(SIGNALS, seconds)
        while received is not None:
            if received.si_signo in {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}:
                self._stop_signals += 1
            received = signal.sigtimedwait(SIGNALS, 0)

    def _may_start(self, one: Running) -> bool:
        return one.role.may_start() and all(self.running[name].is_ready for name in one.role.needs if name in self.running)

    # --- Starting ---

    def _start(self, one: Running) -> None:
        one.role.before_start()
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            self._become(one.role, parent)
        one.process = started_now(one.role.name, pid)
        one.started_at = time.monotonic()
        one.is_ready = False
        if one.role.loop is not None:
            one.watch = one.role.loop()
        self._note_processes()

    def _become(self, role: Role, parent: int) -> NoReturn:
        """In the child: a session of its own, its log file, the default signals; then the role."""
        code = 1
        try:
            os.setsid()
            name_process(f"rd:{role.name}")
            change_nice(role.nice)
            die_with_parent(parent, role.orphan_signal)
            for signum in SIGNALS:
                signal.signal(signum, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            for descriptor in self.close_in_children:
                os.close(descriptor)
            self._redis.connection_pool.reset()
            _send_output_to(self._log_dir / f"{role.name}.log")
            gc.enable()
            role.run()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:  # noqa: BLE001 - whatever it is, the child ends here and must not go on as a second supervisor
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _note_processes(self) -> None:
        write_started(self._processes_file, [one.process for one in self.running.values() if one.process is not None])

    # --- Watching ---

    def _reap(self) -> None:
        """Notes children that ended. What a role had started goes with it, while the number of its session is still its own."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            roles = [one for one in self.running.values() if one.process is not None and one.process.pid == ended.si_pid]
            if roles:
                end_all(session_members(ended.si_pid), 0.0)
            _, status = os.waitpid(ended.si_pid, 0)
            for one in roles:
                self._ended(one, status)

    def _ended(self, one: Running, status: int) -> None:
        assert one.process is not None  # noqa: S101 - for the type checker
        lived = time.monotonic() - one.started_at
        one.failures = 1 if lived > LIVED_LONG_S else one.failures + 1
        wait_s = back_off_s(one.failures)
        if one.watch is not None:
            one.watch.worker_died(self._redis, one.process.pid)
        one.process, one.is_ready = None, False
        one.restarts += 1
        one.next_start = time.monotonic() + wait_s
        if not self._stop_signals:
            self.say(f"{one.role.name} ended ({_how(status)}); it is started again in {wait_s:g} s.")
        self._note_processes()

    def _look(self, now: float) -> None:
        """Asks after health, and after loops. A Redis that does not answer is left alone for a second."""
        for one in self.running.values():
            if one.process is None:
                continue
            if one.watch is None:
                one.is_ready = one.is_ready or one.role.is_ready()
            elif now >= self._redis_quiet_until:
                one.watch.look(self._redis, time.time())
                one.is_ready = one.watch.is_beating
                if one.watch.redis_away:
                    self._redis_quiet_until = time.monotonic() + 1.0
                self._restart_if_stuck(one)

    def _restart_if_stuck(self, one: Running) -> None:
        if one.watch is not None and one.process is not None and one.watch.untaken >= STUCK_AFTER_UNTAKEN:
            self.say(f"{one.role.name} does not take up its work; it is started again.")
            end_all(session_members(one.process.pid), 0.0)
            one.watch.untaken = 0

    def _keep_house(self) -> None:
        for path in self._log_dir.glob("*.log"):
            with contextlib.suppress(OSError):
                if path.stat().st_size > LOG_LIMIT_BYTES:
                    os.truncate(path, 0)  # its writers append, so that they go on from the start
        if time.monotonic() >= self._redis_quiet_until:
            rows = [(one.role.name, one.process, one.state, one.restarts) for one in self.running.values() if one.role.counts_as_ours]
            self._meter.record(self._redis, rows, time.time())

    # --- Stopping ---

    def _stop_all(self) -> None:
        """Stops rank after rank; a second signal kills at once."""
        self._stop_signals = max(1, self._stop_signals)
        asked = self._stop_signals
        for rank in sorted({one.role.stop_rank for one in self.running.values()}):
            self._stop_together([one for one in self.running.values() if one.role.stop_rank == rank], asked)
        self._meter.forget(self._redis)
        with contextlib.suppress(OSError):
            self._processes_file.unlink()

    def _stop_together(self, some: list[Running], asked: int | None = None) -> None:
        living = [one for one in some if one.process is not None]
        for one in living:
            _signal(one, one.role.stop_signal)
        begun = time.monotonic()
        while living and not (asked is not None and self._stop_signals > asked):
            self._wait(0.05)
            living = [one for one in living if not _has_ended(one)]
            living = [one for one in living if time.monotonic() - begun < one.role.stop_within_s]
        for one in some:
            if one.process is not None:
                end_all(session_members(one.process.pid), 0.0)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(one.process.pid, 0)
                if one.watch is not None:
                    one.watch.worker_died(self._redis, one.process.pid)
                one.process, one.is_ready = None, False


def preload(modules: Iterable[str]) -> None:
    """Imports what roles need before they are forked, so that they share its memory."""
    import importlib

    for name in modules:
        importlib.import_module(name)


def _signal(one: Running, signum: int) -> None:
    if one.process is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one.process.pid, signum)  # our child, not waited for: the pid is still its own


def _has_ended(one: Running) -> bool:
    """Whether the role's process has ended; it is not waited for yet, so that its session keeps its number."""
    assert one.process is not None  # noqa: S101 - for the type checker
    try:
        return os.waitid(os.P_PID, one.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _send_output_to(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)


def _how(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit code {os.WEXITSTATUS(status)}"
