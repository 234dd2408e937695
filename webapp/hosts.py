"""The host of a node, which is who is asked about it."""

from __future__ import annotations

from clusterstate import model
from clusterstate.hosts import host_id
from clusterstate.resources import NODE_STATS
from clusterstate.store.reader import SessionReader
from webapp.scope import Scope


def is_gone(scope: Scope, node: model.Node) -> bool:
    """Whether nothing can be asked of the node itself any more."""
    return scope.is_past or node.state != "ALIVE"


def own_host(reader: SessionReader, node: model.Node) -> str | None:
    """The host that a node is, or was, on; None where no node collector said so."""
    stats: model.NodeStats | None = reader.get(NODE_STATS, node.node_id)
    return host_id(stats.hostname, stats.boot_id) if stats is not None else None
