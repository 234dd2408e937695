"""Why each shape that is asked for waits: the same words as on the pages of actors and placement groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from clusterstate.model import Bundle, ResourceDemand
from clusterstate.store.reader import SessionReader
from clusterstate.waiting import Demand, Room, explain, explain_group
from webapp.reasons import group_sentence, live_rooms, sentence_of

LOOKS = 15_000
"""Nodes that are compared with a shape at once: 50 ms. What would need more has no reason here."""
HOLD_S = 5.0
SESSIONS_KNOWN = 64
IN_GROUPS = "They wait for room in their placement groups."
INFEASIBLE = "The autoscaler says that no type of node will ever do. "


def reasons_of(reader: SessionReader, demands: Sequence[ResourceDemand], now: float) -> Mapping[str, str]:
    """A sentence for each demand whose reason is known, by its key. They hold for some seconds, whoever asks."""
    wanted = tuple(one.key for one in demands)
    known = _known.get(reader.path)
    if known is None or known[1] != wanted or not 0 <= now - known[0] < HOLD_S:
        while len(_known) >= SESSIONS_KNOWN:
            _known.pop(next(iter(_known)), None)
        known = _known[reader.path] = (now, wanted, _explained(demands, live_rooms(reader)) if demands else {})
    return known[2]


_known: dict[Path, tuple[float, tuple[str, ...], dict[str, str]]] = {}


def _explained(demands: Iterable[ResourceDemand], among: Sequence[Room]) -> dict[str, str]:
    left = LOOKS
    found: dict[str, str] = {}
    for one in demands:
        left -= max(1, len(among)) * (2 * sum(bundle.count for bundle in one.bundles) or 1)
        sentence = _sentence(one, among) if left >= 0 else ""
        if one.is_infeasible:
            sentence = INFEASIBLE + sentence
        if sentence:
            found[one.key] = sentence
    return found


def _sentence(demand: ResourceDemand, among: Sequence[Room]) -> str:
    if demand.kind == "REQUEST_RESOURCES":
        return ""  # it is asked of the autoscaler, and stays until another request takes its place: it need not wait
    if demand.kind == "PLACEMENT_GROUP":
        shapes = [bundle for bundle in demand.bundles for _ in range(bundle.count)]
        bundles = [Bundle(index, one.shape, None, one.label_selector) for index, one in enumerate(shapes)]
        return group_sentence(explain_group(bundles, demand.strategy, among), demand.strategy)
    if demand.in_placement_groups >= demand.count:
        return IN_GROUPS
    return sentence_of(explain(Demand(demand.shape, demand.label_selector), among))
