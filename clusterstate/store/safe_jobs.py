"""RQ made safe: jobs are JSON, signed, small, from the closed lists, and run only after a worker has verified them.

RQ itself would import and call any dotted name, unpickle, unzip without bound, call callbacks and post to webhooks that
it finds in a job. Nothing of that is read here. This is the one module that imports RQ: its key prefix is set before.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import msgspec
import redis
from redis.exceptions import ResponseError

from clusterstate.loops import LOOPS
from clusterstate.operations import OPERATIONS
from clusterstate.probes import PROBES
from clusterstate.store import keys
from clusterstate.store.signing import is_signature, sign

_given_prefix = os.environ.get("RQ_KEY_PREFIX")
os.environ["RQ_KEY_PREFIX"] = keys.QUEUES  # RQ reads it when it is imported, and nowhere else
from rq import Queue, Worker  # noqa: E402
from rq.defaults import RQ_KEY_PREFIX  # noqa: E402
from rq.exceptions import DequeueTimeout, NoSuchJobError  # noqa: E402
from rq.job import Job  # noqa: E402
from rq.serializers import JSONSerializer  # noqa: E402
from rq.timeouts import BaseDeathPenalty, JobTimeoutException  # noqa: E402
from rq.utils import now as rq_now  # noqa: E402

if _given_prefix is None:
    del os.environ["RQ_KEY_PREFIX"]
else:
    os.environ["RQ_KEY_PREFIX"] = _given_prefix
if RQ_KEY_PREFIX != keys.QUEUES:
    raise ImportError("rq was imported before clusterstate.store.safe_jobs, which sets its key prefix.")

__all__ = ["JSONSerializer", "JobTimeoutException", "Refused", "SafeJob", "SafeQueue", "Worker", "build_job", "rq_now", "verify"]

MAX_PAYLOAD_BYTES = 64 * 1024
"""Of the payload as stored and after decompressing. The largest names 2,000 processes, 25 bytes each."""
MAX_FIELD_BYTES = 512
READ_FIELDS = ("created_at", "origin", "enqueued_at", "started_at", "ended_at", "status", "worker_name", "last_heartbeat")
SIGNED_FIELDS = ("rd_worker", "rd_expires_ms", "rd_signature")
FAILURE_KEPT_S = 60
HASH_KEPT_S = 3600

KINDS: dict[str, type[Any]] = {kind.answered_by: kind for kind in (*LOOPS, *PROBES, *OPERATIONS)}
"""The closed lists: function name → the dataclass of its fields. Nothing else is ever run."""


class Refused(Exception):
    """A piece of work was not run; the message says why."""


@dataclass(frozen=True)
class Seal:
    """Who a piece of work is for, until when it may start, and the signature over all of it."""

    worker: str
    expires_ms: int
    signature: str


class SafeJob(Job):
    """A job that can do nothing until a worker verified it and set `run`."""

    seal: Seal | None = None
    refusal: str | None = None
    run: Callable[[], object] | None = None

    def refresh(self) -> None:
        """Reads the job, at most as much as is allowed. What is wrong with it is kept in `refusal`, not raised."""
        try:
            found = _read_capped(self.connection, self.key)
            if found is None:
                raise NoSuchJobError(f"No such job: {self.key}")
            self.restore(found)
        except (Refused, ResponseError) as error:
            self._refuse(str(error))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            self._refuse(f"not readable: {type(error).__name__}: {error}"[:200])

    def restore(self, raw_data: Any) -> None:
        """Takes over the known fields alone: no callbacks, webhooks, meta, dependencies, retries, results or limits."""
        raw = {_text(name): value for name, value in dict(raw_data).items()}
        payload = unpack(raw.get("data") or b"")
        super().restore({name.encode(): raw[name] for name in READ_FIELDS if raw.get(name)} | {b"data": b""})
        self.data = payload
        self.seal = Seal(_text(raw["rd_worker"]), int(raw["rd_expires_ms"]), _text(raw["rd_signature"]))
        self.result_ttl, self.failure_ttl, self.description = 0, FAILURE_KEPT_S, ""

    def to_dict(self, include_meta: bool = True, include_result: bool = True) -> dict[str, Any]:
        stored = super().to_dict(include_meta=False, include_result=False)
        if self.seal is not None:
            stored |= dict(zip(SIGNED_FIELDS, (self.seal.worker, self.seal.expires_ms, self.seal.signature), strict=True))
        return dict(stored)

    def _execute(self) -> object:
        if self.run is None:
            raise Refused("The job was not verified.")
        return self.run()

    def _refuse(self, why: str) -> None:
        self.refusal = why
        self.data = json.dumps(["", None, [], {}]).encode()
        self.description = ""


class SafeQueue(Queue):
    """A queue of SafeJobs. A job that cannot be read is handed over with its refusal, so that the worker can say so."""

    job_class = SafeJob

    def __init__(self, name: str, connection: redis.Redis, **given: Any) -> None:
        given.pop("serializer", None)
        given.pop("job_class", None)
        super().__init__(name, connection=connection, serializer=JSONSerializer, job_class=SafeJob, **given)

    @classmethod
    def dequeue_any(
        cls,
        queues: Iterable[Queue],
        timeout: int | None,
        connection: redis.Redis,
        job_class: type[Job] | None = None,
        serializer: Any = None,
        death_penalty_class: type[BaseDeathPenalty] | None = None,
    ) -> tuple[Job, Queue] | None:
        """The next job of the one queue. Work that its worker dies on is not tried again by RQ: loops are missed by their
        heartbeat, and a probe's asker asks again."""
        [queue] = queues
        while True:
            found = connection.blpop([queue.key], timeout or 1)
            if found is None:
                if timeout is None:
                    return None
                raise DequeueTimeout(timeout, queue.key)
            job = _open_job(_bytes(found[1]), connection)
            if job is not None:
                return job, queue


