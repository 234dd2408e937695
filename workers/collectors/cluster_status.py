"""The autoscaler's cluster status: one cheap call a second that also says which session answers."""

from __future__ import annotations

from dataclasses import replace

from clusterstate.model import ClusterStatus, NodeResources
from clusterstate.resources import NODE_RESOURCES, STATUS
from clusterstate.store.writer import SessionWriter
from workers.collectors.cluster_nodes import Nodes
from workers.collectors.cluster_watch import Watch
from workers.sources.gcs_decode_status import cluster_status_of, node_resources_of, settled


class SessionChanged(Exception):
    """Another session answers at the same address: the watched one is over."""


class Status:
    """Writes what changed since its last answer."""

    def __init__(self, watch: Watch, nodes: Nodes) -> None:
        self._watch = watch
        self._nodes = nodes
        self._known: dict[str, NodeResources] | None = None
        self._status: ClusterStatus | None = None

    async def poll(self) -> None:
        """Raises SessionChanged when the answer comes from another session."""
        started = self._watch.now()
        reply = await self._watch.gcs.cluster_status()
        session = reply.cluster_resource_state.cluster_session_name
        if session and session != self._watch.session:
            raise SessionChanged(session)
        known = self._known or {}
        rows = {row.node_id: settled(known.get(row.node_id), row) for row in node_resources_of(reply, started)}
        status = cluster_status_of(reply, self._nodes.failed, started)
        await self._watch.store.run(lambda writer: self._write(writer, rows, status))
        self._known = rows
        self._watch.sources.right("node_resources", started)
        self._watch.sources.right("status", started)

    def _write(self, writer: SessionWriter, rows: dict[str, NodeResources], status: ClusterStatus) -> None:
        now = status.collected_at
        if self._known is None:
            writer.replace(NODE_RESOURCES, rows.values(), now)
        else:
            changed = [row for node_id, row in rows.items() if row != self._known.get(node_id)]
            gone = [node_id for node_id in self._known if node_id not in rows]
            if changed:
                writer.record(NODE_RESOURCES, changed, now)
            if gone:
                writer.forget(NODE_RESOURCES, gone, now)
        if self._status is None or replace(status, collected_at=self._status.collected_at) != self._status:
            writer.record(STATUS, [status], now)
            self._status = status
