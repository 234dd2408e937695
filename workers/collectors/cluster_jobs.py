"""Jobs of a cluster: drivers from the GCS's job table, submissions from its KV, joined into one row where they belong together.

A submission has a row under its own id; its first driver (the lowest job id) is part of that row, further drivers have
rows of their own. What is asked each time is cheap: both skips, the KV's keys, and the records of what may still change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from clusterstate.model import Job
from clusterstate.resources import JOBS
from clusterstate.store.writer import SessionWriter
from workers.collectors.cluster_watch import Watch
from workers.sources.gcs_decode_jobs import (
    SUBMISSION_KEY_PREFIX,
    TERMINAL,
    driver_job_of,
    keyed,
    submission_id_of,
    submission_job_of,
    with_driver,
    with_submission,
)
from workers.sources.gcs_wire import Unchanged

KV_NAMESPACE = "job"
EVIDENCE_A_TIME = 2000
"""Bad ends that are looked up at once, after a long time away."""


class Jobs:
    """Knows which submissions there are, which of them may change, and which driver is the first of each."""

    def __init__(self, watch: Watch, bad_ends: dict[str, str]) -> None:
        """`bad_ends`: job id → how its driver's process ended badly. What is written into a row is taken out."""
        self.keys: dict[str, bytes] = {}  # submission id -> its key in the KV
        self.unfinished: set[str] = set()
        self.evicted = 0
        self._finished: set[str] = set()
        self.first_driver: dict[str, str] = {}  # submission id -> job id
        self._claims: dict[str, list[str]] = {}  # submission id without a record -> job ids that name it
        self._job_ids: set[str] = set()
        self._bad_ends = bad_ends
        self._seen = Unchanged()
        self._watch = watch

    async def poll(self) -> None:
        """All drivers, all submission ids, and the records that are new or unfinished."""
        started = self._watch.now()
        rows = await self._watch.gcs.all_jobs()
        drivers = [driver_job_of(message) for message in self._seen.changed(rows)]
        gone = await self._list_submissions()
        records = await self._read_submissions(self.unfinished | (self.keys.keys() - self._recorded))
        await self._write(drivers, records, gone)
        self._seen.commit()
        self._watch.sources.unreadable("jobs", rows.unreadable)
        self._watch.sources.right("jobs", started)

    async def apply(self, published: Sequence[tuple[str, Any]]) -> None:
        """Published drivers: whole rows. The record of a submission they name may not be known yet."""
        drivers = [driver_job_of(message) for _, message in published]
        named = {job.submission_id for job in drivers if job.submission_id and job.submission_id not in self.keys}
        gone = await self._list_submissions() if named else []
        records = await self._read_submissions(named)
        await self._write(drivers, records, gone)

    async def trim(self) -> None:
        limit = self._watch.settings.max_finished_jobs
        self.evicted = await self._watch.store.run(lambda writer: writer.trim_dead(JOBS, limit, self._watch.now()))

    async def snapshot(self) -> None:
        """The first poll asks for everything; what was deleted while nobody looked is forgotten."""
        if not self.keys:
            kept = await self._watch.store.run(lambda writer: [job.submission_id for job in writer.rows(JOBS) if job.submission_id])
            self.keys = dict.fromkeys(kept, b"")
        await self.poll()
        await self.trim()

    @property
    def _recorded(self) -> set[str]:
        return self._finished | self.unfinished

    async def _list_submissions(self) -> list[str]:
        """Which submissions there are now; those that were deleted are returned."""
        keys = await self._watch.gcs.kv_keys(KV_NAMESPACE, SUBMISSION_KEY_PREFIX)
        listed = {submission_id: key for key in keys if (submission_id := submission_id_of(key))}
        gone = [submission_id for submission_id in self.keys if submission_id not in listed]
        self.keys = listed
        for submission_id in gone:
            self.unfinished.discard(submission_id)
            self._finished.discard(submission_id)
        return gone

    async def _read_submissions(self, ids: Iterable[str]) -> list[Job]:
        wanted = {self.keys[submission_id]: submission_id for submission_id in ids if submission_id in self.keys}
        values = await self._watch.gcs.kv_multi_get(KV_NAMESPACE, sorted(wanted)) if wanted else {}
        found = {wanted[key]: submission_job_of(wanted[key], value) for key, value in values.items() if key in wanted}
        self._finished.update(submission_id for submission_id, job in found.items() if job is None)  # not asked for again
        return [job for job in found.values() if job is not None]

    async def _write(self, drivers: Sequence[Job], submissions: Sequence[Job], gone: Sequence[str]) -> None:
        if drivers or submissions or gone or self._bad_ends:
            await self._watch.store.run(lambda writer: self._join(writer, drivers, submissions, gone))

    def _join(self, writer: SessionWriter, drivers: Sequence[Job], submissions: Sequence[Job], gone: Sequence[str]) -> None:
        """Brings drivers and submissions together with the rows that are kept. Runs in the store's thread."""
        self._job_ids.update(job.job_id for job in drivers if job.job_id)
        drivers = self._with_evidence(writer, drivers)
        rows = _Rows(writer, self._key_of)
        rows.load([*(job.submission_id for job in drivers), *(job.submission_id for job in submissions)])
        for submission in submissions:
            self._put_submission(rows, submission)
        for driver in sorted(drivers, key=lambda job: job.job_id or ""):
            self._put_driver(rows, driver)
        now = self._watch.now()
        writer.record(JOBS, sorted(rows.changed.values(), key=lambda job: job.end_time_ms or 0), now)
        forgotten = [self._key_of(submission_id) for submission_id in gone] + rows.forgotten
        if forgotten:
            writer.forget(JOBS, forgotten, now)
        for submission_id in gone:
            self.first_driver.pop(submission_id, None)

    def _put_submission(self, rows: _Rows, submission: Job) -> None:
        submission_id = submission.submission_id or ""
        finished = submission.status in TERMINAL
        (self._finished.add if finished else self.unfinished.add)(submission_id)
        (self.unfinished.discard if finished else self._finished.discard)(submission_id)
        joined = with_submission(rows.of(submission_id), submission)
        for job_id in sorted(self._claims.pop(submission_id, [])):
            if joined.job_id is None:  # its driver came first and has a row of its own until now
                joined = with_driver(joined, rows.take(job_id))
                self.first_driver[submission_id] = job_id
        if joined.job_id is not None:
            self.first_driver.setdefault(submission_id, joined.job_id)
        rows.put(submission_id, keyed(joined, self._job_ids))

    def _put_driver(self, rows: _Rows, driver: Job) -> None:
        submission_id, job_id = driver.submission_id, driver.job_id or ""
        if submission_id is None:
            rows.put(None, driver)
            return
        submission = rows.of(submission_id)
        if submission_id not in self.keys or submission is None:
            self._claims.setdefault(submission_id, []).append(job_id)
            rows.put(None, driver)
        elif self.first_driver.setdefault(submission_id, submission.job_id or job_id) == job_id:
            rows.put(submission_id, keyed(with_driver(submission, driver), self._job_ids))
        else:
            rows.put(None, driver)

    def _with_evidence(self, writer: SessionWriter, drivers: Sequence[Job]) -> list[Job]:
        """These driver jobs, and those of which a bad end was heard since they were written, with what is known of it."""
        heard = list(self._bad_ends)[:EVIDENCE_A_TIME]
        given = {job.job_id for job in drivers}
        ended = [job.job_id for job in drivers if job.job_id and job.status in TERMINAL]
        keys = list(dict.fromkeys([*(job_id for job_id in heard if job_id not in given), *ended]))
        kept = {row.job_id: row for row in writer.get(JOBS, keys) if row is not None and row.type == "DRIVER"}
        found = {job_id: row.driver_evidence for job_id, row in kept.items() if row.driver_evidence}
        late = [row for job_id, row in kept.items() if job_id not in given]
        for job_id in heard:
            if job_id in given or job_id in kept or job_id in self._job_ids:
                found[job_id] = self._bad_ends.pop(job_id)
        return [replace(job, driver_evidence=found.get(job.job_id)) for job in (*drivers, *late)]

    def _key_of(self, submission_id: str) -> str:
        collides = submission_id in self._job_ids and self.first_driver.get(submission_id) != submission_id
        return f"submission:{submission_id}" if collides else submission_id


class _Rows:
    """Job rows while they are being joined: read once, written once."""

    def __init__(self, writer: SessionWriter, key_of: Any) -> None:
        self.changed: dict[str, Job] = {}
        self.forgotten: list[str] = []
        self._writer = writer
        self._key_of = key_of
        self._known: dict[str, Job | None] = {}

    def load(self, submission_ids: Iterable[str | None]) -> None:
        ids = sorted({submission_id for submission_id in submission_ids if submission_id})
        rows = self._writer.get(JOBS, [self._key_of(submission_id) for submission_id in ids])
        self._known = {submission_id: row for submission_id, row in zip(ids, rows, strict=True) if row is None or row.type == "SUBMISSION"}

    def of(self, submission_id: str) -> Job | None:
        """The submission's row as it is now."""
        return self._known.get(submission_id)

    def put(self, submission_id: str | None, job: Job) -> None:
        if submission_id is not None:
            self._known[submission_id] = job
        self.changed[job.job_key] = job

    def take(self, job_id: str) -> Job | None:
        """A driver's own row, which becomes part of its submission's."""
        found = self.changed.pop(job_id, None)
        if found is None:
            [found] = self._writer.get(JOBS, [job_id])
        if found is not None:
            self.forgotten.append(job_id)
        return found
