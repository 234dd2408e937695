"""Asks for stacks and profiles in this process, as a node's worker is asked, of a stub raylet's processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from clusterstate import paths
from clusterstate.profile_answers import ProcessStacks, ProfileProgress, StacksPart, read
from clusterstate.settings import Settings
from clusterstate.stacks import Samples, unpack
from tests.workers.stub_ray import NODE, SESSION, SPIN, StubRay, began, is_running
from workers.probes import many_recordings, profile_places, profiling, stacks
from workers.probes.running import Running, set_running


@dataclass
class Asking:
    """Asks as the node's worker is asked, and keeps what was told."""

    ray: StubRay
    state_dir: Path
    parts: list[bytes] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    stop: bool = False
    on_report: Callable[[], object] = lambda: None

    def __post_init__(self) -> None:
        settings = replace(Settings(), state_dir=self.state_dir)
        set_running(Running(settings, "c", "h", self._report, self.parts.append, lambda: SESSION, lambda: self.stop))

    def _report(self, words: str) -> None:
        self.words.append(words)
        self.on_report()

    def start(self, code: str = SPIN, environ: dict[str, str] | None = None) -> int:
        """A worker that has come to what it does."""
        pid = self.ray.start(code, environ=environ)
        wait_until(lambda: bool({"inner", "<module>"} & {one.frames[-1].function for one in self.dump(pid)[0].threads if one.frames}))
        time.sleep(0.1)
        return pid

    def dump(self, pid: int, started_ms: int | None = None, **asked: bool) -> list[ProcessStacks]:
        given = {"native": False, "subprocesses": False, **asked}
        answer = stacks.dump_stacks(NODE, pid, started_ms if started_ms is not None else began(pid), **given)
        return list(read(answer, StacksPart).processes)

    def dump_many(self, pids: list[int], passes: int = 1, **asked: bool) -> list[ProcessStacks]:
        self.parts.clear()
        nodes = (0,) * len(pids)
        starts = tuple(began(pid) if is_running(pid) else 1 for pid in pids)
        answer = stacks.dump_many_stacks(NODE, tuple(pids), starts, nodes, (NODE,), asked.get("native", False), passes)
        assert read(answer, StacksPart) == StacksPart()
        return [one for part in self.parts for one in msgspec.json.decode(part, type=StacksPart).processes]

    def record(self, pid: int, seconds: int = 1, started_ms: int | None = None, **asked: Any) -> tuple[ProfileProgress, Samples]:
        self.parts.clear()
        switches = dict.fromkeys(("native", "idle", "subprocesses", "gil", "nonblocking"), False)
        given = {"rate_hz": 100, **switches, "while_task": "", **asked}
        start = started_ms if started_ms is not None else began(pid)
        return self._recorded(profiling.record_cpu(NODE, pid, start, seconds, **given))

    def record_many(self, pids: list[int], seconds: int = 1, **asked: bool) -> tuple[ProfileProgress, Samples]:
        self.parts.clear()
        given = {**dict.fromkeys(("native", "idle", "gil", "nonblocking"), False), **asked}
        starts = tuple(began(pid) if is_running(pid) else 1 for pid in pids)
        return self._recorded(many_recordings.record_many_cpu(NODE, tuple(pids), starts, (0,) * len(pids), (NODE,), seconds, 50, **given))

    def record_memory(self, pid: int, seconds: int = 1, **asked: Any) -> tuple[ProfileProgress, Samples]:
        self.parts.clear()
        given = {"native": False, "leaks": False, "python_allocators": False, "while_task": "", **asked}
        return self._recorded(profiling.record_memory(NODE, pid, began(pid), seconds, **given))

    def _recorded(self, answer: dict[str, Any]) -> tuple[ProfileProgress, Samples]:
        progress: ProfileProgress = read(answer, ProfileProgress)
        packed = b"".join(self.parts)
        assert progress.packed_bytes == len(packed)
        samples = unpack(packed) if packed else Samples()
        assert progress.samples == samples.total
        return progress, samples


def goes_on(pid: int) -> bool:
    """Whether a process runs, is not traced and gets on."""
    status = (Path("/proc") / str(pid) / "status").read_text()
    before = cpu_s(pid)
    give_up = time.monotonic() + 3
    while cpu_s(pid) <= before and time.monotonic() < give_up:
        time.sleep(0.02)
    return "TracerPid:\t0\n" in status and "State:\tT" not in status and "State:\tt" not in status and cpu_s(pid) > before


def cpu_s(pid: int) -> float:
    words = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return float(int(words[11]) + int(words[12]))


def wait_until(holds: Callable[[], bool], within_s: float = 10.0) -> None:
    give_up = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def leaves_nothing(asking: Asking) -> bool:
    return os.listdir(paths.profiling_dir(asking.state_dir)) == []


def asking_of(ray: StubRay, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Asking:
    """Of a stub raylet, which lists what it says it does."""
    monkeypatch.setattr(profile_places, "listed_by", lambda raylet: dict(ray.listed))
    state_dir = folder / "state"
    state_dir.mkdir(mode=0o700)
    return Asking(ray, state_dir)
