"""The node collector beside a real Ray cluster of two raylets on this host."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import redis

from clusterstate.hosts import this_host
from clusterstate.loops import CollectNode
from clusterstate.model import ClusterMetadata, NodeStats, Process
from clusterstate.probes import ListLogs
from clusterstate.resources import NODE_STATS, PROCESSES
from clusterstate.settings import Settings
from clusterstate.store import keys
from clusterstate.store.leases import Lease, acquire
from clusterstate.store.writer import SessionWriter
from tests.private_redis import private_redis
from workers.collectors.node import NodeCollector, collect_node
from workers.probes.logs import list_logs, read_log
from workers.probes.running import CannotAnswer

pytestmark = pytest.mark.ray

SMALL = {"num_cpus": 1, "object_store_memory": 80 * 2**20}

CLUSTER = """
import json, os, sys
from ray.cluster_utils import Cluster
small = json.loads(sys.argv[1])
cluster = Cluster(initialize_head=True, head_node_args={**small, "num_gpus": 2, "include_dashboard": False})
second = cluster.add_node(**small, resources={"second": 1})
session = cluster.head_node.get_session_dir_path()
nodes = [cluster.head_node.node_id, second.node_id]
print(json.dumps({"address": cluster.address, "session": os.path.basename(session), "nodes": nodes}), flush=True)
for line in sys.stdin:
    if line == "remove second\\n":
        cluster.remove_node(second)
        print("removed", flush=True)
cluster.shutdown()
"""

DRIVER = """
import json, os, subprocess, sys, time
import ray
ray.init(address=sys.argv[1], logging_level="ERROR")
@ray.remote(num_cpus=0.1)
class Counter:
    def pid(self): return os.getpid()
    def spin(self):
        end = time.time() + 300
        while time.time() < end: pass
    def start_program(self): return subprocess.Popen(["sleep", "300"]).pid
