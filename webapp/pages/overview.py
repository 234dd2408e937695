"""Overview: what a cluster does now, and what of it needs somebody."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Response

from clusterstate import model
from clusterstate.query import ACTORS as ACTOR_VIEW
from clusterstate.query import JOBS as JOB_VIEW
from clusterstate.query import NODES as NODE_VIEW
from clusterstate.query import PLACEMENT_GROUPS as GROUP_VIEW
from clusterstate.query import Condition, Selection
from clusterstate.resources import (
    ACTORS,
    COLLECTOR,
    JOBS,
    METADATA,
    NODE_RESOURCES,
    NODE_STATS,
    NODES,
    PLACEMENT_GROUPS,
    STATUS,
    STATUS_HISTORY,
    TASKS,
)
from clusterstate.store.reader import Freshness, SessionReader
from clusterstate.task_states import progress
from clusterstate.utilisation import History, Use, use_now
from webapp.attention import Attention, find_attention
from webapp.parts import parts
from webapp.ray_status import StatusCards
from webapp.ray_status import cards as status_cards
from webapp.scope import Scope
from webapp.showing import show

SEEN = tuple(
    one.name
    for one in (NODES, NODE_STATS, NODE_RESOURCES, JOBS, ACTORS, PLACEMENT_GROUPS, TASKS, STATUS, STATUS_HISTORY, COLLECTOR, METADATA)
)
RECENT_JOBS = 6
NODES_SHOWN = 10
NOT_RAYS_OWN = Condition("is_internal", "is", 0)


@dataclass(frozen=True)
class OverviewPage:
    """All that overview/index.html may use."""

    metadata: model.ClusterMetadata | None
    status: model.ClusterStatus | None
    cards: StatusCards | None  # of the status; None: nothing is known yet
    collector: model.CollectorReport | None
    node_states: dict[str, int]
    job_statuses: dict[str, int]
    actor_states: dict[str, int]
    placement_group_states: dict[str, int]
    given_up: dict[str, int]  # resource → rows that had ended and are not remembered any more
    progress: dict[str, int]  # attempts of tasks by segment of the bar; empty when none is known
    attention: list[Attention]
    use: Use
    history: History
    recent_jobs: list[dict[str, object]]
    nodes: list[dict[str, object]]


def show_overview(scope: Scope) -> Response:
    """The first page of a cluster."""
    now, minutes = parts().now(), parts().settings.history_minutes
    return show("overview/index.html", "overview/_index.html", scope, (*SEEN, "samples"), lambda: _load(scope, now, minutes))


def _load(scope: Scope, now: float, minutes: int) -> OverviewPage:
    reader = scope.reader
    stats, cards = _live_stats(reader), status_cards(reader, now, minutes)
    return OverviewPage(
        metadata=reader.metadata(),
        status=cards.status if cards is not None else None,
        cards=cards,
        collector=reader.collector(),
        node_states=reader.counts(NODE_VIEW, "state"),
        job_statuses=reader.counts(JOB_VIEW, "status", (NOT_RAYS_OWN,)),
        actor_states=reader.counts(ACTOR_VIEW, "state"),
        placement_group_states=reader.counts(GROUP_VIEW, "state"),
        progress=progress(tasks) if (tasks := reader.task_states()) else {},
        given_up={resource.name: reader.given_up(resource) for resource in (NODES, JOBS, ACTORS)},
        attention=find_attention(reader, stats, _freshness(scope, now), reader.moment(now)),
        use=use_now(stats),
        history=reader.history(None, now, minutes),
        recent_jobs=_recent_jobs(reader, now),
        nodes=_nodes(reader, now),
    )


def _live_stats(reader: SessionReader) -> list[model.NodeStats]:
    """What the nodes that are alive measured last."""
    alive = reader.ids(NODES, "state", "ALIVE")
    return [stats for stats in reader.all(NODE_STATS) if stats.node_id in alive]


def _freshness(scope: Scope, now: float) -> Freshness:
    return scope.reader.freshness(NODES.name, now=now, nodes_matter=True)


def _recent_jobs(reader: SessionReader, now: float) -> list[dict[str, object]]:
    columns = ("job_key", "job_id", "submission_id", "name", "entrypoint", "status", "start_time_ms", "end_time_ms", "type")
    selection = Selection(columns, "start_time_ms", descending=True, always=(NOT_RAYS_OWN,), limit=RECENT_JOBS)
    return reader.page(JOB_VIEW, selection, now).rows


def _nodes(reader: SessionReader, now: float) -> list[dict[str, object]]:
    columns = (
        "node_id",
        "hostname",
        "node_ip",
        "state",
        "is_head_node",
        "cpu_percent",
        "cpu_count",
        "memory_used_bytes",
        "memory_total_bytes",
        "object_store_used_bytes",
        "object_store_capacity_bytes",
        "gpu_utilization_percent",
        "gpu_count",
        "resources_total",
        "resources_available",
        "num_workers",
    )
    selection = Selection(columns, "is_head_node", descending=True, always=(Condition("state", "is", "ALIVE"),), limit=NODES_SHOWN)
    return reader.page(NODE_VIEW, selection, now).rows
