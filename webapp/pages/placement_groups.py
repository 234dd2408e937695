"""Placement groups: all of a session, and each with its bundles on nodes."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Response

from clusterstate import model
from clusterstate.query import Condition, NotFound
from clusterstate.resources import ACTORS as ACTOR_ROWS
from clusterstate.resources import NODE_RESOURCES, NODES, PROCESSES
from clusterstate.resources import PLACEMENT_GROUPS as GROUP_ROWS
from webapp.bundle_map import BundleMap, bundle_map
from webapp.reasons import Reason, why_group_waits
from webapp.responses import table_query, table_response
from webapp.scope import Scope
from webapp.showing import NarrowedTable, narrowed, show
from webapp.tables.actors import ACTORS
from webapp.tables.drawing import TableView
from webapp.tables.placement_groups import PLACEMENT_GROUPS

SEEN = (GROUP_ROWS.name, NODES.name, NODE_RESOURCES.name, ACTOR_ROWS.name, PROCESSES.name)


@dataclass(frozen=True)
class PlacedBundle:
    bundle: model.Bundle
    node: model.Node | None  # None: not placed, or a node that is not remembered


@dataclass(frozen=True)
class PlacementGroupPage:
    """All that placement_groups/detail.html may use."""

    group: model.PlacementGroup
    bundles: tuple[PlacedBundle, ...]
    map: BundleMap
    actors: TableView
    reason: Reason | None  # why it waits, when it does


def list_placement_groups(scope: Scope) -> Response:
    """Every placement group of the session."""
    return table_response("placement_groups/list.html", PLACEMENT_GROUPS, table_query(PLACEMENT_GROUPS), scope)


def show_placement_group(scope: Scope, placement_group_id: str) -> Response:
    """One placement group, where its bundles are, and the actors in it."""
    table = narrowed(ACTORS)
    return show(
        "placement_groups/detail.html", "placement_groups/_detail.html", scope, SEEN, lambda: _load(scope, placement_group_id, table)
    )


def _load(scope: Scope, placement_group_id: str, table: NarrowedTable) -> PlacementGroupPage:
    group: model.PlacementGroup | None = scope.reader.get(GROUP_ROWS, placement_group_id)
    if group is None:
        raise NotFound(f"No placement group {placement_group_id[:64]!r} is remembered in this session of {scope.cluster}.")
    nodes = {node_id: scope.reader.get(NODES, node_id) for node_id in {b.node_id for b in group.bundles} if node_id}
    return PlacementGroupPage(
        group=group,
        bundles=tuple(PlacedBundle(bundle, nodes.get(bundle.node_id or "")) for bundle in group.bundles),
        map=bundle_map(group.bundles, {node_id: node for node_id, node in nodes.items() if node is not None}),
        actors=table.view(scope, Condition("placement_group_id", "is", placement_group_id)),
        reason=why_group_waits(scope.reader, group),
    )
