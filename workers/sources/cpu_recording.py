"""Sampling one process with py-spy for a while, and why it ended."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from clusterstate.profile_answers import (
    BUSY,
    ENDED,
    FAILED,
    IDLE,
    OTHER_USER,
    OTHERS_CHILD,
    PROCESS_ENDED,
    STOPPED,
    TASK_ENDED,
    TOO_LARGE,
    WhyNot,
)
from clusterstate.stacks import Samples
from workers.sources import profile_facts, profile_obstacles, py_spy_decode
from workers.sources.processes_decode import RAY_TITLE
from workers.sources.profile_notes import Note
from workers.sources.profile_obstacles import NodeFacts
from workers.sources.profile_targets import Target, is_same, title_of
from workers.sources.py_spy import ENDS_WITHIN_S, MOST_KEPT_BYTES, Ran, Spy, is_stopped, record_words
from workers.sources.py_spy_decode import LAST_NUMBER, Counted, parse_raw

LOOK_EVERY_S = 0.05
SAID_EVERY_S = 1.0
STOP_EVERY_S = 0.5
BEGINS_WITHIN_S = 30.0
"""Symbols of a large program are read first, where native frames are wanted."""
LASTS_AT_MOST_S = 320.0
"""What was sampled by then is kept: the probe itself ends at 345 s."""
BEGUN = "Sampling process"
OTHERS_BELOW = WhyNot(OTHER_USER, "A process below it is another user's.", "Ask without subprocesses.")


@dataclass(frozen=True)
class Wanted:
    """What is to be sampled."""

    duration_s: int
    rate_hz: int
    native: bool = False
    idle: bool = False
    subprocesses: bool = False
    gil: bool = False
    nonblocking: bool = False
    while_task: str = ""
    most_bytes: int = MOST_KEPT_BYTES  # that py-spy may hold


@dataclass
class Recorded:
    """What came of it."""

    samples: Samples = field(default_factory=Samples)
    sampled_s: float = 0.0
    errors: int = 0
    cpu_s: float | None = None
    ended: str = ""
    detail: str = ""
    why_not: WhyNot | None = None
    trace: bytes = b""  # of a profile that is one: gzip, in place of samples
    trace_bytes: int = 0  # before it was packed


@dataclass
class Recording:
    """One recording. `run` returns when it is over; whatever is raised in it, py-spy does not stay."""

    program: Path
    target: Target
    wanted: Wanted
    node: NodeFacts
    report: Callable[[str], object]
    should_stop: Callable[[], bool]
    _ended: str = ""
    _next_word: float = 0.0
    _next_look: float = 0.0
    _cpu: CpuUsed | None = None

    def __post_init__(self) -> None:
        self._below = Below(self.target)

    def run(self, note: Note) -> Recorded:
        steps = self.steps(note)
        while True:
            try:
                next(steps)
            except StopIteration as over:
                found: Recorded = over.value
                return found
            time.sleep(LOOK_EVERY_S)

    def steps(self, note: Note) -> Generator[None, None, Recorded]:
        """The same in steps, to be taken every LOOK_EVERY_S or so: several recordings can go side by side."""
        if self.wanted.while_task and not runs_task(title_of(self.target.pid), self.wanted.while_task):
            return Recorded(ended=TASK_ENDED, detail="The process did not run the task (any more) when it was looked at.")
        facts = profile_facts.target_facts(self.target)
        why_not = profile_obstacles.before(self.node, facts)
        if why_not is not None:
            return Recorded(why_not=why_not)
        if is_stopped(self.target.pid) and not self.wanted.nonblocking:
            return Recorded(why_not=WhyNot(IDLE, "It is stopped (SIGSTOP).", f"kill -CONT {self.target.pid:d}"))
        if self.wanted.subprocesses and not self._below.look():
            return Recorded(why_not=OTHERS_BELOW)
        spy = self._start()
        try:
            note.began(spy.pid)
            begun_at, over_at = yield from self._follow(spy)
            give_up = time.monotonic() + ENDS_WITHIN_S
            while not spy.has_ended() and time.monotonic() < give_up:
                yield
            if not spy.has_ended():
                self._ended = self._ended or FAILED
        finally:
            ran = spy.end()
        return self._outcome(ran, max(0.0, over_at - begun_at) if begun_at is not None else 0.0)

    def _start(self) -> Spy:
        asked = self.wanted
        words = record_words(
            self.target.pid,
            asked.duration_s,
            asked.rate_hz,
            native=asked.native,
            idle=asked.idle,
            subprocesses=asked.subprocesses,
            gil=asked.gil,
            nonblocking=asked.nonblocking,
        )
        return Spy(self.program, words, self.target, writes_when_parent_dies=True)

    def _follow(self, spy: Spy) -> Generator[None, None, tuple[float | None, float]]:
        """Until it ends or is told to; returns when it had begun to sample, and when it was over."""
        begun_at: float | None = None
        while not spy.has_ended():
            now = time.monotonic()
            if begun_at is None and BEGUN in spy.said():
                begun_at = now
                if not is_same(self.target):
                    self._ended = ENDED
                self._cpu = CpuUsed(self.target.pid, below=self.wanted.subprocesses)
            elif self._cpu is not None and now >= self._next_look:
                self._cpu.look()
            self._say(now, begun_at)
            self._ended = self._ended or self._why_end(now, begun_at, spy)
            if self._ended:
                if self._cpu is not None:
                    self._cpu.look()
                spy.interrupt()
                return begun_at, now
            yield
        if self._cpu is not None:
            self._cpu.look()
        return begun_at, time.monotonic()

    def _why_end(self, now: float, begun_at: float | None, spy: Spy) -> str:
        if self.wanted.while_task and not runs_task(title_of(self.target.pid), self.wanted.while_task):
            return TASK_ENDED if self.target.is_alive else PROCESS_ENDED
        if now >= self._next_look:
            self._next_look = now + STOP_EVERY_S
            if self.should_stop():
                return STOPPED
            if self.wanted.subprocesses and not self._below.look():
                return OTHERS_CHILD
            if spy.heap_bytes > self.wanted.most_bytes:
                return TOO_LARGE
        late = spy.age_s > BEGINS_WITHIN_S if begun_at is None else now - begun_at > self.wanted.duration_s + ENDS_WITHIN_S
        return FAILED if late or spy.age_s > LASTS_AT_MOST_S else ""

    def _say(self, now: float, begun_at: float | None) -> None:
        if now >= self._next_word:
            self._next_word = now + SAID_EVERY_S
            passed = f"{min(now - begun_at, self.wanted.duration_s):.0f}" if begun_at is not None else "0"
            self.report(f"{passed} of {self.wanted.duration_s} s")

    def _outcome(self, ran: Ran, sampled_s: float) -> Recorded:
        counted = py_spy_decode.parse_notice(ran.words)
        sampled_s = round(min(sampled_s, float(self.wanted.duration_s)), 2)
        found = Recorded(errors=counted.errors, sampled_s=sampled_s, ended="" if self._ended == FAILED else self._ended)
        if not is_same(self.target) or counted.process_exited:
            found.ended = found.ended or PROCESS_ENDED
        found.cpu_s = self._cpu.seconds if self._cpu is not None else None
        if self._ended == ENDED or (self.target.is_alive and not is_same(self.target)):
            found.ended, found.why_not = "", WhyNot(ENDED, "The process became another user's, or another one got its number.")
        elif ran.output:
            self._read(found, ran, counted)
        elif not found.ended:
            found.why_not = self._why_nothing(ran, sampled_s)
        elif found.ended == PROCESS_ENDED and not sampled_s:
            found.why_not = WhyNot(ENDED, "The process ended before it could be sampled.")
        return found

    def _read(self, found: Recorded, ran: Ran, counted: Counted) -> None:
        """The samples; of an output that was cut its whole lines."""
        whole = ran.output.rpartition(b"\n")[0] if ran.is_too_large else ran.output
        samples = parse_raw(whole, self.target.pid, subprocesses=self.wanted.subprocesses, most=counted.samples or LAST_NUMBER)
        found.samples = samples.of_processes(self._below.pids) if self.wanted.subprocesses else samples
        if ran.is_too_large:
            of_all = f" of {counted.samples}" if counted.samples else ""
            found.detail = f"There are more different stacks than are kept: {found.samples.total}{of_all} samples are here."
        elif samples.total > found.samples.total:
            left_out = samples.total - found.samples.total
            found.detail = f"{left_out} samples of processes below it that ended at once, or are another user's, are left out."

    def _why_nothing(self, ran: Ran, sampled_s: float) -> WhyNot:
        if self._ended == FAILED:
            return WhyNot(FAILED, f"py-spy did not come to its end. {profile_obstacles.shortened(ran.words)}")
        if ran.code == 0 or "no stack counts" in ran.words.lower():
            return profile_obstacles.idle(sampled_s) if not self.wanted.idle else WhyNot(FAILED, profile_obstacles.shortened(ran.words))
        return profile_obstacles.after(ran.words, self.node, profile_facts.target_facts(self.target))


class Below:
    """The processes below one that are of the same user: py-spy follows all that there are, with our rights."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.pids = {target.pid}

    def look(self) -> bool:
        """Notes those that there are now. Whether none is another user's."""
        user = self._target.user
        try:
            for child in psutil.Process(self._target.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if set(child.uids()) != {user}:
                        return False
                    self.pids.add(child.pid)
        except psutil.Error:
            pass  # it has ended
        return True


class CpuUsed:
    """What a process, and with `below` all below it, use of all cores from now on, in user and system mode, as the kernel counts."""

    def __init__(self, pid: int, *, below: bool = False) -> None:
        self._pid, self._below = pid, below
        self._first = self._now()
        self._last = dict(self._first)

    @property
    def seconds(self) -> float | None:
        """None: the process was gone. Of one that ended what was seen last counts."""
        if self._pid not in self._first:
            return None
        return round(sum(max(0.0, last - self._first.get(pid, 0.0)) for pid, last in self._last.items()), 2)

    def look(self) -> None:
        self._last.update(self._now())

    def _now(self) -> dict[int, float]:
        found = {}
        try:
            process = psutil.Process(self._pid)
            for one in (process, *(process.children(recursive=True) if self._below else ())):
                with contextlib.suppress(psutil.NoSuchProcess):
                    used = one.cpu_times()
                    found[one.pid] = float(used.user + used.system)
        except psutil.Error:
            pass  # it has ended
        return found


def busy(why: str) -> Recorded:
    """Another one is at it."""
    return Recorded(why_not=WhyNot(BUSY, why, "Wait until that one has ended, or stop it."))


def runs_task(title: str, name: str) -> bool:
    """Whether a worker with this title runs the task of that name now. An actor may call itself otherwise: its method's name counts."""
    if not title.startswith(RAY_TITLE):
        return False
    text = title[len(RAY_TITLE) :]
    return text == name or ("." in name and "." in text and text.rpartition(".")[2] == name.rpartition(".")[2])
