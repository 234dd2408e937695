"""The demo: a real cluster that shows every state, and of which nothing is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from workers.demo import leftovers
from workers.processes import all_stats, read_stat

pytestmark = pytest.mark.ray
OBSERVER = Path(__file__).with_name("demo_observer.py")
GENEROUS_S = 300  # half a minute on an idle machine

WANTED = {
    "nodes": ["node:ALIVE", "node zone:a", "node zone:b", "node resource:licence", "node resource:camera", "node ip:127.0.0.1"],
    "submissions": [f"submission:{status}" for status in ("SUCCEEDED", "FAILED", "STOPPED", "RUNNING", "PENDING")]
    + ["submission env:REPORT_REGION"],
    "drivers": ["driver:platform:alive", "driver:crashing-driver:dead", "driver:sensor-stream:alive", "driver:nightly-report:dead"],
    "actors": [f"actor:{state}" for state in ("ALIVE", "DEAD", "RESTARTING", "PENDING_CREATION", "DEPENDENCIES_UNREADY")],
    "kinds of actors": ["actor named:flaky", "actor repr:Catalogue(warehouse)", "actor detached:Catalogue", "actor restarted:Flaky"],
    "deaths of actors": ["actor death:RAY_KILL", "actor death cause:creation_task_failure_context"],
    "placement groups": [f"placement group:{state}" for state in ("CREATED", "PENDING", "REMOVED")]
    + [f"placement group scheduling:{state}" for state in ("FINISHED", "NO_RESOURCES", "INFEASIBLE")],
    "tasks": ["task:FINISHED", "task:FAILED", "task:RUNNING", "task:PENDING_NODE_ASSIGNMENT", "task retried", "task nested"],
}


@dataclass
class Demo:
    """A demo in a folder of its own, and its keeper."""

    root: Path
    keeper: subprocess.Popen[bytes] | None = None
    ready: dict[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.root / "demo"

    @property
    def log(self) -> Path:
        return self.root / "keeper.log"

    @property
    def ready_file(self) -> Path:
        return self.root / "ready.json"

    def start(self) -> None:
        arguments = ["--folder", str(self.folder), "--ready-file", str(self.ready_file), "--token"]
        with self.log.open("wb") as log:
            self.keeper = subprocess.Popen([sys.executable, "-m", "workers.demo", *arguments], start_new_session=True, stderr=log)
        deadline = time.monotonic() + GENEROUS_S
        while not self.ready_file.exists():
            assert self.keeper.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        self.ready = json.loads(self.ready_file.read_text())

    def signal(self, signum: signal.Signals) -> None:
        """Returns when the keeper has ended: about a second on an idle machine."""
        assert self.keeper is not None
        self.keeper.send_signal(signum)
        self.keeper.wait(60)

    def processes(self) -> set[tuple[int, int]]:
        """(pid, start) of everything that runs for the demo."""
        found = {(one.pid, one.start_ticks) for one in leftovers.find(self.folder)}
        return {one for one in found if self.keeper is None or one[0] != self.keeper.pid}


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    root = Path(f"/tmp/raydeck-{os.geteuid()}-{secrets.token_hex(3)}")
    root.mkdir(mode=0o700)
    demo = Demo(root)
    try:
        demo.start()
        yield demo
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            demo.signal(signal.SIGTERM)
        if demo.keeper is not None and demo.keeper.poll() is None:
            demo.keeper.kill()
            demo.keeper.wait(10)
        leftovers.sweep(demo.folder)
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="module")
def seen(demo: Demo) -> set[str]:
    """Everything that a plain client of the GCS saw until all wanted was there."""
    token = Path(demo.ready["ray_env"]["RAY_AUTH_TOKEN_PATH"]).read_text()
    wanted = [fact for facts in WANTED.values() for fact in facts]
    environment = {**os.environ, **demo.ready["ray_env"]}
    command = [sys.executable, str(OBSERVER), demo.ready["address"], token, str(GENEROUS_S), *wanted]
    output = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, timeout=GENEROUS_S + 60).stdout
    return set(json.loads(output))


def is_alive(process: tuple[int, int]) -> bool:
    stat_now = read_stat(process[0])
    return stat_now is not None and stat_now.start_ticks == process[1] and stat_now.state != "Z"


def kill_second_raylet(demo: Demo) -> None:
    """A node that came in its place must not make the end slower: Ray gives each a SIGTERM handler that drains."""
    assert demo.keeper is not None

    def raylets() -> list[int]:
        return sorted(one.pid for one in all_stats() if demo.keeper and one.ppid == demo.keeper.pid and name_of(one.pid) == "raylet")

    before = raylets()
    os.kill(before[-1], signal.SIGKILL)
    deadline = time.monotonic() + GENEROUS_S
    while len(raylets()) != 2 or raylets() == before:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def test_the_ready_file_is_private_and_says_how_to_join(demo: Demo) -> None:
    assert stat.S_IMODE(demo.ready_file.stat().st_mode) == 0o600
    assert demo.ready["address"].startswith("127.0.0.1:")
    assert demo.ready["ray_env"]["RAY_ADDRESS"] == demo.ready["address"]
    assert Path(demo.ready["session_dir"]).is_dir()
    assert stat.S_IMODE(Path(demo.ready["ray_env"]["RAY_AUTH_TOKEN_PATH"]).stat().st_mode) == 0o600
    assert all(is_alive((pid, one.start_ticks)) for pid in demo.ready["pids"] if (one := read_stat(pid)))


@pytest.mark.parametrize("kind", list(WANTED))
def test_the_demo_shows_every_state(seen: set[str], kind: str) -> None:
    assert sorted(set(WANTED[kind]) - seen) == []


def test_the_demo_is_on_loopback_alone(seen: set[str]) -> None:
    assert {fact for fact in seen if fact.startswith("node ip:")} == {"node ip:127.0.0.1"}


def test_after_a_kill_the_next_start_sweeps_and_sigterm_leaves_nothing(demo: Demo) -> None:
    first_session, first = demo.ready["session_dir"], demo.processes()
    demo.signal(signal.SIGKILL)
    demo.ready_file.unlink()
    demo.start()
    assert len(first) > 5
    assert [process for process in first if is_alive(process)] == []
    assert demo.ready["session_dir"] != first_session
    assert not Path(first_session).exists()

    second = demo.processes()
    kill_second_raylet(demo)
    demo.signal(signal.SIGTERM)
    assert demo.keeper is not None
    assert demo.keeper.returncode == 0
    assert "Draining" not in demo.log.read_text()
    assert len(second) > 3
    assert [process for process in second if is_alive(process)] == []
    assert demo.processes() == set()
    assert not demo.ready_file.exists()
