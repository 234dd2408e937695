"""Runs the real cluster collector in a thread of the test, against a real Redis, and reads what it wrote."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import redis

from clusterstate.loops import CollectCluster
from clusterstate.model import Actor, ClusterMetadata, CollectorReport, Job, Node, PlacementGroup, Worker
from clusterstate.resources import ACTORS, BY_NAME, COLLECTOR, JOBS, METADATA, NODES, PLACEMENT_GROUPS, WORKERS, Resource
from clusterstate.settings import Settings
from clusterstate.store import keys, leases
from clusterstate.store.writer import SessionWriter, current_session
from workers.collectors.cluster import ClusterCollector
from workers.loops import LEASE_S, Keeper

CLUSTER = "test"
NO_TOKEN = {"RAY_AUTH_MODE": "disabled"}
PATIENCE_S = 15.0


class Seen:
    """What the collector wrote of its cluster's current session."""

    def __init__(self, client: redis.Redis) -> None:
        self.redis = client

    @property
    def session(self) -> str | None:
        return current_session(self.redis, CLUSTER)

    def writer(self, session: str | None = None) -> SessionWriter:
        return SessionWriter(self.redis, CLUSTER, session or self.session or "none")

    def rows(self, resource: Resource) -> dict[str, Any]:
        return {str(getattr(row, resource.key)) if resource.key else "": row for row in self.writer().rows(resource)}

    @property
    def actors(self) -> dict[str, Actor]:
        return self.rows(ACTORS)

    @property
    def jobs(self) -> dict[str, Job]:
        return self.rows(JOBS)

    @property
    def nodes(self) -> dict[str, Node]:
        return self.rows(NODES)

    @property
    def workers(self) -> dict[str, Worker]:
        return self.rows(WORKERS)

    @property
    def groups(self) -> dict[str, PlacementGroup]:
        return self.rows(PLACEMENT_GROUPS)

    @property
    def report(self) -> CollectorReport | None:
        return self.rows(COLLECTOR).get("")

    def metadata(self, session: str | None = None) -> ClusterMetadata | None:
        return next(iter(self.writer(session).rows(METADATA)), None)

    def as_of(self, name: str) -> float:
        value = self.redis.hget(keys.fresh(CLUSTER, self.session or ""), name)
        return float(value) if isinstance(value, bytes) else 0.0

    def everything(self) -> dict[str, dict[str, Any]]:
        return {name: self.rows(resource) for name, resource in BY_NAME.items()}


def eventually(ask: Callable[[], Any], *, within_s: float = PATIENCE_S) -> Any:
    """The first true answer, asked again and again. Fails when there is none in time."""
    deadline = time.monotonic() + within_s
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not so within {within_s} s"
        time.sleep(0.03)


@contextmanager
def collecting(client: redis.Redis, settings: Settings, address: str, environ: Mapping[str, str] | None = None) -> Iterator[Seen]:
    """The collector, until the block ends. What it raised is raised then."""
    request = CollectCluster(CLUSTER, address)
    lease = leases.acquire(client, request.name, "the test", LEASE_S)
    assert lease is not None
    stop = threading.Event()
    keeper = Keeper(client, lease, stop.is_set)
    collector = ClusterCollector(request, keeper, client, settings, environ if environ is not None else NO_TOKEN)
    ended: list[BaseException | None] = []

    def run() -> None:
        try:
            asyncio.run(collector.run())
            ended.append(None)
        except BaseException as problem:  # noqa: BLE001 - raised again in the test's thread
            ended.append(problem)

    thread = threading.Thread(target=run, name="collector")
    thread.start()
    try:
        yield Seen(client)
    finally:
        stop.set()
        thread.join(10)
        keeper.end()
    assert ended, "the collector does not stop"
    if ended[0] is not None:
        raise ended[0]
