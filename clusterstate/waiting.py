"""Why something waits to be placed: what it asks for against what each live node has. Pure.

Ray places by the same rule: a node is feasible when its totals and labels would do, and available when what is free would do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial

from clusterstate.model import Bundle, Node, NodeResources

UNIT = 1e-4
"""Ray counts resources in ten thousandths: a smaller difference is none."""
MOST = 2**31
"""Of what asks for nothing, an empty node holds as many as there are."""


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
    is_for_ever: bool  # it is sure that they would find no place on empty nodes either
    is_possible: bool  # a way to place all on empty nodes was found; False: none was, which proves nothing
    unplaced: tuple[tuple[int, Explanation], ...]  # bundle index; for STRICT_PACK one, of all bundles together

    @property
    def verdict(self) -> Verdict:
        """The worst of the bundles': one that finds no place keeps all waiting."""
        if not self.nodes:
            return Verdict.NO_NODES
        if self.is_for_ever:
            return Verdict.NEVER
        worst = max((one.verdict for _, one in self.unplaced), key=ORDER.index, default=Verdict.FITS)
        return Verdict.BUSY if worst is Verdict.NEVER else worst  # the only nodes large enough are taken by other bundles


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
    """The bundles of a group that has no place, each in what the others leave free: the scarcest first, on the tightest node.

    That may miss a way to place them, so that they would find no place on empty nodes either is only said where it is sure.
    """
    needs = len(bundles) if strategy == "STRICT_SPREAD" else min(1, len(bundles))
    told = partial(GroupExplanation, len(bundles), len(among), needs)
    unplaced = _unplaced(bundles, strategy, among)
    if not unplaced:
        return told(is_for_ever=False, is_possible=True, unplaced=())
    empty = [replace(room, available=room.total) for room in among]
    on_empty = _unplaced(bundles, strategy, empty)
    if on_empty and (strategy == "STRICT_PACK" or _cannot_be(bundles, strategy, empty)):
        alone = [(one.bundle_index, found) for one in bundles if (found := explain(_demand(one), empty)).verdict is not Verdict.FITS]
        return told(is_for_ever=True, is_possible=False, unplaced=tuple(on_empty if strategy == "STRICT_PACK" or not alone else alone))
    return told(is_for_ever=False, is_possible=not on_empty, unplaced=tuple(unplaced))


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
    totals = _totals(room.total for room in among)
    asked_for = {name for bundle in bundles for name, asked in bundle.unit_resources.items() if asked > 0}
    left = list(among)
    unplaced = []
    for bundle in _scarcest_first(bundles, among, totals):
        demand = _demand(bundle)
        places = [place for place, room in enumerate(left) if _fit(demand, room).verdict is Verdict.FITS]
        if not places:
            unplaced.append((bundle.bundle_index, explain(demand, left)))
            continue
        smaller = {place: _less(left[place], bundle.unit_resources) for place in places}
        place = min(places, key=lambda one: _share(smaller[one].available or {}, asked_for, totals))
        if strategy == "STRICT_SPREAD":
            del left[place]
        else:
            left[place] = smaller[place]
    return sorted(unplaced, key=lambda one: one[0])


def _scarcest_first(bundles: Sequence[Bundle], among: Sequence[Room], totals: Mapping[str, float]) -> list[Bundle]:
    """First what the fewest nodes can hold, then what takes the largest share of all there is of a resource."""
    known: dict[str, tuple[int, float]] = {}  # by shape: a group may have thousands of one

    def scarcity(bundle: Bundle) -> tuple[int, float]:
        shape = _shape(bundle)
        if shape not in known:
            demand = _demand(bundle)
            nodes = sum(_fit(demand, room).verdict is not Verdict.NEVER for room in among)
            shares = (asked / totals[name] for name, asked in demand.resources.items() if totals.get(name))
            known[shape] = nodes, -max(shares, default=0.0)
        return known[shape]

    return sorted(bundles, key=scarcity)


def _share(available: Mapping[str, float], asked_for: Set[str], totals: Mapping[str, float]) -> float:
    """How much a node has left of what the group asks for: resources are added as shares of all there is of each."""
    return sum(available.get(name, 0.0) / totals[name] for name in asked_for if totals.get(name))


def _cannot_be(bundles: Sequence[Bundle], strategy: str | None, empty: Sequence[Room]) -> bool:
    """Whether it is sure that empty nodes have no place for all: too few nodes, too little of a resource, or of room for one shape."""
    is_spread = strategy == "STRICT_SPREAD"
    if is_spread and len(bundles) > len(empty):
        return True
    totals, asked = _totals(room.total for room in empty), _totals(bundle.unit_resources for bundle in bundles)
    if any(_units(amount) > _units(totals.get(name, 0.0)) for name, amount in asked.items()):
        return True
    shapes: dict[str, list[Bundle]] = {}
    for bundle in bundles:
        shapes.setdefault(_shape(bundle), []).append(bundle)
    for alike in shapes.values():
        held = (_times(_demand(alike[0]), room) for room in empty)
        if sum(min(1, times) if is_spread else min(len(alike), times) for times in held) < len(alike):
            return True
    return False


def _times(demand: Demand, room: Room) -> int:
    """How often an empty node can hold this beside itself."""
    if _fit(demand, room).verdict is not Verdict.FITS:
        return 0
    return min(
        (_units(room.total.get(name, 0.0)) // _units(asked) for name, asked in demand.resources.items() if _units(asked)), default=MOST
    )


def _totals(amounts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    totals: dict[str, float] = {}
    for one in amounts:
        for name, amount in one.items():
            totals[name] = totals.get(name, 0.0) + amount
    return totals


def _units(amount: float) -> int:
    return round(amount / UNIT)


def _demand(bundle: Bundle) -> Demand:
    return Demand(bundle.unit_resources, bundle.label_selector)


def _shape(bundle: Bundle) -> str:
    return repr((sorted(bundle.unit_resources.items()), sorted(bundle.label_selector.items())))


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
