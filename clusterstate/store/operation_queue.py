"""Leaving an operation for the worker that does it, and whether there is one.

The journal holds the operation; the queue says that there is one to do, signed, and may be lost: the worker looks in the
journal for what it was not told.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import msgspec
import redis

from clusterstate.operations import OPERATIONS
from clusterstate.store import keys, queues

WORKER_KEPT_S = 12
"""A worker that has not said so for this long is gone."""
START_WITHIN_S = 30
MAX_WORD_BYTES = 1024


@dataclass(frozen=True)
class OperationsWorker:
    """The worker that does a cluster's operations, in its own words: shown, never trusted."""

    host: str
    pid: int
    desk: str  # which master key and journal it works with (`signing.desk_of`)
    ray_version: str | None = None
    python_version: str | None = None


def say_alive(client: redis.Redis, cluster: str, worker: OperationsWorker) -> None:
    """By the worker, every few seconds."""
    client.set(keys.operations_worker(cluster), msgspec.json.encode(worker), ex=WORKER_KEPT_S)


def say_gone(client: redis.Redis, cluster: str) -> None:
    """By the worker, at its orderly end."""
    client.delete(keys.operations_worker(cluster))


def operations_worker(client: redis.Redis, cluster: str) -> OperationsWorker | None:
    """The worker that lives, or None. One round trip."""
    stored = client.getrange(keys.operations_worker(cluster), 0, MAX_WORD_BYTES)
    try:
        return msgspec.json.decode(stored, type=OperationsWorker) if stored else None
    except msgspec.MsgspecError:
        return None


def leave(client: redis.Redis, key: bytes, operation: object, now: float) -> str:
    """Puts an operation that the journal holds into its queue, signed with its worker's key; returns the RQ job's id.

    Two round trips. What is not of the closed list is a mistake of ours: TypeError.
    """
    from clusterstate.store.safe_jobs import SafeQueue, build_job

    if type(operation) not in OPERATIONS:
        raise TypeError(f"{type(operation).__name__} is not an operation.")
    cluster: str = operation.cluster  # type: ignore[attr-defined]  # every operation has one
    name = queues.operator_name(cluster)
    job_id = f"operations-{secrets.token_hex(12)}"
    job = build_job(client, key, operation, job_id, name, int((now + START_WITHIN_S) * 1000))
    job.ttl = START_WITHIN_S * 2
    queue = SafeQueue(queues.operations_queue(cluster), client)
    queue.enqueue_job(job)
    client.expire(queue.key, START_WITHIN_S * 2)
    return job_id
