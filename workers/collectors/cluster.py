"""The cluster collector: watches one cluster through its GCS and writes what it sees to Redis, until it is told to stop.

It outlives everything around it: Redis away or emptied, the GCS gone, back or another one, a missing token. Each loss ends
the present watch; the next begins with a new connection and a snapshot, so no state is carried over a gap.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from clusterstate import ingest
from clusterstate.settings import Settings
from clusterstate.store.connection import UNREACHABLE, connect
from workers.collectors.cluster_follow import Following, run_together
from workers.collectors.cluster_in_place import InPlace
from workers.collectors.cluster_queries import REDIS_MAY_TAKE_S, TaskQuestions
from workers.collectors.cluster_report import REPORT_EVERY_S, Reporter
from workers.collectors.cluster_session import Identity, identify
from workers.collectors.cluster_status import SessionChanged
from workers.collectors.cluster_store import Store, StoreAway
from workers.collectors.cluster_watch import Watch
from workers.sources.auth import ray_token, token_problem
from workers.sources.gcs import GcsClient, GcsError, GcsRefused, Traffic, own_credentials

if TYPE_CHECKING:
    import redis

    from clusterstate.loops import CollectCluster
    from clusterstate.store.leases import Lease

log = logging.getLogger("raydeck.cluster")

STOP_ASKED_EVERY_S = 0.2
BEAT_EVERY_S = 1.0
FIRST_ANSWERS_S = 0.1
"""After the snapshot: until the first polls have been answered."""
RETRY_S = 0.5
"""Between tries to reach a GCS or Redis: both are found again within a second."""
SHORT_WATCH_S = 5.0
MAX_PAUSE_S = 5.0
"""Before the next snapshot when watches end at once, again and again: a snapshot may cost the GCS a second."""


class Keeper(Protocol):
    """What keeps this loop's lease."""

    @property
    def lease(self) -> Lease: ...

    def beat(self) -> None: ...

    def should_stop(self) -> bool: ...


def collect_cluster(request: CollectCluster, keeper: Keeper, redis: redis.Redis, settings: Settings) -> None:
    """Runs until `keeper.should_stop()`. What `keeper.beat()` raises when another process took over is passed on."""
    asyncio.run(ClusterCollector(request, keeper, redis, settings).run())


class ClusterCollector:
    """Connects, watches, and begins again after whatever ended the watch."""

    def __init__(
        self, request: CollectCluster, keeper: Keeper, client: redis.Redis, settings: Settings, environ: Mapping[str, str] | None = None
    ) -> None:
        self._request = request
        self._keeper = keeper
        self._settings = settings
        self._environ = os.environ if environ is None else environ
        self._traffic = Traffic()
        self._redis = client
        self._store = Store(client, request.cluster, keeper.lease)
        self._reporter = Reporter(self._store, self._traffic)
        self._pause_s = 0.0

    async def run(self) -> None:
        """Until told to stop."""
        watching = asyncio.ensure_future(self._watch_for_ever())
        keeping = asyncio.ensure_future(self._keep())
        try:
            await asyncio.wait({watching, keeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (watching, keeping):
                task.cancel()
            ends = await asyncio.gather(watching, keeping, return_exceptions=True)
            self._store.close()
        for end in ends:
            if isinstance(end, BaseException) and not isinstance(end, asyncio.CancelledError):
                raise end

    async def _keep(self) -> None:
        """Beats in a thread of its own: a slow Redis must not look like a dead loop."""
        last_beat = float("-inf")
        while not self._keeper.should_stop():
            if time.monotonic() - last_beat >= BEAT_EVERY_S:
                last_beat = time.monotonic()
                await asyncio.to_thread(self._keeper.beat)
            await asyncio.sleep(STOP_ASKED_EVERY_S)

    async def _watch_for_ever(self) -> None:
        while True:
            try:
                await self._watch_once()
            except GcsError as problem:
                await self._tell_of_loss(self._sentence(problem))
            except StoreAway as problem:
                log.warning("%s: %s", self._request.cluster, problem)
            except SessionChanged as problem:
                log.info("%s: a new session answers: %s", self._request.cluster, problem)
            await asyncio.sleep(max(RETRY_S, self._pause_s))

    async def _watch_once(self) -> None:
        """One connection, from the first question to its end."""
        token = ray_token(self._environ)
        client = GcsClient(self._request.address, own_credentials(token, self._environ), self._traffic)
        try:
            identity = await identify(client, self._request.cluster, token is not None)
            await self._open(identity)
            self._reporter.found()
            watch = Watch(client, self._store, self._settings, identity.metadata.session)
            following = Following(watch, identity.only_polled)
            log.info("%s: watching %s at %s", self._request.cluster, watch.session, client.address)
            began = time.monotonic()
            await self._note_token(token)
            place = InPlace(watch, self._redis, client.address, token is not None) if self._settings.in_place else None
            beside = (
                [TaskQuestions(watch, connect(self._settings, timeout_s=REDIS_MAY_TAKE_S)).run()] if self._settings.cluster_listen else []
            )
            try:
                await run_together([following.run(), self._report_on(following), *beside, *([place.run()] if place else [])])
            finally:
                if place is not None and self._keeper.should_stop():
                    await place.hand_back()
                lasted_s = time.monotonic() - began
                self._pause_s = 0.0 if lasted_s > SHORT_WATCH_S else min(MAX_PAUSE_S, max(RETRY_S, self._pause_s * 2))
        finally:
            await client.close()

    async def _open(self, identity: Identity) -> None:
        """The session is the cluster's current one, in a Redis that knows it."""
        metadata, writer = identity.metadata, self._store.writer
        if writer is None or writer.session != metadata.session or not await self._store.is_known():
            await self._store.open(metadata, time.time())

    async def _note_token(self, token: str | None) -> None:
        try:
            await asyncio.to_thread(ingest.note_ray_token, self._redis, self._request.cluster, token)
        except UNREACHABLE as problem:
            raise StoreAway(f"Redis cannot be written: {type(problem).__name__}.") from None

    async def _report_on(self, following: Following) -> None:
        """Each second, and as soon as the first snapshot is written."""
        while not following.complete.is_set():
            await self._reporter.write(following, time.time())
            try:
                await asyncio.wait_for(following.complete.wait(), REPORT_EVERY_S)
            except asyncio.TimeoutError:
                pass  # a long snapshot: the report says that it is being written
        await asyncio.sleep(FIRST_ANSWERS_S)
        while True:
            await self._reporter.write(following, time.time())
            await asyncio.sleep(REPORT_EVERY_S)

    async def _tell_of_loss(self, sentence: str) -> None:
        """Says in the session that was watched last that nobody answers, and since when."""
        if self._reporter.trouble != sentence:
            log.warning("%s: %s", self._request.cluster, sentence)
        self._reporter.lost(sentence, time.time())
        try:
            if self._store.writer is not None or await self._store.reopen_last() is not None:
                await self._reporter.write(None, time.time())
        except StoreAway as problem:
            log.warning("%s: %s", self._request.cluster, problem)

    def _sentence(self, problem: GcsError) -> str:
        why = token_problem(self._environ) if isinstance(problem, GcsRefused) else None
        return f"{problem} {why}" if why else str(problem)
