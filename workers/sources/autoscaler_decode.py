"""The report that Ray's first autoscaler (v1) leaves in the GCS's KV each 5 s, as our model. Pure.

It alone names pending launches, failed nodes and request_resources() where that autoscaler runs: `ray start`, `ray up`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from clusterstate.masking import mask_text
from clusterstate.model import FailedNode, PendingNode, ResourceDemand
from workers.sources.gcs_decode_demands import MAX_DEMANDS, merged, ordered, requested
from workers.sources.gcs_fields import MAX_ENTRIES, clipped

REPORT_KEY = "__autoscaling_status"
ERROR_KEY = "__autoscaling_error"
VERSION_NAMESPACE, VERSION_KEY = "__autoscaler", "__autoscaler_v2_enabled"
"""Holds 1 where the second autoscaler runs."""
MAX_BYTES = 32 * 1024 * 1024
NO_TYPE = "node_"
"""The type of a node that was started by hand is this and its id."""


@dataclass(frozen=True)
class AutoscalerReport:
    """One report."""

    at: float | None  # Unix seconds, by the clock of the head node
    node_types: dict[str, str] = field(default_factory=dict)  # address or node id → type
    pending_nodes: list[PendingNode] = field(default_factory=list)
    failed_nodes: list[FailedNode] = field(default_factory=list)
    demands: list[ResourceDemand] = field(default_factory=list)  # of request_resources()


def report_of(raw: bytes | None) -> AutoscalerReport | None:
    """The report in a KV value; None when there is none or it cannot be read."""
    if not raw or len(raw) > MAX_BYTES:
        return None
    try:
        parsed = json.loads(raw, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
    summary, load = _mapping(parsed, "autoscaler_report"), _mapping(parsed, "load_metrics_report")
    if not summary:
        return None
    return AutoscalerReport(
        at=_number(_of(parsed, "time")),
        node_types={clipped(name): clipped(kind) for name, kind in _texts(_mapping(summary, "node_type_mapping")) if not is_unnamed(kind)},
        pending_nodes=[*_launches(summary), *_starting(summary)],
        failed_nodes=[*_failed(summary), *_unavailable(summary)],
        demands=ordered(merged(_requests(load))),
    )


def error_of(raw: bytes | None) -> str | None:
    """Why the autoscaler stopped, with secrets masked; None: it did not."""
    return mask_text(clipped(raw.decode("utf-8", "replace"))) or None if raw else None


def is_unnamed(node_type: str) -> bool:
    """Whether this is what Ray calls a node that has no type: `node_` and its id."""
    digits = node_type.removeprefix(NO_TYPE)
    return node_type.startswith(NO_TYPE) and len(digits) == 56 and all(digit in "0123456789abcdef" for digit in digits)


def _launches(summary: Mapping[str, Any]) -> Iterable[PendingNode]:
    for kind, count in list(_mapping(summary, "pending_launches").items())[:MAX_ENTRIES]:
        if (number := _whole(count)) is not None:
            yield PendingNode(clipped(str(kind)), count=number, is_launch=True)


def _starting(summary: Mapping[str, Any]) -> Iterable[PendingNode]:
    """(address, type, status) of each."""
    for row in _rows(summary, "pending_nodes", 3):
        yield PendingNode(row[1], row[0], row[2], row[0])


def _failed(summary: Mapping[str, Any]) -> Iterable[FailedNode]:
    """(address, type) of each."""
    for row in _rows(summary, "failed_nodes", 2):
        yield FailedNode(row[1], "", row[0])


def _unavailable(summary: Mapping[str, Any]) -> Iterable[FailedNode]:
    """Types that the cloud did not give, with why."""
    records = _mapping(_mapping(summary, "node_availability_summary"), "node_availabilities")
    for kind, record in list(records.items())[:MAX_ENTRIES]:
        why = _mapping(record, "unavailable_node_information")
        if _of(record, "is_available") is not False or not why:
            continue
        at = _number(_of(record, "last_checked_timestamp"))
        reason = mask_text(clipped(str(_of(why, "description") or "")))
        category = clipped(str(_of(why, "category") or "Unavailable"))
        yield FailedNode(clipped(str(kind)), reason, None, None if at is None else int(at * 1000), category)


def _requests(load: Mapping[str, Any]) -> Iterable[ResourceDemand]:
    """(shape, count) of each."""
    for row in _list(load, "request_demand")[:MAX_DEMANDS]:
        if not isinstance(row, list) or len(row) != 2 or not isinstance(row[0], dict):
            continue
        shape = {str(name): number for name, amount in row[0].items() if (number := _number(amount)) is not None}
        if (count := _whole(row[1])) is not None:
            yield requested(shape, count)


def _rows(summary: Mapping[str, Any], name: str, length: int) -> Iterable[list[str]]:
    for row in _list(summary, name)[:MAX_ENTRIES]:
        if isinstance(row, list) and len(row) == length:
            yield [clipped(str(value)) for value in row]


def _texts(values: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    return [(name, kind) for name, kind in list(values.items())[:MAX_ENTRIES] if isinstance(kind, str)]


def _of(parent: Any, name: str) -> Any:
    return parent.get(name) if isinstance(parent, dict) else None


def _mapping(parent: Any, name: str) -> dict[str, Any]:
    value = _of(parent, name)
    return value if isinstance(value, dict) else {}


def _list(parent: Any, name: str) -> list[Any]:
    value = _of(parent, name)
    return value if isinstance(value, list) else []


def _number(value: Any) -> float | None:
    """What can be a time or an amount."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 1e15:
        return None
    return float(value) if math.isfinite(value) else None


def _whole(value: Any) -> int | None:
    found = _number(value)
    return int(found) if found is not None and found > 0 else None
