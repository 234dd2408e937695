"""Tasks of a cluster: what is pushed and what is asked for come together here, attempt by attempt.

The GCS answers with every attempt that it holds of a job, whatever is asked, in proportion to their number. So each job is asked
for on its own, within a share of the GCS's time, and one that is over only until its last word is in.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from clusterstate.model import Task, TaskTotals
from clusterstate.resources import JOBS, TASK_TOTALS, TASKS, TEXTS
from clusterstate.store.recent import Seen
from clusterstate.store.writer import DEAD, SessionWriter
from clusterstate.task_states import has_ended
from workers.collectors.task_tally import GivenUp
from workers.sources.gcs_decode_tasks import ReplyTotals, TaskReply
from workers.sources.gcs_wire import Unchanged
from workers.sources.task_merge import merge_all
from workers.sources.task_update import TaskUpdate, end_unknown

if TYPE_CHECKING:
    from clusterstate.model import Text
    from workers.collectors.cluster_watch import Watch

LAST_WORD_S = 20.0
"""After a job's end the GCS goes on learning how its tasks ended: it calls the rest failed after 15 s."""
SETTLED_EVERY_S = 5.0
QUIET_S = 10.0
"""Nothing was pushed of a job for so long: what the GCS counts and we do not know will not come by itself."""
AT_ONCE = 20_000
"""Updates that are joined with what is kept in one go: the more of them tell of one attempt, the less often its row is written."""
NUMBERS_AT_ONCE = 10_000
"""A watch that ends leaves what it did not use unused."""
RECALLED_AT_ONCE = 5000
LEAST_OPEN = 10_000
"""Attempts that have not ended are kept at least, however few that ended are."""
MAX_TEXTS = 200_000
"""Different long texts that are kept of one session: a program may make one up for each task."""
MAX_CHARACTERS = 256 * 1024 * 1024
"""Of all of them together. Rows name further ones, and have none."""


