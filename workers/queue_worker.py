"""The RQ worker that runs our work: verifies before it forks, never tries anything twice, and stops when told to."""

from __future__ import annotations

import json
import logging
import os
import secrets
import signal
import time
from collections.abc import Callable
from typing import Any

import redis
from redis.exceptions import RedisError

from clusterstate.store import keys
from clusterstate.store.connection import UNREACHABLE
from clusterstate.store.safe_jobs import HASH_KEPT_S, JSONSerializer, Refused, SafeJob, SafeQueue, Worker, rq_now, verify
from workers.processes import die_with_parent

log = logging.getLogger("raydeck.worker")

REFUSED_KEPT = 100
REFUSED_KEPT_S = 7 * 24 * 3600
HORSE_STOPS_WITHIN_S = 1.5
RECONNECT_AT_MOST_S = 1.0
ATTENDED_S = 15
"""After the last word of a worker its queue counts as nobody's."""


class SafeWorker(Worker):
    """Works off one queue. `run` does a verified request in the forked child; `ended` is told when a child died of itself."""

    job_class = SafeJob
    queue_class: type[Any] = SafeQueue
    max_connection_wait_time = RECONNECT_AT_MOST_S

    def __init__(
        self,
        client: redis.Redis,
        queue: str,
        *,
        key: bytes,
        worker: str,
        allowed: tuple[type[Any], ...],
        run: Callable[[SafeJob, Any], object],
        ended: Callable[[SafeJob, Any], None] = lambda job, request: None,
        check_every_s: int = 20,
    ) -> None:
        self._key = key
        self._worker = worker
        self._allowed = allowed
        self._run = run
        self._ended = ended
        self._request: Any = None
        self._stop_horse = False
        super().__init__(
            [SafeQueue(queue, client)],
            name=f"{queue}-{os.getpid()}-{secrets.token_hex(4)}",
            connection=client,
            serializer=JSONSerializer,
            worker_ttl=20,  # a blocking read of 5 s, so that a dead connection is noticed
            job_monitoring_interval=check_every_s,
            work_horse_killed_handler=self._horse_died,
        )

    def subscribe(self) -> None:
        """Takes no orders from a channel: anybody who may publish could send them. This also saves a thread."""

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Says beside RQ's own record that somebody answers here: RQ writes who there is once, and never forgets a killed one."""
        super().heartbeat(timeout, pipeline)
        where = self.connection if pipeline is None else pipeline
        where.set(keys.attended(self.queues[0].name), b"1", ex=ATTENDED_S)

    def register_death(self) -> None:
        super().register_death()  # type: ignore[no-untyped-call]
        self.connection.delete(keys.attended(self.queues[0].name))

    def run_maintenance_tasks(self) -> None:
        """Drops what RQ's registries still list after its time. RQ's own way fetches and calls what it finds there."""
        now = time.time()
        for queue in self.queues:
            for registry in (queue.started_job_registry, queue.failed_job_registry, queue.finished_job_registry):
                self.connection.zremrangebyscore(registry.key, 0, now)
        self.last_cleaned_at = rq_now()  # type: ignore[assignment]  # RQ says None and means a time

    def execute_job(self, job: Any, queue: Any) -> None:
        """Verifies, marks as started for good, forks."""
        try:
            self._request = verify(job, self._key, self._worker, self._allowed, time.time())
            self._claim(job)
        except Refused as refusal:
            self._bury(job, queue, str(refusal))
            return
        job.timeout = type(self._request).time_limit_s
        job.run = lambda: self._run(job, self._request)
        super().execute_job(job, queue)

    def maintain_heartbeats(self, job: Any, execution: Any) -> None:
        """Keeps RQ's records. Redis being away does not end the work."""
        try:
            super().maintain_heartbeats(job, execution)
            self.connection.expire(job.key, HASH_KEPT_S)
            if self._is_canceled(job):
                self._stopped_job_id = job.id
                self.kill_horse()
        except UNREACHABLE:
            log.warning("Redis is away; the work goes on.")

    def _handle_stopped_job(self, job: Any, queue: Any, execution: Any) -> None:
        self._horse_died(job, None, None, None)
        super()._handle_stopped_job(job, queue, execution)

    def main_work_horse(self, job: Any, queue: Any) -> None:
        die_with_parent(self.pid or os.getppid())
        super().main_work_horse(job, queue)

    def setup_work_horse_signals(self) -> None:
        """SIGTERM asks the work to return; it is ended shortly after if it does not."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._on_horse_sigterm)

    def stopping(self) -> bool:
        """In the child: whether it was told to stop."""
        return self._stop_horse

    def handle_warm_shutdown_request(self) -> None:
        """An endless job would be waited for without end: it is told to stop as well."""
        if self.horse_pid:
            try:
                os.kill(self.horse_pid, signal.SIGTERM)
            except ProcessLookupError:
                pass

    def _on_horse_sigterm(self, signum: int, frame: object) -> None:
        self._stop_horse = True
        signal.signal(signal.SIGALRM, lambda *_: os._exit(1))
        signal.setitimer(signal.ITIMER_REAL, HORSE_STOPS_WITHIN_S)

    def _claim(self, job: SafeJob) -> None:
        """A signed job is started once, whatever is put into the queue again while its signature is valid."""
        assert job.seal is not None  # noqa: S101 - verify() saw it
        lasts_ms = max(1000, job.seal.expires_ms - int(time.time() * 1000) + 60_000)
        if not self.connection.set(keys.started(job.id), b"1", nx=True, px=lasts_ms):
            raise Refused("started before")
        if self._is_canceled(job):
            raise Refused("canceled")

    def _is_canceled(self, job: SafeJob) -> bool:
        return bool(self.connection.exists(keys.canceled(job.id)))

    def _bury(self, job: SafeJob, queue: SafeQueue, why: str) -> None:
        """Keeps a note of refused work, not the work."""
        log.warning("Refused work %s of %s: %s", job.id, queue.name, why)
        note = json.dumps({"job_id": job.id, "queue": queue.name, "why": why, "at": time.time()})
        with self.connection.pipeline(transaction=False) as pipe:
            pipe.lpush(keys.refused(), note)
            pipe.ltrim(keys.refused(), 0, REFUSED_KEPT - 1)
            pipe.expire(keys.refused(), REFUSED_KEPT_S)
            pipe.delete(job.key)
            pipe.execute()

    def _horse_died(self, job: Any, pid: Any, status: Any, usage: Any) -> None:
        try:
            self._ended(job, self._request)
        except RedisError:
            log.warning("Redis is away; the end of %s was not noted.", job.id)
