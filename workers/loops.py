"""Running a loop: lease, heartbeat, and the order to stop. What a loop does is in `workers.collectors`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import redis

from clusterstate.loops import CollectCluster, CollectNode, Loop
from clusterstate.settings import Settings
from clusterstate.store import keys, leases
from clusterstate.store.connection import UNREACHABLE, connect
from clusterstate.store.leases import Lease

if TYPE_CHECKING:
    from collections.abc import Mapping

LEASE_S = keys.HEARTBEAT_MS / 1000
BEAT_EVERY_S = 1.0
ACQUIRE_WITHIN_S = LEASE_S + 2.0
"""A holder that was killed without a word keeps its lease this long at most."""


class Superseded(Exception):
    """Another process runs this loop now: stop writing at once."""


class Keeper:
    """Keeps a loop's lease and heartbeat. `beat` is called at least each second and costs a round trip each second."""

    def __init__(self, client: redis.Redis, lease: Lease, stopping: Callable[[], bool]) -> None:
        self.lease = lease
        self._redis = client
        self._stopping = stopping
        self._last_beat = float("-inf")

    def beat(self) -> None:
        """Says that the loop lives and keeps its lease. Raises Superseded; Redis being away is waited out."""
        now = time.monotonic()
        if now - self._last_beat < BEAT_EVERY_S * 0.9:
            return
        self._last_beat = now
        try:
            held = leases.renew(self._redis, self.lease, LEASE_S)
            if held:
                self._redis.set(keys.heartbeat(self.lease.name), self._word(), px=keys.HEARTBEAT_MS)
        except UNREACHABLE:
            return
        if not held:
            raise Superseded(f"Another process runs {self.lease.name} now.")

    def should_stop(self) -> bool:
        """Whether the loop was told to stop. It has a second and a half to return."""
        return self._stopping()

    def end(self) -> None:
        """Lets another begin at once."""
        try:
            leases.release(self._redis, self.lease)
        except UNREACHABLE:
            pass  # they expire

    def _word(self) -> bytes:
        return json.dumps({"pid": os.getpid(), "holder": self.lease.holder, "token": self.lease.token}).encode()


class LoopContext:
    """What a loop job needs beside its request. Set in the worker before it forks."""

    def __init__(self, settings: Settings, holder: str, stopping: Callable[[], bool]) -> None:
        self.settings = settings
        self.holder = holder
        self.stopping = stopping


def run_loop(loop: Loop, context: LoopContext) -> None:
    """Runs a loop while this process has its lease. Returns when told to stop, or when another has it."""
    client = connect(context.settings, timeout_s=1.0)
    lease = _acquire(client, loop.name, context)
    if lease is None:
        return
    keeper = Keeper(client, lease, context.stopping)
    try:
        keeper.beat()
        FUNCTIONS[type(loop)](loop, keeper, client, context.settings)
    except Superseded:
        return
    finally:
        keeper.end()


def collect_cluster(request: CollectCluster, keeper: Keeper, client: redis.Redis, settings: Settings) -> None:
    """Watches a cluster. gRPC is imported here: in this process alone."""
    from workers.collectors.cluster import collect_cluster as collect

    collect(request, keeper, client, settings)


def collect_node(request: CollectNode, keeper: Keeper, client: redis.Redis, settings: Settings) -> None:
    """Watches the raylets of this host."""
    from workers.collectors.node import collect_node as collect

    collect(request, keeper, client, settings)


FUNCTIONS: Mapping[type, Callable[..., None]] = {CollectCluster: collect_cluster, CollectNode: collect_node}


def _acquire(client: redis.Redis, name: str, context: LoopContext) -> Lease | None:
    """The lease, waiting for one whose holder died. None: told to stop, or another holds on to it."""
    give_up = time.monotonic() + ACQUIRE_WITHIN_S
    while not context.stopping() and time.monotonic() < give_up:
        try:
            lease = leases.acquire(client, name, context.holder, LEASE_S)
        except UNREACHABLE:
            lease = None
        if lease is not None:
            return lease
        time.sleep(0.2)
    return None
