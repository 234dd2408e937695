"""The history of a cluster's status: which moments are worth keeping, and what they tell as charts and as changes. Pure.

A moment is true until the next one: a status that does not change costs nothing, and a chart carries it on.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple, TypeVar

from clusterstate.model import ClusterStatus, FailedNode, NodeGroup, ResourceDemand, StatusMoment
from clusterstate.status import in_usual_order
from clusterstate.utilisation import Series

Amount = TypeVar("Amount", int, float)

EVENTS_APART_S = 2.0
POINTS_APART_S = 10.0
"""Between moments at which no node came or went: the width of a point of the charts."""
EVENTS_KEPT = 1000
POINTS_KEPT = 400
"""Of the others, for the charts: more than an hour of a cluster that never rests."""
DEMANDS_KEPT = 20
FAILURES_KEPT = 5
RESOURCES_KEPT = 12
LONGEST_TEXT = 200
GAP_S = 10.0
"""So long nobody need have watched for it to be a gap in the charts."""


class Figures(NamedTuple):
    """What the charts draw of a moment."""

    at: float
    active: int
    idle: int
    pending: int
    waiting: int
    shares: dict[str, float | None]  # resource → percent used or reserved; None: there is none of it, or it is not known
    unknown_since: float | None


@dataclass(frozen=True)
class StatusCharts:
    """Short history of the status. Counts, and percent of what there was; None where nobody watched."""

    active: Series
    idle: Series
    pending: Series
    waiting: Series  # tasks, actors and placement groups
    shares: dict[str, Series]  # resource → used or reserved


@dataclass(frozen=True)
class Change:
    """What became different between two moments: in each field only what did. Pairs are (before, after)."""

    at: float  # Unix seconds
    nodes: dict[str, tuple[NodeGroup, NodeGroup]]  # by node type
    pending: dict[str, tuple[int, int]]  # by node type
    failed: list[FailedNode]
    wanted: list[ResourceDemand]  # shapes that were not asked for before
    given: list[ResourceDemand]  # shapes that are asked for no longer
    sizes: dict[str, tuple[float, float]]  # resource → how much there is in all
    unwatched_s: float | None = None  # so long nobody had watched

    @property
    def is_any(self) -> bool:
        """Whether anything is different."""
        return bool(self.nodes or self.pending or self.failed or self.wanted or self.given or self.sizes or self.unwatched_s)


def moment_of(status: ClusterStatus, now: float) -> StatusMoment:
    """What is kept of a status."""
    waiting: Counter[str] = Counter()
    for one in status.demands:
        waiting[one.kind] += one.count
    pending: Counter[str] = Counter()
    for node in status.pending_nodes:
        pending[node.node_type] += node.count
    shown = [name for name in in_usual_order(status.resources_total) if not name.startswith("accelerator_type:")][:RESOURCES_KEPT]
    return StatusMoment(
        moment=f"{int(now * 1000):015d}",
        at=now,
        is_event=True,
        nodes=list(status.nodes),
        pending=dict(sorted(pending.items())),
        failed=[replace(one, reason=one.reason[:LONGEST_TEXT]) for one in status.failed_nodes[:FAILURES_KEPT]],
        demands=[replace(one, bundles=one.bundles[:DEMANDS_KEPT], since_ms=None) for one in _largest(status.demands)],
        waiting=dict(sorted(waiting.items())),
        resources_total={name: status.resources_total[name] for name in shown},
        resources_used={
            name: round(status.resources_total[name] - status.resources_available[name], 4)
            for name in shown
            if name in status.resources_available
        },
    )


def worth_keeping(before: StatusMoment | None, now: StatusMoment) -> StatusMoment | None:
    """The moment as it is to be kept, None if it can wait or says nothing new. `before` is the last one that was kept."""
    if before is None:
        return now
    gone_s = now.at - before.at
    is_rare, is_event = _rare(before) != _rare(now), _frequent(before) != _frequent(now)
    if now.unknown_since is not None or (is_rare and not 0 <= gone_s < EVENTS_APART_S):
        return now
    if (is_event or _counts(before) != _counts(now)) and not 0 <= gone_s < POINTS_APART_S:
        return now if is_event else replace(now, is_event=False)
    return None


def to_give_up(kept: Sequence[tuple[str, bool]]) -> list[str]:
    """Of (name of a moment, whether it is an event), oldest first: those that are too many."""
    events = [name for name, is_event in kept if is_event]
    points = [name for name, is_event in kept if not is_event]
    return [*events[: max(0, len(events) - EVENTS_KEPT)], *points[: max(0, len(points) - POINTS_KEPT)]]


def figures_of(moment: StatusMoment) -> Figures:
    """Made once for each moment: it never changes."""
    return Figures(
        moment.at,
        sum(group.active for group in moment.nodes),
        sum(group.idle for group in moment.nodes),
        sum(moment.pending.values()),
        waiting_in(moment.waiting),
        {name: _share(moment.resources_used.get(name), total) for name, total in moment.resources_total.items()},
        moment.unknown_since,
    )


def charts_of(figures: Sequence[Figures], steps: range, step_s: float, known_until: float | None) -> StatusCharts:
    """The charts over `steps` (Unix seconds // step_s), from figures in order; the last are true until `known_until`."""
    starts = [one.at for one in figures]
    at_step = [_true_at(figures, starts, (step + 1) * step_s, step * step_s, known_until) for step in steps]

    def series(values: Iterable[float | None]) -> Series:
        return Series(tuple(values), steps.start * step_s, step_s)

    names = in_usual_order({name for one in figures for name in one.shares})
    return StatusCharts(
        active=series(one and one.active for one in at_step),
        idle=series(one and one.idle for one in at_step),
        pending=series(one and one.pending for one in at_step),
        waiting=series(one and one.waiting for one in at_step),
        shares={name: series(one and one.shares.get(name) for one in at_step) for name in names},
    )


def waiting_in(counts: Mapping[str, int]) -> int:
    """How many tasks, actors and placement groups wait. What request_resources() asks for stays asked for when it is there."""
    return sum(count for kind, count in counts.items() if kind != "REQUEST_RESOURCES")


def changes_of(moments: Sequence[StatusMoment]) -> list[Change]:
    """What became different between each two of these moments, which are in order; the newest first."""
    changes = [_change(before, now) for before, now in pairwise(moments)]
    return [one for one in reversed(changes) if one.is_any]


def _share(used: float | None, total: float) -> float | None:
    return None if not total or used is None else 100 * used / total


def _true_at(figures: Sequence[Figures], starts: Sequence[float], until: float, since: float, known_until: float | None) -> Figures | None:
    """The last that began before `until`, unless nobody watched after `since`."""
    place = bisect.bisect_left(starts, until) - 1
    if place < 0 or known_until is None or since > known_until:
        return None
    following = figures[place + 1] if place + 1 < len(figures) else None
    if following is not None and following.unknown_since is not None and following.unknown_since < since:
        return None
    return figures[place]


def _change(before: StatusMoment, now: StatusMoment) -> Change:
    then, since = {one.key: one for one in before.demands}, {one.key: one for one in now.demands}
    known = set(map(_failure, before.failed))
    return Change(
        at=now.at,
        nodes={kind: pair for kind, pair in _node_pairs(before, now) if pair[0] != pair[1]},
        pending=_different(before.pending, now.pending, 0),
        failed=[one for one in now.failed if _failure(one) not in known],
        wanted=[one for key, one in since.items() if key not in then],
        given=[one for key, one in then.items() if key not in since],
        sizes=_different(before.resources_total, now.resources_total, 0.0),
        unwatched_s=None if now.unknown_since is None else now.at - now.unknown_since,
    )


def _node_pairs(before: StatusMoment, now: StatusMoment) -> Iterable[tuple[str, tuple[NodeGroup, NodeGroup]]]:
    then, since = ({one.node_type: one for one in moment.nodes} for moment in (before, now))
    for kind in sorted({*then, *since}):
        yield kind, (then.get(kind, NodeGroup(kind)), since.get(kind, NodeGroup(kind)))


def _different(before: Mapping[str, Amount], now: Mapping[str, Amount], none: Amount) -> dict[str, tuple[Amount, Amount]]:
    names = in_usual_order({*before, *now})
    return {name: (before.get(name, none), now.get(name, none)) for name in names if before.get(name) != now.get(name)}


def _rare(moment: StatusMoment) -> tuple[object, ...]:
    """Changes of these are few: nodes that come and go. Each is kept."""
    sizes = {group.node_type: group.active + group.idle for group in moment.nodes}
    return sizes, moment.pending, list(map(_failure, moment.failed)), moment.resources_total


def _frequent(moment: StatusMoment) -> tuple[object, ...]:
    """What may change with each task: which nodes are idle, which shapes wait."""
    return moment.nodes, [one.key for one in moment.demands]


def _counts(moment: StatusMoment) -> tuple[object, ...]:
    """What makes a point of the charts when it changes."""
    return moment.waiting, moment.resources_used, [one.count for one in moment.demands]


def _failure(one: FailedNode) -> tuple[object, ...]:
    return one.category, one.node_type, one.ip, one.node_id, one.failed_at_ms


def _largest(demands: Iterable[ResourceDemand]) -> list[ResourceDemand]:
    return sorted(sorted(demands, key=lambda one: -one.count)[:DEMANDS_KEPT], key=lambda one: one.key)
