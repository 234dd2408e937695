"""Tasks of a cluster by asking the GCS: job by job, only those that may still change, within a share of its time.

The GCS answers with every attempt that it holds of a job, whatever is asked, in proportion to their number. So a job that is
over is asked for once more after its last word is in, and then no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from clusterstate.model import Task
from clusterstate.resources import JOBS, TASKS, TEXTS
from clusterstate.store.writer import DEAD, SessionWriter
from clusterstate.task_states import has_ended
from workers.sources.gcs_decode_tasks import TaskReply
from workers.sources.gcs_wire import Unchanged
from workers.sources.task_merge import merge_all
from workers.sources.task_update import TaskUpdate, end_unknown

if TYPE_CHECKING:
    from clusterstate.model import Text
    from workers.collectors.cluster_watch import Watch

LAST_WORD_S = 20.0
"""After a job's end the GCS goes on learning how its tasks ended: it calls the rest failed after 15 s."""
AT_ONCE = 2000
"""Updates that are joined with what is kept in one go."""
NUMBERS_AT_ONCE = 10_000
"""A watch that ends leaves what it did not use unused."""
MAX_TEXTS = 200_000
"""Different long texts that are kept of one session: a program may make one up for each task."""


class Tasks:
    """Knows which jobs are settled, and which attempts have not ended."""

    def __init__(self, watch: Watch) -> None:
        self.evicted = 0
        self._watch = watch
        self._settled: set[str] = set()  # jobs of which everything was heard that the GCS knows
        self._dropped: dict[str, int] = {}
        self._unreadable: dict[str, int] = {}
        self._seen: dict[str, Unchanged] = {}  # the last replies' rows, by job
        self._open: dict[str, set[str]] = {}  # attempts that have not ended, by job
        self._texts: set[str] = set()
        self._sequence = Sequence()
        self._ended = 0

    @property
    def dropped(self) -> int:
        """Attempts of which Ray itself lost something, by its own count."""
        return sum(self._dropped.values())

    async def poll(self) -> None:
        """Each job that is not settled."""
        started = self._watch.now()
        for job_id, ended_ms in (await self._watch.store.run(_drivers)).items():
            if job_id in self._settled:
                continue
            asked = self._watch.now()
            await self._ask(job_id)
            if ended_ms is not None and asked * 1000 > ended_ms + LAST_WORD_S * 1000:
                await self._settle(job_id)
        self._watch.sources.unreadable("tasks", sum(self._unreadable.values()))
        self._watch.sources.right("tasks", started)

    async def trim_if_any_ended(self) -> None:
        """Gives up the oldest that have ended, over the limit."""
        if self._ended:
            self._ended = 0
            limit = self._watch.settings.max_tasks
            self.evicted = await self._watch.store.run(lambda writer: writer.trim_dead(TASKS, limit, self._watch.now()))

    async def _ask(self, job_id: str) -> None:
        rows = await self._watch.gcs.task_events(job_id=job_id, exclude_driver=True)
        seen = self._seen.setdefault(job_id, Unchanged())
        reply = TaskReply(rows, int(self._watch.now() * 1000), seen)
        await self._watch.store.run(lambda writer: self._join(writer, job_id, reply.updates()))
        seen.commit()
        self._dropped[job_id] = reply.totals.num_attempts_dropped
        self._unreadable[job_id] = reply.unreadable

    async def _settle(self, job_id: str) -> None:
        """The job is over and no more will be heard: what has no end has an unknown one."""
        left = self._open.pop(job_id, set())
        updates = (end_unknown(attempt[:48], int(attempt[48:] or "0", 16)) for attempt in sorted(left))
        await self._watch.store.run(lambda writer: self._join(writer, job_id, updates))
        self._open.pop(job_id, None)
        self._seen.pop(job_id, None)
        self._settled.add(job_id)

    def _join(self, writer: SessionWriter, job_id: str, updates: Iterable[TaskUpdate]) -> None:
        still_open = self._open.setdefault(job_id, set())

        def joined(known: Task | None, some: list[TaskUpdate]) -> Task:
            task = merge_all(known, some, self._sequence.next(writer) if known is None else 0)
            if has_ended(task.state):
                still_open.discard(task.attempt_id)
                self._ended += known is None or not has_ended(known.state)
            else:
                still_open.add(task.attempt_id)
            return task

        iterator = iter(updates)
        while chunk := list(islice(iterator, AT_ONCE)):
            by_attempt: dict[str, list[TaskUpdate]] = {}
            for update in chunk:
                by_attempt.setdefault(update.attempt_id, []).append(update)
            writer.record(TEXTS, self._new_texts(chunk), self._watch.now())
            writer.join(TASKS, by_attempt, joined)

    def _new_texts(self, updates: Iterable[TaskUpdate]) -> Iterator[Text]:
        """Before the rows that name them."""
        for update in updates:
            for text in update.texts:
                if text.text_id not in self._texts and len(self._texts) < MAX_TEXTS:
                    self._texts.add(text.text_id)
                    yield text


class Sequence:
    """Numbers attempts in the order in which they were first heard of, on and on through every watch over the session."""

    def __init__(self) -> None:
        self._numbers = iter(range(0))

    def next(self, writer: SessionWriter) -> int:
        number = next(self._numbers, None)
        if number is None:
            first = writer.reserve(TASKS, NUMBERS_AT_ONCE)
            self._numbers = iter(range(first, first + NUMBERS_AT_ONCE))
            number = next(self._numbers)
        return number


def _drivers(writer: SessionWriter) -> dict[str, int | None]:
    """Job id → when it ended, Unix ms; None while it runs."""
    jobs = [job for job in writer.rows(JOBS) if job.job_id is not None]
    return {job.job_id: (job.end_time_ms or 0) if DEAD[JOBS.name](job) else None for job in jobs}
