"""What loops run, and putting one back into its queue when its heartbeat is missing."""

from __future__ import annotations

from dataclasses import dataclass

import redis

from clusterstate.loops import CollectCluster, CollectNode, Loop
from clusterstate.store import keys, leases, queues
from clusterstate.store.connection import UNREACHABLE
from workers.backoff import LIVED_LONG_S, back_off_s

START_WITHIN_S = 3.0
"""An enqueued loop beats by then, or is enqueued again."""
SIGNED_FOR_S = 10.0


def loops_for(cluster: str, host: str, address: str, session_dir: str | None) -> tuple[CollectCluster, CollectNode]:
    """The loops of one machine that watches a cluster."""
    return CollectCluster(cluster, address, session_dir), CollectNode(cluster, host, address)


@dataclass
class LoopWatch:
    """Sees to it that a loop runs. `look` is called a few times a second and costs one round trip."""

    loop: Loop
    key: bytes
    host: str
    is_beating: bool = False
    untaken: int = 0  # times in a row that no worker took it
    redis_away: bool = False
    _next_try: float = 0.0
    _beating_since: float | None = None
    _failures: int = 0
    _tries: int = 0  # since it last beat

    def look(self, client: redis.Redis, now: float) -> None:
        """Enqueues the loop unless it beats or was enqueued a moment ago. `now` is Unix seconds. Redis away: nothing."""
        try:
            self.is_beating, self.redis_away = bool(client.exists(keys.heartbeat(self.loop.name))), False
            if self.is_beating:
                self._note_beat(now)
            elif self._may_enqueue(now):
                self._enqueue(client, now)
        except UNREACHABLE:
            self.is_beating, self.redis_away = False, True

    def worker_died(self, client: redis.Redis, pid: int) -> None:
        """Our worker, process `pid`, is gone, and a loop that it ran with it: what it held is free at once.

        A cluster's loop may have been taken by another host's worker, whoever enqueued it: that one goes on.
        """
        self._next_try = 0.0
        self._tries = 0
        try:
            leases.release_of_worker(client, self.loop.name, self.host, pid)
        except UNREACHABLE:
            pass  # it expires

    def _note_beat(self, now: float) -> None:
        self.untaken = self._tries = 0
        self._next_try = 0.0
        self._beating_since = self._beating_since or now
        if now - self._beating_since > LIVED_LONG_S:
            self._failures = 0

    def _may_enqueue(self, now: float) -> bool:
        if self._beating_since is not None:  # it has just ended
            lived = now - self._beating_since
            self._beating_since = None
            self._failures = 0 if lived > LIVED_LONG_S else self._failures + 1
            self._next_try = now + back_off_s(self._failures)
        return now >= self._next_try

    def _enqueue(self, client: redis.Redis, now: float) -> None:
        from clusterstate.store.safe_jobs import SafeQueue, build_job

        job_id = queues.new_job_id(self.host)
        expires_ms = int((now + SIGNED_FOR_S) * 1000)
        queue = SafeQueue(self.loop.queue, client)
        taken = self._tries == 0 or client.llen(queue.key) == 0
        self.untaken = 0 if taken else self.untaken + 1
        if self._tries and taken:  # a worker took it and it ended before it was seen to beat
            self._failures += 1
        client.delete(queue.key)  # each enqueueing supersedes those before it
        queue.enqueue_job(build_job(client, self.key, self.loop, job_id, queues.worker_of(self.loop), expires_ms))
        self._tries += 1
        self._next_try = now + max(START_WITHIN_S, back_off_s(self._failures))
