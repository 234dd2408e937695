"""The cluster's status as the text that `ray status` and `ray status -v` print. Pure.

Ray has two forms, of its first autoscaler (v1) and of its second (v2). v1 calls nodes active whether idle or not and
names only failures that it saw itself; where no autoscaler has reported, the form is that of v2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from clusterstate.model import BundleShape, ClusterStatus, NodeResources, PendingNode, ResourceDemand
from clusterstate.status import ResourceUse, uses
from webapp.formatting import EPOCH, UNKNOWN, is_known, visible

FAILURES_SHOWN = 20
"""As many as Ray prints."""
MEMORY_UNITS = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
BYTES = frozenset({"memory", "object_store_memory"})
UNTYPED = "node_"
V1 = "v1"


@dataclass(frozen=True)
class StatusNode:
    """A live node as `ray status` names it."""

    node_type: str
    row: NodeResources

    @property
    def is_idle(self) -> bool:
        return self.row.status == "IDLE"


def status_nodes(rows: Iterable[NodeResources]) -> list[StatusNode]:
    """Live nodes, those of one type together."""
    found = [StatusNode(row.node_type or UNTYPED + row.node_id, row) for row in rows]
    return sorted(found, key=lambda one: (one.node_type, one.row.node_id))


def status_text(status: ClusterStatus, nodes: Sequence[StatusNode], at: float | None, *, verbose: bool = False) -> str:
    """`at`: as of when, Unix seconds. Every line is one line and shows what cannot be seen in a cluster's names."""
    header = f"======== Autoscaler status: {_moment(at)} ========"
    is_v1 = status.autoscaler_version == V1
    lines = [header, *([""] if verbose else []), "Node status", "-" * len(header), *_node_lines(status, nodes, is_v1)]
    lines += ["Recent failures:", *(_failures(status, is_v1, verbose) or [" (no failures)"])]
    lines += ["", "Resources", "-" * len(header), "Total Usage:"]
    whole = uses(status.resources_total, status.resources_available, status.reserved_total, status.reserved_available)
    lines += [*(" " + line for line in usage_lines(whole, verbose=verbose)), "", "From request_resources:"]
    requests = [_request(one, is_v1) for one in status.demands if one.kind == "REQUEST_RESOURCES"]
    lines += [*(requests or [" (none)"]), "Pending Demands:"]
    lines += list(_demand_lines(status.demands)) or [" (no resource demands)"]
    if verbose:
        lines += [line for node in nodes for line in _node_report(node, at, is_v1)]
    if status.autoscaler_error:
        lines += map(visible, status.autoscaler_error.splitlines())
    return "\n".join(lines) + "\n"


def usage_lines(amounts: Iterable[ResourceUse], *, verbose: bool) -> Iterator[str]:
    """`1.5/4.0 CPU (0.5 used of 1.0 reserved in placement groups)` of each resource."""
    for one in amounts:
        if one.name.startswith("accelerator_type:") and not verbose:
            continue
        line = f"{_amount(one.name, one.used)}/{_amount(one.name, one.total)} {_name(one.name)}"
        if one.reserved is not None:
            used, reserved = _amount(one.name, one.used_of_reserved), _amount(one.name, one.reserved)
            line += f" ({used} used of {reserved} reserved in placement groups)"
        yield line


def shape_text(shape: Mapping[str, float], *, as_whole: bool = False) -> str:
    """{'CPU': 1.0}, as Ray prints a shape; `as_whole`: {'CPU': 1}, as it was given to the first autoscaler."""
    pairs = (f"{_name(repr(name))}: {_figure(shape[name], as_whole)}" for name in sorted(shape))
    return "{" + ", ".join(pairs) + "}"


def bundles_text(bundles: Iterable[BundleShape]) -> str:
    """{'CPU': 1.0} * 2, {'GPU': 1.0} * 1"""
    return ", ".join(f"{shape_text(one.shape)} * {one.count}" for one in bundles)


def _node_lines(status: ClusterStatus, nodes: Sequence[StatusNode], is_v1: bool) -> Iterator[str]:
    active = Counter(one.node_type for one in nodes if is_v1 or not one.is_idle)
    yield "Active:"
    yield from _counted(active) or [" (no active nodes)"]
    if not is_v1:
        yield "Idle:"
        yield from _counted(Counter(one.node_type for one in nodes if one.is_idle)) or [" (no idle nodes)"]
    yield "Pending:"
    yield from _pending(status.pending_nodes) or [" (no pending nodes)"]


