"""What nodes measured, added up to the cluster's use now and over time. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from clusterstate.model import NodeStats

STEP_S = 10.0
"""Width of a point of the small charts, at least: two samples of each node."""
MOST_POINTS = 180
"""Of a small chart: half an hour of the narrowest."""


@dataclass(frozen=True)
class Series:
    """Points of one figure, oldest first; None where nothing was measured."""

    values: tuple[float | None, ...]
    started_at: float  # Unix seconds of the first point
    step_s: float


class Point(NamedTuple):
    """What was used in one step of the charts: percent of what there was, and bytes a second. None: nobody measured it."""

    cpu: float | None = None
    memory: float | None = None
    object_store: float | None = None
    gpu: float | None = None
    network_bytes_per_s: float | None = None


@dataclass(frozen=True)
class History:
    """Short history of a node or of the whole cluster, in percent of what there is."""

    cpu: Series
    memory: Series
    object_store: Series
    gpu: Series
    network_bytes_per_s: Series  # sent and received


@dataclass(frozen=True)
class Use:
    """What is used now of what there is; hosts that hold several nodes are counted once. None: not measured."""

    cpu_percent: float | None
    cpu_count: int | None
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    object_store_used_bytes: int | None
    object_store_capacity_bytes: int | None
    gpu_count: int
    gpu_percent: float | None
    gpu_memory_used_bytes: int | None
    gpu_memory_total_bytes: int | None
    disk_used_bytes: int | None
    disk_total_bytes: int | None
    sent_bytes_per_s: float | None
    received_bytes_per_s: float | None
    hosts: int
    nodes: int


def use_now(stats: Sequence[NodeStats]) -> Use:
    """Adds up what nodes measured last."""
    hosts = list({one.boot_id or one.node_id: one for one in stats}.values())
    cores = _sum(one.cpu_count for one in hosts if one.cpu_percent is not None)
    busy = _sum(one.cpu_percent * one.cpu_count for one in hosts if one.cpu_percent is not None and one.cpu_count)
    gpus = [one for one in hosts if one.gpu_count]
    return Use(
        cpu_percent=None if busy is None or not cores else busy / cores,
        cpu_count=_whole(_sum(one.cpu_count for one in hosts)),
        memory_used_bytes=_whole(_sum(one.memory_used_bytes for one in hosts)),
        memory_total_bytes=_whole(_sum(one.memory_total_bytes for one in hosts)),
        object_store_used_bytes=_whole(_sum(one.object_store_used_bytes for one in stats)),
        object_store_capacity_bytes=_whole(_sum(one.object_store_capacity_bytes for one in stats)),
        gpu_count=sum(one.gpu_count or 0 for one in gpus),
        gpu_percent=_weighted(gpus),
        gpu_memory_used_bytes=_whole(_sum(one.gpu_memory_used_bytes for one in gpus)),
        gpu_memory_total_bytes=_whole(_sum(one.gpu_memory_total_bytes for one in gpus)),
        disk_used_bytes=_whole(_sum(one.disk_root_used_bytes for one in hosts)),
        disk_total_bytes=_whole(_sum(one.disk_root_total_bytes for one in hosts)),
        sent_bytes_per_s=_sum(one.network_sent_bytes_per_s for one in hosts),
        received_bytes_per_s=_sum(one.network_received_bytes_per_s for one in hosts),
        hosts=len(hosts),
        nodes=len(stats),
    )


def steps_of(until: float, minutes: float) -> tuple[float, range]:
    """(step_s, steps) of charts over the last `minutes`; a step is a whole number of `step_s` since 1970."""
    step_s = STEP_S * max(1, math.ceil(minutes * 60 / STEP_S / MOST_POINTS))
    last = int(until // step_s)
    return step_s, range(last - int(minutes * 60 / step_s) + 1, last + 1)


def history_of(points: Mapping[int, Point], step_s: float, steps: range) -> History:
    """The charts, with a gap for each step of which nothing is known."""
    columns = zip(*(points.get(step, Point()) for step in steps), strict=True)
    return History(*(Series(column, steps.start * step_s, step_s) for column in columns))


def _weighted(stats: list[NodeStats]) -> float | None:
    known = [(one.gpu_utilization_percent, one.gpu_count) for one in stats if one.gpu_utilization_percent is not None and one.gpu_count]
    count = sum(number for _, number in known)
    return sum(percent * number for percent, number in known) / count if count else None


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
