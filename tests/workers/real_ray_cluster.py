"""A real Ray cluster of two small raylets on loopback, in a process and a folder of its own: `python -m` it to keep one.

This file runs as the keeper (it imports Ray for real); `real_ray()` is what tests use.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_LIMIT_S = 60.0
STOP_LIMIT_S = 20.0
MEMORY = 80 * 1024 * 1024


@dataclass
class RealRay:
    """A running cluster. `environ` is what a driver or a client of it needs."""

    address: str
    folder: Path
    environ: dict[str, str]
    _drivers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_driver(self, code: str) -> subprocess.Popen[bytes]:
        """Python code in a driver process of its own; `ray` is connected. It is ended with the cluster."""
        head = f"import ray, os, time\nray.init(address={self.address!r}, namespace='tests', logging_level='ERROR', log_to_driver=False)\n"
        driver = subprocess.Popen([sys.executable, "-c", head + code], env=self.environ, cwd=self.folder)
        self._drivers.append(driver)
        return driver

    def kill_second_node(self) -> None:
        (self.folder / "kill_node").touch()

    def stop_drivers(self) -> None:
        for driver in self._drivers:
            driver.kill()
            driver.wait(10)


@contextmanager
def real_ray(token: str | None = None) -> Iterator[RealRay]:
    """Starts the cluster and stops it."""
    folder = Path(tempfile.mkdtemp(prefix="rdr"))
    environ = _environ(folder, token)
    log = folder / "keeper.log"
    with log.open("wb") as output:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.workers.real_ray_cluster", str(folder)],
            env={**environ, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        cluster = RealRay(_wait_for(folder / "address", keeper, log), folder, environ)
        try:
            yield cluster
        finally:
            cluster.stop_drivers()
    finally:
        _stop(keeper)
        shutil.rmtree(folder, ignore_errors=True)


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
    raise RuntimeError(f"Ray did not start: {log.read_text(errors='replace')[-2000:]}")


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


def keep(folder: Path) -> None:
    """Runs the cluster until SIGTERM."""
    from ray.cluster_utils import Cluster

    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stop.append(number))
    head = {"num_cpus": 2, "num_gpus": 2, "include_dashboard": False, "object_store_memory": MEMORY}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    second = cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
    (folder / "address.new").write_text(cluster.address)
    (folder / "address.new").rename(folder / "address")
    while not stop:
        time.sleep(0.1)
        if (folder / "kill_node").exists():
            (folder / "kill_node").unlink()
            cluster.remove_node(second, allow_graceful=False)
    cluster.shutdown()


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
