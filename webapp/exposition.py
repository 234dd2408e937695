"""/metrics: what Raydeck knows of itself, as Prometheus text. Labels are names of ours and of clusters, boundedly many."""

from __future__ import annotations

import mmap
import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from flask import Response

from clusterstate.model import RoleCost
from clusterstate.query import NotFound
from clusterstate.resources import ACTORS, JOBS, NODES, PLACEMENT_GROUPS, WORKERS
from clusterstate.store.fleet_reader import Fleet
from clusterstate.store.reader import IndexMissing
from webapp import background
from webapp.parts import parts

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
OTHER = "other"
CELLS_PER_ENDPOINT = len(CLASSES) + len(BUCKETS_S) + 2  # ... and +Inf, and the sum of seconds
COUNTED = (NODES, JOBS, ACTORS, WORKERS, PLACEMENT_GROUPS)
MAX_CLUSTERS = 100


class RequestCounts:
    """Counts and durations of requests, summed over the gunicorn workers of this host.

    One shared memory, made before the fork, with a row of numbers for each worker: no locks, no files. A worker that
    replaces a dead one goes on with its row, so counters never fall.
    """

    def __init__(self, endpoints: Iterable[str], workers: int) -> None:
        self._rows_of = {name: number for number, name in enumerate((*sorted(endpoints), OTHER))}
        self._width = len(self._rows_of) * CELLS_PER_ENDPOINT
        self.workers = workers
        self._memory = mmap.mmap(-1, max(mmap.PAGESIZE, self._width * workers * 8))
        self._cells = memoryview(self._memory).cast("d")
        self._offset = 0

    def use_row(self, worker: int) -> None:
        """From now on this process counts in the row of this worker."""
        self._offset = (worker % self.workers) * self._width

    def add(self, endpoint: str | None, status: int, seconds: float) -> None:
        start = self._offset + self._rows_of.get(endpoint or OTHER, self._rows_of[OTHER]) * CELLS_PER_ENDPOINT
        self._cells[start + min(max(status // 100 - 1, 0), 4)] += 1
        self._cells[start + len(CLASSES) + bisect_left(BUCKETS_S, seconds)] += 1
        self._cells[start + CELLS_PER_ENDPOINT - 1] += seconds

    def read(self) -> Iterator[tuple[str, list[float], list[float], float]]:
        """(endpoint, requests by class, requests by bucket, seconds), summed; endpoints without requests are left out."""
        for name, number in self._rows_of.items():
            cells = [0.0] * CELLS_PER_ENDPOINT
            for worker in range(self.workers):
                start = worker * self._width + number * CELLS_PER_ENDPOINT
                cells = [a + b for a, b in zip(cells, self._cells[start : start + CELLS_PER_ENDPOINT], strict=True)]
            if any(cells):
                yield name, cells[: len(CLASSES)], cells[len(CLASSES) : -1], cells[-1]


def show_metrics() -> Response:
    """Prometheus text."""
    found = parts()
    clusters = background.run(lambda: list(_clusters(found.fleet, found.now())))
    costs = background.run(found.fleet.costs)
    return Response("\n".join([*_requests(found.counts), *clusters, *_costs(costs), ""]), content_type=CONTENT_TYPE)


def _requests(counts: RequestCounts) -> Iterator[str]:
    rows = list(counts.read())
    yield from _head("raydeck_http_requests_total", "counter", "Requests answered, by endpoint and class of status.")
    for name, by_class, _, _ in rows:
        for word, number in zip(CLASSES, by_class, strict=True):
            if number:
                yield f"raydeck_http_requests_total{_labels(endpoint=name, status=word)} {number:.0f}"
    yield from _head("raydeck_http_request_seconds", "histogram", "Time to answer, by endpoint.")
    for name, _, by_bucket, seconds in rows:
        total = 0.0
        for limit, number in zip((*(f"{b:g}" for b in BUCKETS_S), "+Inf"), by_bucket, strict=True):
            total += number
            yield f"raydeck_http_request_seconds_bucket{_labels(endpoint=name, le=limit)} {total:.0f}"
        yield f"raydeck_http_request_seconds_sum{_labels(endpoint=name)} {seconds:.6f}"
        yield f"raydeck_http_request_seconds_count{_labels(endpoint=name)} {total:.0f}"


def _clusters(fleet: Fleet, now: float) -> Iterator[str]:
    names = fleet.names()[:MAX_CLUSTERS]
    yield from _head("raydeck_cluster_rows", "gauge", "Rows known of the cluster's current session, by resource.")
    ages: list[str] = []
    reachable: list[str] = []
    for name in names:
        try:
            reader = fleet.reader(name)
            for resource in COUNTED:
                rows = sum(reader.group(resource, _state_column(resource.name)).values())
                yield f"raydeck_cluster_rows{_labels(cluster=name, resource=resource.name)} {rows}"
                fresh = reader.freshness(resource.name, now=now)
                if fresh.age_s is not None:
                    ages.append(f"raydeck_cluster_data_age_seconds{_labels(cluster=name, resource=resource.name)} {fresh.age_s:.3f}")
            report = reader.collector()
            if report is not None:
                reachable.append(f"raydeck_cluster_gcs_reachable{_labels(cluster=name)} {int(report.gcs_reachable)}")
        except (IndexMissing, NotFound):
            continue
    yield from _head("raydeck_cluster_data_age_seconds", "gauge", "Seconds since the resource was last known right.")
    yield from ages
    yield from _head("raydeck_cluster_gcs_reachable", "gauge", "Whether the cluster's GCS answers the collector.")
    yield from reachable


def _costs(costs: Sequence[RoleCost]) -> Iterator[str]:
    for metric, kind, help_text, field in (
        ("raydeck_role_pss_bytes", "gauge", "Memory of Raydeck's own processes.", "pss_bytes"),
        ("raydeck_role_cpu_percent", "gauge", "CPU of Raydeck's own processes, percent of one core.", "cpu_percent"),
        ("raydeck_role_restarts_total", "counter", "Restarts of Raydeck's own processes.", "restarts"),
    ):
        yield from _head(metric, kind, help_text)
        for cost in costs:
            value = getattr(cost, field)
            if value is not None:
                yield f"{metric}{_labels(role=cost.role, host=cost.host, pid=str(cost.pid))} {value:g}"


def _state_column(name: str) -> str:
    return {"jobs": "status", "workers": "is_alive"}.get(name, "state")


def _head(name: str, kind: str, help_text: str) -> tuple[str, str]:
    return f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"


def _labels(**values: str) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in values.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def process_row(taken: Iterable[int], workers: int) -> int:
    """The first row no living worker counts in."""
    used = set(taken)
    return next((row for row in range(workers) if row not in used), os.getpid() % workers)