@ray.remote(num_cpus=0.1)
def wait_long(): time.sleep(600)
here = Counter.options(num_gpus=1).remote()
there = Counter.options(resources={"second": 0.5}).remote()
facts = {"driver": os.getpid(), "job": ray.get_runtime_context().get_job_id()}
facts["here"] = {"pid": ray.get(here.pid.remote()), "actor": here._actor_id.hex()}
facts["there"] = {"pid": ray.get(there.pid.remote()), "actor": there._actor_id.hex()}
facts["program"] = ray.get(here.start_program.remote())
running = [there.spin.remote(), wait_long.remote()]
kept = ray.put(b"x" * 5_000_000)
print(json.dumps(facts), flush=True)
sys.stdin.read()
"""


class RayCluster:
    """Two raylets and a driver, each in a process of its own: nothing here imports ray."""

    def __init__(self, folder: Path) -> None:
        (folder / "home").mkdir()
        self.environ = {
            **os.environ,
            "HOME": str(folder / "home"),
            "RAY_TMPDIR": str(folder),
            "RAY_AUTH_MODE": "disabled",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONWARNINGS": "ignore",
        }
        self._keeper = self._start(CLUSTER, json.dumps(SMALL))
        ready = self._word(self._keeper)
        self.address, self.session, (self.first, self.second) = ready["address"], ready["session"], ready["nodes"]
        self._driver = self._start(DRIVER, self.address)
        self.facts = self._word(self._driver)

    def remove_second(self) -> None:
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._keeper.stdin.write("remove second\n")
        self._keeper.stdin.flush()
        while self._keeper.stdout.readline() != "removed\n":
            pass

    def stop(self) -> None:
        """Ends the driver, then the cluster; agents that outlive their raylet keep the session id of the keeper."""
        for process in (self._driver, self._keeper):
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
            assert process.stdout is not None
            process.stdout.close()
        for pid in _members(self._keeper.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _start(self, script: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", script, *arguments]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        return subprocess.Popen(command, env=self.environ, start_new_session=True, **pipes)

    @staticmethod
    def _word(process: subprocess.Popen[str]) -> Any:
        """The first line of JSON: Ray itself may print before it."""
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise AssertionError(f"The process ended with {process.wait()} before it was ready.")


def _members(session_id: int) -> list[int]:
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [pid for pid in pids if _session_of(pid) == session_id]


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


class Watched:
    """A collector at work on the cluster, ticked by the test."""

    def __init__(self, ray: RayCluster, client: redis.Redis) -> None:
        self.ray = ray
        self.client = client
        self.store = SessionWriter(client, "demo", ray.session)
        self.store.begin(ClusterMetadata("demo", ray.session, ray.address))
        self.request = CollectNode("demo", this_host(), ray.address)
        self.collector = NodeCollector(self.request, client, None, environ=ray.environ)

    def until(self, holds: Callable[[], bool], limit_s: float = 20.0) -> None:
        give_up = time.monotonic() + limit_s
        while not holds():
            assert time.monotonic() < give_up, f"not within {limit_s} s: {[row.problems for row in self.store.rows(NODE_STATS)]}"
            self.collector.tick(time.time())
            time.sleep(0.5)

    def node(self, node_id: str) -> NodeStats:
        [row] = self.store.get(NODE_STATS, [node_id])
        assert isinstance(row, NodeStats)
        return row

    def processes(self) -> dict[int, Process]:
        return {row.pid: row for row in self.store.rows(PROCESSES)}

    def is_complete(self) -> bool:
        rows = self.processes()
        facts = self.ray.facts
        known = [rows[pid].worker_id for pid in (facts["here"]["pid"], facts["there"]["pid"], facts["driver"]) if pid in rows]
        spinning = rows.get(facts["there"]["pid"])
        is_spinning = spinning is not None and (spinning.cpu_percent or 0) > 5 and spinning.task_name is not None
        is_waiting = any(row.task_name == "wait_long" for row in rows.values())
        return len(known) == 3 and all(known) and is_spinning and is_waiting and facts["program"] in rows


@pytest.fixture(scope="module")
def ray() -> Iterator[RayCluster]:
    folder = Path(tempfile.mkdtemp(prefix="rdn"))
    cluster = RayCluster(folder)
    try:
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def client() -> Iterator[redis.Redis]:
    folder = Path(tempfile.mkdtemp(prefix="rdn"))
    with private_redis(folder) as server:
        yield server.client()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def watched(ray: RayCluster, client: redis.Redis) -> Iterator[Watched]:
    watched = Watched(ray, client)
    try:
        watched.until(watched.is_complete, limit_s=60)  # starting a worker takes seconds on a busy machine
        yield watched
    finally:
        watched.collector.close()


def test_each_raylet_has_its_own_row_and_the_host_is_measured_once(watched: Watched) -> None:
    first, second = watched.node(watched.ray.first), watched.node(watched.ray.second)

    assert first.boot_id == second.boot_id
    assert (first.cpu_percent, first.memory_used_bytes, first.collected_at) == (
        second.cpu_percent,
        second.memory_used_bytes,
        second.collected_at,
    )
    assert first.raylet_pid != second.raylet_pid
    assert first.problems == []
    assert first.gpu_count is not None or first.gpu_problem is not None


def test_the_log_files_of_a_node_are_listed_and_read(watched: Watched) -> None:
    told = list_logs(**asdict(ListLogs(watched.ray.first, "worker", with_empty=True, limit=500)))
    pids = {file["pid"] for file in told["files"]}
    assert watched.ray.facts["here"]["pid"] in pids
    assert {"raylet", "gcs", "worker"} <= told["groups"].keys()
    assert told["is_whole"]
    [raylet] = list_logs(**asdict(ListLogs(watched.ray.second, "raylet", "raylet.out", limit=1)))["files"]
    lines = b64decode(read_log(watched.ray.second, raylet["file_id"], at=None, backward=True, max_lines=1000)["content"])
    assert b"raylet" in lines
    with pytest.raises(CannotAnswer, match="does not run on this machine"):
        list_logs(**asdict(ListLogs("ab" * 28)))


def test_workers_and_actors_are_shown_with_the_raylet_they_belong_to(watched: Watched) -> None:
    rows, facts = watched.processes(), watched.ray.facts
    here, there = rows[facts["here"]["pid"]], rows[facts["there"]["pid"]]

    assert (here.node_id, here.kind, here.actor_id, here.job_id) == (watched.ray.first, "WORKER", facts["here"]["actor"], facts["job"])
    assert (there.node_id, there.kind, there.actor_id) == (watched.ray.second, "WORKER", facts["there"]["actor"])
    assert (here.class_name, here.task_name, there.task_name) == ("Counter", None, "Counter.spin")
    assert there.cpu_percent is not None
    assert there.cpu_percent > 5
    assert here.rss_bytes is not None
    assert here.rss_bytes > 10_000_000


def test_who_holds_resources_and_gpu_slots_is_shown_without_a_gpu_in_sight(watched: Watched) -> None:
    here = watched.processes()[watched.ray.facts["here"]["pid"]]

    assert here.used_resources == {"CPU": 0.1, "GPU": 1.0}
    assert here.gpu_slots in ([0], [1])


def test_a_running_task_is_named(watched: Watched) -> None:
    assert "wait_long" in {row.task_name for row in watched.processes().values()}


def test_the_driver_is_shown_though_no_raylet_started_it(watched: Watched) -> None:
    driver = watched.processes()[watched.ray.facts["driver"]]
    assert (driver.kind, driver.job_id) == ("DRIVER", watched.ray.facts["job"])
    assert driver.worker_id is not None


def test_a_program_that_a_worker_started_is_shown_below_it(watched: Watched) -> None:
    program = watched.processes()[watched.ray.facts["program"]]
    assert (program.kind, program.title, program.worker_id) == ("OTHER", "sleep", None)
    assert program.parent_pid == watched.ray.facts["here"]["pid"]


def test_rays_own_processes_are_shown_by_kind(watched: Watched) -> None:
    rows = list(watched.processes().values())

    assert {row.node_id for row in rows if row.kind == "RAYLET"} == {watched.ray.first, watched.ray.second}
    assert [row.node_id for row in rows if row.kind == "GCS_SERVER"] == [watched.ray.first]
    assert {row.title for row in rows if row.kind == "AGENT"} == {"ray::DashboardAgent", "ray::RuntimeEnvAgent"}
    assert "log_monitor.py" in {row.title for row in rows if row.kind == "OTHER"}


def test_nothing_that_is_not_rays_is_shown(watched: Watched) -> None:
    assert os.getpid() not in watched.processes()


def test_the_commit_is_that_of_the_ray_that_runs(watched: Watched) -> None:
    said = subprocess.run([sys.executable, "-m", "ray._version"], capture_output=True, text=True, check=True).stdout.split()

    assert [watched.node(node_id).ray_commit for node_id in (watched.ray.first, watched.ray.second)] == [said[-1]] * 2


def test_the_object_store_is_that_of_each_raylet(watched: Watched) -> None:
    used = {node_id: watched.node(node_id).object_store_used_bytes for node_id in (watched.ray.first, watched.ray.second)}

    assert watched.node(watched.ray.first).object_store_capacity_bytes == SMALL["object_store_memory"]
    assert max(value or 0 for value in used.values()) >= 5_000_000


def test_shared_memory_figures_come_within_a_minute_without_a_burst(watched: Watched) -> None:
    watched.until(lambda: any(row.pss_bytes is not None for row in watched.processes().values()), limit_s=15)


def test_a_worker_that_hangs_keeps_the_raylet_from_answering_and_what_was_known_stays(watched: Watched) -> None:
    pid = watched.ray.facts["here"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        watched.until(lambda: any("did not answer" in problem for problem in watched.node(watched.ray.first).problems))
        row = watched.processes()[pid]
        assert (row.actor_id, row.job_id) == (watched.ray.facts["here"]["actor"], watched.ray.facts["job"])
        assert watched.node(watched.ray.second).problems == []
    finally:
        os.kill(pid, signal.SIGCONT)
    watched.until(lambda: watched.node(watched.ray.first).problems == [])


def test_a_raylet_that_ends_takes_its_processes_and_the_other_goes_on(watched: Watched) -> None:
    watched.ray.remove_second()

    watched.until(lambda: {row.node_id for row in watched.processes().values()} == {watched.ray.first})

    before = watched.node(watched.ray.first).collected_at
    watched.until(lambda: watched.node(watched.ray.first).collected_at > before)
    assert watched.node(watched.ray.second).raylet_pid is not None  # its last figures stay


class Keeper:
    """Lets a loop run for some beats."""

    def __init__(self, lease: Lease, beats: int) -> None:
        self.lease = lease
        self.beats = beats

    def beat(self) -> None:
        self.beats -= 1

    def should_stop(self) -> bool:
        return self.beats <= 0


def test_the_loop_beats_each_second_writes_under_its_lease_and_stops_when_told(
    watched: Watched, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = acquire(watched.client, watched.request.name, "test", 60)
    assert lease is not None
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    started = time.time()

    collect_node(watched.request, Keeper(lease, 4), watched.client, settings)

    assert 2.5 < time.time() - started < 6
    assert watched.node(watched.ray.first).collected_at > started
    assert watched.client.xlen(keys.samples("demo", watched.ray.session)) > 0
