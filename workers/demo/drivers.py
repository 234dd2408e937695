"""The drivers that the keeper runs: which, how often, and starting one again that ended."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

MAX_BACKOFF_S = 60.0
MAX_LOG_BYTES = 4_000_000
STEADY_S = 60.0  # one that ran this long was well


@dataclass
class Driver:
    """A program of the workload that runs as a process of its own, and again some time after it has ended."""

    module: str
    first_at_s: float = 0.0  # after the cluster is up
    pause_s: float = 1.0  # from an end to the next start; doubles while it ends early
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    started_at: float = 0.0
    next_at: float | None = None
    early_ends: int = 0

    def tend(self, now: float, begun_at: float, environment: Mapping[str, str], folder: Path) -> None:
        """Start it when its time has come; note when it has ended. Never waits."""
        if self.process is not None and self.process.poll() is not None:
            self._note_end(now)
        if self.process is not None and self._log(folder).stat().st_size > MAX_LOG_BYTES:
            os.truncate(self._log(folder), 0)  # it is appended to, so it grows on from here
        due_at = begun_at + self.first_at_s if self.next_at is None else self.next_at
        if self.process is None and now >= due_at:
            self._start(now, environment, folder)

    def kill(self) -> None:
        """SIGKILL: Ray would take a second over a tidy end, and the cluster ends anyway."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()

    def wait(self, timeout_s: float) -> None:
        if self.process is not None:
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                pass  # the kernel's matter; it is killed already

    def _note_end(self, now: float) -> None:
        self.early_ends = 0 if now - self.started_at > STEADY_S else self.early_ends + 1
        backoff_s = min(MAX_BACKOFF_S, 2.0 ** min(self.early_ends, 6))
        self.next_at = now + max(self.pause_s, backoff_s)
        self.process = None

    def _log(self, folder: Path) -> Path:
        return folder / "log" / f"{self.module.rpartition('.')[2]}.log"

    def _start(self, now: float, environment: Mapping[str, str], folder: Path) -> None:
        with self._log(folder).open("ab") as log:
            self.process = subprocess.Popen(
                [Path(sys.executable).name, "-m", self.module],  # Ray shows this line: a short name reads better than a path
                executable=sys.executable,
                env=dict(environment),
                cwd=folder / "home",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.started_at = now


def all_drivers() -> list[Driver]:
    """Few: each is a process of 46 MB."""
    return [
        Driver("workers.demo.workload.platform"),
        Driver("workers.demo.workload.crash", first_at_s=25.0, pause_s=1800.0),
    ]
