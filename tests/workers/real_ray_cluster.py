"""A real Ray cluster of small raylets on loopback, in a process and a folder of its own: `python -m` it to keep one.

This file runs as the keeper (it imports Ray for real, of whichever environment runs it); `real_ray()` is what tests use.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
START_LIMIT_S = 90.0
ATTEMPTS = 2
"""Ray gives its own processes 30 s to start; with its dashboard, a dozen of them share two cores that others use too."""
STOP_LIMIT_S = 20.0
DONE_WITHIN_S = 30.0
MEMORY = 80 * 1024 * 1024


class NotStarted(RuntimeError):
    """Ray did not come up."""


@dataclass
class RealRay:
    """A running cluster. `environ` is what a driver or a client of it needs."""

    address: str
    folder: Path
    environ: dict[str, str]
    keeper: subprocess.Popen[bytes]
    python: str = sys.executable
    _drivers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_driver(self, code: str) -> subprocess.Popen[bytes]:
        """Python code in a driver process of its own; `ray` is connected. It is ended with the cluster."""
        head = f"import ray, os, time\nray.init(address={self.address!r}, namespace='tests', logging_level='ERROR', log_to_driver=False)\n"
        driver = subprocess.Popen([self.python, "-c", head + code], env=self.environ, cwd=self.folder)
        self._drivers.append(driver)
        return driver

    def tell(self, what: str) -> None:
        """One of the keeper's deeds (DEEDS), done when this returns."""
        (self.folder / what).touch()
        give_up = time.monotonic() + DONE_WITHIN_S
        while (self.folder / what).exists():
            assert time.monotonic() < give_up, f"the keeper did not {what}"
            time.sleep(0.02)

    def kill_second_node(self) -> None:
        (self.folder / "kill_second").touch()

    def stop_drivers(self) -> None:
        for driver in self._drivers:
            driver.kill()
            driver.wait(10)


@contextmanager
def real_ray(
    token: str | None = None,
    *,
    python: str | Path = sys.executable,
    dashboard: bool = False,
    nodes: int = 2,
    external_store: str | None = None,
    gcs_port: int | None = None,
    exported: Mapping[str, str] | None = None,
) -> Iterator[RealRay]:
    """Starts the cluster and stops it.

    `python` is of an environment with the wanted Ray. `exported` is more environment of the cluster and of its drivers, as a
    person exports it before `ray start`. `external_store` is the host:port of a Redis for the GCS, which
    may then be killed and come back (`tell`) at `gcs_port`.
    """
    folder = Path(tempfile.mkdtemp(prefix="rdr"))
    environ = {**_environ(folder, token), **(exported or {})}
    wanted: dict[str, object] = {"dashboard": dashboard, "nodes": nodes, "gcs_port": gcs_port}
    own = {"RAY_REDIS_ADDRESS": external_store} if external_store else {}  # the cluster's own business
    keeper = None
    try:
        for attempt in range(1, ATTEMPTS + 1):
            keeper = _start(folder, str(python), {**environ, **own}, wanted)
            try:
                cluster = RealRay(_wait_for(folder / "address", keeper, folder / "keeper.log"), folder, environ, keeper, str(python))
                break
            except NotStarted:
                _stop(keeper)
                if attempt == ATTEMPTS:
                    raise
        try:
            yield cluster
        finally:
            cluster.stop_drivers()
    finally:
        if keeper is not None:
            _stop(keeper)
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path, python: str, environ: dict[str, str], wanted: dict[str, object]) -> subprocess.Popen[bytes]:
    with (folder / "keeper.log").open("wb") as output:
        return subprocess.Popen(
            [python, "-m", "tests.workers.real_ray_cluster", str(folder), json.dumps(wanted)],
            env={**environ, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def _environ(folder: Path, token: str | None) -> dict[str, str]:
    """Everything on loopback and below the folder, and nothing from a user's own Ray."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environ |= {"RAY_TMPDIR": str(folder), "HOME": str(folder), "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    environ |= {"RAY_health_check_period_ms": "500", "RAY_health_check_initial_delay_ms": "0", "RAY_health_check_failure_threshold": "4"}
    return environ | ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {"RAY_AUTH_MODE": "disabled"})


def _wait_for(file: Path, keeper: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and keeper.poll() is None:
        if file.exists():
            return file.read_text()
        time.sleep(0.05)
    raise NotStarted(f"Ray did not start: {log.read_text(errors='replace')[-2000:]}")


def _stop(keeper: subprocess.Popen[bytes]) -> None:
    """The keeper shuts its cluster down; what is left of its session of processes is killed."""
    keeper.terminate()
    try:
        keeper.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        keeper.kill()
        keeper.wait(5)
    try:
        os.killpg(keeper.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    for pid in _members(keeper.pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def _members(session: int) -> list[int]:
    """Processes of a session of processes: Ray's keep it, also those with a process group of their own."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(folder.name)) == session:
                found.append(int(folder.name))
        except OSError:
            pass  # gone
    return found


def keep(folder: Path, dashboard: bool, nodes: int, gcs_port: int | None) -> None:
    """Runs the cluster until SIGTERM."""
    from ray.cluster_utils import Cluster

    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stop.append(number))
    head: dict[str, Any] = {"num_cpus": 2, "num_gpus": 2, "object_store_memory": MEMORY}
    head |= {"include_dashboard": dashboard}
    if dashboard:
        # A minimal install refuses True; by default it starts the dashboard's process, which then serves nothing.
        head |= {"include_dashboard": True if find_spec("aiohttp_cors") else None, "dashboard_host": "127.0.0.1", "dashboard_port": 0}
    if gcs_port:
        head["gcs_server_port"] = gcs_port
    cluster = Cluster(initialize_head=True, head_node_args=head)
    others = [cluster.add_node(num_cpus=1, object_store_memory=MEMORY, dashboard_agent_listen_port=0) for _ in range(nodes - 1)]
    deeds: dict[str, Callable[[], object]] = {
        "kill_second": lambda: cluster.remove_node(others.pop(), allow_graceful=False),
        "kill_gcs": lambda: cluster.head_node.kill_gcs_server(False),
        "start_gcs": lambda: cluster.head_node.start_gcs_server(),
    }
    (folder / "address.new").write_text(cluster.address)
    (folder / "address.new").rename(folder / "address")
    while not stop:
        time.sleep(0.05)
        for name in [name for name in deeds if (folder / name).exists()]:
            deeds[name]()
            (folder / name).unlink()
    cluster.shutdown()


if __name__ == "__main__":
    keep(Path(sys.argv[1]), **json.loads(sys.argv[2]))
