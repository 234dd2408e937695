"""Why something waits to be placed: what it asks for against what each live node has. Pure.

Ray places by the same rule: a node is feasible when its totals and labels would do, and available when what is free would do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from clusterstate.model import Bundle, Node, NodeResources

UNIT = 1e-4
"""Ray counts resources in ten thousandths: a smaller difference is none."""


@dataclass(frozen=True)
class Demand:
    """What is asked of one node."""

    resources: Mapping[str, float]  # memory and object_store_memory in bytes
    label_selector: Mapping[str, str] = field(default_factory=dict)
    node_id: str | None = None  # the only node that will do


@dataclass(frozen=True)
class Room:
    """What one live node has."""

    node_id: str
    name: str  # its host name or address, with the begin of its id where several have that name
    total: Mapping[str, float]
    available: Mapping[str, float] | None  # None: not known
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Shortage:
    """A resource that a node has too little of."""

    resource: str
    asked: float
    total: float
    available: float | None

    @property
    def is_for_ever(self) -> bool:
        """Even an empty node of this size would not do."""
        return self.total + UNIT <= self.asked


@dataclass(frozen=True)
class Mismatch:
    """A label that a node has not, or with another value."""

    label: str
    wanted: str  # as in the selector: a value, !value, in(a,b), !in(a,b)
    found: str | None


NAMED_BY = 8
"""Digits of an id that tell raylets of one host apart."""


class Verdict(Enum):
    """What a node says to a demand, or the best that any node says."""

    FITS = "fits"  # there is room now
    BUSY = "busy"  # there would be if others let go
    UNKNOWN = "unknown"  # what is free is not known
    NEVER = "never"  # not even when empty
    NO_NODES = "no nodes"  # there is no live node


ORDER = (Verdict.FITS, Verdict.BUSY, Verdict.UNKNOWN, Verdict.NEVER)


@dataclass(frozen=True)
class Fit:
    """One node against one demand."""

    room: Room
    verdict: Verdict
    shortages: tuple[Shortage, ...] = ()
    mismatches: tuple[Mismatch, ...] = ()
    is_another_node: bool = False  # the demand is for one node, and this is not it


@dataclass(frozen=True)
class Explanation:
    """All nodes against one demand, the nearest miss first."""

    demand: Demand
    verdict: Verdict
    fits: tuple[Fit, ...]

    @property
    def nearest(self) -> Fit | None:
        return self.fits[0] if self.fits else None


@dataclass(frozen=True)
class GroupExplanation:
    """Bundles of a placement group that find no place beside the others, each with why."""

    bundles: int
    nodes: int
    needs_nodes: int  # as many as bundles for STRICT_SPREAD, else 1
    is_for_ever: bool  # they would find no place on empty nodes either
    unplaced: tuple[tuple[int, Explanation], ...]  # bundle index; for STRICT_PACK one, of all bundles together

    @property
    def verdict(self) -> Verdict:
        """The worst of the bundles': one that finds no place keeps all waiting."""
        if not self.nodes:
            return Verdict.NO_NODES
        if self.is_for_ever:
            return Verdict.NEVER
        return max((one.verdict for _, one in self.unplaced), key=ORDER.index, default=Verdict.FITS)


def rooms(nodes: Iterable[Node], resources: Iterable[NodeResources]) -> list[Room]:
    """What live nodes have. The totals are the GCS's own when its status has not come yet."""
    now = {row.node_id: row for row in resources}
    live = [node for node in nodes if node.state == "ALIVE"]
    names = Counter(node.hostname or node.node_ip for node in live)
    found = []
    for node in live:
        row = now.get(node.node_id)
        total = row.resources_total if row is not None else node.resources_total
        available = row.resources_available if row is not None else None
        name, short = node.hostname or node.node_ip, node.node_id[:NAMED_BY]
        named = short if name is None else f"{name} ({short})" if names[name] > 1 else name
        found.append(Room(node.node_id, named, total, available, node.labels))
    return found


def explain(demand: Demand, among: Sequence[Room]) -> Explanation:
    """Each node against what is asked."""
    fits = sorted((_fit(demand, room) for room in among), key=_distance)
    return Explanation(demand, fits[0].verdict if fits else Verdict.NO_NODES, tuple(fits))


