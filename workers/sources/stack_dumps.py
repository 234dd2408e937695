"""Dumping the stacks of processes with py-spy, two at a time."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from clusterstate.masking import mask_text
from clusterstate.profile_answers import BUSY, ENDED, FAILED, NO_CAPABILITY, ProcessStacks, ThreadStack, WhyNot
from workers.sources import profile_facts, profile_notes, profile_obstacles, py_spy_decode
from workers.sources.profile_obstacles import NodeFacts
from workers.sources.profile_targets import PROC, TICKS, Finder, Refused, Target, is_same, title_of
from workers.sources.py_spy import Spy, dump_words, wait_for_any

AT_ONCE = 2
EACH_WITHIN_S = 5.0
NATIVE_WITHIN_S = 10.0
"""Of one process: symbols of large libraries are read first."""
TRIES = 3
"""A process that is being recorded is let go between two samples: it can be dumped then. The last try does not stop it."""
MAY_PASS = frozenset({BUSY, FAILED, NO_CAPABILITY})
"""The kernel's refusal may be for the recording that had just let go: nothing was in the way before it was tried."""
MOST_BYTES = 1_200_000
"""Of the threads of one process, as they travel."""
VERSION = re.compile(r"(\d+\.\d+)$")


@dataclass(frozen=True)
class Asked:
    """A process whose stacks are wanted."""

    pid: int
    started_ms: int | None
    finder: Finder | Refused  # Refused: its node is none of this machine's
    child_of: Target | None = None


@dataclass
class Dumping:
    """Dumps of many processes. `results` is run to its end, or closed: then nothing goes on."""

    program: Path
    node: NodeFacts
    native: bool
    notes: Path
    most_bytes: int = MOST_BYTES
    _going: list[_Going] = field(default_factory=list)

    def results(self, asked: Iterable[Asked], wait_s: float) -> Iterator[ProcessStacks | None]:
        """Each as it comes; None when none did for `wait_s`, so that the caller may look at its clock."""
        waiting = iter(asked)
        is_done = False
        try:
            while not is_done or self._going:
                while not is_done and len(self._going) < AT_ONCE:
                    one = next(waiting, None)
                    is_done = one is None
                    if one is not None and (refused := self._begin(one)) is not None:
                        yield refused
                if not self._going:
                    continue
                wait_for_any([going.spy for going in self._going], wait_s)
                ended = [going for going in self._going if self._is_over(going)]
                for going in ended:
                    yield self._finish(going)
                if not ended:
                    yield None
        finally:
            for going in self._going:
                going.close()

    def _begin(self, asked: Asked) -> ProcessStacks | None:
        """What is known already, if it is not to be looked into."""
        held = ExitStack()
        try:
            target = held.enter_context(_opened(asked))
            facts = profile_facts.target_facts(target)
            why_not = profile_obstacles.before(self.node, facts)
            if why_not is not None and why_not.reason != BUSY:
                held.close()
                return _without(asked, why_not)
            note = held.enter_context(profile_notes.profiling(self.notes, target, f"dump{os.getpid():d}"))
            self._going.append(_Going(asked, target, held, self._spy(target, note, 1), note))
        except Refused as refused:
            held.close()
            return _without(asked, refused.why_not)
        except profile_notes.Busy:
            held.close()
            return _without(asked, WhyNot(BUSY, "It is looked into already."))
        except BaseException:
            held.close()
            raise
        return None

    def _spy(self, target: Target, note: profile_notes.Note, tries: int) -> Spy:
        nonblocking = tries == TRIES and not self.native
        spy = Spy(self.program, dump_words(target.pid, native=self.native, nonblocking=nonblocking), target)
        note.began(spy.pid)
        return spy

    def _is_over(self, going: _Going) -> bool:
        """Whether there is an answer. A dump that another profiler was in the way of is tried again."""
        within_s = NATIVE_WITHIN_S if self.native else EACH_WITHIN_S
        if not going.spy.has_ended():
            if going.spy.age_s < within_s:
                return False
            going.why_not = WhyNot(FAILED, f"py-spy did not read it within {within_s:.0f} s.")
        ran = going.spy.end()
        if going.why_not is not None:
            return True
        if ran.code == 0:
            going.output = ran.output
            return True
        facts = profile_facts.target_facts(going.target)
        going.why_not = profile_obstacles.after(ran.words, self.node, facts)
        if going.why_not.reason in MAY_PASS and going.tries < TRIES and facts.is_alive:
            going.tries, going.why_not = going.tries + 1, None
            time.sleep(0.01)
            going.spy = self._spy(going.target, going.note, going.tries)
            return False
        return True

    def _finish(self, going: _Going) -> ProcessStacks:
        self._going.remove(going)
        try:
            if going.why_not is not None:
                return _without(going.asked, going.why_not)
            if not is_same(going.target):
                return _without(going.asked, WhyNot(ENDED, "The process ended while it was looked into."))
            return self._answer(going)
        except ValueError as error:
            return _without(going.asked, WhyNot(FAILED, f"What py-spy printed cannot be read: {error}"))
        finally:
            going.held.close()

    def _answer(self, going: _Going) -> ProcessStacks:
        processes = dict(py_spy_decode.parse_dump(going.output))
        threads = [msgspec.structs.replace(one, cpu_s=cpu_of(going.target.pid, one.os_id)) for one in processes.get(going.target.pid, [])]
        kept = bounded(threads, self.most_bytes)
        return ProcessStacks(
            pid=going.target.pid,
            started_ms=going.asked.started_ms or going.target.started_ms,
            threads=kept,
            at=time.time(),
            python=_python(going.target.pid),
            title=mask_text(title_of(going.target.pid))[:1000],
            child_of=going.asked.child_of.pid if going.asked.child_of is not None else None,
            threads_left_out=len(threads) - len(kept),
        )


