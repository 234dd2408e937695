"""Runs in a process of its own: a Ray driver that submits and stops jobs through Ray's own job manager.

Started by `driver` with nothing of ours in its environment. It reads one order from standard input and answers one line.
After a submission it stays while jobs of Raydeck's run and nobody else watches over them: the manager marks a job as failed
whose supervisor died or never started (`JobManager._monitor_job`).
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAMESPACE = "_ray_internal_raydeck"
"""Ray's and our own lists leave out drivers whose namespace begins like this."""
OPERATION_ID = "raydeck_operation"
MAX_ORDER_BYTES = 1024 * 1024
MAX_REASON = 500
TAKE_OVER_WITHIN_S = 15.0
LOOK_EVERY_S = 5.0
STOPPED_WITHIN_S = 8.0


def main(arguments: list[str]) -> None:
    """`arguments`: what `driver` gives: -c, our folder, the number of the lock's descriptor."""
    del sys.path[0]  # Ray tells the workers of a driver where it looks for modules
    lock = int(arguments[2])
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever Ray prints goes to the log
    order = json.loads(sys.stdin.buffer.read(MAX_ORDER_BYTES))
    try:
        import ray

        ray.init(address=order["address"], namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # noqa: BLE001 - whatever it is, who asked is told
        _say(answers, {"problem": _reason(error)})
        if order["do"] == "watch" and _is_locked(lock):
            os.ftruncate(lock, 0)  # the cluster is gone: what ran there needs nobody any more
        return
    asyncio.run(_run(order, lock, answers))


async def _run(order: Mapping[str, Any], lock: int, answers: int) -> None:
    import ray
    from ray.dashboard.modules.job.job_manager import JobManager

    worker = ray._private.worker.global_worker
    manager = JobManager(worker.gcs_client, str(Path(worker.node.get_session_dir_path()) / "logs"))
    try:
        answer = await _do(manager, order)
    except Exception as error:  # noqa: BLE001 - whatever it is, who asked is told
        answer = {"problem": _reason(error)}
    _say(answers, answer)
    if order["do"] != "stop" and "problem" not in answer:
        await _watch(manager, lock)


async def _do(manager: Any, order: Mapping[str, Any]) -> dict[str, Any]:
    if order["do"] == "submit":
        await manager.submit_job(**order["body"])
        return {"done": True}
    if order["do"] == "stop":
        is_running = bool(manager.stop_job(order["submission_id"]))
        if is_running:
            await _until_ended(manager, order["submission_id"])
        return {"done": is_running}
    return {"done": True}


async def _until_ended(manager: Any, submission_id: str) -> None:
    """The order to stop is on its way to another process: it must not end with this one."""
    for _ in range(int(STOPPED_WITHIN_S / 0.2)):
        await asyncio.sleep(0.2)
        status = await manager.get_job_status(submission_id)
        if status is None or status.is_terminal():
            return


async def _watch(manager: Any, lock: int) -> None:
    """Watches over Raydeck's submissions until all have ended, if nobody does. The lock's file says that somebody should."""
    for _ in range(int(TAKE_OVER_WITHIN_S)):
        if _is_locked(lock):
            break
        await asyncio.sleep(1.0)  # whoever has it sees our job within LOOK_EVERY_S, or is about to leave
    else:
        return
    os.pwrite(lock, b"1", 0)
    monitors: set[asyncio.Task[None]] = set()
    while (unfinished := await _unfinished(manager)) and _leader_lives():
        for submission_id in unfinished - manager.monitored_jobs:
            task = asyncio.ensure_future(manager._monitor_job(submission_id))
            monitors.add(task)
            task.add_done_callback(monitors.discard)
        await asyncio.sleep(LOOK_EVERY_S)
    if not unfinished:
        os.ftruncate(lock, 0)


async def _unfinished(manager: Any) -> set[str]:
    jobs = await manager.list_jobs()
    return {name for name, info in jobs.items() if OPERATION_ID in (info.metadata or {}) and not info.status.is_terminal()}


def _leader_lives() -> bool:
    """Whether the role that this process belongs to is still there."""
    return Path(f"/proc/{os.getsid(0)}").exists()


def _is_locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _say(answers: int, answer: Mapping[str, Any]) -> None:
    try:
        os.write(answers, json.dumps(answer).encode() + b"\n")
    except BrokenPipeError:
        pass  # nobody waits: the one who watches again
    os.close(answers)


def _reason(error: Exception) -> str:
    """The sentence of an error without the traceback that Ray may put before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"[:MAX_REASON]
