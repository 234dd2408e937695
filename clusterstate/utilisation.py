"""Samples of nodes added up to the cluster's use over time. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clusterstate.model import NodeSample, NodeStats

STEP_S = 10.0
"""Width of a point of the small charts: two samples of each node."""


@dataclass(frozen=True)
class Series:
    """Points of one figure, oldest first; None where nothing was measured."""

    values: tuple[float | None, ...]
    started_at: float  # Unix seconds of the first point
    step_s: float

    @property
    def last(self) -> float | None:
        return next((value for value in reversed(self.values) if value is not None), None)


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


def history(samples: Iterable[NodeSample], now: float, minutes: float, step_s: float = STEP_S) -> History:
    """Points of `step_s` over the last `minutes`. The newest sample of each node in a step counts, hosts once."""
    steps = int(minutes * 60 / step_s)
    started_at = (now // step_s - steps + 1) * step_s
    newest: list[dict[str, NodeSample]] = [{} for _ in range(steps)]
    for sample in samples:
        step = int((sample.at - started_at) // step_s)
        if 0 <= step < steps:
            newest[step][sample.node_id] = sample
    points = [_point(list(found.values())) for found in newest]
    columns = list(zip(*points, strict=True)) if points else [()] * 5
    return History(*(Series(tuple(column), started_at, step_s) for column in columns))


def _point(samples: list[NodeSample]) -> tuple[float | None, ...]:
    hosts = list({sample.host or sample.node_id: sample for sample in samples}.values())
    return (
        _mean(sample.cpu_percent for sample in hosts),
        _share(hosts, "memory_used_bytes", "memory_total_bytes"),
        _share(samples, "object_store_used_bytes", "object_store_capacity_bytes"),
        _mean(sample.gpu_utilization_percent for sample in hosts),
        _sum(value for sample in hosts for value in (sample.network_sent_bytes_per_s, sample.network_received_bytes_per_s)),
    )


def _share(samples: list[NodeSample], used: str, total: str) -> float | None:
    pairs = [(getattr(sample, used), getattr(sample, total)) for sample in samples]
    known = [(some, whole) for some, whole in pairs if some is not None and whole]
    return 100 * sum(some for some, _ in known) / sum(whole for _, whole in known) if known else None


def _weighted(stats: list[NodeStats]) -> float | None:
    known = [(one.gpu_utilization_percent, one.gpu_count) for one in stats if one.gpu_utilization_percent is not None and one.gpu_count]
    count = sum(number for _, number in known)
    return sum(percent * number for percent, number in known) / count if count else None


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
