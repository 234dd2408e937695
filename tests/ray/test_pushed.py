"""Task events that a real Ray pushes to a whole `raydeck up`, in the dashboard's place and beside it: every attempt, once, as it ended."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import ray_environments
from tests.ray.outside import free_port
from tests.running import RAYDECK, Running, raydeck_up
from tests.simulated_ray.client import Client
from tests.workers.real_ray_cluster import RealRay, real_ray

pytestmark = pytest.mark.ray

ROOT = Path(__file__).resolve().parents[2]
WITHIN_S = 30.0
PLAIN, CALLS, FLAKY, FAILING = 200, 2000, 5, 7

WORKLOAD = f"""
import json
folder = os.environ['RAY_TMPDIR']
@ray.remote
def plain(x): return x
@ray.remote(num_cpus=1, max_retries=2, retry_exceptions=True)
def flaky(): raise ValueError('boom')
@ray.remote(num_cpus=1, max_retries=0)
def dies(): os._exit(1)
@ray.remote(num_cpus=0)
class Counter:
    def add(self, x): return x
    def fail(self): raise KeyError('no')
made = {{}}
def note(refs):
    for ref in refs: made[ref.task_id().hex()] = ref.task_id().actor_id().hex()
    return refs
def ends(refs):
    for ref in refs:
        try: ray.get(ref)
        except Exception: pass
counters = [Counter.remote() for _ in range(2)]
ray.get(note([plain.remote(i) for i in range({PLAIN})]))
ray.get(note([counters[i % 2].add.remote(i) for i in range({CALLS})]))
ends(note([flaky.remote() for _ in range({FLAKY})] + [counters[0].fail.remote() for _ in range({FAILING})] + [dies.remote()]))
with open(folder + '/made.new', 'w') as file: json.dump(sorted(made), file)
os.rename(folder + '/made.new', folder + '/made')
time.sleep(600)
"""
TIMELINE = """
import json
names = sorted({event['cat'] for event in ray.timeline()})
with open(os.environ['RAY_TMPDIR'] + '/timeline', 'w') as file: json.dump(names, file)
"""
EXPECTED = Counter(
    {
        ("plain", "FINISHED"): PLAIN,
        ("Counter.add", "FINISHED"): CALLS,
        ("Counter.__init__", "FINISHED"): 2,
        ("flaky", "FAILED"): 3 * FLAKY,
        ("Counter.fail", "FAILED"): FAILING,
        ("dies", "FAILED"): 1,
    }
)
FINISHED, FAILED = (sum(count for (_, state), count in EXPECTED.items() if state == wanted) for wanted in ("FINISHED", "FAILED"))


@dataclass
class Pushing:
    """A cluster whose agents push to the Raydeck beside it."""

    ray: RealRay
    running: Running
    listen: str
    before: bytes  # what stood for the dashboard's address

    def timeline(self) -> list[str]:
        """Categories of the events that `ray.timeline()` has."""
        self.ray.start_driver(TIMELINE).wait(WITHIN_S)
        found: list[str] = json.loads((self.ray.folder / "timeline").read_text())
        return found

    def ray_command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Ray's own command line, as its user types it."""
        command = [self.ray.python, "-m", "ray.scripts.scripts", *words]
        return subprocess.run(command, env=self.ray.environ, cwd=self.ray.folder, capture_output=True, text=True, timeout=60, check=False)

    def rows(self) -> list[dict[str, Any]]:
        """All of them, page by page."""
        found: list[dict[str, Any]] = []
        path: str | None = f"{self.running.cluster_path}/tasks.json?limit=500"
        while path:
            status, body = self.running.get(path)
            assert status == 200, body
            found += json.loads(body)["rows"]
            path = json.loads(body)["next"]
        return found

    def number(self, state: str) -> int:
        """How many attempts are in that state."""
        return int(self.running.rows("tasks", f"?limit=1&state={state}")["matching"])


