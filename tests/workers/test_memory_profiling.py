"""Memory profiles of plain Python processes with the real memray, where it is installed; and why there are none elsewhere."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusterstate.profile_answers import ENDED, IDLE, NO_PROGRAM, NOT_LISTED, NOT_PYTHON, OTHER_USER, PTRACE_SCOPE, UNSUPPORTED
from clusterstate.stacks import BYTES, NO_PYTHON, TRUNCATED, Frame, Thread
from tests.workers.asking_here import Asking, asking_of, goes_on, leaves_nothing, wait_until
from tests.workers.stub_ray import SLEEP, StubRay, is_running, stub_ray
from workers.sources import memory_recording, memray_reading, memray_running, private_folders, profile_notes
from workers.sources.memory_recording import Parts
from workers.sources.profile_obstacles import NodeFacts, TargetFacts
from workers.sources.py_spy import is_stopped

with_memray = pytest.mark.skipif(
    importlib.util.find_spec("memray") is None or memray_running.debugger() is None,
    reason="memray and a debugger are optional: pip install memray, apt install gdb",
)
GROW = """
import time
kept = []
def grow():
    kept.append(bytes(1 << 20))
def inner():
    while True:
        grow()
        sum(range(300_000))
        time.sleep(0.01)
inner()
"""
WAITS_THEN_GROWS = """
import time
time.sleep(9)
kept = []
while True:
    kept.append(bytes(1000))
    time.sleep(0.01)
"""
PACKAGES = {"PYTHONPATH": sysconfig.get_path("purelib")}
WHOLE = Parts(ours=True, debugger=True, theirs=True)


@pytest.fixture
def ray(tmp_path: Path) -> Iterator[StubRay]:
    with stub_ray(tmp_path) as running:
        yield running


@pytest.fixture
def asking(ray: StubRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asking:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return asking_of(ray, tmp_path, monkeypatch)


def files_left(folder: Path) -> list[str]:
    return [path.name for path in folder.glob(private_folders.PREFIX + "*")]


@with_memray
@pytest.mark.parametrize("leaks", [False, True])
def test_what_a_process_holds_is_told_in_bytes_by_function(asking: Asking, tmp_path: Path, leaks: bool) -> None:
    pid = asking.start(GROW, PACKAGES)
    progress, samples = asking.record_memory(pid, 3, leaks=leaks)
    largest = max(samples.stacks, key=lambda one: one.count)

    assert (progress.why_not, progress.ended, samples.unit) == (None, "", BYTES)
    assert progress.profiler.startswith("memray ")
    assert [samples.frames[place].function for place in largest.frames][-2:] == ["inner", "grow"]
    assert largest.count > 10 << 20
    assert (files_left(tmp_path), leaves_nothing(asking)) == ([], True)
    assert goes_on(pid)


@with_memray
def test_a_stopped_memory_profile_keeps_what_it_has(asking: Asking) -> None:
    pid = asking.start(GROW, PACKAGES)
    asking.on_report = lambda: setattr(asking, "stop", len(asking.words) >= 3)
    progress, samples = asking.record_memory(pid, 60)
    assert (progress.ended, progress.why_not) == ("STOPPED", None)
    assert samples.total > 1 << 20


@with_memray
def test_a_killed_worker_leaves_no_file_and_a_process_that_no_longer_follows_itself(asking: Asking, tmp_path: Path) -> None:
    pid = asking.start(GROW, PACKAGES)
    horse = os.fork()
    if horse == 0:
        os.setpgrp()
        asking.record_memory(pid, 60)
        os._exit(0)
    wait_until(lambda: any((folder / "allocations.bin").exists() for folder in tmp_path.glob(private_folders.PREFIX + "*")), 30.0)
    os.killpg(horse, signal.SIGKILL)
    os.waitpid(horse, 0)
    profile_notes.tidy(asking.state_dir)
    assert (files_left(tmp_path), leaves_nothing(asking)) == ([], True)
    assert goes_on(pid)
    progress, samples = asking.record_memory(pid, 2)  # it could not, if it still followed itself
    assert (progress.why_not, samples.total > 1 << 20) == (None, True)


@with_memray
def test_a_process_that_allocates_nothing_is_let_go_and_lives(asking: Asking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A debugger that is killed while it waits for an allocation ends the process at its next one."""
    monkeypatch.setattr(memray_running, "DEBUGGER_WITHIN_S", 3.0)
    pid = asking.ray.start(WAITS_THEN_GROWS, environ=PACKAGES)
    progress, _ = asking.record_memory(pid, 2)
    assert progress.why_not is not None
    assert (progress.why_not.reason, memray_running.tracer_of(pid)) == (IDLE, 0)
    assert (files_left(tmp_path), leaves_nothing(asking)) == ([], True)
    time.sleep(7)
    assert is_running(pid)


@with_memray
def test_a_stopped_process_is_left_alone_and_lives(asking: Asking) -> None:
    pid = asking.start(GROW, PACKAGES)
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: is_stopped(pid))
    progress, _ = asking.record_memory(pid, 1)
    os.kill(pid, signal.SIGCONT)
    assert progress.why_not is not None
    assert progress.why_not.fix == f"kill -CONT {pid}"
    assert goes_on(pid)


@with_memray
def test_a_worker_that_is_killed_while_a_debugger_waits_leaves_a_process_that_lives(asking: Asking, tmp_path: Path) -> None:
    pid = asking.ray.start(WAITS_THEN_GROWS, environ=PACKAGES)
    horse = os.fork()
    if horse == 0:
        os.setpgrp()
        asking.record_memory(pid, 60)
        os._exit(0)
    wait_until(lambda: memray_running.tracer_of(pid) != 0, 20.0)
    time.sleep(1)
    os.killpg(horse, signal.SIGKILL)
    os.waitpid(horse, 0)
    profile_notes.tidy(asking.state_dir)
    assert (memray_running.tracer_of(pid), files_left(tmp_path), leaves_nothing(asking)) == (0, [], True)
    time.sleep(8)
    assert is_running(pid)


