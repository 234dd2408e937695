"""Answers what many processes of a host run over a while: each sampled by itself, some at a time, and all added up."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from clusterstate.probes import RecordManyCpu
from clusterstate.profile_answers import BUSY, FAILED, STOPPED, ProcessProgress, WhyNot
from clusterstate.stacks import Merging
from workers.probes.profile_places import Place
from workers.probes.profiling import told
from workers.probes.running import CannotAnswer, running
from workers.sources import profile_notes, profile_obstacles
from workers.sources.cpu_recording import LOOK_EVERY_S, Recorded, Recording, Wanted
from workers.sources.profile_targets import Refused
from workers.sources.py_spy import version_of

MOST_PROCESSES = 128
MOST_SECONDS = 60
MOST_HZ = 100
MOST_BYTES_OF_ONE = 96 << 20
WITHIN_S = float(RecordManyCpu.stopped_after_s)
SAID_EVERY_S = 1.0
STOP_EVERY_S = 0.5


@dataclass(frozen=True)
class Asked:
    """A process."""

    pid: int
    started_ms: int
    node_id: str


def record_many_cpu(
    node_id: str,
    pids: tuple[int, ...],
    started_ms: tuple[int, ...],
    nodes: tuple[int, ...],
    node_ids: tuple[str, ...],
    duration_s: int,
    rate_hz: int,
    native: bool,
    idle: bool,
    gil: bool,
    nonblocking: bool,
) -> dict[str, Any]:
    """Tells packed samples of all in parts at the end; answers a ProfileProgress."""
    if not len(pids) == len(started_ms) == len(nodes) <= MOST_PROCESSES or any(not 0 <= node < len(node_ids) for node in nodes):
        raise CannotAnswer(f"At most {MOST_PROCESSES} processes are sampled together, each with its start time and node.")
    if not 1 <= duration_s <= MOST_SECONDS or not 1 <= rate_hz <= MOST_HZ:
        raise CannotAnswer(f"A profile of many lasts 1 to {MOST_SECONDS} s, with 1 to {MOST_HZ} samples a second.")
    place = Place()
    asked = [Asked(pid, began, node_ids[node]) for pid, began, node in zip(pids, started_ms, nodes, strict=True)]
    wanted = Wanted(duration_s, rate_hz, native, idle, gil=gil, nonblocking=nonblocking, most_bytes=MOST_BYTES_OF_ONE)
    together = _Together(place, wanted, list(dict.fromkeys(asked)))
    together.run()
    profiler = version_of(place.program) if place.program is not None else ""
    return told(together.outcome(), duration_s, profiler, tuple(together.processes))


@dataclass
class _Together:
    """Recordings side by side."""

    place: Place
    wanted: Wanted
    waiting: list[Asked]
    processes: list[ProcessProgress] = field(default_factory=list)
    _merging: Merging = field(default_factory=Merging)
    _errors: int = 0
    _cpu_s: float | None = None
    _sampled_s: float = 0.0
    _is_stopped: bool = False
    _is_late: bool = False

    def run(self) -> None:
        """Returns when all have ended, or the time is over."""
        count = len(self.waiting)
        at_once = RecordManyCpu.at_once(self.wanted.rate_hz)
        began = time.monotonic()
        next_word = next_look = 0.0
        under_way: list[tuple[Asked, Generator[None, None, Recorded]]] = []
        try:
            while self.waiting or under_way:
                now = time.monotonic()
                if now >= next_word:
                    next_word = now + SAID_EVERY_S
                    running().report(f"{len(self.processes)} of {count} processes are sampled")
                if now >= next_look:
                    next_look = now + STOP_EVERY_S
                    self._is_stopped = self._is_stopped or running().should_stop()
                self._is_late = now - began > WITHIN_S
                if self._is_stopped or self._is_late:
                    self._leave_out()
                while self.waiting and len(under_way) < at_once:
                    one = self.waiting.pop(0)
                    under_way.append((one, self._steps(one)))
                under_way = [(one, steps) for one, steps in under_way if self._goes_on(one, steps)]
                time.sleep(LOOK_EVERY_S)
        finally:
            for _, steps in under_way:
                steps.close()

    def outcome(self) -> Recorded:
        """All of them."""
        samples = self._merging.samples()
        reasons = {one.why_not for one in self.processes}
        alone = next(iter(reasons)) if len(reasons) == 1 else None
        return Recorded(samples, self._sampled_s, self._errors, self._cpu_s, STOPPED if self._is_stopped else "", why_not=alone)

    def _goes_on(self, one: Asked, steps: Generator[None, None, Recorded]) -> bool:
        try:
            next(steps)
        except StopIteration as over:
            self._add(one, over.value)
            return False
        return True

    def _add(self, one: Asked, found: Recorded) -> None:
        self._merging.add_samples(found.samples)
        self._errors += found.errors
        if found.cpu_s is not None:
            self._cpu_s = (self._cpu_s or 0.0) + found.cpu_s
        self._sampled_s = max(self._sampled_s, found.sampled_s)
        self.processes.append(ProcessProgress(one.pid if 0 <= one.pid <= 1 << 31 else 0, found.samples.total, found.why_not))

    def _leave_out(self) -> None:
        why = "It was stopped before its turn." if self._is_stopped else f"There was no time for it within {WITHIN_S:.0f} s."
        for one in self.waiting:
            self._add(one, Recorded(why_not=WhyNot(FAILED, why)))
        self.waiting.clear()

    def _steps(self, one: Asked) -> Generator[None, None, Recorded]:
        program = self.place.program
        if program is None:
            return Recorded(why_not=profile_obstacles.before(self.place.node))
        with ExitStack() as stack:
            try:
                target = stack.enter_context(self.place.open(one.node_id, one.pid, one.started_ms))
                note = stack.enter_context(profile_notes.profiling(self.place.notes(), target))
            except Refused as refused:
                return Recorded(why_not=refused.why_not)
            except profile_notes.Busy:
                return Recorded(why_not=WhyNot(BUSY, "Somebody profiles this process already."))
            recording = Recording(program, target, self.wanted, self.place.node, lambda _: None, lambda: self._is_stopped or self._is_late)
            return (yield from recording.steps(note))
