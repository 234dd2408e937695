"""Why something waits, in a sentence, with each node's answer and who holds what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from clusterstate import model
from clusterstate.resources import NODE_RESOURCES, NODES, PLACEMENT_GROUPS
from clusterstate.store.reader import SessionReader
from clusterstate.waiting import Demand, Explanation, Fit, GroupExplanation, Room, Verdict, explain, explain_group, rooms
from webapp.formatting import labels, quantity, resources, visible
from webapp.holders import Holder, holders_in, holders_on

T = TypeVar("T")

SHOWN_NODES = 20
SHAPES = 20
"""Different demands that are explained at once: at 300 nodes a millisecond each."""
WAITING_ACTORS = frozenset({"PENDING_CREATION", "DEPENDENCIES_UNREADY", "RESTARTING"})
WAITING_GROUPS = frozenset({"PENDING", "PREPARED", "RESCHEDULING"})
WORDS = {
    Verdict.FITS: "has room",
    Verdict.BUSY: "is busy",
    Verdict.UNKNOWN: "not known",
    Verdict.NEVER: "cannot",
}


@dataclass(frozen=True)
class NodeAnswer:
    """What one node says."""

    node_id: str
    name: str
    word: str
    lacks: tuple[str, ...]


@dataclass(frozen=True)
class OtherTasks:
    """Tasks that matter to one that waits: a few of them, how many there are, and where all are listed."""

    caption: str
    tasks: tuple[model.Task, ...]
    counted: str = ""  # what the counts are of
    counts: tuple[tuple[str, int, bool], ...] = ()  # state, how many, whether that is exact
    listed: dict[str, str] | None = None  # arguments of the list of tasks


@dataclass(frozen=True)
class Reason:
    """Why it waits. `asks` is what for, in words; `nodes` the nearest miss first; `holders` of what that one lacks."""

    sentence: str
    asks: str | None = None
    nodes: tuple[NodeAnswer, ...] = ()
    more_nodes: int = 0
    holders: tuple[Holder, ...] = ()
    holders_node: str | None = None  # the node that they are on
    others: tuple[OtherTasks, ...] = ()
    facts: tuple[str, ...] = ()  # further sentences


def why_actor_waits(reader: SessionReader, actor: model.Actor) -> Reason | None:
    """None for an actor that does not wait."""
    if actor.state not in WAITING_ACTORS:
        return None
    if actor.state == "DEPENDENCIES_UNREADY":
        return Reason("Its constructor waits for an argument: an object that is not made yet. A node is looked for after that.")
    return why_not_placed(reader, demand_of(actor), actor.placement_group_id)


def why_not_placed(reader: SessionReader, demand: Demand, placement_group_id: str | None = None) -> Reason:
    """Why a task or an actor finds no place, in a placement group or on any node."""
    if placement_group_id is not None:
        return _why_in_group(reader, demand, placement_group_id)
    return _reason(reader, explain(demand, live_rooms(reader)))


def why_group_waits(reader: SessionReader, group: model.PlacementGroup) -> Reason | None:
    """None for a group that is placed or gone."""
    if group.state not in WAITING_GROUPS:
        return None
    among = live_rooms(reader)
    found = explain_group(_unplaced(group), group.strategy, among)
    sentence = group_sentence(found, group.strategy)
    if not found.unplaced:
        return Reason(sentence)
    index, first = found.unplaced[0]
    whole = _reason(reader, first)
    asks = whole.asks if group.strategy == "STRICT_PACK" else f"bundle {index}: {whole.asks}"
    return replace(whole, sentence=sentence, asks=asks)


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
        unnamed = "" if found.demand.resources else " (an actor that names no resources asks for one CPU while it is being placed)"
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
    if found.is_for_ever:
        return f"{which} no place even on empty nodes. {sentence_of(found.unplaced[0][1])}"
    unproven = "" if found.is_possible else " No way was found to place all on empty nodes either, though there may be one."
    first = found.unplaced[0][1]
    why = "Nodes that are large enough are taken by others of them." if first.verdict is Verdict.NEVER else sentence_of(first)
    return f"{which} no place beside the others. {why}{unproven}"


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


def placement_sentence(reader: SessionReader, demand: Demand, placement_group_id: str | None, among: Sequence[Room]) -> tuple[str, Verdict]:
    """Why a task or an actor finds no place, in words, and how bad that is."""
    if placement_group_id is None:
        found = explain(demand, among)
        return sentence_of(found), found.verdict
    group: model.PlacementGroup | None = reader.get(PLACEMENT_GROUPS, placement_group_id)
    if group is None or group.state == "REMOVED":
        return "Its placement group is gone: it can never be placed.", Verdict.NEVER
    if group.state in WAITING_GROUPS:
        whole = explain_group(_unplaced(group), group.strategy, among)
        return f"Its placement group is {group.state}. {group_sentence(whole, group.strategy)}", whole.verdict
    if _in_bundles(demand, group).verdict is Verdict.NEVER:
        return "No bundle of its placement group is large enough for it.", Verdict.NEVER
    return "It waits for room in its placement group, whose bundles are large enough.", Verdict.BUSY


def _why_in_group(reader: SessionReader, demand: Demand, placement_group_id: str) -> Reason:
    sentence, verdict = placement_sentence(reader, demand, placement_group_id, live_rooms(reader))
    group: model.PlacementGroup | None = reader.get(PLACEMENT_GROUPS, placement_group_id)
    asks = resources(demand.resources)
    if group is None or group.state == "REMOVED":
        return Reason(sentence, asks)
    of_group = why_group_waits(reader, group)
    if of_group is not None:
        return replace(of_group, sentence=sentence)
    if verdict is Verdict.NEVER:
        return Reason(sentence, asks, *_answers(_in_bundles(demand, group)))
    return Reason(sentence, asks, holders=holders_in(reader, group.placement_group_id))


def _in_bundles(demand: Demand, group: model.PlacementGroup) -> Explanation:
    """Against its bundles as places. What is free in them is not known, and labels were seen to when they were placed."""
    inside = [Room(one.node_id or "", f"bundle {one.bundle_index}", one.unit_resources, None, {}) for one in group.bundles]
    return explain(Demand(demand.resources), inside)


def _unplaced(group: model.PlacementGroup) -> list[model.Bundle]:
    return [one for one in group.bundles if one.node_id is None] or group.bundles


def _reason(reader: SessionReader, found: Explanation) -> Reason:
    nearest = found.nearest
    missing = {one.resource for one in nearest.shortages} if nearest and found.verdict is Verdict.BUSY else set()
    holders = holders_on(reader, nearest.room.node_id, missing) if nearest and missing else ()
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
