"""What a node collector writes, and how it gets over Redis being away: the newest rows are kept and written later."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

import redis

from clusterstate.model import NodeSample, NodeStats, Process
from clusterstate.resources import METADATA, NODE_STATS, PROCESSES
from clusterstate.store.connection import UNREACHABLE
from clusterstate.store.leases import Lease
from clusterstate.store.row_ids import SINGLE_ROW_ID
from clusterstate.store.writer import LeaseLost, SessionWriter, current_session

SAMPLES_HELD = 360
"""Samples kept while Redis is away: half an hour of one node."""


class NodeStore:
    """Rows of this host's nodes in the cluster's current session. No method raises for Redis being away."""

    def __init__(self, client: redis.Redis, cluster: str, lease: Lease | None) -> None:
        self._redis = client
        self._cluster = cluster
        self._lease = lease
        self._writer: SessionWriter | None = None
        self._forget_all()

    def _forget_all(self) -> None:
        self._written: dict[str, set[str]] = {}  # node id -> ids of its process rows in Redis
        self._waiting: dict[str, Sequence[Process]] = {}  # node id -> process rows that are newer than those in Redis
        self._samples: deque[NodeSample] = deque(maxlen=SAMPLES_HELD)
        self._is_swept = False

    @property
    def session(self) -> str | None:
        """The session that is written; None before the first and after its end."""
        return self._writer.session if self._writer is not None else None

    def follow(self) -> bool:
        """Looks which session is the cluster's current one; True when it is another than before.

        An ended session is none: what is written while it is being sealed would be lost, or kept for ever.
        """
        try:
            session = current_session(self._redis, self._cluster)
            writer = self._writer
            if writer is None or session != writer.session:
                writer = SessionWriter(self._redis, self._cluster, session, self._lease) if session is not None else None
            if writer is not None:
                [metadata] = writer.get(METADATA, [SINGLE_ROW_ID])
                writer = None if metadata is not None and metadata.ended_ms is not None else writer
        except UNREACHABLE:
            return False
        before, self._writer = self.session, writer
        if self.session == before:
            return False
        self._forget_all()
        return True

    def keep_processes(self, node_id: str, rows: Sequence[Process]) -> None:
        """These are the node's processes now; none when its raylet is gone. Written with the next `write`."""
        self._waiting[node_id] = rows

    def keep_sample(self, sample: NodeSample) -> None:
        """A point of history, written with the next `write` that succeeds."""
        self._samples.append(sample)

    def write(self, rows: Sequence[NodeStats], now: float) -> bool:
        """Writes the nodes' rows and whatever waits, and confirms these nodes. False: not now, the next call tries again.

        A lost lease is not raised: the keeper's next beat either takes it back or ends the loop.
        """
        if self._writer is None or not (rows or self._waiting):
            return False
        try:
            if not self._is_swept:
                self._sweep(self._writer, rows)
            self._writer.record(NODE_STATS, rows, now)
            self._write_processes(self._writer, now)
            self._write_samples(self._writer)
            if rows:
                self._writer.confirm({f"node:{row.node_id}": now for row in rows})
        except (LeaseLost, *UNREACHABLE):
            return False
        return True

    def _write_processes(self, writer: SessionWriter, now: float) -> None:
        if not self._waiting:
            return
        writer.record(PROCESSES, (row for some in self._waiting.values() for row in some), now)
        ids = {node_id: {row.process_id for row in rows} for node_id, rows in self._waiting.items()}
        gone = [item for node_id, kept in ids.items() for item in self._written.get(node_id, set()) - kept]
        if gone:
            writer.forget(PROCESSES, gone, now)
        self._written.update(ids)
        self._waiting.clear()

    def _write_samples(self, writer: SessionWriter) -> None:
        if self._samples:
            writer.record_samples(list(self._samples))
            self._samples.clear()

    def _sweep(self, writer: SessionWriter, rows: Sequence[NodeStats]) -> None:
        """Finds what an earlier collector of this host left: rows of raylets that ended while nobody looked go.

        Reads all process rows of the cluster, and so only once a session.
        """
        left = _ids_by_node(writer.rows(PROCESSES))
        here = {(row.boot_id, row.hostname) for row in rows}
        live = {row.node_id for row in rows}
        for node_id, last in zip(left, writer.get(NODE_STATS, list(left)), strict=True):
            if node_id in live or (last is not None and (last.boot_id, last.hostname) in here):
                self._written.setdefault(node_id, set()).update(left[node_id])
                if node_id not in live:
                    self._waiting.setdefault(node_id, ())
        self._is_swept = True


def _ids_by_node(rows: Iterable[Process]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row.node_id, set()).add(row.process_id)
    return found
