"""Processes that look like a raylet and its workers, without Ray: what is below whom, and what they call themselves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from workers.sources.processes_decode import parse_stat
from workers.sources.profile_targets import PROC, start_ms

NODE, SESSION = f"{os.getpid():08x}" + "ab" * 24, "session_2026-01-01_00-00-00_000000_1"
"""Another node in each process that runs tests: two of them side by side see one another's raylets."""
KEEPER = """
import json, subprocess, sys
children = {}
for line in sys.stdin:
    asked = json.loads(line)
    if "end" in asked:
        children.pop(asked["end"]).kill()
        continue
    child = subprocess.Popen(asked["argv"], executable=asked["program"], user=asked["user"], cwd="/", env=asked["environ"],
        stdin=subprocess.DEVNULL)
    children[child.pid] = child
    print(child.pid, flush=True)
for child in children.values():
    child.kill()
"""
SPIN = """
import threading, time
def inner(until):
    while time.monotonic() < until:
        sum(range(2000))
def spin():
    inner(time.monotonic() + 120)
def wait():
    time.sleep(120)
threading.Thread(target=wait, name="a;b <i> 1", daemon=True).start()
spin()
"""
SLEEP = "import time\ntime.sleep(120)"


@dataclass
class StubRay:
    """A raylet that starts what it is told to. `listed` is what it would list: pid → whether it is a driver."""

    process: subprocess.Popen[str]
    listed: dict[int, bool] = field(default_factory=dict)

    @property
    def pid(self) -> int:
        return self.process.pid

    def start(
        self,
        code: str = SPIN,
        *,
        title: str = "ray::spin",
        user: int | None = None,
        listed: bool = True,
        environ: dict[str, str] | None = None,
    ) -> int:
        """A Python worker below the raylet."""
        pid = self.run([title, "-c", code], sys.executable, user, environ)
        if listed:
            self.listed[pid] = False
        return pid

    def run(self, argv: list[str], program: str, user: int | None = None, environ: dict[str, str] | None = None) -> int:
        self._ask({"argv": argv, "program": program, "user": user, "environ": {"PYTHONHOME": sys.base_prefix, **(environ or {})}})
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def end(self, pid: int) -> None:
        """Kills it; it stays a zombie until the next one is started."""
        self._ask({"end": pid})
        give_up = time.monotonic() + 5
        while is_running(pid):
            assert time.monotonic() < give_up
            time.sleep(0.005)

    def _ask(self, asked: dict[str, Any]) -> None:
        stdin: IO[str] | None = self.process.stdin
        assert stdin is not None
        stdin.write(json.dumps(asked) + "\n")
        stdin.flush()


@contextmanager
def stub_ray(folder: Path, node_id: str = NODE, session: str = SESSION) -> Iterator[StubRay]:
    """A process that is called raylet, until the block ends."""
    program = folder / "raylet"
    if not program.exists():
        program.symlink_to(os.path.realpath(sys.executable))
    words = [f"--node_id={node_id}", f"--session_name={session}", "--raylet_socket_name=/x", f"--session_dir=/tmp/ray/{session}"]
    process = subprocess.Popen(
        ["raylet", "-c", KEEPER, *words],
        executable=program,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONHOME": sys.base_prefix},
    )
    try:
        yield StubRay(process)
    finally:
        process.communicate()


def is_running(pid: int) -> bool:
    try:
        stat = parse_stat((PROC / str(pid) / "stat").read_bytes())
    except OSError:
        return False
    return stat is not None and not stat.is_zombie


def began(pid: int) -> int:
    """When a process began, as a row of the node's processes would say."""
    stat = parse_stat((PROC / str(pid) / "stat").read_bytes())
    assert stat is not None
    return start_ms(PROC, stat)
