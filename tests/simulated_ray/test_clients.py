"""Ray's own compiled clients take the simulated GCS for a real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.simulated_ray import SimulatedRay, remote

LIMIT_S = 60


def ask(address: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """What Ray's clients say, from a process of its own: they read the token's settings once."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.run(
        [sys.executable, "-m", "tests.simulated_ray.ray_clients", address],
        cwd=remote.ROOT,
        env={**clean, "HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def test_rays_clients_see_the_whole_cluster(tmp_path: Path) -> None:
    with SimulatedRay(
        nodes=3, dead_nodes=1, jobs=4, submissions=6, live_actors=5, dead_actors=10, dead_workers=2, placement_groups=3
    ) as ray:
        answer = ask(ray.address, tmp_path, RAY_AUTH_MODE="disabled")
        assert answer.returncode == 0, answer.stderr
        seen: dict[str, Any] = json.loads(answer.stdout)

        assert set(seen["nodes"]) == {*ray.node_ids(), *ray.node_ids(alive=False)}
        assert seen["alive"] == [True, True, True, False]
        assert set(seen["jobs"]) == {*ray.job_ids(), *ray.job_ids(alive=False)}
        assert {status for _, status in seen["jobs"].values()} > {"SUCCEEDED", "FAILED"}
        assert seen["actors"] == {row.hex(): ray.actor(row.hex()).class_name for row in ray.actors}
        assert len(seen["workers"]) == len(ray.workers)
        assert len(seen["placement_groups"]) == 3
        assert len(seen["submissions"]) == 6
        assert (seen["session_name"], seen["status_session"]) == (ray.session_name, ray.session_name)
        assert (seen["cluster_id"], seen["status_nodes"]) == (ray.cluster_id.hex(), 3)


def test_rays_clients_get_in_with_the_token(tmp_path: Path) -> None:
    with SimulatedRay(token="t" * 32) as ray:
        inside = ask(ray.address, tmp_path, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="t" * 32)
        assert inside.returncode == 0, inside.stderr
        assert len(json.loads(inside.stdout)["nodes"]) == 1
