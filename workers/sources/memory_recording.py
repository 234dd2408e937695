"""Following what one process allocates with memray for a while, and why that ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from clusterstate.profile_answers import (
    FAILED,
    IDLE,
    NO_PROGRAM,
    NOT_PYTHON,
    OTHER_USER,
    PROCESS_ENDED,
    STOPPED,
    TASK_ENDED,
    UNSUPPORTED,
    WhyNot,
)
from clusterstate.stacks import BYTES, MOST_DEPTH, TRUNCATED, Frame, Merging, Samples, Thread
from workers.sources import memray_running, private_folders, profile_facts, profile_obstacles
from workers.sources.cpu_recording import LOOK_EVERY_S, SAID_EVERY_S, STOP_EVERY_S, Recorded, runs_task
from workers.sources.memray_running import Options
from workers.sources.own_python import installing
from workers.sources.profile_notes import Note
from workers.sources.profile_obstacles import NodeFacts, TargetFacts
from workers.sources.profile_targets import Target, is_same, title_of
from workers.sources.py_spy import is_stopped
from workers.sources.py_spy_decode import name_of

MARGIN_S = 60
"""After its time, and so long, the process ends the following by itself."""
FIX_OURS = f"Install it beside Raydeck on this node: {installing('memray')}"
FIX_FILES = "Run `raydeck node` in the container of Ray; under systemd without PrivateTmp, and with ReadWritePaths=/tmp."
UNMOVED = f"It allocated nothing for {memray_running.DEBUGGER_WITHIN_S:.0f} s: memray begins when a process allocates, and this one waits."
STOPPED_WORDS = "It is stopped (SIGSTOP): a debugger that comes to a stopped process could end it."
FIX_UNMOVED = "Ask again while it runs; its stack trace says what it waits for."
FIX_DEBUGGER = "Install a debugger on this node: apt install gdb"
FIX_THEIRS = "Install memray where the job runs, for example with runtime_env={'pip': ['memray']}, or beside Ray on this node."


@dataclass(frozen=True)
class Parts:
    """What there is on this node."""

    ours: bool
    debugger: bool
    theirs: bool | None = None  # in the process' own environment; None: not asked
    shares_files: bool = True


def parts_for(target: Target | None) -> Parts:
    """What there is, and in the environment of a process."""
    theirs = memray_running.has_memray(target.pid) if target is not None else None
    shares_files = target is None or memray_running.shares_temporary_files(target.pid)
    return Parts(memray_running.is_installed(), memray_running.debugger() is not None, theirs, shares_files)


def obstacle(parts: Parts, node: NodeFacts, target: TargetFacts | None) -> WhyNot | None:
    """What is in the way; None: nothing that is known of."""
    if target is not None and target.is_alive and target.is_python is False:
        return WhyNot(NOT_PYTHON, f"{target.name or 'The process'} is no Python program.")
    if not parts.ours:
        return WhyNot(NO_PROGRAM, "memray is not installed beside Raydeck on this node.", FIX_OURS)
    if not parts.debugger:
        return WhyNot(NO_PROGRAM, "memray needs a debugger, and there is neither gdb nor lldb on this node.", FIX_DEBUGGER)
    if target is not None and node.user not in {0, target.user}:
        return profile_obstacles.before(replace(node, has_program=True, has_capability=False), target)
    if not parts.shares_files:
        return WhyNot(UNSUPPORTED, "Raydeck has no folder for temporary files that the process sees too.", FIX_FILES)
    if parts.theirs is False:
        return WhyNot(NO_PROGRAM, "memray is not installed in the environment of this process.", FIX_THEIRS)
    node = replace(node, has_program=True)
    if target is not None and node.user == 0 and target.user != 0:  # done as that user, with no rights but its own
        node = replace(node, has_capability=False, user=target.user, user_name=target.user_name)
    return profile_obstacles.before(node, target)


@dataclass
class MemoryRecording:
    """One recording. `run` returns when it is over; the file goes with it, and the process does not follow itself any more."""

    target: Target
    duration_s: int
    options: Options
    while_task: str
    node: NodeFacts
    report: Callable[[str], object]
    should_stop: Callable[[], bool]
    _ended: str = ""

    def run(self, note: Note) -> Recorded:
        if self.while_task and not runs_task(title_of(self.target.pid), self.while_task):
            return Recorded(ended=TASK_ENDED, detail="The process did not run the task (any more) when it was looked at.")
        facts = profile_facts.target_facts(self.target)
        why_not = obstacle(parts_for(self.target), self.node, facts)
        if why_not is not None:
            return Recorded(why_not=why_not)
        if is_stopped(self.target.pid):
            return Recorded(why_not=WhyNot(IDLE, STOPPED_WORDS, f"kill -CONT {self.target.pid:d}"))
        with private_folders.private_folder(self.target) as folder:
            return self._record(note, folder.path / "allocations.bin", facts)

    def _record(self, note: Note, file: Path, facts: TargetFacts) -> Recorded:
        self.report("starting")
        note.follows(str(file.parent))
        try:
            attaching = memray_running.attaching(self.target, file, self.duration_s + MARGIN_S, self.options)
        except PermissionError:
            detail = f"User {facts.user_name} may not run Raydeck's Python, and root's rights are not used for this."
            return Recorded(why_not=WhyNot(OTHER_USER, detail, f"Run `raydeck node` as user {facts.user_name}."))
        note.began(attaching.pid)
        ran = memray_running.finish(attaching, self.target.pid)
        if ran.code == memray_running.TOO_LATE:
            return Recorded(why_not=WhyNot(IDLE, UNMOVED, FIX_UNMOVED))
        if ran.code or not file.exists():
            return Recorded(why_not=profile_obstacles.after(ran.words, replace(self.node, user=self.target.user), facts))
        begun = time.monotonic()
        try:
            self._follow(begun)
        finally:
            sampled_s = time.monotonic() - begun
            left = memray_running.detach(self.target.pid, self.target.user, self.target.group) if self.target.is_alive else None
        found = Recorded(sampled_s=round(min(sampled_s, float(self.duration_s)), 2), ended=self._ended)
        if not is_same(self.target):
            found.ended = found.ended or PROCESS_ENDED
            found.detail = "What it had allocated is lost with it: it is written when the following ends."
        if left is not None and left.code:
            found.detail = profile_obstacles.shortened(left.words)
        self._read(found, file)
        return found

    def _follow(self, begun: float) -> None:
        next_word, next_look = 0.0, begun + STOP_EVERY_S
        while not self._ended and (now := time.monotonic()) < begun + self.duration_s:
            if now >= next_word:
                next_word = now + SAID_EVERY_S
                self.report(f"{now - begun:.0f} of {self.duration_s} s")
            if now >= next_look:
                next_look = now + STOP_EVERY_S
                self._ended = STOPPED if self.should_stop() else ""
            if not self.target.is_alive:
                self._ended = PROCESS_ENDED
            elif self.while_task and not runs_task(title_of(self.target.pid), self.while_task):
                self._ended = TASK_ENDED
            time.sleep(LOOK_EVERY_S)

    def _read(self, found: Recorded, file: Path) -> None:
        self.report("reading")
        ran = memray_running.read(file, self.target.user, self.target.group, self.options)
        try:
            if ran.code == 0:
                found.samples = parse(ran.output, self.target.pid)
        except ValueError as error:
            found.why_not = WhyNot(FAILED, f"What memray wrote cannot be read: {error}")
            return
        if ran.code and found.ended != PROCESS_ENDED:
            found.why_not = WhyNot(UNSUPPORTED, f"What memray wrote cannot be read: {profile_obstacles.shortened(ran.words)}", FIX_OURS)
        elif not found.samples.stacks and not found.ended:
            found.why_not = WhyNot(IDLE, "It allocated nothing that was kept.", "Follow it for longer, or with Python's own allocators.")


class _Printed(msgspec.Struct):
    frames: list[tuple[str, str, int]]
    rows: list[tuple[int, int, str, list[int]]]
    left_out: int = 0


def parse(raw: bytes, pid: int) -> Samples:
    """What memray_reading prints. Raises ValueError."""
    try:
        printed = msgspec.json.decode(raw, type=_Printed)
        frames = [Frame(name_of(function), name_of(file), line if 0 <= line < 1 << 31 else 0) for function, file, line in printed.frames]
        stacks = [[frames[place] for place in reversed(places) if place >= 0] for _, _, _, places in printed.rows]
    except (msgspec.DecodeError, RecursionError, IndexError) as error:
        raise ValueError(str(error)[:200]) from None
    merging = Merging(BYTES)
    for (size, thread, name, _), stack in zip(printed.rows, stacks, strict=True):
        os_id = thread if 0 <= thread < 1 << 53 else 0
        merging.add(Thread(pid, os_id, name_of(name)), stack[-MOST_DEPTH:], max(0, min(size, 1 << 53)))
    if printed.left_out > 0:
        merging.add(Thread(pid, 0), [TRUNCATED], min(printed.left_out, 1 << 53))
    return merging.samples()