def dashboard_of(ray: RealRay) -> bytes:
    """What stands in the cluster for the dashboard's address."""
    with Client(ray.address) as client:
        return bytes(client.call("InternalKVGcsService", "InternalKVGet", key=b"dashboard", namespace=b"dashboard").value)


@contextmanager
def pushing(version: str, *options: str) -> Iterator[Pushing]:
    """Ray as `raydeck env` says it is to be started, and `raydeck up` as it says to start that. `options`: of both."""
    with tempfile.TemporaryDirectory(prefix="rdp") as name:
        folder, listen = Path(name), f"127.0.0.1:{free_port()}"
        state_dir = ("--state-dir", str(folder / "state"))
        asked = subprocess.run(
            [str(RAYDECK), "env", "--json", "--cluster-listen", listen, *state_dir, *options], capture_output=True, text=True, check=True
        )
        python = ray_environments.python(ROOT, f"{version}-default")
        with real_ray(python=python, nodes=1, exported=json.loads(asked.stdout)) as ray:
            before = dashboard_of(ray)
            ray.start_driver(WORKLOAD)  # agents keep its events until somebody takes them
            with raydeck_up(
                "--address", ray.address, "--cluster-listen", listen, *options,
                environ={"RAY_AUTH_MODE": "disabled", "HOME": name}, folder=folder,
            ) as running:  # fmt: skip
                yield Pushing(ray, running, listen, before)


def told_of_all(rows: list[dict[str, Any]]) -> Counter[tuple[str, str]]:
    return Counter((row["name"], row["state"]) for row in rows)


def assert_all_there(here: Pushing) -> None:
    """Every attempt that the driver made is a row, once, as it ended."""
    here.running.wait_until((here.ray.folder / "made").exists, WITHIN_S)
    for state, number in (("FINISHED", FINISHED), ("FAILED", FAILED)):
        here.running.wait_until(lambda: here.number(state) == number, WITHIN_S)  # noqa: B023 - asked here and now
    rows = here.rows()
    made = set(json.loads((here.ray.folder / "made").read_text()))

    assert told_of_all(rows) == EXPECTED
    assert len({row["attempt_id"] for row in rows}) == len(rows)
    assert {row["task_id"] for row in rows if row["func_or_class_name"] != "Counter.__init__"} == made
    assert sorted(row["attempt_number"] for row in rows if row["name"] == "flaky") == sorted([0, 1, 2] * FLAKY)
    errors = {(row["name"], row["error_type"]) for row in rows if row["state"] == "FAILED"}
    assert errors == {(name, "TASK_EXECUTION_EXCEPTION") for name in ("flaky", "Counter.fail")} | {("dies", "WORKER_DIED")}
    assert here.running.rows("tasks", "?limit=1")["source"] == "push+poll"
    assert here.running.rows("jobs", "?columns=job_id,tasks")["rows"][0]["tasks"] == {"FINISHED": FINISHED, "FAILED": FAILED}


def test_in_the_dashboards_place_every_attempt_is_there_and_ray_goes_on_asking() -> None:
    with pushing("2.60", "--in-place") as here:
        assert_all_there(here)
        assert dashboard_of(here.ray).startswith(f"{here.listen}/r/default/k/".encode())
        assert {"task:execute", "task::plain", "task::Counter.add"} <= set(here.timeline())
        refused = here.ray_command("list", "tasks", "--limit", "10", "--address", here.ray.address)
        assert "Raydeck" in refused.stderr  # who answers there, and that it is not this

        here.running.process.terminate()
        here.running.process.wait(WITHIN_S)
        assert dashboard_of(here.ray) == here.before


def test_beside_the_dashboard_every_attempt_is_there() -> None:
    with pushing("2.60") as here:
        assert_all_there(here)
        assert dashboard_of(here.ray) == here.before


@pytest.mark.versions
def test_beside_the_dashboard_of_the_oldest_ray_every_attempt_is_there() -> None:
    with pushing("2.53") as here:
        assert_all_there(here)