class Tasks:
    """Knows which jobs are settled, and which attempts have not ended."""

    def __init__(self, watch: Watch) -> None:
        self.evicted = 0
        self.not_kept = 0  # reports of new attempts that had not ended, beyond the limit of those
        self.is_pushed: Callable[[], bool] = lambda: False  # whether what is new is told without being asked for
        self._watch = watch
        self._settled: set[str] = set()  # jobs of which everything was heard that the GCS knows
        self._counted: dict[str, ReplyTotals] = {}  # by the GCS, by job
        self._unreadable: dict[str, int] = {}
        self._seen: dict[str, Unchanged] = {}  # the last replies' rows, by job
        self._open: dict[str, set[str]] = {}  # attempts that have not ended, by job
        self._seen_ids = Seen(watch.settings.max_tasks)  # of attempts that were ever kept
        self._known: Counter[str] = Counter()  # attempts that are kept, by job
        self.is_recalled = asyncio.Event()  # what was kept before is known: nothing may be joined earlier
        self._heard_at: dict[str, float] = {}  # when something of a job was pushed last
        self._was_pushed: set[str] = set()  # jobs of which anything ever was
        self._texts: set[str] = set()  # their ids
        self._characters = 0
        self._sequence = Sequence()
        self._given_up = GivenUp()
        self._ended = 0

    @property
    def dropped(self) -> int:
        """Attempts that Ray itself lost or lost something of, by the GCS's count.

        Of a job whose tasks are pushed only those that are not known: what the GCS gives up then is lost to nobody.
        """
        return sum(
            min(counted.num_attempts_dropped, max(0, counted.num_attempts - self._known[job_id]))
            if job_id in self._was_pushed
            else counted.num_attempts_dropped
            for job_id, counted in list(self._counted.items())
        )

    async def poll(self) -> None:
        """Each job that is not settled."""
        await self.is_recalled.wait()
        started = self._watch.now()
        for job_id, ended_ms in (await self._watch.store.run(_drivers)).items():
            if job_id in self._settled:
                continue
            asked = self._watch.now()
            is_all = await self._ask(job_id)
            if is_all and ended_ms is not None and asked * 1000 > ended_ms + LAST_WORD_S * 1000:
                await self._watch.store.run(partial(self._settle, job_id, is_polled=True))
        self._watch.sources.unreadable("tasks", sum(self._unreadable.values()))
        if not self.is_pushed():  # else that is said by who knows how much waits to be read
            self._watch.sources.right("tasks", started)

    def take(self, writer: SessionWriter, updates: Iterable[TaskUpdate]) -> bool:
        """What was pushed; whether it was anything. A job that counted as settled is looked at again."""
        now = self._watch.now()
        jobs = self._join(writer, updates)
        for job_id in jobs:
            self._heard_at[job_id] = now
            self._was_pushed.add(job_id)
            self._settled.discard(job_id)
        return bool(jobs)

    async def recall(self) -> None:
        """Finds the attempts that had not ended when the last watch did, then settles jobs of which nothing is pushed any more.

        The poll settles them as well, but beside what is pushed it comes seldom.
        """
        self.evicted = await self._watch.store.run(lambda writer: writer.evicted(TASKS))
        texts: Iterator[Text] = await self._watch.store.run(lambda writer: writer.rows(TEXTS))
        while await self._watch.store.run(lambda _: self._note_texts(islice(texts, RECALLED_AT_ONCE))):
            pass
        rows: Iterator[Task] = await self._watch.store.run(lambda writer: writer.rows(TASKS))
        while await self._watch.store.run(lambda _: self._note(islice(rows, RECALLED_AT_ONCE))):
            pass
        self.is_recalled.set()
        while True:
            await asyncio.sleep(SETTLED_EVERY_S)
            now = self._watch.now()
            quiet = [job_id for job_id, at in list(self._heard_at.items()) if now - at > LAST_WORD_S]
            if quiet:
                drivers = await self._watch.store.run(_drivers)
                for job_id in quiet:
                    ended_ms = drivers.get(job_id)
                    if ended_ms is not None and now * 1000 > ended_ms + LAST_WORD_S * 1000:
                        await self._watch.store.run(partial(self._settle, job_id, is_polled=False))

    async def trim_if_any_ended(self) -> None:
        """Gives up the oldest that have ended, over the limit."""
        if self._ended:
            self._ended = 0
            limit = self._watch.settings.max_tasks
            self.evicted = await self._watch.store.run(
                lambda writer: writer.trim_dead(TASKS, limit, self._watch.now(), self._given_up.tally)
            )

    async def _ask(self, job_id: str) -> bool:
        """What is pushed is only counted at the GCS, unless that counts more than came and nothing of it is on its way.

        Whether all that the GCS has is known now.
        """
        if self.is_pushed():
            missing = await self._count(job_id) - self._known[job_id]
            if missing <= 0 or self._watch.now() - self._heard_at.get(job_id, 0.0) < QUIET_S:
                return missing <= 0
        await self._ask_all(job_id)
        return True

    async def _count(self, job_id: str) -> int:
        """How many attempts the GCS stores of the job. It costs it half of a whole answer, and us nothing."""
        reply = TaskReply(await self._watch.gcs.task_events(job_id=job_id, exclude_driver=True, limit=0), 0)
        for _ in reply.updates():
            pass
        await self._note_totals(job_id, reply.totals)
        return reply.totals.num_attempts - reply.totals.num_attempts_dropped

    async def _ask_all(self, job_id: str) -> None:
        rows = await self._watch.gcs.task_events(job_id=job_id, exclude_driver=True)
        seen = self._seen.setdefault(job_id, Unchanged())
        reply = TaskReply(rows, int(self._watch.now() * 1000), seen)
        await self._watch.store.run(lambda writer: self._join(writer, reply.updates()))
        seen.commit()
        self._unreadable[job_id] = reply.unreadable
        await self._note_totals(job_id, reply.totals)

    async def _note_totals(self, job_id: str, totals: ReplyTotals) -> None:
        self._counted[job_id] = totals
        counted = TaskTotals(job_id, totals.num_attempts, totals.num_attempts_dropped)
        await self._watch.store.run(lambda writer: writer.record(TASK_TOTALS, [counted], self._watch.now()))

    def _settle(self, job_id: str, writer: SessionWriter, *, is_polled: bool) -> None:
        """The job is over and no more will be heard of it: what has no end has an unknown one. In the store's thread, as `take`.

        `is_polled`: the GCS was asked since its end. Not when something was pushed just now.
        """
        if self._watch.now() - self._heard_at.get(job_id, float("-inf")) < QUIET_S:
            return
        left = sorted(self._open.pop(job_id, ()))
        self._join(writer, (end_unknown(attempt[:48], int(attempt[48:] or "0", 16)) for attempt in left))
        self._open.pop(job_id, None)
        self._heard_at.pop(job_id, None)
        if is_polled:
            self._seen.pop(job_id, None)
            self._settled.add(job_id)

    def _note_texts(self, texts: Iterable[Text]) -> int:
        """The same for texts."""
        count = 0
        for text in texts:
            count += 1
            self._texts.add(text.text_id)
            self._characters += len(text.text)
        return count

    def _note(self, rows: Iterable[Task]) -> int:
        """Takes note of rows that are kept already; returns how many there were."""
        count = 0
        for task in rows:
            count += 1
            self._seen_ids.note(task.attempt_id)
            self._known[task.task_id[-8:]] += 1
            if not has_ended(task.state):
                self._open.setdefault(task.task_id[-8:], set()).add(task.attempt_id)
        return count

    def _join(self, writer: SessionWriter, updates: Iterable[TaskUpdate]) -> set[str]:
        """Writes what is new; returns the ids of the jobs that were told of."""

        until = writer.given_up_until(TASKS)
        certainly_new: set[str] = set()
        room = 0

        def is_new(item: str) -> bool:
            found = not self._seen_ids.note(item)
            if found:
                certainly_new.add(item)
            return found

        def joined(known: Task | None, some: list[TaskUpdate]) -> Task | None:
            nonlocal room
            if known is None and is_of_the_past(some, until, some[0].attempt_id not in certainly_new):
                return None
            task = merge_all(known, some, self._sequence.next(writer) if known is None else 0)
            if known is None and not has_ended(task.state):
                if room <= 0:
                    self.not_kept += 1
                    return None
                room -= 1
            job_id = task.task_id[-8:]
            self._known[job_id] += known is None
            still_open = self._open.setdefault(job_id, set())
            if has_ended(task.state):
                still_open.discard(task.attempt_id)
                self._ended += known is None or not has_ended(known.state)
            else:
                still_open.add(task.attempt_id)
            return task

        jobs: set[str] = set()
        iterator = iter(updates)
        while chunk := list(islice(iterator, AT_ONCE)):
            by_attempt: dict[str, list[TaskUpdate]] = {}
            for update in chunk:
                by_attempt.setdefault(update.attempt_id, []).append(update)
            jobs.update(attempt[40:48] for attempt in by_attempt)
            writer.record(TEXTS, self._new_texts(chunk), self._watch.now())
            room = self._room()
            writer.join(TASKS, by_attempt, joined, is_new=is_new)
            certainly_new.clear()
        return jobs

    def _room(self) -> int:
        """How many more attempts that have not ended are kept: these are never given up, and anybody who may push can make some up."""
        return max(LEAST_OPEN, 2 * self._watch.settings.max_tasks) - sum(map(len, self._open.values()))

    def _new_texts(self, updates: Iterable[TaskUpdate]) -> Iterator[Text]:
        """Before the rows that name them."""
        for update in updates:
            for text in update.texts:
                if text.text_id not in self._texts and len(self._texts) < MAX_TEXTS and self._characters < MAX_CHARACTERS:
                    self._texts.add(text.text_id)
                    self._characters += len(text.text)
                    yield text


def is_of_the_past(updates: list[TaskUpdate], until: int, was_seen: bool) -> bool:
    """Whether they tell of an attempt that was given up, and goes on counting: all of it is before the end of one that was.

    `until`: that end, in Unix ms; 0: none was given up. `was_seen`: such an attempt was most probably kept once.
    """
    ends = [update.end_time_ms for update in updates if update.end_time_ms is not None]
    moments = [*ends, *(ms for update in updates for ms in update.times.values())]
    return bool(until) and max(moments, default=0) <= until and (was_seen or bool(ends))


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
