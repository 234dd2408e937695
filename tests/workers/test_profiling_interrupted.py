"""Profiles of plain Python processes that something befalls in the middle: nothing stays behind, and what was sampled is kept."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from clusterstate import paths
from clusterstate.profile_answers import NOT_LISTED
from tests.workers.asking_here import Asking, asking_of, goes_on, leaves_nothing, wait_until
from tests.workers.stub_ray import NODE, StubRay, began, stub_ray
from workers.probes import many_recordings, profile_places, stacks
from workers.processes import Started, started_now, write_started
from workers.sources import cpu_recording, private_folders, profile_notes, py_spy
from workers.sources.py_spy import Spy

MANY_STACKS = """
import time
def inner(number):
    return inner(number - 1) if number else sum(range(3000))
number = 0
while True:
    number = (number + 1) % 20
    inner(number)
"""


@pytest.fixture
def ray(tmp_path: Path) -> Iterator[StubRay]:
    with stub_ray(tmp_path) as running:
        yield running


@pytest.fixture
def asking(ray: StubRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asking:
    return asking_of(ray, tmp_path, monkeypatch)


def test_what_a_worker_left_that_was_killed_before_its_profiler_began_is_put_right(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = asking.start()

    def dies(*_: object, **__: object) -> None:
        os.kill(pid, signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGKILL)

    horse = os.fork()
    if horse == 0:
        monkeypatch.setattr(cpu_recording, "Spy", dies)
        asking.record(pid, 60)
        os._exit(0)
    os.waitpid(horse, 0)
    wait_until(lambda: py_spy.is_stopped(pid))
    assert profile_notes.tidy(asking.state_dir) == 1
    wait_until(lambda: not py_spy.is_stopped(pid))


def test_a_folder_deeper_than_pythons_stack_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / f"{private_folders.PREFIX}x"
    folder.mkdir()
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(folder)
        for _ in range(1_500):
            os.mkdir("deeper")
            os.chdir("deeper")
    finally:
        os.fchdir(here)
        os.close(here)
    private_folders.remove(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_dump_that_takes_too_long_is_told_as_such_and_holds_nobody_up(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = asking.start()
    monkeypatch.setattr(stacks, "QUICK_WITHIN_S", -1.0)
    monkeypatch.setattr(stacks, "TOLD_EVERY_S", 0.0)
    [found] = asking.dump(pid)
    assert found.why_not is not None
    assert "no time" in found.why_not.detail
    assert leaves_nothing(asking)
    assert goes_on(pid)


def test_a_profile_of_many_that_is_late_keeps_what_is_under_way(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_recordings, "WITHIN_S", 1.5)
    pids = [asking.start(), asking.start()]
    progress, samples = asking.record_many(pids, seconds=30)
    assert progress.samples == samples.total > 10
    assert leaves_nothing(asking)


def test_what_a_profiler_said_can_be_asked_twice(asking: Asking) -> None:
    pid = asking.start()
    with profile_places.Place().open(NODE, pid, began(pid)) as target:
        program = py_spy.py_spy()
        assert program is not None
        spy = Spy(program, py_spy.dump_words(pid, native=False), target)
        assert spy.wait(5)
        assert spy.end() == spy.end()


def test_a_process_file_of_another_boot_says_nothing_of_what_is_ours(asking: Asking) -> None:
    pid = asking.start()
    session = os.getsid(pid)
    write_started(paths.processes_file(asking.state_dir, "web"), [Started("web", session, 1, "another boot")])
    assert asking.dump(pid)[0].why_not is None
    write_started(paths.processes_file(asking.state_dir, "web"), [started_now("web", session)])
    why_not = asking.dump(pid)[0].why_not
    assert why_not is not None
    assert why_not.reason == NOT_LISTED


def test_without_words_for_descriptors_of_processes_the_kernel_is_called(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = asking.start()
    monkeypatch.delattr(os, "pidfd_open")
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.delattr(signal, "pidfd_send_signal")
    assert asking.dump(pid)[0].why_not is None
    os.kill(pid, signal.SIGSTOP)
    with profile_places.Place().open(NODE, pid, began(pid)) as target:
        wait_until(lambda: py_spy.is_stopped(pid))
        py_spy.send_on(pid, target.start_ticks)
        wait_until(lambda: not py_spy.is_stopped(pid))
    asking.ray.end(pid)
    assert asking.dump(pid, 1)[0].why_not is not None


def test_a_recording_with_more_stacks_than_fit_keeps_those_that_do(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = asking.start(MANY_STACKS)
    monkeypatch.setattr(py_spy, "MOST_OUTPUT_BYTES", 4_000)
    progress, samples = asking.record(pid, 2)
    assert progress.why_not is None
    assert samples.total > 0
    assert "more different stacks than are kept" in progress.detail


def test_a_recording_that_takes_too_much_memory_is_stopped_and_kept(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = asking.start(MANY_STACKS)
    monkeypatch.setattr(Spy, "heap_bytes", 1 << 40)
    begun = time.monotonic()
    progress, samples = asking.record(pid, 30)
    assert progress.ended == "TOO_LARGE"
    assert time.monotonic() - begun < 15
    assert progress.samples == samples.total


def test_a_recording_of_a_process_that_became_anothers_is_not_kept(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = asking.start()
    monkeypatch.setattr(cpu_recording, "is_same", lambda target: False)
    progress, samples = asking.record(pid, 1)
    assert (progress.samples, samples.total) == (0, 0)
    assert progress.why_not is not None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start another user's process")
def test_a_process_below_that_is_another_users_is_not_sampled(asking: Asking) -> None:
    child = "import subprocess, time\nsubprocess.Popen(['/bin/sleep', '60'], user=65534)\ntime.sleep(60)"
    pid = asking.ray.start(child)
    wait_until(lambda: bool(psutil.Process(pid).children()))
    [below] = psutil.Process(pid).children()
    try:
        wait_until(lambda: below.uids().real == 65534)
        progress, samples = asking.record(pid, 1, subprocesses=True)
    finally:
        below.kill()
    assert (progress.why_not, samples.total) == (cpu_recording.OTHERS_BELOW, 0)


def test_the_processes_below_it_are_sampled_too(asking: Asking) -> None:
    child = f"import subprocess\nsubprocess.run([{sys.executable!r}, '-c', 'while 1: pass'])"
    pid = asking.ray.start(child)
    wait_until(lambda: bool(psutil.Process(pid).children()))
    [below] = psutil.Process(pid).children()
    wait_until(lambda: below.cpu_times().user > 0.3)
    try:
        progress, samples = asking.record(pid, 2, subprocesses=True)
    finally:
        below.kill()
    assert progress.why_not is None
    assert below.pid in {thread.pid for thread in samples.threads}
    assert progress.cpu_s is not None
    assert progress.cpu_s > 0.3


def test_a_stopped_process_is_said_to_be_stopped(asking: Asking) -> None:
    pid = asking.start()
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: py_spy.is_stopped(pid))
    progress, _ = asking.record(pid, 1)
    assert progress.why_not is not None
    assert (progress.why_not.detail, progress.why_not.fix) == ("It is stopped (SIGSTOP).", f"kill -CONT {pid}")
    assert py_spy.is_stopped(pid)
