"""The simulated cluster as a process of its own: started, built and broken from outside, ended by SIGTERM."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.simulated_ray import RemoteRay, SimulatedRay, remote
from tests.simulated_ray.changes import change
from tests.simulated_ray.client import Client


def test_it_is_built_and_broken_from_another_process() -> None:
    with RemoteRay(nodes=2, live_actors=3, token="secret") as ray:
        actor_id = ray.add_actor(class_name="Reader", name="\u202ename")
        ray.kill_actor(actor_id, reason="OUT_OF_SCOPE")
        ray.add_actor(class_name=b"\xff")
        ray.restart()
        with Client(ray.address, "secret") as client:
            row = client.call("ActorInfoGcsService", "GetActorInfo", actor_id=bytes.fromhex(actor_id)).actor_table_data
        assert (row.class_name, row.state) == ("Reader", 4)
        assert ray.figures()["calls"] == {"GetActorInfo": 1}
        with pytest.raises(ValueError, match="no field"):
            ray.add_actor(nonsense=1)
        with pytest.raises(AttributeError):
            ray.close_everything()


def test_the_ready_file_comes_and_goes_and_sigterm_is_a_clean_end(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    command = [sys.executable, "-m", "tests.simulated_ray", "--nodes", "1", "--changes", "50", "--ready-file", str(ready)]
    process = subprocess.Popen(command, cwd=remote.ROOT, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not ready.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        content = json.loads(ready.read_text())
        assert content["pid"] == process.pid
        assert oct(ready.stat().st_mode & 0o777) == "0o600"
        with Client(content["address"]) as client:
            assert client.nodes().total == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert not ready.exists()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = "from tests.simulated_ray import RemoteRay; import os; print(RemoteRay().pid, flush=True); os._exit(0)"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}  # what it cannot clean up itself goes with the test
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, cwd=remote.ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=30).stdout
    pid = int(printed.split()[-1])
    deadline = time.monotonic() + 10
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_changes_keep_the_number_of_living_actors_level() -> None:
    with SimulatedRay(nodes=3, jobs=3, live_actors=20) as ray:
        before = len(ray.actor_ids())
        for number in range(400):
            change(ray, number)
        assert abs(len(ray.actor_ids()) - before) <= 2
        assert len(ray.actor_ids("DEAD")) > 100
        assert len(ray.jobs) > 5


def test_changes_happen_by_themselves_at_the_rate_asked_for() -> None:
    with SimulatedRay(nodes=3, jobs=3, live_actors=20) as ray:
        ray.changes_per_second(100)
        time.sleep(0.5)
        ray.changes_per_second(0)
        made = len(ray.actor_ids("DEAD"))
        assert 5 <= made <= 20
        assert os.getpid()  # nothing runs on
        time.sleep(0.1)
        assert len(ray.actor_ids("DEAD")) == made


@pytest.mark.scale
def test_a_hundred_thousand_dead_actors_are_served() -> None:
    with RemoteRay(nodes=300, dead_actors=100_000, live_actors=1_000, dead_workers=1_000, changes=10) as ray, Client(ray.address) as client:
        started = time.monotonic()
        reply = client.actors()
        print(f"{len(reply.actor_table_data)} actors, {reply.ByteSize() / 1e6:.0f} MB in {time.monotonic() - started:.2f} s")  # noqa: T201 - the figure is the point
        assert len(reply.actor_table_data) >= 101_000
        assert len(client.nodes().node_info_list) == 300
