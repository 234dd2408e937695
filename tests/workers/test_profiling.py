"""Stacks and CPU profiles of plain Python processes with the real py-spy: what comes, what is refused, and that nothing stays."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clusterstate.profile_answers import (
    BUSY,
    ENDED,
    IDLE,
    NO_CAPABILITY,
    NO_PROGRAM,
    NOT_LISTED,
    NOT_PYTHON,
    OTHER_USER,
    STOPPED,
)
from clusterstate.stacks import Samples
from tests.workers.asking_here import Asking, asking_of, goes_on, leaves_nothing, wait_until
from tests.workers.stub_ray import NODE, SLEEP, StubRay, began, is_running, stub_ray
from workers.probes import profile_places, stacks
from workers.probes.running import CannotAnswer
from workers.sources import cpu_recording, profile_notes, py_spy, py_spy_decode
from workers.sources.py_spy import Spy

PARENT_AND_CHILD = f"import subprocess\nsubprocess.run([{sys.executable!r}, '-c', 'import time; time.sleep(60)'])"


@pytest.fixture
def ray(tmp_path: Path) -> Iterator[StubRay]:
    with stub_ray(tmp_path) as running:
        yield running


@pytest.fixture
def asking(ray: StubRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asking:
    return asking_of(ray, tmp_path, monkeypatch)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The arguments of each py-spy that was started."""
    seen: list[list[str]] = []
    real = subprocess.Popen

    def spy(arguments: list[Any], *more: Any, **named: Any) -> Any:
        seen.append([str(word) for word in arguments])
        return real(arguments, *more, **named)

    monkeypatch.setattr(subprocess, "Popen", spy)
    return seen


def test_the_threads_of_a_process_are_told_outermost_frame_first(asking: Asking) -> None:
    pid = asking.start()
    [found] = asking.dump(pid)
    threads = {thread.name: thread for thread in found.threads}

    assert found.why_not is None
    assert (found.pid, found.started_ms, found.title) == (pid, began(pid), "ray::spin")
    assert threads["MainThread"].cpu_s is not None
    assert threads["MainThread"].cpu_s > 0
    assert set(threads) == {"MainThread", "a;b <i> 1"}
    assert [frame.function for frame in threads["MainThread"].frames] == ["<module>", "spin", "inner"]
    assert threads["MainThread"].os_id == pid
    assert threads["MainThread"].frames[1].file == "<string>"
    assert leaves_nothing(asking)
    assert goes_on(pid)


def test_a_dump_with_subprocesses_has_those_below_and_says_whose_they_are(asking: Asking) -> None:
    pid = asking.ray.start(PARENT_AND_CHILD)
    wait_until(lambda: len(asking.dump(pid, subprocesses=True)) == 2)
    parent, child = asking.dump(pid, subprocesses=True)
    assert (parent.pid, parent.child_of, child.child_of) == (pid, None, pid)
    assert [one.pid for one in asking.dump(pid)] == [pid]
    os.kill(child.pid, signal.SIGKILL)


def test_native_frames_are_there_where_they_are_asked_for(asking: Asking) -> None:
    pid = asking.ray.start()
    [found] = asking.dump(pid, native=True)
    assert found.why_not is None
    assert any(".so" in frame.file for thread in found.threads for frame in thread.frames)


@pytest.mark.parametrize("pid", [0, -1, 1, 2**31, 2**40])
def test_no_profiler_is_started_for_what_may_not_be_looked_into(asking: Asking, started: list[list[str]], pid: int) -> None:
    own = os.getpid()
    beside = subprocess.Popen(["sleep", "60"])
    started.clear()
    for refused in (pid, own, os.getppid(), beside.pid):
        [found] = asking.dump(refused, 1)
        assert found.why_not is not None
        assert found.why_not.reason == NOT_LISTED
        progress, _ = asking.record(refused, started_ms=1)
        assert progress.why_not is not None
        assert progress.why_not.reason == NOT_LISTED
    worker = asking.ray.start()
    [found] = asking.dump(worker, began(worker) + 500)
    assert found.why_not is not None
    assert found.why_not.reason == ENDED
    beside.kill()
    beside.wait()
    assert [words for words in started if "--version" not in words] == []


