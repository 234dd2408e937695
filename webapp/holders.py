"""Who holds logical resources of a node or of a placement group, and since when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from clusterstate.query import Condition, Selection, View
from clusterstate.resources import ACTORS, PLACEMENT_GROUPS, PROCESSES
from clusterstate.store.reader import SessionReader
from clusterstate.store.sqlite_reading import DeadlinePassed
from clusterstate.task_waits import BLOCKED, RUNNING
from webapp.task_texts import mapping_of

SHOWN = 10
LOOKED_AT = 1000
"""Actors, tasks and placement groups that are looked at for what they hold."""
SEEN_AFTER_MS = 10_000
"""A task that began longer ago than this before its node was heard last is in what the raylet said of its workers."""
BLOCKED_LEND = frozenset({"CPU"})
"""What Ray takes back from a worker while it waits in ray.get() or ray.wait()."""
ALL_ACTORS = View(ACTORS)


@dataclass(frozen=True)
class Holder:
    """An actor, a task or a placement group that has some of what is missing."""

    endpoint: str
    arguments: dict[str, str]
    label: str
    amounts: dict[str, float]
    since_ms: int | None


def holders_on(reader: SessionReader, node_id: str, missing: Set[str]) -> tuple[Holder, ...]:
    """Who has some of these resources of a node: actors, running tasks, and groups that reserve them for what runs in them."""
    alone = _actors(reader, Condition("node_id", "is", node_id), Condition("placement_group_id", "unknown"))
    found = [_actor(one, missing) for one in alone if missing & one["required_resources"].keys()]
    found += _groups_on(reader, node_id, missing)
    found += _tasks(reader, {"node_id": node_id, "placement_group_id": None}, missing, node_id)
    return _most(found)


def holders_in(reader: SessionReader, placement_group_id: str) -> tuple[Holder, ...]:
    """Who runs in a placement group."""
    actors = _actors(reader, Condition("placement_group_id", "is", placement_group_id))
    return _most([*map(_actor, actors), *_tasks(reader, {"placement_group_id": placement_group_id})])


def _actors(reader: SessionReader, *conditions: Condition) -> list[dict[str, Any]]:
    """Living actors of which this holds, the newest first. A node may remember any number of dead ones."""
    columns = ("actor_id", "name", "class_name", "required_resources", "start_time_ms")
    always = (*conditions, Condition("state", "is", "ALIVE"))
    selection = Selection(columns, "start_time_ms", descending=True, always=always, limit=LOOKED_AT)
    try:
        return reader.page(ALL_ACTORS, selection, 0.0).rows
    except DeadlinePassed:
        return []


def _actor(actor: Mapping[str, Any], missing: Set[str] | None = None) -> Holder:
    label = actor["name"] or actor["class_name"] or actor["actor_id"][:8]
    return Holder("actor", {"actor_id": actor["actor_id"]}, label, _only(actor["required_resources"], missing), actor["start_time_ms"])


def _groups_on(reader: SessionReader, node_id: str, missing: Set[str]) -> list[Holder]:
    found = []
    for group in reader.find(PLACEMENT_GROUPS, "state", "CREATED", LOOKED_AT):
        amounts: dict[str, float] = {}
        for bundle in group.bundles:
            for name in missing & bundle.unit_resources.keys() if bundle.node_id == node_id else ():
                amounts[name] = amounts.get(name, 0.0) + bundle.unit_resources[name]
        if amounts:
            label = group.name or group.placement_group_id[:8]
            arguments = {"placement_group_id": group.placement_group_id}
            found.append(Holder("placement_group", arguments, f"placement group {label}", amounts, group.creation_request_received_ms))
    return found


def _tasks(reader: SessionReader, of: Mapping[str, Any], missing: Set[str] | None = None, node_id: str | None = None) -> list[Holder]:
    """Running tasks. Methods of actors hold nothing themselves: their actor does."""
    try:
        running = reader.tasks_by_state().rows(RUNNING, of, limit=LOOKED_AT)
    except DeadlinePassed:
        return []
    held = _held_by_workers(reader, node_id) if node_id is not None else {}
    heard = reader.confirmed(f"node:{node_id}") if node_id is not None else None
    seen_until = (heard or 0.0) * 1000 - SEEN_AFTER_MS
    asked: dict[str | None, dict[str, float]] = {}
    found = []
    for task in running:
        if task.type in ("ACTOR_TASK", "ACTOR_CREATION_TASK"):
            continue
        if task.required_resources_id not in asked:
            asked[task.required_resources_id] = mapping_of(reader, task.required_resources_id) or {}
        amounts = asked[task.required_resources_id]
        if task.worker_id in held and (task.start_time_ms or seen_until) < seen_until:
            amounts = held[task.worker_id]
        elif task.state in BLOCKED:
            amounts = {name: amount for name, amount in amounts.items() if name not in BLOCKED_LEND}
        amounts = _only(amounts, missing)
        if amounts:
            label = f"task {task.name or task.func_or_class_name or task.task_id[:8]}"
            found.append(Holder("task", {"task_id": task.task_id}, label, amounts, task.start_time_ms))
    return found


def _held_by_workers(reader: SessionReader, node_id: str) -> dict[str, dict[str, float]]:
    """What each worker of a node holds, in its raylet's words: one that waits in ray.get() holds no CPU."""
    return {one.worker_id: one.used_resources for one in reader.find(PROCESSES, "node_id", node_id, LOOKED_AT) if one.worker_id}


def _only(amounts: Mapping[str, float], missing: Set[str] | None) -> dict[str, float]:
    return {name: amount for name, amount in amounts.items() if amount and (missing is None or name in missing)}


def _most(found: Sequence[Holder]) -> tuple[Holder, ...]:
    """Those who hold most first."""
    return tuple(sorted(found, key=lambda one: (-sum(one.amounts.values()), one.since_ms or 0))[:SHOWN])