def explain_group(bundles: Sequence[Bundle], strategy: str | None, among: Sequence[Room]) -> GroupExplanation:
    """The bundles of a group that has no place, tried largest first, each in what the others leave free.

    When they would not find place on empty nodes either, it is those that are told.
    """
    needs = len(bundles) if strategy == "STRICT_SPREAD" else min(1, len(bundles))
    empty = [replace(room, available=room.total) for room in among]
    unplaced = _unplaced(bundles, strategy, empty)
    is_for_ever = bool(unplaced)
    return GroupExplanation(len(bundles), len(among), needs, is_for_ever, tuple(unplaced or _unplaced(bundles, strategy, among)))


def _unplaced(bundles: Sequence[Bundle], strategy: str | None, among: Sequence[Room]) -> list[tuple[int, Explanation]]:
    if strategy == "STRICT_PACK":
        together: dict[str, float] = {}
        labels: dict[str, str] = {}
        for bundle in bundles:
            labels |= bundle.label_selector
            for name, amount in bundle.unit_resources.items():
                together[name] = together.get(name, 0.0) + amount
        found = explain(Demand(together, labels), among)
        return [] if found.verdict is Verdict.FITS else [(min((one.bundle_index for one in bundles), default=0), found)]
    left = list(among)
    unplaced = []
    for bundle in sorted(bundles, key=lambda one: sum(one.unit_resources.values()), reverse=True):
        found = explain(Demand(bundle.unit_resources, bundle.label_selector), left)
        if found.verdict is not Verdict.FITS or found.nearest is None:
            unplaced.append((bundle.bundle_index, found))
            continue
        place = left.index(found.nearest.room)
        if strategy == "STRICT_SPREAD":
            del left[place]
        else:
            left[place] = _less(left[place], bundle.unit_resources)
    return sorted(unplaced, key=lambda one: one[0])


def matches(wanted: str, found: str | None) -> bool:
    """Whether a label's value is what a selector asks for: `value`, `!value`, `in(a,b)` or `!in(a,b)`, as Ray writes them."""
    negated = wanted.startswith("!")
    text = wanted[1:] if negated else wanted
    allowed = [one.strip() for one in text[3:-1].split(",")] if text.startswith("in(") and text.endswith(")") else [text]
    return (found in allowed) != negated


def _fit(demand: Demand, room: Room) -> Fit:
    shortages, is_known = [], room.available is not None
    for name, asked in demand.resources.items():
        total = room.total.get(name, 0.0)
        available = None if room.available is None else room.available.get(name, 0.0)
        if asked > 0 and (total + UNIT <= asked or (available is not None and available + UNIT <= asked)):
            shortages.append(Shortage(name, asked, total, available))
    mismatches = [
        Mismatch(label, wanted, room.labels.get(label))
        for label, wanted in demand.label_selector.items()
        if not matches(wanted, room.labels.get(label))
    ]
    is_another = demand.node_id is not None and demand.node_id != room.node_id
    if is_another or mismatches or any(one.is_for_ever for one in shortages):
        verdict = Verdict.NEVER
    elif not is_known:
        verdict = Verdict.UNKNOWN
    else:
        verdict = Verdict.BUSY if shortages else Verdict.FITS
    return Fit(room, verdict, tuple(shortages), tuple(mismatches), is_another)


def _distance(fit: Fit) -> tuple[int, int, float, str]:
    """How far a node is from doing: its verdict, how much it lacks by name, and by share of what is asked."""
    lacks = sum(
        1 - min(one.total if one.available is None or one.is_for_ever else one.available, one.asked) / one.asked for one in fit.shortages
    )
    return ORDER.index(fit.verdict), len(fit.shortages) + len(fit.mismatches) + fit.is_another_node, lacks, fit.room.name


def _less(room: Room, taken: Mapping[str, float]) -> Room:
    available = dict(room.available or {})
    for name, amount in taken.items():
        available[name] = available.get(name, 0.0) - amount
    return replace(room, available=available)