def test_arguments_are_fixed_words_and_numbers(asking: Asking, started: list[list[str]]) -> None:
    pid = asking.ray.start(title="ray::--output=/x;$(id)")
    asking.dump(pid)
    asking.record(pid, while_task="--output=/x;$(id)", idle=True, native=True, subprocesses=True)
    program = str(py_spy.py_spy())
    numbers = {str(pid), "1", "100"}
    words = {"dump", "--json", "--full-filenames", "--pid", "record", "--format", "raw", "--threads", "--output", "--duration", "--rate"}
    words |= {"--native", "--idle", "--subprocesses", "--version"}
    for arguments in started:
        assert arguments[0] == program
        assert set(arguments[1:]) - numbers - words <= {word for word in arguments if word.startswith("/proc/self/fd/")}


@pytest.mark.parametrize(
    "asked", [{"rate_hz": 0}, {"rate_hz": 501}, {"seconds": 0}, {"seconds": 301}, {"seconds": -1}, {"while_task": "x" * 2000}]
)
def test_numbers_out_of_range_are_refused(asking: Asking, started: list[list[str]], asked: dict[str, Any]) -> None:
    with pytest.raises(CannotAnswer):
        asking.record(asking.ray.start(), **asked)
    assert started == []


def test_a_program_that_is_no_python_is_said_to_be_none(asking: Asking) -> None:
    pid = asking.ray.run(["ray::x", "60"], "/bin/sleep", None)
    asking.ray.listed[pid] = False
    [found] = asking.dump(pid)
    progress, _ = asking.record(pid)
    assert found.why_not is not None
    assert progress.why_not is not None
    assert (found.why_not.reason, progress.why_not.reason) == (NOT_PYTHON, NOT_PYTHON)


def test_without_py_spy_it_is_said_how_to_get_it(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile_places, "py_spy", lambda: None)
    pid = asking.ray.start()
    for why_not in (asking.dump(pid)[0].why_not, asking.record(pid)[0].why_not, asking.dump_many([pid])[0].why_not):
        assert why_not is not None
        assert (why_not.reason, "pip install py-spy" in why_not.fix) == (NO_PROGRAM, True)


def test_many_processes_are_told_with_those_that_are_missing_and_why(asking: Asking) -> None:
    workers = [asking.ray.start() for _ in range(6)]
    gone = asking.ray.start()
    asking.ray.end(gone)
    sleeping = asking.ray.run(["ray::x", "60"], "/bin/sleep", None)
    asking.ray.listed[sleeping] = False
    told = asking.dump_many([*workers, gone, sleeping, os.getpid(), workers[0]])
    found = {one.pid: one.why_not.reason if one.why_not else "" for one in told}
    assert found == {**dict.fromkeys(workers, ""), gone: ENDED, sleeping: NOT_PYTHON, os.getpid(): NOT_LISTED}
    assert leaves_nothing(asking)


def test_too_many_or_unequal_lists_are_refused(asking: Asking) -> None:
    with pytest.raises(CannotAnswer):
        asking.dump_many([asking.ray.pid] * 2001)
    with pytest.raises(CannotAnswer):
        stacks.dump_many_stacks(NODE, (1, 2), (1,), (0,), (NODE,), False, 1)


