"""Cluster info: which Ray this is, how it is being watched, and what watching costs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from flask import Response

from clusterstate import model
from clusterstate.resources import COLLECTOR, METADATA, NODE_STATS, NODES
from clusterstate.store.fleet_reader import Fleet, SessionSummary
from clusterstate.store.reader import SessionReader
from webapp.parts import parts
from webapp.scope import Scope
from webapp.showing import show


@dataclass(frozen=True)
class ClusterInfoPage:
    """All that cluster/info.html may use."""

    metadata: model.ClusterMetadata | None
    collector: model.CollectorReport | None
    sessions: list[SessionSummary]
    costs: list[model.RoleCost]


def show_cluster_info(scope: Scope) -> Response:
    """Facts about the cluster and about Raydeck itself."""
    fleet = parts().fleet
    return show("cluster/info.html", "cluster/_info.html", scope, (METADATA.name, COLLECTOR.name, NODES.name), lambda: _load(scope, fleet))


def _load(scope: Scope, fleet: Fleet) -> ClusterInfoPage:
    return ClusterInfoPage(
        metadata=_metadata(scope.reader),
        collector=scope.reader.collector(),
        sessions=fleet.sessions(scope.cluster),
        costs=fleet.costs(),
    )


def _metadata(reader: SessionReader) -> model.ClusterMetadata | None:
    """As the GCS told it. It names commit and system where usage statistics are on only: else the head node's collector knows."""
    found = reader.metadata()
    heads = sorted(reader.find(NODES, "is_head_node", True), key=lambda node: node.state != "ALIVE")
    stats: model.NodeStats | None = reader.get(NODE_STATS, heads[0].node_id) if heads else None
    if found is None or stats is None:
        return found
    return replace(found, os=stats.os or found.os, ray_commit=found.ray_commit or stats.ray_commit)
