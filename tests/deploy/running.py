"""Starts `raydeck` (or make) as a person does, waits until it is ready, and stops it with Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
RAYDECK = str(Path(sys.executable).parent / "raydeck")
KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")


@dataclass
class Run:
    """A running command. `ready` is what its ready file says."""

    process: subprocess.Popen[bytes]
    ready: dict[str, Any]
    ready_file: Path
    output: Path

    def stop(self, within_s: float = 20) -> int:
        """Ctrl-C, as the terminal sends it: to all of the foreground's processes. The exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(within_s)


@contextlib.contextmanager
def running(
    command: list[str], folder: Path, environment: dict[str, str] | None = None, name: str = "up", within_s: float = 90
) -> Iterator[Run]:
    """`command` is given a ready file; its home is `folder`, so that it finds nothing of the person who tests."""
    ready_file, output = folder / f"{name}.ready.json", folder / f"{name}.output"
    option = f"--ready-file {ready_file}"
    command = [f"{word} {option}" if word.startswith("ARGS=") else word for word in command]
    if not any(word.startswith("ARGS=") for word in command):
        command = [*command, *option.split()]
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    with output.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**kept, "HOME": str(folder), **(environment or {})},
            stdout=file,
            stderr=file,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    run = Run(process, {}, ready_file, output)
    try:
        run.ready = _wait(run, time.monotonic() + within_s)
        yield run
    finally:
        if process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.stop()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in {"Z", "X"}


def _wait(run: Run, give_up: float) -> dict[str, Any]:
    while not run.ready_file.exists():
        if run.process.poll() is not None or time.monotonic() > give_up:
            raise AssertionError(f"It did not become ready:\n{run.output.read_text(errors='replace')[-3000:]}")
        time.sleep(0.1)
    content: dict[str, Any] = json.loads(run.ready_file.read_text("utf-8"))
    return content
