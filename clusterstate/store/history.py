"""Short history for the charts, added up by SQLite: a render asks for the steps that changed since the last one, and no others."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from clusterstate.store.sqlite_reading import ask, inode_of
from clusterstate.utilisation import Point

FILES_KEPT = 64
STEPS_AT_ONCE = 4
"""Steps that one question asks for, 10 ms at 300 nodes: between two questions the clock is looked at, so each call gets on."""

POINTS = """
WITH newest AS (
    SELECT CAST(at / {step_s} AS INTEGER) AS step, max(at) AS at, coalesce(host, node_id) AS host, cpu_percent, cpu_count,
        memory_used_bytes, memory_total_bytes, object_store_used_bytes, object_store_capacity_bytes,
        gpu_utilization_percent, gpu_count, network_sent_bytes_per_s, network_received_bytes_per_s
    FROM samples WHERE at >= ? AND at < ? {only} GROUP BY step, node_id
), hosts AS (
    SELECT step, max(at), cpu_percent, cpu_count, memory_used_bytes, memory_total_bytes, gpu_utilization_percent, gpu_count,
        coalesce(
            network_sent_bytes_per_s + network_received_bytes_per_s, network_sent_bytes_per_s, network_received_bytes_per_s
        ) AS network,
        sum(CASE WHEN object_store_capacity_bytes > 0 THEN object_store_used_bytes END) AS store_used,
        sum(CASE WHEN object_store_used_bytes IS NOT NULL THEN object_store_capacity_bytes END) AS store_capacity
    FROM newest GROUP BY step, host
)
SELECT step,
    coalesce(sum(cpu_percent * cpu_count) / sum(CASE WHEN cpu_percent IS NOT NULL THEN cpu_count END), avg(cpu_percent)),
    100.0 * sum(CASE WHEN memory_total_bytes > 0 THEN memory_used_bytes END)
        / sum(CASE WHEN memory_used_bytes IS NOT NULL THEN memory_total_bytes END),
    100.0 * sum(store_used) / sum(store_capacity),
    coalesce(
        sum(gpu_utilization_percent * gpu_count) / sum(CASE WHEN gpu_utilization_percent IS NOT NULL THEN gpu_count END),
        avg(gpu_utilization_percent)
    ),
    sum(network)
FROM hosts GROUP BY step
"""
"""In each step the newest sample of each node counts, figures of a host once, object stores of all its nodes.

Percentages weigh by cores and GPUs, as `utilisation.use_now` weighs them; samples of before these were kept weigh the same.
A max() in SQLite gives the other columns of the row that has it.
"""


@dataclass(frozen=True)
class Known:
    """What was added up already: of this file, all samples up to this rowid."""

    inode: int
    seen: int
    points: dict[int, Point]


_known: dict[tuple[Path, float], Known] = {}


def node_points(path: Path, node_id: str, steps: range, step_s: float, deadline: float) -> dict[int, Point]:
    """Step (Unix seconds // step_s) → what one node measured then. Raises IndexMissing, DeadlinePassed."""
    return dict(_asked(path, steps, step_s, node_id, deadline))


def cluster_points(path: Path, steps: range, step_s: float, deadline: float) -> dict[int, Point]:
    """The same for all nodes. Steps that are not known by the deadline are missing: the next call finds them. Raises IndexMissing."""
    key, inode = (path, step_s), inode_of(path)
    known = _known.get(key)
    if known is None or known.inode != inode:
        known = Known(inode, 0, {})
    [(seen,)] = ask(path, "SELECT coalesce(max(rowid), 0) FROM samples")
    changed = _changed(path, known.seen, step_s) if known.points else set()
    points = {step: point for step, point in known.points.items() if step in steps and step not in changed}
    for some in _in_parts([step for step in reversed(steps) if step not in points]):
        found = dict(_asked(path, some, step_s))
        points |= {step: found.get(step, Point()) for step in some}
        if time.monotonic() > deadline:
            break
    _known[key] = Known(inode, seen, points)
    while len(_known) > FILES_KEPT:
        _known.pop(next(iter(_known)), None)
    return points


def _asked(
    path: Path, steps: range, step_s: float, node_id: str | None = None, deadline: float | None = None
) -> Iterator[tuple[int, Point]]:
    sql = POINTS.format(step_s=float(step_s), only="" if node_id is None else "AND node_id = ?")
    bounds = (steps.start * step_s, steps.stop * step_s)
    for step, *values in ask(path, sql, bounds if node_id is None else (*bounds, node_id), deadline):
        yield int(step), Point(*values)


def _changed(path: Path, seen: int, step_s: float) -> set[int]:
    """Steps that got samples after the one with this rowid: the newest, and those that were held up while Redis was away."""
    sql = f"SELECT DISTINCT CAST(at / {float(step_s)} AS INTEGER) FROM samples WHERE rowid > ?"  # noqa: S608 - a number
    return {int(step) for (step,) in ask(path, sql, (seen,))}


def _in_parts(steps: Iterable[int]) -> Iterator[range]:
    """Neighbouring steps together, from the newest back."""
    for _, run in groupby(enumerate(steps), lambda item: item[0] + item[1]):
        numbers = [step for _, step in run]
        for start in range(0, len(numbers), STEPS_AT_ONCE):
            some = numbers[start : start + STEPS_AT_ONCE]
            yield range(some[-1], some[0] + 1)
