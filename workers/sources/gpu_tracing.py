"""Having a PyTorch process trace what it runs on its GPU and CPU, through dynolog: `dyno` asks the daemon, the process writes the file."""

from __future__ import annotations

import gzip
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from clusterstate.profile_answers import BUSY, FAILED, NO_PROGRAM, OTHER_USER, PROCESS_ENDED, UNSUPPORTED, WhyNot
from workers.sources import profile_facts, profile_obstacles
from workers.sources.cpu_recording import Recorded
from workers.sources.private_folders import Found, PrivateFolder, Unfit, private_folder
from workers.sources.profile_notes import Note
from workers.sources.profile_obstacles import NodeFacts, TargetFacts
from workers.sources.profile_targets import PROC, Target
from workers.sources.trace_programs import (
    MOST_TRACE_BYTES,
    PACKED_LEVEL,
    TraceProgram,
    Waiting,
    common_obstacle,
    program_called,
    text_of,
)

PORTS = (65406, 1778)
"""Where Ray's own agent has dynolog listen, and dynolog's default."""
ANSWERS_WITHIN_S = 0.2
ASKED_WITHIN_S = 15.0
WRITTEN_WITHIN_S = 90.0
"""After the duration: PyTorch looks for a request every few seconds, warms up for some, and writes at its end."""
SETTLED_S = 2.0
NO_MATCH = "No processes were matched"
ENABLING = "KINETO_USE_DAEMON"
FIX_PROGRAM = "Install dynolog on this node (github.com/facebookincubator/dynolog/releases): its programs `dyno` and `dynolog`."
FIX_DAEMON = "Start the daemon on this node: dynolog --enable_ipc_monitor --port 65406 (Ray does where it finds dynolog and a GPU)."
FIX_WORKER = "start the worker with runtime_env={'env_vars': {'KINETO_USE_DAEMON': '1', 'KINETO_DAEMON_INIT_DELAY_S': '5'}}"
FIX_SIZE = "Trace it for fewer seconds."


@dataclass(frozen=True)
class Parts:
    """What there is on this node."""

    program: Path | None
    port: int | None  # where a daemon listens
    is_enabled: bool | None = None  # by the environment that the process was started with; None: not known


def parts_for(target: Target | None, proc: Path = PROC) -> Parts:
    """Looks for the program and a daemon, and into the environment of a process."""
    return Parts(program_called("dyno"), daemon_port(), _is_enabled(target.pid, proc) if target is not None else None)


def daemon_port() -> int | None:
    """Where a daemon could be asked."""
    for port in PORTS:
        try:
            with socket.create_connection(("localhost", port), ANSWERS_WITHIN_S):
                return port
        except OSError:
            continue
    return None


def missing_part(parts: Parts) -> WhyNot | None:
    """What is not there on the node."""
    if parts.program is None:
        return WhyNot(NO_PROGRAM, "dynolog's program `dyno` is not installed on this node.", FIX_PROGRAM)
    if parts.port is None:
        ports = " and ".join(str(port) for port in PORTS)
        return WhyNot(NO_PROGRAM, f"No dynolog daemon answers on this node (ports {ports} were tried).", FIX_DAEMON)
    return None


def obstacle(parts: Parts, target: Target | None, node: NodeFacts, facts: TargetFacts | None) -> WhyNot | None:
    """What is in the way; None: nothing that is known of."""
    found = common_obstacle(target, node, facts) or missing_part(parts)
    if found is None and parts.is_enabled is False:
        return WhyNot(UNSUPPORTED, f"The process was started without {ENABLING}=1.", FIX_WORKER)
    return found


