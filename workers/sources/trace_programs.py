"""Running a program that has a process trace itself: fixed words and our own numbers, no shell, no more rights than the process has."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from clusterstate.profile_answers import ENDED, OTHER_USER, UNSUPPORTED, WhyNot
from workers.handles import memory_file
from workers.processes import die_with_parent
from workers.sources.memray_running import PROGRAMS_PATH, as_user, shares_temporary_files
from workers.sources.profile_obstacles import NodeFacts, TargetFacts
from workers.sources.profile_targets import PROC, Target

MOST_TRACE_BYTES = 64 << 20
"""Of a trace as it was written, before it is packed."""
MOST_FILE_BYTES = 4 * MOST_TRACE_BYTES
MOST_WORDS = 64 * 1024
LOOK_EVERY_S = 0.1
SAID_EVERY_S = 1.0
PACKED_LEVEL = 6


class TraceProgram:
    """A program that runs as the user of a process, and is killed with whoever started it."""

    def __init__(self, words: Sequence[str], target: Target, home: Path, environ: Mapping[str, str] | None = None) -> None:
        """Raises PermissionError: that user may not run it."""
        self._words = memory_file("words")
        parent = os.getpid()

        def lower() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_FILE_BYTES, MOST_FILE_BYTES))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            die_with_parent(parent)

        try:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=self._words,
                stderr=subprocess.STDOUT,
                env={"PATH": PROGRAMS_PATH, "LANG": "C.UTF-8", "HOME": str(home), "TMPDIR": str(home), **(environ or {})},
                cwd="/",
                preexec_fn=lower,
                **as_user(target.user, target.group),
            )
        except BaseException:
            os.close(self._words)
            raise
        self.pid = self._process.pid

    def __enter__(self) -> TraceProgram:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._words)

    @property
    def code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def said(self) -> str:
        """The end of what it printed so far."""
        size = os.fstat(self._words).st_size
        return os.pread(self._words, MOST_WORDS, max(0, size - MOST_WORDS)).decode("utf-8", "replace")


@dataclass
class Waiting:
    """Waits while a process traces itself, and says how far that is."""

    target: Target
    duration_s: int
    report: Callable[[str], object]

    def until(self, is_over: Callable[[], bool], within_s: float) -> bool:
        """Whether it was over by then; False also if the process ended."""
        begun = time.monotonic()
        next_word = 0.0
        while not is_over():
            now = time.monotonic()
            if now > begun + within_s or not self.target.is_alive:
                return is_over()
            if now >= next_word:
                next_word = now + SAID_EVERY_S
                passed = now - begun
                self.report(f"{passed:.0f} of {self.duration_s} s" if passed <= self.duration_s else "waiting for the trace to be written")
            time.sleep(LOOK_EVERY_S)
        return True


def program_called(name: str) -> Path | None:
    """The one installed with Raydeck, else the machine's."""
    beside = Path(sys.executable).parent / name
    if beside.exists():
        return beside
    found = shutil.which(name)
    return Path(found).resolve() if found else None


def common_obstacle(target: Target | None, node: NodeFacts, facts: TargetFacts | None) -> WhyNot | None:
    """What is in the way of any trace that the process writes itself; None: nothing that is known of."""
    if target is None or facts is None:
        return None
    if not facts.is_alive:
        return WhyNot(ENDED, "The process has ended.")
    if node.user not in {0, target.user}:
        detail = f"The process is of user {facts.user_name} ({facts.user}), Raydeck runs as {node.user_name} ({node.user})."
        return WhyNot(OTHER_USER, detail, f"Run `raydeck node` as user {facts.user_name}, or as root.")
    if not shares_temporary_files(target.pid):
        detail = "The process has no folder for temporary files in common with Raydeck: it runs in a container of its own, or Raydeck does."
        return WhyNot(UNSUPPORTED, detail, "Run `raydeck node` in the same container.")
    return None


def text_of(pid: int, name: str, proc: Path = PROC) -> str | None:
    """A file of a process in /proc; None: we may not read it, or the process is gone."""
    try:
        return (proc / str(pid) / name).read_text(errors="replace")
    except OSError:
        return None
