"""Nodes of a cluster: listed each few seconds, followed in between."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from clusterstate.model import Node
from clusterstate.resources import NODE_STATS, NODES, PROCESSES
from clusterstate.store.writer import SessionWriter
from workers.collectors.cluster_polls import Touched
from workers.collectors.cluster_watch import Watch
from workers.sources.gcs_decode import lost_node, merge_node, node_of

FAILED_SHOWN = 20
"""Dead nodes that the cluster status names."""
LEAVES_WITHIN_S = 15.0
"""So long a dead node's own collector may take to write its last; then what it left is cleared away."""


class Nodes:
    """Knows which nodes live, and when the dead died: their workers died with them."""

    def __init__(self, watch: Watch) -> None:
        self.live: set[str] = set()
        self.evicted = 0
        self.ended_ms: dict[str, int | None] = {}  # of dead nodes; as many as the GCS lists and the settings keep
        self.touched = Touched()
        self._watch = watch
        self._failed: dict[str, Node] = {}
        self._clear_at: float | None = None  # monotonic: when to clear away what dead nodes left

    @property
    def failed(self) -> list[Node]:
        """The newest deaths, newest first."""
        return sorted(self._failed.values(), key=lambda node: node.end_time_ms or 0, reverse=True)

    async def snapshot(self) -> None:
        """Everything anew, after a gap: what was alive before it and is not listed now has ended."""

        def alive(writer: SessionWriter) -> set[str]:
            return {node.node_id for node in writer.rows(NODES) if node.state != "DEAD"}

        self.live |= await self._watch.store.run(alive)
        await self.list()
        await self.trim()
        self._clear_at = time.monotonic() + LEAVES_WITHIN_S

    async def list(self) -> None:
        """All nodes that the GCS lists: 7 ms at 300."""
        started = self._watch.now()
        with self.touched.watched() as newer:
            rows = await self._watch.gcs.all_nodes()
            nodes = [node for node in map(node_of, rows.by("end_time_ms")) if node.node_id]
        listed = {node.node_id for node in nodes}
        current = [node for node in nodes if node.node_id not in newer]
        gone = self.live - listed - newer
        await self._watch.store.run(lambda writer: self._write(writer, current, sorted(gone)))
        self._watch.sources.unreadable("nodes", rows.unreadable)
        self._watch.sources.right("nodes", started)

    async def apply(self, published: Sequence[tuple[str, Any]]) -> None:
        """Messages in order, as (node id, message)."""
        updates = [node_of(message) for _, message in published]

        def merge(writer: SessionWriter) -> None:
            ids = sorted({node.node_id for node in updates if node.node_id})
            rows: dict[str, Node | None] = dict(zip(ids, writer.get(NODES, ids), strict=True))
            for node in updates:
                if node.node_id:
                    rows[node.node_id] = merge_node(rows[node.node_id], node)
            self._write(writer, [node for node in rows.values() if node is not None], [])

        await self._watch.store.run(merge)

    async def trim(self) -> None:
        limit = self._watch.settings.max_dead_nodes
        evicted = await self._watch.store.run(lambda writer: writer.trim_dead(NODES, limit, self._watch.now()))
        if evicted != self.evicted or (self._clear_at is not None and time.monotonic() >= self._clear_at):
            self._clear_at = None
            await self._watch.store.run(self._clear)
        self.evicted = evicted

    def _clear(self, writer: SessionWriter) -> None:
        """Forgets the processes of nodes that do not live, and all of nodes that are not kept: their collectors may have died too."""
        now = self._watch.now()
        writer.forget(PROCESSES, [row.process_id for row in writer.rows(PROCESSES) if row.node_id not in self.live], now)
        kept = {node.node_id for node in writer.rows(NODES)} | self.live
        left = [row.node_id for row in writer.rows(NODE_STATS) if row.node_id not in kept]
        writer.forget(NODE_STATS, left, now)
        writer.unconfirm(f"node:{node_id}" for node_id in left)

    def _write(self, writer: SessionWriter, nodes: Sequence[Node], gone: Sequence[str]) -> None:
        lost = [lost_node(node) for node in writer.get(NODES, gone) if node is not None] if gone else []
        now = self._watch.now()
        for node in [*nodes, *lost]:
            self._note(node)
        writer.record(NODES, [*nodes, *lost], now)

    def _note(self, node: Node) -> None:
        if node.state != "DEAD":
            self.live.add(node.node_id)
            self.ended_ms.pop(node.node_id, None)
            return
        if node.node_id in self.live:
            self._clear_at = time.monotonic() + LEAVES_WITHIN_S
        self.live.discard(node.node_id)
        self.ended_ms[node.node_id] = node.end_time_ms
        self._failed[node.node_id] = node
        self._failed = {one.node_id: one for one in self.failed[:FAILED_SHOWN]}
