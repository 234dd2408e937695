"""Cluster info: which Ray this is, how it is being watched, and what watching costs."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Response

from clusterstate import model
from clusterstate.resources import COLLECTOR, METADATA, NODES
from clusterstate.store.fleet_reader import Fleet, SessionSummary
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
        metadata=scope.reader.metadata(),
        collector=scope.reader.collector(),
        sessions=fleet.sessions(scope.cluster),
        costs=fleet.costs(),
    )
