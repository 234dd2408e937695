"""A real cluster that pushes its tasks' events, with a whole Raydeck in its dashboard's place and a driver that makes tasks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.instance import raydeck_up
from benchmarks.pages import Site
from clusterstate import paths
from clusterstate.store.fleet_index import known_sessions, session_file
from clusterstate.store.reader import SessionReader
from clusterstate.store.sqlite_reading import IndexMissing
from tests.ray.outside import free_port
from tests.ray.told_driver import ToldDriver, told_driver
from tests.workers.real_ray_cluster import RealRay, real_ray

DEFAULT_INSTALL = Path(__file__).resolve().parents[1] / ".venv-ray" / "2.60-default" / "bin" / "python"
PROGRAM = Path(__file__).with_name("task_program.py")


@dataclass(frozen=True)
class Watched:
    """A cluster with a Raydeck that watches it, and a driver."""

    ray: RealRay
    driver: ToldDriver
    site: Site
    ready: dict[str, Any]

    @property
    def index(self) -> Path:
        """The session's file."""
        folder = paths.index_dir(Path(self.ready["state_dir"]))
        [session] = known_sessions(folder, self.site.cluster)
        return session_file(folder, self.site.cluster, session)

    def states(self) -> dict[str, int]:
        """Attempts by state, as the pages count them."""
        try:
            return SessionReader(self.index, self.site.cluster, self.index.stem).task_states(None)
        except (IndexMissing, ValueError):
            return {}


@contextmanager
def watched_in_place(python: Path) -> Iterator[Watched]:
    """A cluster that was started as `raydeck env --in-place` says, a Raydeck in place, and a driver."""
    listen = ("--cluster-listen", f"127.0.0.1:{free_port()}")
    said = subprocess.run(
        [sys.executable, "-m", "webapp.cli", "env", "--json", "--in-place", *listen], capture_output=True, text=True, check=True
    )
    with (
        real_ray(python=python, nodes=2, exported=json.loads(said.stdout)) as ray,
        raydeck_up(ray.address, "--in-place", *listen) as ready,
        driving(ray, python) as driver,
    ):
        yield Watched(ray, driver, Site(ready["url"], ready["admin_token"], ready["cluster"]), ready)


@contextmanager
def driving(ray: RealRay, python: Path) -> Iterator[ToldDriver]:
    with told_driver({**ray.environ, "RAY_ADDRESS": ray.address}, python, PROGRAM) as driver:
        yield driver
