"""Submitting jobs, through the job manager of Ray's own dashboard, so that there is one in every state.

It also watches over them as the dashboard would; when it is started again it takes over the jobs of its last run.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.dashboard.modules.job.job_manager import JobManager

BETWEEN_S = 600.0  # six jobs an hour
FIRST_BETWEEN_S = 4.0
STOP_AFTER_S = 5.0
KEPT_JOBS = 60
PYTHON = Path(sys.executable).name


@dataclass(frozen=True)
class Submitted:
    """A job as somebody would submit it."""

    name: str
    arguments: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    env_vars: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, float] = field(default_factory=dict)
    stop: bool = False


STREAM = Submitted("sensor-stream", "stream", {"team": "vision"}, {"STREAM_SOURCE": "north-gate"})
STUCK = Submitted("needs-accelerator", "report nightly", {"team": "research"}, resources={"accelerator_card": 1})
ENDING = (
    Submitted(
        "nightly-report", "report nightly", {"team": "finance"}, {"REPORT_REGION": "eu-west", "REPORT_API_TOKEN": "not-a-real-token"}
    ),
    Submitted("price-import", "report import", {"team": "finance", "ticket": "OPS-1234"}),
    Submitted("clean-up", "report clean-up", {"team": "platform"}, stop=True),
)


async def submit_for_ever() -> None:
    worker = ray._private.worker.global_worker
    manager = JobManager(worker.gcs_client, str(Path(worker.node.get_session_dir_path()) / "logs"))
    submitted = 0
    while True:
        await keep_running(manager)
        await submit(manager, ENDING[submitted % len(ENDING)])
        submitted += 1
        await forget_oldest(manager)
        pause_s = FIRST_BETWEEN_S if submitted < len(ENDING) else BETWEEN_S
        await asyncio.sleep(pause_s)


async def keep_running(manager: Any) -> None:
    """One job that runs and one that waits, whatever became of the last ones."""
    alive = {
        info.metadata.get("job_name") for info in (await manager.list_jobs()).values() if info.metadata and not info.status.is_terminal()
    }
    for wanted in (STREAM, STUCK):
        if wanted.name not in alive:
            await submit(manager, wanted)


async def submit(manager: Any, job: Submitted) -> None:
    submission_id = await manager.submit_job(
        entrypoint=f"{PYTHON} -m workers.demo.workload.{job.arguments}",
        submission_id=f"{job.name}-{random.randrange(16**6):06x}",
        runtime_env={"env_vars": dict(job.env_vars)} if job.env_vars else None,
        metadata={"job_name": job.name, **job.metadata},
        entrypoint_resources=dict(job.resources) or None,
    )
    if job.stop:
        await _stop_when_running(manager, submission_id)


async def _stop_when_running(manager: Any, submission_id: str) -> None:
    for _ in range(60):
        await asyncio.sleep(1)
        if str(await manager.get_job_status(submission_id)) == "RUNNING":
            break
    await asyncio.sleep(STOP_AFTER_S)
    manager.stop_job(submission_id)


async def forget_oldest(manager: Any) -> None:
    """Keep the list from growing without end."""
    ended = [
        (info.end_time or 0, submission_id) for submission_id, info in (await manager.list_jobs()).items() if info.status.is_terminal()
    ]
    for _, submission_id in sorted(ended)[:-KEPT_JOBS]:
        await manager.delete_job(submission_id)
