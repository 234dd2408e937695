"""Finding Ray's processes in the real /proc, with programs that are called and started as Ray's are."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from workers.sources import processes
from workers.sources.processes import ProcessReader, Scan
from workers.sources.processes_decode import NodeProcesses

SESSION = "session_2026-01-01_00-00-00_000000_1"
FIRST, SECOND = "a" * 56, "b" * 56

PARENT = """
import subprocess, sys, time
for count in range(int(sys.argv[1])):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("ready", flush=True)
time.sleep(60)
"""


class Host:
    """Starts programs and ends them. A "raylet" here is Python under that name, with a raylet's flags."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._stack = stack
        self.raylet_program = folder / "raylet"
        self.raylet_program.symlink_to(sys.executable)

    def raylet(self, node_id: str, children: int = 0, session: str = SESSION, head: bool = False, env: dict[str, str] | None = None) -> int:
        resources = "node:__internal_head__,1.0,CPU,1" if head else "CPU,1"
        flags = [
            f"--node_id={node_id}",
            f"--session-name={session}",
            "--raylet_socket_name=/s/raylet",
            f"--static_resource_list={resources}",
        ]
        return self.start([str(self.raylet_program), "-c", PARENT, str(children), *flags], env, until_ready=True)

    def start(self, command: list[str], env: dict[str, str] | None = None, until_ready: bool = False) -> int:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **(env or {})}, start_new_session=True)
        self._stack.callback(_end, process)
        assert process.stdout is not None
        if until_ready:
            assert process.stdout.readline() == b"ready\n"
        return process.pid


def _end(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, 9)
    process.wait(5)
    if process.stdout is not None:
        process.stdout.close()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with ExitStack() as stack:
        yield Host(tmp_path, stack)


def sleeper(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "print('ready', flush=True); import time; time.sleep(60)", *arguments]


def pids(scan: Scan, node_id: str) -> set[int]:
    return set(of(scan, node_id).readings)


def of(scan: Scan, node_id: str) -> NodeProcesses:
    return next(node for node in scan.nodes if node.raylet.flags.node_id == node_id)


