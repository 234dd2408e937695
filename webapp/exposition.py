"""/metrics: what Raydeck knows of itself, as Prometheus text. Labels are names of ours and of clusters, boundedly many."""

from __future__ import annotations

import mmap
import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from flask import Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from clusterstate.model import RoleCost
from clusterstate.query import NotFound
from clusterstate.resources import ACTORS, JOBS, NODES, PLACEMENT_GROUPS, WORKERS
from clusterstate.store.fleet_reader import Fleet
from clusterstate.store.reader import IndexMissing
from clusterstate.store.sqlite_reading import DeadlinePassed
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
    families = background.run(lambda: [*_requests(found.counts), *_clusters(found.fleet, found.now()), *_costs(found.fleet.costs())])
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(families))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE)


class _Families(Collector):
    """Figures that were read already."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _requests(counts: RequestCounts) -> Iterator[Metric]:
    total = CounterMetricFamily(
        "raydeck_http_requests", "Requests answered, by endpoint and class of status.", labels=("endpoint", "status")
    )
    took = HistogramMetricFamily("raydeck_http_request_seconds", "Time to answer, by endpoint.", labels=("endpoint",))
    limits = [f"{bucket:g}" for bucket in BUCKETS_S] + ["+Inf"]
    for name, by_class, by_bucket, seconds in counts.read():
        for word, number in zip(CLASSES, by_class, strict=True):
            if number:
                total.add_metric((name, word), number)
        took.add_metric((name,), list(zip(limits, accumulate(by_bucket), strict=True)), seconds)
    yield total
    yield took


def _clusters(fleet: Fleet, now: float) -> Iterator[Metric]:
    rows = GaugeMetricFamily("raydeck_cluster_rows", "Rows known of the cluster's current session.", labels=("cluster", "resource"))
    ages = GaugeMetricFamily(
        "raydeck_cluster_data_age_seconds", "Seconds since the resource was last known right.", labels=("cluster", "resource")
    )
    reachable = GaugeMetricFamily("raydeck_cluster_gcs_reachable", "Whether the GCS answers the collector.", labels=("cluster",))
    for name in fleet.names()[:MAX_CLUSTERS]:
        try:
            reader = fleet.reader(name)
            for resource in COUNTED:
                rows.add_metric((name, resource.name), sum(reader.group(resource, _state_column(resource.name)).values()))
                fresh = reader.freshness(resource.name, now=now)
                if fresh.age_s is not None:
                    ages.add_metric((name, resource.name), fresh.age_s)
            report = reader.collector()
            if report is not None:
                reachable.add_metric((name,), int(report.gcs_reachable))
        except (IndexMissing, NotFound, DeadlinePassed):
            continue
    yield from (rows, ages, reachable)


def _costs(costs: Sequence[RoleCost]) -> Iterator[Metric]:
    labels = ("role", "host", "pid")
    memory = GaugeMetricFamily("raydeck_role_pss_bytes", "Memory of Raydeck's own processes.", labels=labels)
    cpu = GaugeMetricFamily("raydeck_role_cpu_percent", "CPU of Raydeck's own processes, percent of one core.", labels=labels)
    restarts = CounterMetricFamily("raydeck_role_restarts", "Restarts of Raydeck's own processes.", labels=labels)
    for cost in costs:
        who = (cost.role, cost.host, str(cost.pid))
        for family, value in ((memory, cost.pss_bytes), (cpu, cost.cpu_percent), (restarts, cost.restarts)):
            if value is not None:
                family.add_metric(who, value)
    yield from (memory, cpu, restarts)


def _state_column(name: str) -> str:
    return {"jobs": "status", "workers": "is_alive"}.get(name, "state")


def process_row(taken: Iterable[int], workers: int) -> int:
    """The first row no living worker counts in."""
    used = set(taken)
    return next((row for row in range(workers) if row not in used), os.getpid() % workers)
