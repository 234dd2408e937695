"""Workers of a cluster: births are polled (Ray does not publish them), deaths are published without a reason, which is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from clusterstate.model import Worker
from clusterstate.resources import WORKERS
from clusterstate.store.writer import SessionWriter
from workers.collectors.cluster_nodes import Nodes
from workers.collectors.cluster_polls import Touched
from workers.collectors.cluster_watch import ASKED_AT_ONCE, RESOLVED_A_TIME, Watch
from workers.sources.gcs import GcsError, gather_bounded
from workers.sources.gcs_decode import ended_with_node, lost_worker, merge_worker, worker_of
from workers.sources.gcs_decode_jobs import driver_evidence


class Workers:
    """Knows which workers live, with a mark of each one's row so that unchanged rows are not written again."""

    def __init__(self, watch: Watch, nodes: Nodes, bad_ends: dict[str, str]) -> None:
        """`bad_ends` is told of drivers whose process ended badly: job id → how."""
        self.live: dict[str, int] = {}
        self.evicted = 0
        self.touched = Touched()
        self._watch = watch
        self._nodes = nodes
        self._bad_ends = bad_ends

    async def snapshot(self) -> None:
        """All workers that the GCS remembers, then the ends of those that it no longer does. 0.6 s at 100,000 dead ones."""

        def alive(writer: SessionWriter) -> set[str]:
            return {worker.worker_id for worker in writer.rows(WORKERS) if worker.is_alive}

        before = await self._watch.store.run(alive)
        with self.touched.watched() as newer:
            rows = await self._watch.gcs.all_workers()
        seen: set[str] = set()
        await self._watch.store.record(WORKERS, self._noted(rows.by("end_time_ms"), seen), self._watch.now())
        await self._resolve(before - seen - newer)
        await self.trim()
        self._watch.sources.unreadable("workers", rows.unreadable)

    async def poll(self) -> None:
        """The live ones, and what became of those that are no longer among them."""
        started = self._watch.now()
        with self.touched.watched() as newer:
            rows = await self._watch.gcs.all_workers(is_alive=True)
            known, seen = dict(self.live), set[str]()
            workers = list(self._noted(rows, seen, newer))
        changed = [worker for worker in workers if known.get(worker.worker_id) != hash(worker)]
        if changed:
            await self._watch.store.record(WORKERS, changed, started)
        await self._resolve(set(self.live) - seen - newer)
        self._watch.sources.unreadable("workers", rows.unreadable)
        self._watch.sources.right("workers", started)

    async def apply(self, published: Iterable[tuple[str, Any]]) -> None:
        """Published deaths: `WorkerDeltaData` names worker and node alone."""
        await self._resolve({message.worker_id.hex() for _, message in published})

    def _noted(self, rows: Iterable[Any], seen: set[str], newer: set[str] = frozenset()) -> Iterator[Worker]:  # type: ignore[assignment]
        for message in rows:
            worker = self._as_it_is(worker_of(message))
            if worker.worker_id:
                seen.add(worker.worker_id)
                if worker.worker_id not in newer:
                    self._note(worker)
                    yield worker

    def _as_it_is(self, worker: Worker) -> Worker:
        if worker.is_alive and worker.node_id in self._nodes.ended_ms:
            return ended_with_node(worker, self._nodes.ended_ms[worker.node_id])
        return worker

    def _note(self, worker: Worker) -> None:
        """The mark of one that ended with its node is kept: Ray lists it for ever, and it is not to be written each time."""
        if worker.worker_type == "DRIVER" and worker.job_id is not None and (evidence := driver_evidence(worker)):
            self._bad_ends[worker.job_id] = evidence
        if worker.is_alive or worker.node_id in self._nodes.ended_ms:
            self.live[worker.worker_id] = hash(worker)
        else:
            self.live.pop(worker.worker_id, None)

    async def _resolve(self, ids: Iterable[str]) -> None:
        """What became of these workers, asked one by one."""
        wanted = sorted(ids)[:RESOLVED_A_TIME]
        if not wanted:
            return
        replies = await gather_bounded((self._watch.gcs.worker(worker_id) for worker_id in wanted), ASKED_AT_ONCE)
        answered = {
            worker_id: None if reply is None else self._as_it_is(worker_of(reply))
            for worker_id, reply in zip(wanted, replies, strict=True)
            if not isinstance(reply, GcsError)
        }
        await self._watch.store.run(lambda writer: self._write_ends(writer, answered))

    def _write_ends(self, writer: SessionWriter, answered: dict[str, Worker | None]) -> None:
        rows = []
        for worker_id, known in zip(answered, writer.get(WORKERS, list(answered)), strict=True):
            reply = answered[worker_id]
            if reply is not None and reply.worker_id:
                rows.append(merge_worker(known, reply))
            elif known is not None:
                rows.append(lost_worker(known))
            else:
                self.live.pop(worker_id, None)
        for worker in rows:
            self._note(worker)
        writer.record(WORKERS, rows, self._watch.now())

    async def trim(self) -> None:
        limit = self._watch.settings.max_dead_workers
        self.evicted = await self._watch.store.run(lambda writer: writer.trim_dead(WORKERS, limit, self._watch.now()))