@dataclass
class GpuTracing:
    """One trace. `run` returns when it is over; the folder goes with it."""

    target: Target
    duration_s: int
    node: NodeFacts
    report: Callable[[str], object]
    _settling: Settling = field(default_factory=lambda: Settling())

    def run(self, note: Note) -> Recorded:
        facts = profile_facts.target_facts(self.target)
        parts = parts_for(self.target)
        why_not = common_obstacle(self.target, self.node, facts) or missing_part(parts)
        if why_not is not None or parts.program is None or parts.port is None:
            return Recorded(why_not=why_not)
        with private_folder(self.target) as folder:
            return self._ask(note, folder, parts.program, parts.port) or self._wait(folder)

    def _ask(self, note: Note, folder: PrivateFolder, program: Path, port: int) -> Recorded | None:
        """None: the process was told to trace. A program may enable it by itself, so that its environment alone is no reason not to ask."""
        self.report("starting")
        try:
            asking = TraceProgram(trace_words(program, port, self.target.pid, folder.path, self.duration_s), self.target, folder.path)
        except PermissionError:
            return Recorded(why_not=WhyNot(OTHER_USER, "The user of the process may not run dyno.", "Let every user run it: chmod 755."))
        with asking:
            note.began(asking.pid, str(folder.path))
            Waiting(self.target, self.duration_s, lambda words: None).until(lambda: asking.code is not None, ASKED_WITHIN_S)
            why_not = refusal(asking.code, asking.said())
        return None if why_not is None else Recorded(why_not=why_not)

    def _wait(self, folder: PrivateFolder) -> Recorded:
        begun = time.monotonic()
        waiting = Waiting(self.target, self.duration_s, self.report)
        is_whole = waiting.until(lambda: self._settling.is_over(folder), self.duration_s + WRITTEN_WITHIN_S)
        found = Recorded(sampled_s=round(min(time.monotonic() - begun, float(self.duration_s)), 2))
        if is_whole:
            return self._read(folder, found)
        if not self.target.is_alive:
            found.ended, found.detail = PROCESS_ENDED, "A trace is written at its end: nothing of it is kept."
            return found
        found.why_not = WhyNot(FAILED, f"No whole trace was there {WRITTEN_WITHIN_S:.0f} s after its time.", FIX_WORKER)
        return found

    def _read(self, folder: PrivateFolder, found: Recorded) -> Recorded:
        written = self._settling.last
        try:
            if written is None:
                raise Unfit("It is not there.")
            content = folder.read(written.name, MOST_TRACE_BYTES)
        except Unfit as why:
            found.why_not = WhyNot(FAILED, f"The trace that the process wrote is not taken. {why}", FIX_SIZE)
            return found
        found.trace, found.trace_bytes = gzip.compress(content, PACKED_LEVEL, mtime=0), len(content)
        return found


@dataclass
class Settling:
    """Whether a trace is whole: it ends as JSON ends, and grows no more; or is too large to be taken."""

    last: Found | None = None
    _since: float = 0.0

    def is_over(self, folder: PrivateFolder) -> bool:
        now = time.monotonic()
        newest = next(iter(folder.files(".json")), None)
        if newest is None or newest != self.last:
            self.last, self._since = newest, now
            return newest is not None and newest.size > MOST_TRACE_BYTES
        if newest.size > MOST_TRACE_BYTES:
            return True
        if now < self._since + SETTLED_S:
            return False
        self._since = now
        return _ends_as_json(folder, newest)


def trace_words(program: Path, port: int, pid: int, folder: Path, duration_s: int) -> list[str]:
    """dyno's arguments. The process puts its pid before .json."""
    return [
        str(program), "--port", f"{port:d}",
        "gputrace", "--pids", f"{pid:d}", "--process-limit", "1",
        "--duration-ms", f"{duration_s * 1000:d}", "--log-file", str(folder / "trace.json"),
    ]  # fmt: skip


def refusal(code: int | None, said: str) -> WhyNot | None:
    """Why the process will not trace, from what dyno said; None: it will."""
    if code is None:
        return WhyNot(NO_PROGRAM, f"dyno did not come to an end within {ASKED_WITHIN_S:.0f} s.", FIX_DAEMON)
    if NO_MATCH in said:
        return WhyNot(
            UNSUPPORTED, "dynolog knows no such process: it does not run PyTorch, or was not told to listen to dynolog.", FIX_WORKER
        )
    if code:
        return WhyNot(NO_PROGRAM, f"dyno could not ask its daemon: {profile_obstacles.shortened(said)}", FIX_DAEMON)
    if _is_busy(said):
        return WhyNot(BUSY, "It makes another trace already.", "Wait until that one is over.")
    return None


def _is_busy(said: str) -> bool:
    """Whether the daemon says that it told nobody, because another trace is made."""
    answers = [line.partition("response = ")[2] for line in said.splitlines() if line.startswith("response = ")]
    try:
        told = msgspec.json.decode(answers[-1] if answers else "{}")
    except (msgspec.DecodeError, RecursionError):
        return False
    return isinstance(told, dict) and bool(told.get("activityProfilersBusy")) and not told.get("activityProfilersTriggered")


def _ends_as_json(folder: PrivateFolder, found: Found) -> bool:
    try:
        content = folder.read(found.name, MOST_TRACE_BYTES).strip()
    except Unfit:
        return True  # the reading says why
    return content[:1] in {b"{", b"["} and content[-1:] == {b"{": b"}", b"[": b"]"}[content[:1]]


def _is_enabled(pid: int, proc: Path) -> bool | None:
    environ = text_of(pid, "environ", proc)
    return None if environ is None else any(word.startswith(f"{ENABLING}=") and word != f"{ENABLING}=0" for word in environ.split("\0"))