def test_a_recording_counts_what_py_spy_counted(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    raws: list[bytes] = []
    real = py_spy_decode.parse_raw

    def parse(raw: bytes, pid: int, **more: Any) -> Samples:
        raws.append(raw)
        return real(raw, pid, **more)

    monkeypatch.setattr(cpu_recording, "parse_raw", parse)
    pid = asking.start()
    progress, samples = asking.record(pid, 2, idle=True)

    assert (progress.why_not, progress.ended, progress.duration_s, progress.profiler[:6]) == (None, "", 2.0, "py-spy")
    assert samples.total == py_spy_decode.total_of(raws[0]) > 100
    assert {thread.name for thread in samples.threads} == {"MainThread", "a;b <i> 1"}
    assert {thread.pid for thread in samples.threads} == {pid}
    assert asking.words[:2] == ["0 of 2 s", "1 of 2 s"]
    assert leaves_nothing(asking)
    assert goes_on(pid)


def test_a_stopped_recording_keeps_what_it_has(asking: Asking) -> None:
    pid = asking.start()
    asking.on_report = lambda: setattr(asking, "stop", len(asking.words) >= 2)
    begun = time.monotonic()
    progress, samples = asking.record(pid, 60)
    assert time.monotonic() - begun < 10
    assert (progress.ended, progress.why_not) == ("STOPPED", None)
    assert samples.total > 20
    assert 0.5 < progress.sampled_s < 5
    assert goes_on(pid)


def test_a_process_that_ends_leaves_what_was_sampled(asking: Asking) -> None:
    pid = asking.start()
    asking.on_report = lambda: asking.ray.end(pid) if len(asking.words) == 2 else None
    progress, samples = asking.record(pid, 60)
    assert (progress.ended, progress.why_not) == ("PROCESS_ENDED", None)
    assert samples.total > 20


def test_a_profile_says_how_much_the_process_ran_as_the_kernel_counts_it(asking: Asking) -> None:
    busy, _ = asking.record(asking.start(), 1)
    idle, _ = asking.record(asking.start(SLEEP), 1, nonblocking=True)
    assert busy.cpu_s is not None
    assert idle.cpu_s is not None
    assert busy.cpu_s > idle.cpu_s
    assert idle.cpu_s < 0.3


def test_a_process_that_is_not_stopped_for_its_samples_and_one_that_holds_the_gil_are_sampled(asking: Asking) -> None:
    pid = asking.start()
    for options in ({"nonblocking": True}, {"gil": True}):
        progress, samples = asking.record(pid, 1, **options)
        assert (progress.why_not, samples.total > 10) == (None, True)


def test_an_idle_process_is_said_to_be_idle_and_has_samples_when_idle_ones_count(asking: Asking) -> None:
    pid = asking.start(SLEEP)
    progress, _ = asking.record(pid)
    assert progress.samples < 30  # py-spy may meet it as it is let go
    if not progress.samples:
        assert progress.why_not is not None
        assert progress.why_not.reason == IDLE
    progress, samples = asking.record(pid, idle=True)
    assert progress.why_not is None
    assert samples.total > 20


def test_a_tasks_profile_ends_with_the_task_and_keeps_what_was_sampled(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = asking.start()
    monkeypatch.setattr(cpu_recording, "title_of", lambda pid: "ray::spin" if len(asking.words) < 2 else "ray::IDLE")
    progress, samples = asking.record(pid, 60, while_task="spin")
    assert (progress.ended, progress.why_not) == ("TASK_ENDED", None)
    assert samples.total > 20


def test_a_task_that_ended_before_is_said_to_have(asking: Asking, started: list[list[str]]) -> None:
    pid = asking.ray.start()
    started.clear()
    progress, _ = asking.record(pid, 60, while_task="other")
    assert (progress.ended, progress.samples, progress.sampled_s) == ("TASK_ENDED", 0, 0.0)
    assert "did not run the task" in progress.detail
    assert [words for words in started if "record" in words] == []


@pytest.mark.parametrize(
    ("title", "name", "runs"),
    [
        ("ray::step", "step", True),
        ("ray::Model.step", "Model.step", True),
        ("ray::Model(rank=3).step", "Model.step", True),
        ("ray::Model", "Model.step", False),
        ("ray::IDLE", "step", False),
        ("ray::other", "step", False),
        ("step", "step", False),
        ("", "step", False),
    ],
)
def test_a_title_says_which_task_runs(title: str, name: str, runs: bool) -> None:
    assert cpu_recording.runs_task(title, name) is runs


def test_one_profile_of_a_process_at_a_time_and_stacks_meanwhile(asking: Asking) -> None:
    pid = asking.start()
    seen: list[Any] = []

    def meanwhile() -> None:
        if len(asking.words) == 2:
            seen.append(asking.dump(pid)[0].why_not)
            asking.stop = True

    asking.on_report = meanwhile
    progress, _ = asking.record(pid, 60)
    assert seen == [None]
    assert progress.ended == "STOPPED"
    with profile_places.Place().open(NODE, pid, began(pid)) as target, profile_notes.profiling(profile_places.Place().notes(), target):
        progress, _ = asking.record(pid)
        assert progress.why_not is not None
        assert progress.why_not.reason == BUSY


def test_a_killed_worker_leaves_no_profiler_no_file_and_a_process_that_goes_on(asking: Asking) -> None:
    pid = asking.start()
    for _ in range(5):
        horse = os.fork()
        if horse == 0:
            os.setpgrp()
            asking.record(pid, 60)
            os._exit(0)
        profilers = _profilers_of(horse)
        time.sleep(0.3)
        os.killpg(horse, signal.SIGKILL)
        os.waitpid(horse, 0)
        profile_notes.tidy(asking.state_dir)
        assert [one for one in profilers if is_running(one)] == []
        assert leaves_nothing(asking)
        assert goes_on(pid)


def test_a_process_that_a_killed_tracer_left_stopped_is_sent_on(asking: Asking) -> None:
    pid = asking.ray.start()
    with profile_places.Place().open(NODE, pid, began(pid)) as target:
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: py_spy.is_stopped(pid))
        py_spy.send_on(pid, target.start_ticks + 1)
        assert py_spy.is_stopped(pid), "another process of that pid is left alone"
        py_spy.send_on(pid, target.start_ticks)
        wait_until(lambda: not py_spy.is_stopped(pid))


def test_a_process_that_was_stopped_stays_so(asking: Asking) -> None:
    pid = asking.start()
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: py_spy.is_stopped(pid))
    [found] = asking.dump(pid)
    assert found.why_not is None
    assert py_spy.is_stopped(pid)
    os.kill(pid, signal.SIGCONT)


