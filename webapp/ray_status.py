"""What pages tell of the cluster's status and of its history, asked of the index."""

from __future__ import annotations

from dataclasses import dataclass

from clusterstate.model import ClusterStatus, ResourceDemand
from clusterstate.resources import NODE_RESOURCES, STATUS
from clusterstate.status import ResourceUse, in_usual_order, uses
from clusterstate.status_history import Change, StatusCharts, charts_of, waiting_in
from clusterstate.store.reader import SessionReader
from clusterstate.store.status_moments import figures_since, last_changes
from clusterstate.utilisation import steps_of
from webapp.demand_reasons import reasons_of
from webapp.status_changes import demand_line
from webapp.status_text import V1, status_nodes, status_text

REPORTED = "autoscaler"
"""What the collector calls the moment at which an autoscaler reported."""
CHANGES_SHOWN = 100
NOTE = "What waits may come from any job of the cluster: Ray does not say from which."
NO_STATUS = "No cluster status is known yet."


@dataclass(frozen=True)
class DemandRow:
    """A demand as it is shown."""

    demand: ResourceDemand
    shape: str
    reason: str | None = None  # why it waits


@dataclass(frozen=True)
class StatusCards:
    """What pages tell first."""

    status: ClusterStatus
    active: int
    idle: int
    pending: int
    waiting: int  # tasks, actors and placement groups
    charts: StatusCharts
    most_nodes: float  # of one state in the charts, so that they have one scale
    demands: list[DemandRow]


def cards(reader: SessionReader, now: float, minutes: float, *, with_reasons: bool = False) -> StatusCards | None:
    """None: nothing is known yet."""
    status = reader.status()
    if status is None:
        return None
    drawn = charts(reader, now, minutes)
    known = [value for one in (drawn.active, drawn.idle, drawn.pending) for value in one.values if value is not None]
    reasons = reasons_of(reader, status.demands, now) if with_reasons else {}
    return StatusCards(
        status=status,
        active=sum(group.active for group in status.nodes),
        idle=sum(group.idle for group in status.nodes),
        pending=sum(node.count for node in status.pending_nodes),
        waiting=sum(waiting_in({one.kind: one.count}) for one in status.demands),
        charts=drawn,
        most_nodes=max(known, default=0) or 1,
        demands=[DemandRow(one, demand_line(one), reasons.get(one.key)) for one in status.demands],
    )


def chart_steps(reader: SessionReader, now: float, minutes: float) -> tuple[float, range]:
    """Width in seconds and numbers of the points of the charts, up to now or to the session's end."""
    return steps_of(reader.moment(now), minutes)


def charts(reader: SessionReader, now: float, minutes: float) -> StatusCharts:
    """Nodes by state, how much waits and which share of each resource is taken, over the last minutes."""
    step_s, steps = chart_steps(reader, now, minutes)
    return charts_of(figures_since(reader.path, steps.start * step_s), steps, step_s, reader.confirmed(STATUS.name))


def changes(reader: SessionReader) -> list[Change]:
    """The last ones, the newest first."""
    return last_changes(reader.path, CHANGES_SHOWN)


def uses_now(status: ClusterStatus) -> list[ResourceUse]:
    """Each resource of the cluster, those that every node has first."""
    amounts = uses(status.resources_total, status.resources_available, status.reserved_total, status.reserved_available)
    by_name = {one.name: one for one in amounts}
    return [by_name[name] for name in in_usual_order(by_name)]


def text(reader: SessionReader, status: ClusterStatus, at: float | None, *, verbose: bool) -> str:
    """What `ray status` prints, `at` the moment in its first line."""
    return status_text(status, status_nodes(reader.all(NODE_RESOURCES)), at, verbose=verbose)


def text_as_of(reader: SessionReader, status: ClusterStatus) -> float | None:
    """Unix seconds in the first line of the text: when the first autoscaler reported, or when the GCS was asked."""
    reported = reader.confirmed(REPORTED) if status.autoscaler_version == V1 else None
    return reader.confirmed(STATUS.name) if reported is None else reported
