"""One watch over one session: subscribe, snapshot, then follow and poll until the connection, the session or the store is lost."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Coroutine, Iterable
from typing import Any

from workers.collectors.cluster_actors import Actors
from workers.collectors.cluster_groups import PlacementGroups
from workers.collectors.cluster_inbox import Inbox
from workers.collectors.cluster_jobs import Jobs
from workers.collectors.cluster_nodes import Nodes
from workers.collectors.cluster_polls import Poll
from workers.collectors.cluster_pushed import Pushed
from workers.collectors.cluster_status import AUTOSCALER_EVERY_S, Status
from workers.collectors.cluster_tasks import Tasks
from workers.collectors.cluster_watch import Watch
from workers.collectors.cluster_workers import Workers
from workers.sources.gcs import GcsUnimplemented
from workers.sources.pubsub import Published, Subscription

FLUSH_EVERY_S = 0.1
NODES_EVERY_S = 10.0
ACTORS_REPAIRED_EVERY_S = 30.0
FULL_EVERY_S = 30.0
"""Without pubsub: how often all actors are listed anew, at least; an actor that lived shorter than a poll is only found there."""
TRIM_EVERY_S = 5.0
LIVE_SHARE = 0.01
TASKS_SHARE = 0.01
"""Of the GCS's time: 100,000 attempts of living jobs, 2 s of it, are asked for each 200 s."""
TASKS_EVERY_S = 2.0
TASKS_BESIDE_PUSH = 0.2
"""Of that share, while events are pushed: the poll then only tells what Ray counts, and finds what was never pushed."""
FOLLOWED = ("actors", "jobs", "nodes", "workers")
PUBLISHED_OF = {"actor_message": "actors", "node_info_message": "nodes", "worker_delta_message": "workers", "job_message": "jobs"}


class Following:
    """Everything that is learnt over one connection."""

    def __init__(self, watch: Watch, only_polled: str | None) -> None:
        self.watch = watch
        self.only_polled = only_polled
        self.nodes = Nodes(watch)
        self.actors = Actors(watch)
        bad_ends: dict[str, str] = {}
        self.workers = Workers(watch, self.nodes, bad_ends)
        self.jobs = Jobs(watch, bad_ends)
        self.groups = PlacementGroups(watch)
        self.tasks = Tasks(watch)
        self.pushed = Pushed(watch, self.tasks)
        self.tasks.is_pushed = lambda: self.pushed.is_in_force
        self.status = Status(watch, self.nodes)
        self.polls = self._polls()
        self.complete = asyncio.Event()  # the snapshot is written
        self._inbox = Inbox()
        self._subscription = None if only_polled else Subscription(watch.gcs)
        self._touched = {kind: getattr(self, name).touched for kind, name in PUBLISHED_OF.items() if name != "jobs"}

    @property
    def followed(self) -> tuple[str, ...]:
        """What is published to us."""
        return () if self._subscription is None else FOLLOWED

    @property
    def pushed_to_us(self) -> tuple[str, ...]:
        """What Ray's agents push, now."""
        return ("tasks",) if self.pushed.is_in_force else ()

    @property
    def unreadable(self) -> str | None:
        """A sentence about messages that could not be decoded and were left out."""
        count = 0 if self._subscription is None else self._subscription.unreadable
        return f"{count} published messages cannot be read and are not shown." if count else None

    async def run(self) -> None:
        """Until something is lost: raises GcsError, StoreAway or SessionChanged. Leaves no task behind."""
        work: list[Coroutine[Any, Any, None]] = []
        if self._subscription is not None:
            try:
                await self._subscription.subscribe()
                work += [self._receive(self._subscription), self.watch.gcs.watch_connection()]
            except GcsUnimplemented as problem:
                self.only_polled, self._subscription = str(problem), None
                self.polls = self._polls()
        await run_together([*work, self._snapshot_then_poll()])

    async def _snapshot_then_poll(self) -> None:
        self._inbox.drop()
        for snapshot in (self.nodes.snapshot, self.jobs.snapshot, self.actors.snapshot, self.workers.snapshot, self.groups.load):
            await self._tolerant(snapshot())
        self.complete.set()
        each = self.watch.settings.poll_interval_s
        apart = each / len(self.polls)  # not all in one moment
        polls = (
            poll.run(self.watch.gcs, first_after_s=poll.every_s if poll.every_s > each else number * apart)
            for number, poll in enumerate(self.polls)
        )
        await run_together([*polls, self._flush(), self._trim(), self.pushed.run(), self.tasks.recall()])

    async def _tolerant(self, snapshot: Awaitable[None]) -> None:
        """A call that the cluster's release does not have is reported by its poll; the rest goes on."""
        try:
            await snapshot
        except GcsUnimplemented:
            pass

    async def _receive(self, subscription: Subscription) -> None:
        while True:
            messages = await subscription.next()
            for published in messages:
                self._note(published)
            self._inbox.put(messages)

    def _note(self, published: Published) -> None:
        touched = self._touched.get(published.kind)
        if touched is not None:
            touched.note(published.message.worker_id.hex() if published.kind == "worker_delta_message" else published.key_id)

    async def _flush(self) -> None:
        """Writes what was published; says as of when everything published is written."""
        while True:
            started_at, started = self.watch.now(), time.monotonic()
            while len(self._inbox):
                by_kind = self._inbox.take()
                for kind, name in PUBLISHED_OF.items():
                    if kind in by_kind:
                        await self._tolerant(getattr(self, name).apply(by_kind[kind]))
            await self._tolerant(self.actors.details())
            answered = self.watch.gcs.last_answer_at
            if self._subscription is not None and answered is not None and started - answered < self.watch.settings.poll_interval_s * 2:
                for name in ("actors", "nodes"):
                    self.watch.sources.right(name, started_at)
            await asyncio.sleep(max(0.0, started + FLUSH_EVERY_S - time.monotonic()))

    async def _trim(self) -> None:
        while True:
            await asyncio.sleep(TRIM_EVERY_S)
            await self.actors.trim_if_any_died()
            await self.tasks.trim_if_any_ended()
            for watched in (self.nodes, self.jobs, self.workers):
                await watched.trim()

    def _polls(self) -> list[Poll]:
        each, live = self.watch.settings.poll_interval_s, self.only_polled is None
        states = "GetAllActorInfo"
        polls = [
            Poll("status", self.status.poll, each, ("GetClusterStatus",)),
            Poll("status", self.status.ask_autoscaler, max(each, AUTOSCALER_EVERY_S), ("InternalKVMultiGet",)),
            Poll("jobs", self.jobs.poll, each, ("GetAllJobInfo", "InternalKVKeys")),
            Poll("workers", self.workers.poll, each, ("GetAllWorkerInfo",)),
            Poll("placement_groups", self.groups.poll, each, ("GetAllPlacementGroup",)),
            Poll(
                "tasks",
                self.tasks.poll,
                max(each, TASKS_EVERY_S),
                ("GetTaskEvents",),
                share=TASKS_SHARE,
                growth=math.inf,
                remembered=2,
                part=lambda: TASKS_BESIDE_PUSH if self.pushed.is_in_force else 1.0,
            ),
            Poll("nodes", self.nodes.list, NODES_EVERY_S if live else each, ("GetAllNodeInfo",)),
            Poll("actors", self.actors.repair, ACTORS_REPAIRED_EVERY_S if live else each, (states,), share=LIVE_SHARE),
        ]
        return polls if live else [*polls, Poll("actors", self.actors.snapshot, FULL_EVERY_S, (states,))]


async def run_together(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Runs coroutines until one raises; the others are cancelled and waited for. Returns when all have returned."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