def seal_job(key: bytes, job: SafeJob, worker: str, expires_ms: int) -> SafeJob:
    """Signs a job for one worker."""
    job.seal = Seal(worker, expires_ms, sign(key, job.id, str(job.func_name), job.kwargs, worker, expires_ms))
    return job


def build_job(client: redis.Redis, key: bytes, request: Any, job_id: str, worker: str, expires_ms: int) -> SafeJob:
    """A signed job that asks `worker` to do `request` (of a closed list), not stored yet."""
    job = SafeJob.create(
        func=type(request).answered_by,
        kwargs=asdict(request),
        connection=client,
        id=job_id,
        timeout=type(request).time_limit_s,
        result_ttl=0,
        failure_ttl=FAILURE_KEPT_S,
        description=type(request).__name__,
        serializer=JSONSerializer,
    )
    assert isinstance(job, SafeJob)  # noqa: S101 - for the type checker: create() makes one of its own class
    return seal_job(key, job, worker, expires_ms)


def verify(job: SafeJob, key: bytes, worker: str, allowed: tuple[type[Any], ...], now: float) -> Any:
    """The request of a job. Raises Refused unless it is whole, signed for this worker, in time and of an allowed kind."""
    if job.refusal is not None or job.seal is None:
        raise Refused(job.refusal or "not signed")
    name, instance, positional, named = _call(job.data)
    expected = sign(key, job.id, name, named, worker, job.seal.expires_ms)
    if job.seal.worker != worker or not is_signature(job.seal.signature, expected):
        raise Refused("not signed for this worker")
    if now * 1000 > job.seal.expires_ms:
        raise Refused("expired")
    kind = KINDS.get(name)
    if kind is None or kind not in allowed or instance is not None or positional:
        raise Refused("not a listed function of this worker")
    return as_request(kind, named)


def as_request(kind: type[Any], named: Mapping[str, object]) -> Any:
    """The dataclass of a request from foreign fields: exactly its names, exactly its types. Raises Refused."""
    unknown = set(named) - {f.name for f in fields(kind)}
    if unknown:
        raise Refused("fields that the request does not have")
    try:
        return msgspec.convert(dict(named), kind, strict=True)
    except msgspec.ValidationError as error:
        raise Refused(f"a field of the wrong type: {error}") from None


def unpack(packed: bytes) -> bytes:
    """Decompresses a payload without ever holding more than its limit. Raises Refused."""
    if len(packed) > MAX_PAYLOAD_BYTES:
        raise Refused("payload over its limit")
    reader = zlib.decompressobj()
    try:
        text = reader.decompress(packed, MAX_PAYLOAD_BYTES + 1)
    except zlib.error:
        raise Refused("payload is not compressed JSON") from None
    if len(text) > MAX_PAYLOAD_BYTES or not reader.eof or reader.unused_data:
        raise Refused("payload over its limit, or not whole")
    _call(text)
    return text


def _call(text: bytes) -> tuple[str, object, list[object], dict[str, object]]:
    """(function name, instance, positional, named) of a payload."""
    try:
        name, instance, positional, named = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        raise Refused("payload is not JSON of a call") from None
    if not isinstance(name, str) or not isinstance(positional, list) or not isinstance(named, dict):
        raise Refused("payload is not JSON of a call")
    return name, instance, positional, named


def _read_capped(client: redis.Redis, key: str) -> dict[str, bytes] | None:
    """The fields of a job that are looked at, after their sizes were; None if there is no such job."""
    names = [*READ_FIELDS, *SIGNED_FIELDS, "data"]
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.hstrlen(key, name)
        lengths = dict(zip(names, pipe.execute(), strict=True))
    if not any(lengths.values()):
        return None
    too_long = [name for name, length in lengths.items() if length > (MAX_PAYLOAD_BYTES if name == "data" else MAX_FIELD_BYTES)]
    if too_long:
        raise Refused(f"{too_long[0]} over its limit")
    return {name: value for name, value in zip(names, client.hmget(key, names), strict=True) if isinstance(value, bytes)}


def _open_job(raw_id: bytes, connection: redis.Redis) -> SafeJob | None:
    """The job of a queue's entry; None if it is no longer there."""
    try:
        job = SafeJob(raw_id.decode(), connection=connection, serializer=JSONSerializer)
    except ValueError:
        job = SafeJob("unreadable", connection=connection, serializer=JSONSerializer)
        job._refuse("an id that cannot be one")
        return job
    try:
        job.refresh()
    except NoSuchJobError:
        return None
    return job


def _bytes(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
