"""What changed in a cluster's status, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from clusterstate.model import FailedNode, NodeGroup, ResourceDemand
from clusterstate.status_history import Change
from webapp.formatting import UNKNOWN, duration, number, quantity, resources, shortened

WHO = {"TASK_ACTOR": "tasks and actors", "PLACEMENT_GROUP": "placement groups", "REQUEST_RESOURCES": "request_resources()"}
LONGEST = 120
LINES_SHOWN = 20


def change_lines(change: Change) -> list[str]:
    """Lines such as: 2 nodes active → 1."""
    lines = list(_lines(change))
    return lines if len(lines) <= LINES_SHOWN else [*lines[: LINES_SHOWN - 1], f"and {number(len(lines) - LINES_SHOWN + 1)} more"]


def demand_line(demand: ResourceDemand) -> str:
    """The shape: CPU 2, GPU 1; of a placement group each kind of bundle with how many there are."""
    if demand.bundles:
        return ", ".join(f"{number(one.count)} × ({resources(one.shape)})" for one in demand.bundles)
    return resources(demand.shape) if demand.shape else "no resources"


def _lines(change: Change) -> Iterator[str]:
    if change.unwatched_s is not None:
        yield f"Nobody had watched for {duration(change.unwatched_s * 1000)}"
    for kind, (was, become) in change.nodes.items():
        yield _of(kind) + ", ".join(_node_parts(was, become))
    for kind, (before, after) in change.pending.items():
        yield f"{_of(kind)}{_nodes(before)} pending → {number(after)}"
    for failed in change.failed:
        yield _failure(failed)
    for demand in change.wanted:
        yield f"{number(demand.count)} × {_shape(demand)} asked for by {_who(demand)}"
    for demand in change.given:
        yield f"{_shape(demand)} no longer asked for by {_who(demand)}"
    if change.sizes:
        pairs = change.sizes.items()
        parts = (f"{shortened(name, 40)} {quantity(name, before)} → {quantity(name, after)}" for name, (before, after) in pairs)
        yield f"In all: {', '.join(parts)}"


def _node_parts(was: NodeGroup, become: NodeGroup) -> Iterator[str]:
    if was.active != become.active:
        yield f"{_nodes(was.active)} active → {number(become.active)}"
    if was.idle != become.idle:
        yield f"{_nodes(was.idle)} idle → {number(become.idle)}"


def _failure(failed: FailedNode) -> str:
    which = failed.node_type or failed.ip or (failed.node_id or UNKNOWN)[:8]
    why = f": {shortened(failed.reason, LONGEST)}" if failed.reason else ""
    return f"{shortened(which, 60)} failed, {shortened(failed.category, 40)}{why}"


def _shape(demand: ResourceDemand) -> str:
    return shortened(demand_line(demand), LONGEST)


def _who(demand: ResourceDemand) -> str:
    return WHO.get(demand.kind, shortened(demand.kind, 40))


def _of(kind: str) -> str:
    return f"{shortened(kind, 60)}: " if kind else ""


def _nodes(count: int) -> str:
    return f"{number(count)} node{'' if count == 1 else 's'}"