def children_of(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


@contextmanager
def nothing_else_is_rays(reader: ProcessReader) -> Iterator[None]:
    assert reader.scan(SESSION, time.time()).nodes == ()
    yield


def test_workers_belong_to_the_raylet_that_started_them(host: Host) -> None:
    one, two = host.raylet(FIRST, children=2), host.raylet(SECOND, children=1)

    scan = ProcessReader().scan(SESSION, time.time())

    assert pids(scan, FIRST) == {one, *children_of(one)}
    assert pids(scan, SECOND) == {two, *children_of(two)}
    assert len(pids(scan, FIRST)) == 3


def test_another_session_on_the_same_host_is_not_ours(host: Host) -> None:
    host.raylet(FIRST, children=1, session="session_of_someone_else")
    ours = host.raylet(SECOND)

    scan = ProcessReader().scan(SESSION, time.time())

    assert [node.raylet.pid for node in scan.nodes] == [ours]


def test_a_driver_is_found_by_the_raylets_own_list_and_with_it_what_it_started(host: Host) -> None:
    raylet = host.raylet(FIRST)
    driver = host.start([sys.executable, "-c", PARENT, "1"], until_ready=True)
    reader = ProcessReader()
    assert pids(reader.scan(SESSION, time.time()), FIRST) == {raylet}

    scan = reader.scan(SESSION, time.time(), {raylet: [driver]})

    assert pids(scan, FIRST) == {raylet, driver, *children_of(driver)}


def test_a_driver_below_one_raylets_worker_belongs_to_the_raylet_that_lists_it(host: Host) -> None:
    one, two = host.raylet(FIRST, children=1), host.raylet(SECOND)
    [driver] = children_of(one)

    scan = ProcessReader().scan(SESSION, time.time(), {two: [driver]})

    assert pids(scan, SECOND) == {two, driver}
    assert pids(scan, FIRST) == {one}


def test_rays_helpers_are_shown_with_the_head_node(host: Host) -> None:
    host.raylet(FIRST)
    head = host.raylet(SECOND, head=True)
    helper = host.start(sleeper("--logs-dir=/tmp/ray/" + SESSION + "/logs"), until_ready=True)
    reader_of_logs = host.start(sleeper("/tmp/ray/" + SESSION + "/logs/raylet.out"), until_ready=True)

    scan = ProcessReader().scan(SESSION, time.time())

    assert pids(scan, SECOND) == {head, helper}
    assert all(reader_of_logs not in node.readings for node in scan.nodes)


def test_secrets_in_a_command_line_are_not_shown(host: Host) -> None:
    host.raylet(FIRST, head=True)
    session = "--session-dir=/tmp/ray/" + SESSION
    helper = host.start(sleeper(session, "--token", "two words", "mysql", "-phunter2", "--lr=0.1"), until_ready=True)

    shown = of(ProcessReader().scan(SESSION, time.time()), FIRST).readings[helper].command_line

    assert shown.endswith(f"{session} --token <redacted> mysql -p<redacted> --lr=0.1")


def test_a_helper_that_started_before_the_raylet_is_found_with_it(host: Host) -> None:
    helper = host.start(sleeper("--session-dir=/tmp/ray/" + SESSION), until_ready=True)
    reader = ProcessReader()
    with nothing_else_is_rays(reader):
        raylet = host.raylet(FIRST)

    assert pids(reader.scan(SESSION, time.time()), FIRST) == {raylet, helper}


def test_a_worker_whose_parent_is_gone_is_found_by_its_environment(host: Host) -> None:
    raylet = host.raylet(FIRST)
    orphan = subprocess.Popen(
        ["bash", "-c", 'exec -a ray::lonely "$0" "$@"', *sleeper()],
        env={**os.environ, "RAY_RAYLET_PID": str(raylet)},
        stdout=subprocess.PIPE,
    )
    try:
        assert orphan.stdout is not None
        assert orphan.stdout.readline() == b"ready\n"
        scan = ProcessReader().scan(SESSION, time.time())
    finally:
        orphan.kill()
        orphan.communicate()

    assert of(scan, FIRST).readings[orphan.pid].title == "ray::lonely"


def test_a_second_raylet_with_the_same_node_id_is_an_impostor(host: Host) -> None:
    real = host.raylet(FIRST)
    time.sleep(0.02)  # two clock ticks
    host.raylet(FIRST)

    assert [node.raylet.pid for node in ProcessReader().scan(SESSION, time.time()).nodes] == [real]


def test_figures_of_a_process_are_its_own(host: Host) -> None:
    busy = [str(host.raylet_program), "-c", "print('ready', flush=True)\nwhile True: pass"]
    pid = host.start([*busy, f"--node_id={FIRST}", f"--session-name={SESSION}", "--raylet_socket_name=/s"], until_ready=True)
    reader = ProcessReader()
    reader.scan(SESSION, time.time())
    time.sleep(0.4)
    reader.measure_memory(time.time(), at_most=10)

    reading = of(reader.scan(SESSION, time.time()), FIRST).readings[pid]

    assert reading.cpu_percent is not None
    assert 10 < reading.cpu_percent < 130
    assert reading.start_time_ms == pytest.approx(time.time() * 1000, abs=5000)
    assert reading.rss_bytes is not None
    assert reading.pss_bytes is not None
    assert reading.uss_bytes is not None
    assert 0 < reading.uss_bytes <= reading.pss_bytes <= reading.rss_bytes
    assert (reading.num_threads, reading.parent_pid, reading.name) == (1, os.getpid(), "raylet")
    assert reading.num_fds is not None
    assert reading.user is not None
    assert reading.stdout == os.readlink(f"/proc/{pid}/fd/1")
    assert reading.stderr == os.readlink(f"/proc/{pid}/fd/2")


def test_the_expensive_figures_are_read_once_a_minute_and_a_few_at_a_time(host: Host) -> None:
    host.raylet(FIRST, children=3)
    reader = ProcessReader()
    now = time.time()
    reader.scan(SESSION, now)

    assert [reader.measure_memory(now, 3), reader.measure_memory(now, 3), reader.measure_memory(now + 59, 3)] == [3, 1, 0]
    assert reader.measure_memory(now + 60, 10) == 4


def test_a_process_that_ended_is_gone_and_its_raylet_is_known_to_be(host: Host) -> None:
    raylet_pid = host.raylet(FIRST, children=1)
    reader = ProcessReader()
    raylet = of(reader.scan(SESSION, time.time()), FIRST).raylet
    assert reader.is_running(raylet)

    os.killpg(raylet_pid, 9)
    deadline = time.monotonic() + 5
    while reader.is_running(raylet) and time.monotonic() < deadline:
        time.sleep(0.01)

    assert not reader.is_running(raylet)  # a zombie does not run
    assert reader.scan(SESSION, time.time()).nodes == ()


def test_the_gpus_that_a_raylet_may_see_are_read_from_its_environment(host: Host) -> None:
    host.raylet(FIRST, env={"CUDA_VISIBLE_DEVICES": "2,3"})

    assert of(ProcessReader().scan(SESSION, time.time()), FIRST).raylet.visible_gpus == "2,3"


def test_a_program_that_forks_without_end_does_not_fill_the_table(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MAX_PROCESSES", 3)
    raylet = host.raylet(FIRST, children=5)

    scan = ProcessReader().scan(SESSION, time.time())

    assert len(pids(scan, FIRST)) == 3
    assert raylet in pids(scan, FIRST)
    assert scan.left_out == 3


def test_strangers_are_not_looked_at_again_for_a_minute(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.raylet(FIRST)
    reader = ProcessReader()
    now = time.time()
    reader.scan(SESSION, now)
    looked_at: list[object] = []
    original = ProcessReader._text

    def noting(reader: ProcessReader, *parts: object) -> bytes:
        looked_at.append(parts[0])
        return original(reader, *parts)

    monkeypatch.setattr(ProcessReader, "_text", noting)

    reader.scan(SESSION, now + 0.1)
    assert os.getpid() not in looked_at

    reader.scan(SESSION, now + 61)
    assert os.getpid() in looked_at
