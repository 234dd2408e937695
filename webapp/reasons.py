"""Why something waits, in a sentence, with each node's answer and who holds what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from clusterstate import model
from clusterstate.resources import ACTORS, NODE_RESOURCES, NODES, PLACEMENT_GROUPS
from clusterstate.store.reader import SessionReader
from clusterstate.waiting import Demand, Explanation, Fit, GroupExplanation, Room, Verdict, explain, explain_group, rooms
from webapp.formatting import labels, quantity, resources, visible

T = TypeVar("T")

SHOWN_NODES = 20
SHAPES = 20
"""Different demands that are explained at once: at 300 nodes a millisecond each."""
SHOWN_HOLDERS = 10
LOOKED_AT = 1000
"""Actors and placement groups that are looked at for what they hold."""
WAITING_ACTORS = frozenset({"PENDING_CREATION", "DEPENDENCIES_UNREADY", "RESTARTING"})
WAITING_GROUPS = frozenset({"PENDING", "PREPARED", "RESCHEDULING"})
WORDS = {
    Verdict.FITS: "has room",
    Verdict.BUSY: "is busy",
    Verdict.UNKNOWN: "not known",
    Verdict.NEVER: "cannot",
}


@dataclass(frozen=True)
class Holder:
    """An actor or a placement group that has some of what is missing."""

    endpoint: str
    arguments: dict[str, str]
    label: str
    amounts: dict[str, float]
    since_ms: int | None


@dataclass(frozen=True)
class NodeAnswer:
    """What one node says."""

    node_id: str
    name: str
    word: str
    lacks: tuple[str, ...]


@dataclass(frozen=True)
class Reason:
    """Why it waits. `asks` is what for, in words; `nodes` the nearest miss first; `holders` of what that one lacks."""

    sentence: str
    asks: str | None = None
    nodes: tuple[NodeAnswer, ...] = ()
    more_nodes: int = 0
    holders: tuple[Holder, ...] = ()
    holders_node: str | None = None  # the node that they are on


def why_actor_waits(reader: SessionReader, actor: model.Actor) -> Reason | None:
    """None for an actor that does not wait."""
    if actor.state not in WAITING_ACTORS:
        return None
    if actor.state == "DEPENDENCIES_UNREADY":
        return Reason("Its constructor waits for an argument: an object that is not made yet. A node is looked for after that.")
    if actor.placement_group_id is not None:
        return _why_in_group(reader, actor)
    return _reason(reader, explain(demand_of(actor), live_rooms(reader)))


def why_group_waits(reader: SessionReader, group: model.PlacementGroup) -> Reason | None:
    """None for a group that is placed or gone."""
    if group.state not in WAITING_GROUPS:
        return None
    among = live_rooms(reader)
    found = explain_group([one for one in group.bundles if one.node_id is None] or group.bundles, group.strategy, among)
    sentence = group_sentence(found, group.strategy)
    if not found.unplaced:
        return Reason(sentence)
    index, first = found.unplaced[0]
    whole = _reason(reader, first)
    asks = whole.asks if group.strategy == "STRICT_PACK" else f"bundle {index}: {whole.asks}"
    return Reason(sentence, asks, whole.nodes, whole.more_nodes, whole.holders, whole.holders_node)


def demand_of(actor: model.Actor) -> Demand:
    """What the actor asks of a node."""
    return Demand(actor.required_resources, actor.label_selector)


def actor_reasons(reader: SessionReader, actors: Iterable[model.Actor]) -> list[tuple[str, int]]:
    """Why actors that wait to be placed do, and how many for the same reason, the most frequent first. Those of some shapes."""
    shapes: dict[str, list[Demand | None]] = {}
    for one in actors:
        demand = None if one.placement_group_id is not None else demand_of(one)
        shapes.setdefault(repr(demand), []).append(demand)
    among = live_rooms(reader)
    found: Counter[str] = Counter()
    for same in _most(shapes):
        demand = same[0]
        found["It waits for its placement group." if demand is None else sentence_of(explain(demand, among))] += len(same)
    return found.most_common()


def group_reasons(reader: SessionReader, groups: Iterable[model.PlacementGroup]) -> list[tuple[str, int]]:
    """The same of placement groups."""
    shapes: dict[str, list[model.PlacementGroup]] = {}
    for one in groups:
        shapes.setdefault(repr((one.strategy, one.bundles)), []).append(one)
    among = live_rooms(reader)
    found: Counter[str] = Counter()
    for same in _most(shapes):
        found[group_sentence(explain_group(same[0].bundles, same[0].strategy, among), same[0].strategy)] += len(same)
    return found.most_common()


def _most(shapes: dict[str, list[T]]) -> list[list[T]]:
    return sorted(shapes.values(), key=len, reverse=True)[:SHAPES]


def live_rooms(reader: SessionReader) -> list[Room]:
    """What each live node has."""
    return rooms(reader.all(NODES), reader.all(NODE_RESOURCES))


def sentence_of(found: Explanation) -> str:
    """The verdict in words, with the nearest miss."""
    nearest = found.nearest
    if nearest is None:
        return "No node of the cluster is alive."
    if found.verdict is Verdict.FITS:
        unnamed = "" if found.demand.resources else " (one that names no resources asks for one CPU while it is being placed)"
        name = visible(nearest.room.name)
        return f"{name} has room for it now: it waits for Ray to place it, for its runtime environment or for a worker process{unnamed}."
    if found.verdict is Verdict.UNKNOWN:
        return "What is free on the nodes is not known yet."
    if found.verdict is Verdict.NEVER:
        return _never(found)
    enough = sum(fit.verdict is Verdict.BUSY for fit in found.fits)
    large = "One node is" if enough == 1 else f"{enough} nodes are"
    return f"{large} large enough, but none has enough free: the nearest, {visible(nearest.room.name)}, has {_free(nearest)}."


def group_sentence(found: GroupExplanation, strategy: str | None) -> str:
    """Why the bundles find no place, in words."""
    if found.verdict is Verdict.NO_NODES:
        return "No node of the cluster is alive."
    if not found.unplaced:
        return "There is room for every bundle now: it waits for Ray to place it."
    if found.needs_nodes > found.nodes:
        return f"STRICT_SPREAD needs a node for each of {found.bundles} bundles; {found.nodes} are alive."
    count = len(found.unplaced)
    if strategy == "STRICT_PACK":
        return "All bundles must be on one node. " + sentence_of(found.unplaced[0][1])
    which = f"Bundle {found.unplaced[0][0]} finds" if count == 1 else f"{count} of {found.bundles} bundles find"
    beside = " even on empty nodes" if found.is_for_ever else " beside the others"
    return f"{which} no place{beside}. {sentence_of(found.unplaced[0][1])}"


def _never(found: Explanation) -> str:
    demand, fits = found.demand, found.fits
    if demand.node_id is not None and all(fit.is_another_node for fit in fits):
        return f"It must run on node {visible(demand.node_id[:12])}, which is not alive."
    if all(fit.mismatches for fit in fits):
        return f"No node has the labels that it asks for: {labels(demand.label_selector)}."
    absent = [name for name, asked in demand.resources.items() if asked > 0 and not any(fit.room.total.get(name) for fit in fits)]
    if absent:
        return f"No node has any {visible(absent[0])}; it asks for {quantity(absent[0], demand.resources[absent[0]])}."
    nearest = fits[0]
    lacking = [one for one in nearest.shortages if one.is_for_ever]
    if not lacking:
        return f"No node can hold it: the nearest is {visible(nearest.room.name)}."
    has = ", ".join(
        f"{visible(one.resource)} {quantity(one.resource, one.total)} of {quantity(one.resource, one.asked)}" for one in lacking
    )
    return f"No node is large enough: the nearest, {visible(nearest.room.name)}, has {has} asked for."


def _free(fit: Fit) -> str:
    return ", ".join(
        f"{visible(one.resource)} {quantity(one.resource, one.available)} free of {quantity(one.resource, one.total)}"
        f" where {quantity(one.resource, one.asked)} is asked for"
        for one in fit.shortages
    )


def _why_in_group(reader: SessionReader, actor: model.Actor) -> Reason:
    group: model.PlacementGroup | None = reader.get(PLACEMENT_GROUPS, actor.placement_group_id or "")
    if group is None or group.state == "REMOVED":
        return Reason("Its placement group is gone: it can never be placed.", resources(actor.required_resources))
    of_group = why_group_waits(reader, group)
    if of_group is not None:
        sentence = f"Its placement group is {group.state}. {of_group.sentence}"
        return Reason(sentence, of_group.asks, of_group.nodes, of_group.more_nodes, of_group.holders, of_group.holders_node)
    inside = [Room(one.node_id or "", f"bundle {one.bundle_index}", one.unit_resources, None, {}) for one in group.bundles]
    found = explain(Demand(actor.required_resources), inside)
    asks = resources(actor.required_resources)
    if found.verdict is Verdict.NEVER:
        return Reason("No bundle of its placement group is large enough for it.", asks, *_answers(found))
    others = [one for one in reader.find(ACTORS, "placement_group_id", group.placement_group_id, LOOKED_AT) if one.state == "ALIVE"]
    return Reason(
        "It waits for room in its placement group, whose bundles are large enough.", asks, holders=_shown([_held_by(one) for one in others])
    )


def _reason(reader: SessionReader, found: Explanation) -> Reason:
    nearest = found.nearest
    missing = {one.resource for one in nearest.shortages} if nearest and found.verdict is Verdict.BUSY else set()
    holders = _holders(reader, nearest.room.node_id, missing) if nearest and missing else ()
    return Reason(
        sentence_of(found), _asked(found.demand), *_answers(found), holders, nearest.room.name if nearest is not None and holders else None
    )


def _asked(demand: Demand) -> str:
    selected = f", labels {labels(demand.label_selector)}" if demand.label_selector else ""
    return resources(demand.resources) + selected


def _answers(found: Explanation) -> tuple[tuple[NodeAnswer, ...], int]:
    shown = tuple(
        NodeAnswer(fit.room.node_id, fit.room.name, WORDS[fit.verdict], tuple(_lacks(fit, found.demand)))
        for fit in found.fits[:SHOWN_NODES]
    )
    return shown, len(found.fits) - len(shown)


def _lacks(fit: Fit, demand: Demand) -> Iterable[str]:
    if fit.is_another_node:
        yield "is not the node that it must run on"
    for wrong in fit.mismatches:
        found = "no such label" if wrong.found is None else f"has {visible(wrong.found)}"
        yield f"label {visible(wrong.label)}: {visible(wrong.wanted)} is asked for, {found}"
    for one in fit.shortages:
        asked, total = quantity(one.resource, one.asked), quantity(one.resource, one.total)
        name = visible(one.resource)
        if one.is_for_ever:
            yield f"{name}: {total} in all, {asked} asked for" if one.total else f"no {name}"
        else:
            yield f"{name}: {quantity(one.resource, one.available)} free of {total}, {asked} asked for"


def _holders(reader: SessionReader, node_id: str, missing: set[str]) -> tuple[Holder, ...]:
    """Who has some of these resources of a node: actors, and groups that reserve them for what runs in them."""
    actors = [
        one
        for one in reader.find(ACTORS, "node_id", node_id, LOOKED_AT)
        if one.state == "ALIVE" and one.placement_group_id is None and missing & one.required_resources.keys()
    ]
    found = [_held_by(one, missing) for one in actors]
    for group in reader.find(PLACEMENT_GROUPS, "state", "CREATED", LOOKED_AT):
        amounts: dict[str, float] = {}
        for bundle in group.bundles:
            for name in missing & bundle.unit_resources.keys() if bundle.node_id == node_id else ():
                amounts[name] = amounts.get(name, 0.0) + bundle.unit_resources[name]
        if amounts:
            label = group.name or group.placement_group_id[:8]
            arguments = {"placement_group_id": group.placement_group_id}
            found.append(Holder("placement_group", arguments, f"placement group {label}", amounts, group.creation_request_received_ms))
    return _shown(found)


def _held_by(actor: model.Actor, missing: set[str] | None = None) -> Holder:
    label = actor.name or actor.class_name or actor.actor_id[:8]
    amounts = {name: amount for name, amount in actor.required_resources.items() if missing is None or name in missing}
    return Holder("actor", {"actor_id": actor.actor_id}, label, amounts, actor.start_time_ms)


def _shown(found: Sequence[Holder]) -> tuple[Holder, ...]:
    """Those who hold most first."""
    return tuple(sorted(found, key=lambda one: (-sum(one.amounts.values()), one.since_ms or 0))[:SHOWN_HOLDERS])
