"""Leaving work for a worker and fetching its answer. What runs the work is in `workers`."""

from __future__ import annotations

import dataclasses
import secrets
from dataclasses import dataclass
from typing import Any

import msgspec
import redis

from clusterstate.loops import CollectCluster, Loop
from clusterstate.probes import PROBES
from clusterstate.store import keys
from clusterstate.store.signing import derive

ANSWER_KEPT_S = 300
STOP_KEPT_S = 600
"""Longer than any probe lasts."""
START_WITHIN_S = 10
"""A probe that nobody started by then is given up: whoever asked has gone."""
QUEUE_LIMIT = 100
"""Probes that may wait for one worker."""

WAITING, RUNNING, DONE, FAILED, TIMED_OUT, CANCELED, INTERRUPTED = (
    "WAITING",
    "RUNNING",
    "DONE",
    "FAILED",
    "TIMED_OUT",
    "CANCELED",
    "INTERRUPTED",
)
FINAL = frozenset({DONE, FAILED, TIMED_OUT, CANCELED, INTERRUPTED})


class QueueFull(Exception):
    """Too many probes wait for this worker already."""


@dataclass(frozen=True)
class Answer:
    """What is known of a probe so far."""

    probe_id: str
    state: str  # WAITING, RUNNING, DONE, FAILED, TIMED_OUT, CANCELED, INTERRUPTED
    asked_at: float  # Unix seconds
    value: Any = None  # of a DONE probe: plain JSON
    problem: str | None = None  # why there is no value, or why it was cut short
    progress: str | None = None  # of a RUNNING one, in words
    answered_at: float | None = None

    @property
    def is_final(self) -> bool:
        return self.state in FINAL


def worker_name(cluster: str, host: str) -> str:
    """What a node's worker is called in signatures."""
    return f"{cluster}:{host}"


def collector_name(cluster: str) -> str:
    """What a cluster's collector is called in signatures, on whichever host it runs. No cluster's name holds a slash."""
    return f"collector/{cluster}"


def worker_of(loop: Loop) -> str:
    """Who a loop is signed for: a cluster collector may run on any host that holds its key."""
    return collector_name(loop.cluster) if isinstance(loop, CollectCluster) else worker_name(loop.cluster, loop.host)


def operator_name(cluster: str) -> str:
    """What the worker that does a cluster's operations is called in signatures. No cluster's name holds a slash."""
    return f"operations/{cluster}"


def operations_queue(cluster: str) -> str:
    """Queue of what changes a cluster."""
    return f"operations.{cluster}"


def probe_queue(kind: str, cluster: str, host: str) -> str:
    """Queue of the quick or the long probes of a host, or of its profiles."""
    return f"{kind}.{cluster}.{host}"


def ask(client: redis.Redis, master_key: bytes, probe: Any, cluster: str, host: str, now: float, probe_id: str | None = None) -> str:
    """Puts a probe to the node worker of `host` (see clusterstate.hosts); returns the probe's id, a new one (`new_job_id`) unless given.

    Three round trips. Raises QueueFull. What is not of the closed list is a mistake of ours: TypeError.
    """
    from clusterstate.store.safe_jobs import SafeQueue, build_job

    if type(probe) not in PROBES:
        raise TypeError(f"{type(probe).__name__} is not a probe.")
    name = worker_name(cluster, host)
    queue = SafeQueue(probe_queue(type(probe).queue, cluster, host), client)
    if client.llen(queue.key) >= QUEUE_LIMIT:
        raise QueueFull(f"{QUEUE_LIMIT} questions wait for {host} already.")
    job = build_job(client, derive(master_key, name), probe, probe_id or new_job_id(host), name, int((now + START_WITHIN_S) * 1000))
    job.ttl = START_WITHIN_S * 2
    store_answer(client, Answer(job.id, WAITING, asked_at=now))
    queue.enqueue_job(job)
    client.expire(queue.key, ANSWER_KEPT_S)
    return job.id


def is_answered(client: redis.Redis, kind: str, cluster: str, host: str) -> bool:
    """Whether a worker works off such probes of a host, as of the last seconds."""
    return bool(client.exists(keys.attended(probe_queue(kind, cluster, host))))


def answer(client: redis.Redis, probe_id: str, now: float | None = None) -> Answer | None:
    """What is known of a probe; None if it was never asked or is forgotten. One round trip.

    With `now`, a probe that nobody started in time is called TIMED_OUT.
    """
    stored = client.get(keys.answer(probe_id))
    if not isinstance(stored, bytes):
        return None
    found = msgspec.json.decode(stored, type=Answer)
    if now is not None and found.state == WAITING and now > found.asked_at + START_WITHIN_S:
        return dataclasses.replace(found, state=TIMED_OUT, problem="No node worker took the question in time.")
    return found


def forget(client: redis.Redis, probe_id: str) -> None:
    """Its asker has the answer: megabytes of it need not stay."""
    client.delete(keys.answer(probe_id), keys.answer_parts(probe_id))


def cancel(client: redis.Redis, probe_id: str, kept_s: int = ANSWER_KEPT_S) -> None:
    """The asker no longer waits: a waiting probe is not started, a running one is stopped within a second."""
    found = answer(client, probe_id)
    if found is None or found.is_final:
        return
    client.set(keys.canceled(probe_id), b"1", ex=ANSWER_KEPT_S)
    if found.state == WAITING:
        store_answer(client, dataclasses.replace(found, state=CANCELED), kept_s=kept_s)


def stop(client: redis.Redis, probe_id: str) -> None:
    """A running probe that lasts is asked to end now, and to answer with what it has so far."""
    client.set(keys.stopped(probe_id), b"1", ex=STOP_KEPT_S)


def is_stopped(client: redis.Redis, probe_id: str) -> bool:
    return bool(client.exists(keys.stopped(probe_id)))


def is_canceled(client: redis.Redis, probe_id: str) -> bool:
    return bool(client.exists(keys.canceled(probe_id)))


def kept_s(probe: Any) -> int:
    """How long an answer to it is kept."""
    return int(getattr(probe, "kept_s", ANSWER_KEPT_S))


def store_answer(client: redis.Redis, found: Answer, max_bytes: int | None = None, kept_s: int = ANSWER_KEPT_S) -> None:
    """Keeps an answer for a while, in a key of its own. One over its limit is replaced by word of that."""
    blob = msgspec.json.encode(found)
    if max_bytes is not None and len(blob) > max_bytes:
        found = dataclasses.replace(found, state=FAILED, value=None, problem=f"The answer was larger than {max_bytes} bytes.")
        blob = msgspec.json.encode(found)
    client.set(keys.answer(found.probe_id), blob, ex=kept_s)


def store_part(client: redis.Redis, probe_id: str, blob: bytes, kept_s: int = ANSWER_KEPT_S) -> None:
    """Adds to what a probe has told so far. One round trip."""
    key = keys.answer_parts(probe_id)
    with client.pipeline(transaction=False) as pipe:
        pipe.rpush(key, blob)
        pipe.expire(key, kept_s)
        pipe.execute()


def parts_of(client: redis.Redis, probe_id: str, first: int = 0, last: int = -1) -> list[bytes]:
    """What a probe has told so far, in its order. One round trip."""
    found = client.lrange(keys.answer_parts(probe_id), first, last)
    return [blob for blob in found if isinstance(blob, bytes)]


def new_job_id(host: str) -> str:
    """An id that begins with the host it is for."""
    return f"{host}-{secrets.token_hex(12)}"
