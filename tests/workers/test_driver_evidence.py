"""How a driver ended: Ray calls every one that ended SUCCEEDED, and the record of its process says when that was not so."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
import redis

from clusterstate.model import Job, Worker
from clusterstate.settings import Settings
from tests.simulated_ray import SimulatedRay
from tests.workers.collecting import Seen, collecting, eventually
from tests.workers.real_ray_cluster import real_ray
from workers.sources import gcs_stubs
from workers.sources.gcs_decode import merge_worker, worker_of
from workers.sources.gcs_decode_jobs import driver_evidence

DRIVER = "0a000000" + "f" * 48
FRAMES = '  File "train.py", line 5, in <module>\n    connect("postgres://me:hunter2@db/x")\n'
LONG_DETAIL = "Worker unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the OOM killer"


def test_an_uncaught_exception_leaves_its_frames_without_secrets() -> None:
    message = gcs_stubs.module("gcs_pb2").WorkerTableData(worker_info={"exception": FRAMES.encode()}, worker_type=1)
    message.worker_address.worker_id = bytes.fromhex(DRIVER)
    worker = worker_of(message)
    assert worker.job_id == "0a000000"
    evidence = driver_evidence(worker)
    assert evidence is not None
    assert evidence.startswith("The driver ended with an uncaught exception.")
    assert 'File "train.py", line 5' in evidence
    assert "hunter2" not in evidence
    before = Worker(DRIVER, True, pid=7, worker_type="DRIVER")
    assert merge_worker(before, worker).pid == 7
    assert merge_worker(worker, replace(before, is_alive=False)).uncaught_exception == worker.uncaught_exception


@pytest.mark.parametrize(
    ("exit_type", "evidence"),
    [
        ("INTENDED_USER_EXIT", None),
        ("INTENDED_SYSTEM_EXIT", None),
        (None, None),
        (
            "SYSTEM_ERROR",
            "The driver's process died (SYSTEM_ERROR). Worker unexpectedly exits with a connection error code 2. End of file.",
        ),
        (
            "NODE_OUT_OF_MEMORY",
            "The driver's process died (NODE_OUT_OF_MEMORY). Worker unexpectedly exits with a connection error code 2. End of file.",
        ),
        ("UNKNOWN(9)", "The driver's process died (UNKNOWN(9)). Worker unexpectedly exits with a connection error code 2. End of file."),
    ],
)
def test_what_a_drivers_exit_type_says(exit_type: str | None, evidence: str | None) -> None:
    ended = Worker(DRIVER, False, worker_type="DRIVER", exit_type=exit_type, exit_detail=LONG_DETAIL)
    assert driver_evidence(ended) == evidence
    assert driver_evidence(replace(ended, is_alive=True)) is None


@pytest.fixture
def ray() -> Iterator[SimulatedRay]:
    with SimulatedRay(nodes=1) as cluster:
        yield cluster


def evidence_of(seen: Seen, job_id: str) -> str | None:
    job = seen.jobs.get(job_id)
    return job.driver_evidence if job is not None and job.status == "SUCCEEDED" else None


def test_a_job_whose_driver_died_says_so_beside_rays_status(redis_client: redis.Redis, settings: Settings, ray: SimulatedRay) -> None:
    good, bad = ray.add_job(), ray.add_job()
    submitted = ray.add_submission("mine-1", status="FAILED", driver=True)
    with collecting(redis_client, replace(settings, poll_interval_s=0.2), ray.address) as seen:
        eventually(lambda: {good, bad, "mine-1"} <= seen.jobs.keys())
        ray.finish_job(good)
        ray.kill_worker(bad + "f" * 48, exit_type="SYSTEM_ERROR", exit_detail=LONG_DETAIL)
        eventually(lambda: seen.jobs[bad].driver_evidence)
        ray.finish_job(bad)
        assert eventually(lambda: evidence_of(seen, bad)).startswith("The driver's process died (SYSTEM_ERROR).")
        late = ray.add_job()
        ray.finish_job(late)
        eventually(lambda: seen.jobs.get(late) and seen.jobs[late].status == "SUCCEEDED")
        assert seen.jobs[good].driver_evidence is None
        assert seen.jobs[late].driver_evidence is None
        assert seen.jobs[submitted].driver_evidence is None, "a submission's status says how it ended"


def test_what_was_known_of_an_end_stays_when_the_gcs_forgets_the_worker(
    redis_client: redis.Redis, settings: Settings, ray: SimulatedRay
) -> None:
    bad = ray.add_job()
    fast = replace(settings, poll_interval_s=0.2)
    with collecting(redis_client, fast, ray.address) as seen:
        eventually(lambda: bad in seen.jobs)
        ray.kill_worker(bad + "f" * 48, exit_type="SYSTEM_ERROR", exit_detail=LONG_DETAIL)
        ray.finish_job(bad)
        known = eventually(lambda: evidence_of(seen, bad))
    ray.workers.remove(bytes.fromhex(bad + "f" * 48))
    with collecting(redis_client, fast, ray.address) as seen:
        begun = time.time()
        eventually(lambda: seen.as_of("jobs") > begun)
        assert evidence_of(seen, bad) == known


ENDS = {
    "well": "pass",
    "uncaught": "def train(): raise ValueError('a message')\ntrain()",
    "os._exit": "os._exit(7)",
    "killed": "time.sleep(60)",
    "sys.exit": "import sys; sys.exit(3)",
}


@pytest.mark.ray
def test_how_real_drivers_end(redis_client: redis.Redis, settings: Settings) -> None:
    with real_ray(nodes=1) as ray, collecting(redis_client, settings, ray.address, ray.environ) as seen:
        pids: dict[str, int] = {}

        def job_of(name: str) -> Job | None:
            return next((job for job in seen.jobs.values() if job.driver_pid == pids[name]), None)

        def evidence(name: str) -> str | None:
            job = job_of(name)
            return job.driver_evidence if job is not None and job.status == "SUCCEEDED" else None

        for name, code in ENDS.items():
            driver = ray.start_driver(code)
            pids[name] = driver.pid
            if name == "killed":
                eventually(lambda: job_of("killed"), within_s=40)
                driver.send_signal(signal.SIGKILL)
            driver.wait(60)

        def have_ended() -> bool:
            return all((job := job_of(name)) is not None and job.status == "SUCCEEDED" for name in ENDS)

        eventually(have_ended, within_s=40)
        found = {name: eventually(partial(evidence, name)) for name in ("uncaught", "os._exit", "killed")}
        assert "in train" in found["uncaught"]
        assert "a message" not in found["uncaught"]
        assert "SYSTEM_ERROR" in found["os._exit"]
        assert "SYSTEM_ERROR" in found["killed"]
        for name in ("well", "sys.exit"):
            assert evidence(name) is None, "Ray records no exit code"
