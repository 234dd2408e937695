"""Stacks and profiles of real Ray workers: asked as the web app asks, answered by the node's worker."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from clusterstate import paths
from clusterstate.model import Process
from clusterstate.probes import CheckProfiling, DumpManyStacks, DumpStacks, RecordCpu
from clusterstate.profile_answers import BUSY, NOT_LISTED, NOT_PYTHON, Abilities, ProcessStacks, ProfileProgress, StacksPart, read
from clusterstate.stacks import Samples, unpack
from clusterstate.store import queues
from tests.ray.asking import Asker
from tests.ray.told_driver import ToldDriver, told_driver
from tests.running import Running
from workers.processes import session_members

pytestmark = pytest.mark.ray
PROGRAM = Path(__file__).with_name("profiled_program.py")


@pytest.fixture(scope="module")
def asker(demo: Running) -> Asker:
    return Asker(demo)


@pytest.fixture(scope="module")
def driver(demo: Running) -> Iterator[ToldDriver]:
    with told_driver({**demo.ready["ray_env"], "HOME": str(demo.folder)}, program=PROGRAM) as connected:
        yield connected


@pytest.fixture(scope="module")
def spinning(demo: Running, asker: Asker) -> Iterator[tuple[str, int, int]]:
    """(node, pid, start) of an actor that is busy all the while."""
    with told_driver({**demo.ready["ray_env"], "HOME": str(demo.folder)}, program=PROGRAM) as another:
        found = another.ask("actor", "spinning")
        another.ask("start", "spinning", "spin", 300.0)
        yield found["node_id"], found["pid"], began(asker.process(found["pid"]))


def began(row: Process) -> int:
    assert row.start_time_ms is not None
    return row.start_time_ms


def dumped(asker: Asker, probe: DumpStacks) -> list[ProcessStacks]:
    answer, _ = asker.ask(probe)
    assert answer.state == queues.DONE, answer
    return list(read(answer.value, StacksPart).processes)


def recorded(asker: Asker, probe_id: str) -> tuple[ProfileProgress, Samples]:
    answer = asker.end(probe_id)
    assert answer.state == queues.DONE, answer
    packed = b"".join(queues.parts_of(asker.client, probe_id))
    return read(answer.value, ProfileProgress), unpack(packed) if packed else Samples()


def wait_until(holds: Callable[[], bool], within_s: float = 40.0) -> None:
    give_up = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def profilers(demo: Running) -> list[int]:
    """The py-spys that this Raydeck has started and that still run."""
    members = [one.pid for role in ("profile", "profile-2", "quick") for one in session_members(demo.ready["pids"][role])]
    return [pid for pid in members if b"py-spy" in command(pid)]


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
    except OSError:
        return b""


def status_of(pid: int) -> tuple[str, str]:
    """(state, tracer)."""
    lines = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    return lines["State"][0], lines["TracerPid"]


def test_a_workers_stack_shows_the_method_that_runs(asker: Asker, spinning: tuple[str, int, int]) -> None:
    [found] = dumped(asker, DumpStacks(*spinning))
    functions = {frame.function for thread in found.threads for frame in thread.frames}
    assert found.why_not is None
    assert "spin_for" in functions
    assert found.title.startswith("ray::Looked")


def test_a_workers_profile_shows_what_it_runs(demo: Running, asker: Asker, spinning: tuple[str, int, int]) -> None:
    probe_id = asker.begin(RecordCpu(*spinning, duration_s=2, rate_hz=100))
    progress, samples = recorded(asker, probe_id)
    assert (progress.why_not, progress.ended, progress.samples) == (None, "", samples.total)
    assert samples.total > 50
    assert {thread.pid for thread in samples.threads} == {spinning[1]}
    assert any(samples.frames[stack.frames[-1]].function == "spin_for" for stack in samples.stacks if stack.frames)
    assert profilers(demo) == []


def test_one_profile_of_a_process_and_two_of_a_node_at_a_time(demo: Running, asker: Asker, spinning: tuple[str, int, int]) -> None:
    first = asker.begin(RecordCpu(*spinning, duration_s=4, rate_hz=20))
    wait_until(lambda: len(profilers(demo)) == 1)
    second = asker.begin(RecordCpu(*spinning, duration_s=4, rate_hz=20))
    progress, _ = recorded(asker, second)
    assert progress.why_not is not None
    assert progress.why_not.reason == BUSY
    assert recorded(asker, first)[0].samples > 0


def test_a_canceled_profile_leaves_nothing_and_its_worker_goes_on(demo: Running, asker: Asker, spinning: tuple[str, int, int]) -> None:
    probe_id = asker.begin(RecordCpu(*spinning, duration_s=60, rate_hz=200))
    wait_until(lambda: len(profilers(demo)) == 1)
    time.sleep(0.5)
    queues.cancel(asker.client, probe_id)
    wait_until(lambda: profilers(demo) == [])
    answer = asker.end(probe_id)
    assert answer.state == queues.CANCELED
    wait_until(lambda: os.listdir(paths.profiling_dir(demo.state_dir)) == [])
    assert status_of(spinning[1])[0] in "RS"
    assert status_of(spinning[1])[1] == "0"
    assert dumped(asker, DumpStacks(*spinning))[0].why_not is None


def test_a_stopped_profile_keeps_what_it_has(asker: Asker, spinning: tuple[str, int, int]) -> None:
    probe_id = asker.begin(RecordCpu(*spinning, duration_s=60, rate_hz=100))
    time.sleep(2.0)
    queues.stop(asker.client, probe_id)
    progress, samples = recorded(asker, probe_id)
    assert (progress.ended, progress.samples) == ("STOPPED", samples.total)
    assert samples.total > 20


def test_a_tasks_profile_ends_with_the_task(driver: ToldDriver, asker: Asker) -> None:
    driver.ask("task", 9.0)
    wait_until(lambda: any(row.task_name == "step" for row in asker.processes()))
    row = next(row for row in asker.processes() if row.task_name == "step")
    progress, samples = recorded(asker, asker.begin(RecordCpu(row.node_id, row.pid, began(row), 60, 100, while_task="step")))
    driver.ask("done")
    assert (progress.ended, progress.why_not) == ("TASK_ENDED", None)
    assert samples.total > 10
    again, _ = recorded(asker, asker.begin(RecordCpu(row.node_id, row.pid, began(row), 60, 100, while_task="step")))
    assert (again.ended or again.why_not, again.samples) in {("TASK_ENDED", 0)} or again.why_not is not None


def test_many_workers_are_dumped_at_once(driver: ToldDriver, asker: Asker) -> None:
    nodes = sorted({row.node_id for row in asker.processes()})
    made = driver.ask("actors_of", 6, nodes)["found"]
    rows = [asker.process(one["pid"]) for one in made]
    places = tuple(nodes.index(row.node_id) for row in rows)
    probe = DumpManyStacks(nodes[0], tuple(row.pid for row in rows), tuple(began(row) for row in rows), places, tuple(nodes))
    answer, parts = asker.ask(probe)
    found = [one for part in parts for one in msgspec.json.decode(part, type=StacksPart).processes]
    assert answer.state == queues.DONE
    assert {one.pid: one.why_not for one in found} == {row.pid: None for row in rows}


def test_rays_own_processes_may_be_looked_into_where_they_are_python(asker: Asker) -> None:
    kinds = {row.kind: row for row in asker.processes()}
    reasons = {}
    for kind in ("AGENT", "DRIVER", "RAYLET", "GCS_SERVER"):
        row = kinds[kind]
        [found] = dumped(asker, DumpStacks(row.node_id, row.pid, began(row)))
        reasons[kind] = found.why_not.reason if found.why_not is not None else None
    assert reasons == {"AGENT": None, "DRIVER": None, "RAYLET": NOT_PYTHON, "GCS_SERVER": NOT_PYTHON}


def test_no_other_process_is_looked_into(demo: Running, asker: Asker) -> None:
    node_id = asker.processes()[0].node_id
    ours = [pid for role, pid in demo.ready["pids"].items() if role != "demo"]
    for pid in (0, -1, 1, os.getpid(), demo.process.pid, *ours, 2**31, 2**40):
        [found] = dumped(asker, DumpStacks(node_id, pid, 1))
        assert found.why_not is not None
        assert found.why_not.reason == NOT_LISTED
        progress, _ = recorded(asker, asker.begin(RecordCpu(node_id, pid, 1, 1, 10)))
        assert progress.why_not is not None
        assert progress.why_not.reason == NOT_LISTED


def test_it_is_known_beforehand_what_can_be_done(asker: Asker, spinning: tuple[str, int, int]) -> None:
    answer, _ = asker.ask(CheckProfiling(*spinning))
    assert read(answer.value, Abilities).stacks is None
    answer, _ = asker.ask(CheckProfiling("00" * 28))
    found = read(answer.value, Abilities).stacks
    assert found is not None
    assert found.reason == NOT_LISTED
