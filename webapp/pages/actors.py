"""Actors: all that the session remembers, and each of them."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Response

from clusterstate import model
from clusterstate.query import Condition, NotFound
from clusterstate.resources import ACTORS as ACTOR_ROWS
from clusterstate.resources import JOBS, NODE_RESOURCES, NODES, PLACEMENT_GROUPS, PROCESSES
from clusterstate.resources import TASKS as TASK_ROWS
from webapp.reasons import Reason, why_actor_waits
from webapp.responses import table_query, table_response
from webapp.scope import Scope
from webapp.showing import NarrowedTable, narrowed, show
from webapp.tables.actors import ACTORS
from webapp.tables.drawing import TableView
from webapp.tables.tasks import TASKS
from webapp.task_source import Source, source_of

SEEN = (ACTOR_ROWS.name, TASK_ROWS.name, PROCESSES.name, JOBS.name, NODES.name, NODE_RESOURCES.name, PLACEMENT_GROUPS.name)


@dataclass(frozen=True)
class ActorPage:
    """All that actors/detail.html may use."""

    actor: model.Actor
    process: model.Process | None  # None: dead, or no node collector there
    job: model.Job | None
    node: model.Node | None
    placement_group: model.PlacementGroup | None
    reason: Reason | None  # why it waits, when it does
    tasks: TableView  # of its methods, and its creation
    source: Source  # how tasks are learnt


def list_actors(scope: Scope) -> Response:
    """Every actor of the session, alive or dead."""
    return table_response("actors/list.html", ACTORS, table_query(ACTORS), scope)


def show_actor(scope: Scope, actor_id: str) -> Response:
    """One actor with its process, wherever it ran."""
    table = narrowed(TASKS)
    return show("actors/detail.html", "actors/_detail.html", scope, SEEN, lambda: _load(scope, actor_id, table))


def _load(scope: Scope, actor_id: str, table: NarrowedTable) -> ActorPage:
    reader = scope.reader
    actor: model.Actor | None = reader.get(ACTOR_ROWS, actor_id)
    if actor is None:
        raise NotFound(f"No actor {actor_id[:64]!r} is remembered in this session of {scope.cluster}.")
    processes = reader.find(PROCESSES, "worker_id", actor.worker_id, 1) if actor.worker_id and actor.state != "DEAD" else []
    jobs = reader.find(JOBS, "job_id", actor.job_id, 1) if actor.job_id else []
    return ActorPage(
        actor=actor,
        process=processes[0] if processes else None,
        job=jobs[0] if jobs else None,
        node=reader.get(NODES, actor.node_id) if actor.node_id else None,
        placement_group=reader.get(PLACEMENT_GROUPS, actor.placement_group_id) if actor.placement_group_id else None,
        reason=why_actor_waits(reader, actor),
        tasks=table.view(scope, Condition("actor_id", "is", actor_id)),
        source=source_of(reader, actor.job_id),
    )