def _counted(counts: Mapping[str, int]) -> list[str]:
    return [f" {count} {_name(kind)}" for kind, count in counts.items()]


def _pending(nodes: Iterable[PendingNode]) -> list[str]:
    launches: Counter[str] = Counter()
    starting = []
    for one in nodes:
        if one.is_launch:
            launches[one.node_type] += one.count
        else:
            starting.append(
                f" {_name(one.instance_id or one.ip or UNKNOWN)}: {_name(one.node_type)}, {_name(one.details or UNKNOWN).lower()}"
            )
    return [f" {_name(kind)}, {count} launching" for kind, count in launches.items()] + starting


def _failures(status: ClusterStatus, is_v1: bool, verbose: bool) -> list[str]:
    lines = []
    for one in status.failed_nodes:
        if is_v1 and not one.is_reported:
            continue
        kind = _name(one.node_type or (UNTYPED + one.node_id if one.node_id else UNKNOWN))
        if one.category == "NodeTerminated":
            where = f"ip: {_name(one.ip or UNKNOWN)}" if is_v1 else f"instance_id: {_name(one.instance_id or '')}"
            lines.append(f" {kind}: {one.category} ({where})")
        else:
            why = f" - {_name(one.reason)}" if verbose else ""
            lines.append(f" {kind}: {_name(one.category)} (latest_attempt: {_clock(one.failed_at_ms)}){why}")
    return lines[:FAILURES_SHOWN]


def _request(one: ResourceDemand, is_v1: bool) -> str:
    return f" {shape_text(one.shape, as_whole=is_v1)}: {one.count} from request_resources()"


def _demand_lines(demands: Iterable[ResourceDemand]) -> Iterator[str]:
    for one in demands:
        if one.kind == "TASK_ACTOR" and one.shape:
            inside = f" ({one.in_placement_groups}+ using placement groups)" if one.in_placement_groups else ""
            yield f" {shape_text(one.shape)}: {one.count}+ pending tasks/actors{inside}"
        elif one.kind == "PLACEMENT_GROUP":
            yield f" {bundles_text(one.bundles)} ({_name(one.strategy or UNKNOWN)}): {one.count}+ pending placement groups"


def _node_report(node: StatusNode, at: float | None, is_v1: bool) -> Iterator[str]:
    """The part of `ray status -v` about one node."""
    row = node.row
    yield ""
    yield f"Node: {_name(row.node_id if is_v1 else row.instance_id or '')} ({_name(node.node_type)})"
    if not is_v1:
        yield f" Id: {_name(row.node_id)}"
        if node.is_idle and row.idle_since_ms is not None and at is not None:
            yield f" Idle: {max(0, int(at * 1000) - row.idle_since_ms)} ms"
    yield " Usage:"
    amounts = uses(row.resources_total, row.resources_available, row.reserved_total, row.reserved_available)
    for line in usage_lines(amounts, verbose=True):
        yield "  " + line
    if not is_v1:
        yield " Activity:"
        yield from [f"  {_name(line)}" for line in row.node_activity] or ["  (no activity)"]


def _amount(name: str, value: float | None) -> str:
    if not is_known(value):
        return UNKNOWN
    if name not in BYTES:
        return _figure(value)
    for unit, size in MEMORY_UNITS:
        if value >= size:
            return f"{value / size:.2f}{unit}"
    return f"{int(value)}B"


def _figure(value: float, as_whole: bool = False) -> str:
    if not is_known(value):
        return UNKNOWN
    return repr(int(value)) if as_whole and float(value).is_integer() else repr(float(value))


def _name(text: str) -> str:
    """On one line, whatever the cluster put into it."""
    return visible(text).replace("\n", "␤").replace("\t", " ")


def _moment(at: float | None) -> str:
    """In UTC, and it says so."""
    if not is_known(at):
        return UNKNOWN
    try:
        return str(EPOCH + timedelta(seconds=at))
    except OverflowError:
        return UNKNOWN


def _clock(milliseconds: float | None) -> str:
    if not is_known(milliseconds):
        return UNKNOWN
    try:
        return datetime.fromtimestamp(milliseconds / 1000, timezone.utc).strftime("%H:%M:%S")
    except (OverflowError, OSError, ValueError):
        return UNKNOWN