@pytest.mark.skipif(os.getuid() != 0, reason="there is nothing to be taken away from this user")
def test_py_spy_has_no_more_rights_than_tracing_takes(asking: Asking) -> None:
    pid = asking.ray.start()
    with profile_places.Place().open(NODE, pid, began(pid)) as target:
        program = py_spy.py_spy()
        assert program is not None
        words = py_spy.record_words(pid, 60, 10, native=False, idle=False, subprocesses=False)
        spy = Spy(program, words, target, writes_when_parent_dies=True)
        wait_until(lambda: "Sampling" in spy.said())
        status = (Path("/proc") / str(spy.pid) / "status").read_text()
        environ = (Path("/proc") / str(spy.pid) / "environ").read_bytes()
        spy.interrupt()
        assert spy.wait(5)
        spy.end()
    rights = int(status.partition("CapEff:\t")[2].split()[0], 16)
    assert rights == 1 << py_spy.SYS_PTRACE | 1 << py_spy.DAC_READ_SEARCH
    assert "NoNewPrivs:\t1" in status
    assert environ.rstrip(b"\0").split(b"\0") == [b"LANG=C.UTF-8", b"RUST_BACKTRACE=0"]


def test_no_thread_of_ours_runs_when_a_profiler_is_started() -> None:
    """What is run between fork and exec may take a lock that a thread held."""
    code = (
        "import threading, workers.probes.profiling, workers.probes.stacks, workers.probes.many_recordings; print(threading.active_count())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30).stdout == "1\n"


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in (Path("/proc") / str(pid) / "task" / str(pid) / "children").read_text().split()]
    except OSError:
        return []