@dataclass
class _Going:
    asked: Asked
    target: Target
    held: ExitStack
    spy: Spy
    note: profile_notes.Note
    tries: int = 1
    output: bytes = b""
    why_not: WhyNot | None = None

    def close(self) -> None:
        self.spy.end()
        self.held.close()


def bounded(threads: list[ThreadStack], most_bytes: int) -> tuple[ThreadStack, ...]:
    """The first of them that are no longer than that together."""
    kept: list[ThreadStack] = []
    for thread in threads:
        most_bytes -= len(msgspec.json.encode(thread))
        if most_bytes < 0:
            break
        kept.append(thread)
    return tuple(kept)


def cpu_of(pid: int, thread: int, proc: Path = PROC) -> float | None:
    """What a thread has used, in user and system mode; None: the number is of another namespace, or it is gone."""
    try:
        rest = (proc / str(pid) / "task" / str(thread) / "stat").read_bytes().rpartition(b")")[2].split()
        return (int(rest[11]) + int(rest[12])) / TICKS
    except (OSError, IndexError, ValueError):
        return None


def _opened(asked: Asked) -> AbstractContextManager[Target]:
    if isinstance(asked.finder, Refused):
        raise asked.finder
    if asked.child_of is not None:
        return asked.finder.open_child(asked.pid, asked.child_of)
    return asked.finder.open(asked.pid, asked.started_ms)


def _without(asked: Asked, why_not: WhyNot) -> ProcessStacks:
    child_of = asked.child_of.pid if asked.child_of is not None else None
    pid = asked.pid if type(asked.pid) is int and 0 <= asked.pid <= 1 << 31 else 0
    return ProcessStacks(pid, asked.started_ms or 0, at=time.time(), child_of=child_of, why_not=why_not)


def _python(pid: int) -> str:
    """Its version, as its program's name says it; empty if that does not."""
    try:
        found = VERSION.search(os.path.basename(os.readlink(f"/proc/{pid:d}/exe")))
    except OSError:
        return ""
    return found.group(1) if found is not None else ""
