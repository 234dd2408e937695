"""Task events that Ray's agents pushed: from this host's spool into the session's tasks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from clusterstate import paths
from clusterstate.model import PushReport
from clusterstate.spool import JSON, PROTOBUF, Record, SpoolReader
from clusterstate.store.writer import SessionWriter
from workers.sources.events_decode import PushedBody
from workers.sources.events_decode_json import ExportedBody
from workers.sources.task_update import TaskUpdate, is_of_driver

if TYPE_CHECKING:
    from workers.collectors.cluster_tasks import Tasks
    from workers.collectors.cluster_watch import Watch

log = logging.getLogger("raydeck.cluster")

EVERY_S = 0.25
AT_ONCE_BYTES = 4 * 1024 * 1024
"""Of bodies that are read in one go: 7,000 events."""
JOINED_AT_ONCE = 10_000
"""Events that are decoded and joined in one go, a second at most: other rows wait for so long."""
IN_FORCE_S = 60.0
"""Pushing is how tasks are learnt as long as events came within this: a cluster may have nothing to tell for a while."""


class Pushed:
    """Reads behind the receivers. What it took and could not write is read again."""

    def __init__(self, watch: Watch, tasks: Tasks) -> None:
        self._watch = watch
        self._tasks = tasks
        self._spool = SpoolReader(paths.spool_dir(watch.settings.state_dir, watch.store.cluster))
        self._report = PushReport()
        self._last_at: float | None = None  # when an event of this session was taken

    @property
    def is_in_force(self) -> bool:
        """Whether tasks are learnt this way now."""
        return self._last_at is not None and (self._watch.now() - self._last_at < IN_FORCE_S or self._spool.waiting_bytes > 0)

    def report(self) -> PushReport:
        """What came so far in this watch."""
        return replace(self._report, waiting_bytes=self._spool.waiting_bytes, broken=self._spool.broken)

    async def run(self) -> None:
        """For ever."""
        await self._tasks.is_recalled.wait()
        while True:
            started = self._watch.now()
            records = await self._watch.store.run(lambda _: self._spool.read(AT_ONCE_BYTES))
            updates = self._updates(records)
            while await self._watch.store.run(partial(self._join_some, updates)):
                pass
            self._spool.confirm()
            if sum(len(record.body) for record in records) < AT_ONCE_BYTES:
                if self.is_in_force:
                    self._watch.sources.right("tasks", started)
                await asyncio.sleep(EVERY_S)

    def _join_some(self, updates: Iterator[TaskUpdate], writer: SessionWriter) -> bool:
        """Decodes and joins some of what is left; whether there was any."""
        return self._tasks.take(writer, islice(updates, JOINED_AT_ONCE))

    def _updates(self, records: list[Record]) -> Iterator[TaskUpdate]:
        for record in records:
            if record.kind == PROTOBUF:
                body = PushedBody(record.body, int(self._watch.now() * 1000), self._watch.session)
            elif record.kind == JSON:
                body = ExportedBody(record.body, int(self._watch.now() * 1000), self._watch.session)
            else:
                self._report = self._report.plus(set_aside=1)
                continue
            try:
                yield from (update for update in body.updates() if not is_of_driver(update.task_id))
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as problem:
                log.warning("a pushed body was left at an event that cannot be read: %r", problem)
                body.unreadable += 1
            lost = _lost(body)
            yield from (TaskUpdate(*attempt, {"is_dropped": True}) for attempt in lost)
            self._count(body, record, len(lost))

    def _count(self, body: PushedBody, record: Record, lost: int) -> None:
        if body.read or lost:
            self._last_at = record.received_at
        if body.unreadable and not body.read:
            log.warning("a pushed body of %d bytes cannot be read; it is counted and left out", len(record.body))
        self._report = self._report.plus(
            bodies=1,
            events=body.read,
            unreadable=body.unreadable,
            of_other_sessions=body.of_other_sessions,
            dropped=lost,
            last_at=record.received_at,
        )


def _lost(body: PushedBody) -> list[tuple[str, int]]:
    """Attempts that Ray lost events of. They name no session: they are of that of the events beside them."""
    if body.of_other_sessions and not body.read:
        return []
    return [(task_id, attempt) for task_id, attempt in body.dropped if not is_of_driver(task_id)]