def _profilers_of(pid: int) -> list[int]:
    wait_until(lambda: b"py-spy" in b"".join(_command(one) for one in _children(pid)))
    return _children(pid)


def _command(pid: int) -> bytes:
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes()
    except OSError:
        return b""


def test_py_spy_is_found_beside_our_python() -> None:
    assert py_spy.py_spy() == Path(sys.executable).parent / "py-spy"


TRY = """
import sys
from workers.sources import profile_facts, profile_obstacles, py_spy
from workers.sources.profile_targets import PROC, Target
from workers.sources.processes_decode import parse_stat
from pathlib import Path
pid = int(sys.argv[1])
stat = parse_stat((PROC / str(pid) / "stat").read_bytes())
target = Target(pid, 0, stat.start_ticks, (PROC / str(pid)).stat().st_uid, 0)
program = py_spy.py_spy()
node, facts = profile_facts.node_facts(True, root=Path("/nowhere")), profile_facts.target_facts(target)
spy = py_spy.Spy(program, py_spy.dump_words(pid, native=False), target)
spy.wait(10)
ran = spy.end()
before, after = profile_obstacles.before(node, facts), profile_obstacles.after(ran.words, node, facts)
print(before.reason if before else None, after.reason, ran.code != 0, after.fix, sep="|")
"""


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("setpriv") is None, reason="takes rights away from root, with setpriv")
@pytest.mark.parametrize(
    ("rights", "reason", "fix"),
    [
        (["--reuid=65534", "--regid=65534", "--clear-groups"], OTHER_USER, "as user root (0), or as root"),
        (["--bounding-set=-sys_ptrace"], NO_CAPABILITY, "SYS_PTRACE"),
    ],
    ids=["another user", "root without the capability"],
)
def test_who_has_not_the_rights_is_told_before_and_after_trying(ray: StubRay, rights: list[str], reason: str, fix: str) -> None:
    pid = ray.start()
    time.sleep(0.3)
    environ = {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "PYTHONDONTWRITEBYTECODE": "1"}
    command = ["setpriv", *rights, sys.executable, "-c", TRY, str(pid)]
    ran = subprocess.run(command, capture_output=True, text=True, env=environ, cwd="/", check=False)
    if ran.returncode and "--reuid=65534" in rights and not ran.stdout:
        assert "Permission denied" in ran.stderr, ran.stderr  # this Python is not for others to run
        return
    before, after, failed, told = ran.stdout.strip().split("|")
    assert (before, after, failed) == (reason, reason, "True"), ran.stderr
    assert fix in told


def test_many_processes_are_sampled_side_by_side_and_added_up(asking: Asking) -> None:
    pids = [asking.start() for _ in range(3)]

    progress, samples = asking.record_many([*pids, 1])

    told = {one.pid: one for one in progress.processes}
    assert set(told) == {*pids, 1}
    assert told[1].why_not is not None
    assert told[1].why_not.reason == NOT_LISTED
    assert all(told[pid].samples > 10 for pid in pids)
    assert samples.total == progress.samples == sum(one.samples for one in progress.processes)
    assert {thread.pid for thread in samples.threads} == set(pids)


def test_a_profile_of_many_that_is_stopped_keeps_what_there_is(asking: Asking) -> None:
    pid = asking.start()
    threading.Timer(1.0, lambda: setattr(asking, "stop", True)).start()

    progress, samples = asking.record_many([pid], seconds=30)

    assert progress.ended == STOPPED
    assert samples.total > 10


def test_stacks_of_many_are_looked_at_several_times(asking: Asking) -> None:
    pid = asking.start(SLEEP)

    found = asking.dump_many([pid], passes=3)

    assert [one.in_pass for one in found] == [1, 2, 3]
    assert found[0].at < found[1].at < found[2].at