def test_another_users_process_is_followed_with_its_own_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert memray_running.as_user(1000, 100) == {"user": 1000, "group": 100, "extra_groups": []}
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert memray_running.as_user(1000, 100) == {}


@with_memray
def test_a_process_without_memray_is_told_how_to_get_it(asking: Asking) -> None:
    progress, _ = asking.record_memory(asking.start(SLEEP))
    assert progress.why_not is not None
    assert progress.why_not.reason == NO_PROGRAM
    assert "runtime_env" in progress.why_not.fix


def test_no_other_process_is_followed(asking: Asking) -> None:
    progress, _ = asking.record_memory(os.getpid())
    assert progress.why_not is not None
    assert progress.why_not.reason == NOT_LISTED


@pytest.mark.parametrize(
    ("parts", "node", "target", "reason", "fix"),
    [
        (Parts(ours=False, debugger=True), NodeFacts(user=7), None, NO_PROGRAM, "-m pip install memray"),
        (Parts(ours=True, debugger=False), NodeFacts(user=7), None, NO_PROGRAM, "apt install gdb"),
        (Parts(ours=True, debugger=True, theirs=False), NodeFacts(user=7), TargetFacts(user=7), NO_PROGRAM, "runtime_env"),
        (Parts(True, True, True, shares_files=False), NodeFacts(user=7), TargetFacts(user=7), UNSUPPORTED, "in the container of Ray"),
        (WHOLE, NodeFacts(user=7), TargetFacts(user=7, is_python=False), NOT_PYTHON, ""),
        (WHOLE, NodeFacts(user=7), TargetFacts(user=8, user_name="ray"), OTHER_USER, "as user ray (8)"),
        (Parts(True, True, None, shares_files=False), NodeFacts(user=7), TargetFacts(user=8, user_name="ray"), OTHER_USER, "as user ray"),
        (WHOLE, NodeFacts(user=7, ptrace_scope=1), TargetFacts(user=7), PTRACE_SCOPE, "sysctl"),
        (WHOLE, NodeFacts(user=0, has_capability=True, ptrace_scope=1), TargetFacts(user=8), PTRACE_SCOPE, "sysctl"),
        (WHOLE, NodeFacts(user=7), TargetFacts(user=7, is_alive=False), ENDED, ""),
    ],
)
def test_what_is_in_the_way_of_memray(parts: Parts, node: NodeFacts, target: TargetFacts | None, reason: str, fix: str) -> None:
    found = memory_recording.obstacle(parts, node, target)
    assert found is not None
    assert found.reason == reason
    assert fix in found.fix


def test_with_all_parts_nothing_is_in_the_way() -> None:
    assert memory_recording.obstacle(WHOLE, NodeFacts(user=0, has_capability=True), TargetFacts(user=8)) is None
    assert memory_recording.obstacle(WHOLE, NodeFacts(user=8), TargetFacts(user=8)) is None


def test_what_memray_wrote_is_bytes_by_stack_outermost_frame_first() -> None:
    rows = [[5, 9, "t", [0, 1]], [7, 9, "t", []], [1, -4, "x" * 900, []]]
    raw = json.dumps({"frames": [["inner", "/a.py", 2], ["outer", "/a.py", -1]], "rows": rows, "left_out": 4}).encode()
    found = memory_recording.parse(raw, 3)
    assert (found.unit, found.total) == (BYTES, 17)
    assert {NO_PYTHON, TRUNCATED} < set(found.frames)
    assert found.threads[0] == Thread(3, 9, "t")
    assert [found.frames[place] for place in found.stacks[0].frames] == [Frame("outer", "/a.py", 0), Frame("inner", "/a.py", 2)]


def test_of_more_allocations_than_fit_the_largest_are_kept_and_the_rest_is_counted() -> None:
    stacks = {number: tuple((f"function_{depth}", "/home/ada/a.py", number) for depth in range(50)) for number in range(300)}
    sizes = Counter({(1, "main", stack): number for number, stack in stacks.items()})
    printed = memray_reading.packed(sizes, 1_000, 200_000)
    raw = json.dumps(printed).encode()
    assert len(raw) <= 200_000
    assert 0 < len(printed["rows"]) < 300
    assert printed["rows"][0][0] == 299
    assert memory_recording.parse(raw, 3).total == sum(range(300))


@pytest.mark.parametrize(
    "raw",
    [b"", b"{}", b"[[1]]", b'{"frames": [], "rows": [[1, 2, "", [0]]]}', b'{"frames": [], "rows": [["1", 2, "", []]]}', b"[" * 100_000],
)
def test_what_is_not_of_memray_is_said_to_be_unreadable(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        memory_recording.parse(raw, 3)


def test_memray_is_looked_for_where_the_process_finds_packages(tmp_path: Path) -> None:
    process = tmp_path / "proc" / "7"
    process.mkdir(parents=True)
    (process / "root").symlink_to(tmp_path / "machine")
    (process / "maps").write_text("7f-80 r-xp 0 00:00 1   /opt/env/lib/python3.11/site-packages/ray/_raylet.so\n")
    (process / "environ").write_text("PYTHONPATH=relative:/more\0OTHER=1\0")
    assert not memray_running.has_memray(7, tmp_path / "proc")
    inside = tmp_path / "machine/opt/env/lib/python3.11/site-packages/memray"
    inside.mkdir(parents=True)
    (inside / "__init__.py").touch()
    assert memray_running.has_memray(7, tmp_path / "proc")
