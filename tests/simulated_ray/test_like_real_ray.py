"""The simulated cluster sends the same fields as a real Ray cluster that lives through the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from typing import Any

import pytest

from tests.simulated_ray import SimulatedRay, remote
from tests.simulated_ray.real_ray import record

LIMIT_S = 120


def live_and_die(ray: SimulatedRay, node_id: str) -> None:
    """The same story as `real_ray` tells."""
    job_id = ray.add_job()
    group = ray.add_placement_group([{"CPU": 0.5}], name="gang", job_id=job_id)
    actor_id = ray.add_actor(job_id=job_id, name="reader", repr_name="Reader(1)", max_restarts=1, required_resources={"CPU": 1.0})
    ray.restart_actor(actor_id)
    ray.kill_actor(actor_id)
    ray.finish_job(job_id)
    ray.set_placement_group(group, state="REMOVED", creator_job_dead=True)
    ray.kill_node(node_id, reason="EXPECTED_TERMINATION")


def real_recording() -> dict[str, Any]:
    folder = tempfile.mkdtemp(prefix="rdray")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    loopback = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_TMPDIR": folder, "RAY_AUTH_MODE": "disabled", "HOME": folder}
    try:
        command = [sys.executable, "-m", "tests.simulated_ray.real_ray"]
        done = subprocess.run(
            command, cwd=remote.ROOT, env={**clean, **loopback}, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
        assert done.returncode == 0, done.stderr[-4000:]
        content: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return content
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def shapes(recording: dict[str, Any]) -> dict[tuple[str, int], set[str]]:
    """The fields of each kind of message in each state."""
    return {(one["kind"], one["state"]): set(one["fields"]) for one in recording["published"]}


@pytest.mark.ray
def test_a_real_and_a_simulated_cluster_send_the_same_fields() -> None:
    real = real_recording()
    with SimulatedRay(nodes=2) as ray:
        node_id = ray.node_ids()[1]
        simulated = record(ray.address, lambda: live_and_die(ray, node_id))

    real_shapes, simulated_shapes = shapes(real), shapes(simulated)
    deltas = [("actor_message", 2), ("actor_message", 3), ("actor_message", 4), ("node_info_message", 1), ("worker_delta_message", 0)]
    assert {shape: simulated_shapes[shape] for shape in deltas} == {shape: real_shapes[shape] for shape in deltas}
    # Whole rows: whatever the real one says, the simulated one says too.
    whole = [("actor_message", 0), ("actor_message", 1), ("job_message", 0), ("job_message", 1)]
    assert {shape: real_shapes[shape] - simulated_shapes[shape] for shape in whole} == {shape: set() for shape in whole}
    missing = {name: set(fields) - set(simulated["tables"][name]) for name, fields in real["tables"].items()}
    assert missing == {name: set() for name in missing}
