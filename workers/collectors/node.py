"""The node collector: one loop for all raylets of a cluster on this host. Host figures are read once for all of them.

Each second the host, each 5 s processes, raylets and a sample, each minute the memory figures that cost the kernel a
walk over all pages. Ray and Redis may come and go: reading goes on, and what could not be written is written later.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from typing import Protocol

import redis

from clusterstate.loops import CollectNode
from clusterstate.settings import Settings
from clusterstate.store.leases import Lease
from workers.collectors.node_rows import node_sample, node_stats
from workers.collectors.node_store import NodeStore
from workers.collectors.node_watch import NodeWatch
from workers.sources.gcs import Credentials, GcsError
from workers.sources.gpus import GpuReader, GpuWatcher
from workers.sources.host import HostReader, HostReading
from workers.sources.processes import MAX_PROCESSES, ProcessReader
from workers.sources.processes_decode import RayletProcess
from workers.sources.raylet import NodeLookup, ray_credentials
from workers.sources.raylet_decode import NodeAddress

TICK_S = 1.0
PROCESSES_EVERY_S = 5.0
NO_RAYLET_EVERY_S = 2.0
"""How often it is looked for raylets while there are none."""
SAMPLE_EVERY_S = 5.0
SESSION_EVERY_S = 2.0
LOOKUP_EVERY_S = 3.0
ANSWER_WITHIN_S = 0.3
"""A raylet mostly answers within 10 ms; a later answer is used with the next walk."""
MEMORY_SPREAD_S = 45
"""The expensive figures of all processes are read once a minute: a share of them each second."""


class Keeper(Protocol):
    """Who keeps the loop's lease and heartbeat."""

    lease: Lease

    def beat(self) -> None: ...

    def should_stop(self) -> bool: ...


def collect_node(request: CollectNode, keeper: Keeper, client: redis.Redis, settings: Settings) -> None:
    """Watches this host's raylets until told to stop. Raises what `keeper.beat` raises when superseded."""
    collector = NodeCollector(request, client, keeper.lease)
    try:
        while not keeper.should_stop():
            started = time.monotonic()
            keeper.beat()
            collector.tick(time.time())
            while not keeper.should_stop() and (left := started + TICK_S - time.monotonic()) > 0:
                time.sleep(min(left, 0.25))
    finally:
        collector.close()


class NodeCollector:
    """State of the loop. `tick` is called about once a second."""

    def __init__(
        self,
        request: CollectNode,
        client: redis.Redis,
        lease: Lease | None,
        gpus: GpuReader | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._address = request.address
        self._environ = os.environ if environ is None else environ
        self._store = NodeStore(client, request.cluster, lease)
        self._host = HostReader()
        self._processes = ProcessReader()
        self._gpus = GpuWatcher(gpus or GpuReader())
        self._lookup: NodeLookup | None = None
        self._last: dict[str, float] = {}  # what -> when it was last due
        self._watches: dict[str, NodeWatch] = {}  # by node id
        self._problems: list[str] = []  # of the last walk

    def tick(self, now: float) -> None:
        """Reads what is due and writes it."""
        if self._is_due("session", now, SESSION_EVERY_S) and self._store.follow():
            self._begin_again()
        host = self._host.read(now, also=self._session_dirs())
        if self._store.session is None:
            return
        self._drop_ended_raylets()
        if self._is_due("processes", now, PROCESSES_EVERY_S if self._watches else NO_RAYLET_EVERY_S):
            self._look_at_processes(self._store.session, now)
        self._look_up_addresses(now)
        self._measure_memory(now)
        self._write(host, now)

    def close(self) -> None:
        """Lets connections go. Rows stay: the next collector of this host goes on with them."""
        self._begin_again()
        self._gpus.close()

    def _is_due(self, what: str, now: float, every_s: float) -> bool:
        """Whether `every_s` passed since this last said so; also when the clock was set back."""
        if 0 <= now - self._last.get(what, -math.inf) < every_s - TICK_S / 10:
            return False
        self._last[what] = now
        return True

    def _begin_again(self) -> None:
        for watch in self._watches.values():
            watch.close()
        self._watches.clear()
        self._end_lookup()
        self._last.pop("processes", None)

    def _session_dirs(self) -> tuple[str, ...]:
        """Ray's folders: the file systems they lie on are of interest whatever their kind."""
        return tuple(sorted({folder for watch in self._watches.values() if (folder := watch.raylet.flags.session_dir)}))

    def _look_at_processes(self, session: str, now: float) -> None:
        self._ask_raylets()
        scan = self._processes.scan(session, now, {watch.raylet.pid: watch.listed() for watch in self._watches.values()})
        left_out = f"{scan.left_out} processes of Ray are not listed: {MAX_PROCESSES} a node are."
        self._problems = [left_out] if scan.left_out else []
        gpus = self._gpus.latest(now).gpus
        for node in scan.nodes:
            watch = self._watch(node.raylet)
            watch.update_processes(node, gpus)
            self._store.keep_processes(watch.node_id, watch.rows)

    def _ask_raylets(self) -> None:
        for watch in self._watches.values():
            watch.ask()
        give_up = time.monotonic() + ANSWER_WITHIN_S
        awaited = list(self._watches.values())
        while awaited and time.monotonic() < give_up:
            awaited = [watch for watch in awaited if not watch.look(time.time())]
            time.sleep(0.005)

    def _watch(self, raylet: RayletProcess) -> NodeWatch:
        watch = self._watches.get(raylet.flags.node_id)
        if watch is None or watch.raylet.pid != raylet.pid:
            watch = self._watches[raylet.flags.node_id] = NodeWatch(raylet)
        return watch

    def _drop_ended_raylets(self) -> None:
        """A raylet that is gone takes its processes with it. Its last figures stay, and age."""
        for node_id, watch in list(self._watches.items()):
            if not self._processes.is_running(watch.raylet):
                watch.close()
                del self._watches[node_id]
                self._store.keep_processes(node_id, ())

    def _look_up_addresses(self, now: float) -> None:
        """Asks the GCS where new raylets listen, and no more once it is known."""
        without = [watch for watch in self._watches.values() if not watch.has_address]
        if without and self._lookup is None and self._is_due("lookup", now, LOOKUP_EVERY_S):
            self._begin_lookup(without)
        if self._lookup is None or not self._lookup.look(now):
            return
        found, problem, credentials = self._lookup.answer, self._lookup.problem, self._lookup.credentials
        self._end_lookup()
        for watch in without:
            self._locate(watch, found or {}, problem, credentials)

    def _begin_lookup(self, watches: list[NodeWatch]) -> None:
        try:
            credentials = ray_credentials(self._environ)
        except GcsError as error:
            for watch in watches:
                watch.lookup_problem = str(error)
            return
        self._lookup = NodeLookup(self._address, [watch.node_id for watch in watches], credentials)
        self._lookup.ask()

    def _locate(self, watch: NodeWatch, found: Mapping[str, NodeAddress], problem: str | None, credentials: Credentials) -> None:
        address = found.get(watch.node_id)
        if problem is not None:
            watch.lookup_problem = f"the GCS at {self._address} was asked where it listens, but {problem}"
        elif address is None or not address.is_alive or not address.port:
            watch.lookup_problem = f"the GCS at {self._address} does not list it as alive."
        else:
            watch.locate(address, credentials)
            self._last.pop("processes", None)  # its workers are of interest at once

    def _end_lookup(self) -> None:
        if self._lookup is not None:
            self._lookup.close()
            self._lookup = None

    def _measure_memory(self, now: float) -> None:
        if self._watches:
            self._processes.measure_memory(now, math.ceil(self._processes.count() / MEMORY_SPREAD_S))

    def _write(self, host: HostReading, now: float) -> None:
        gpus = self._gpus.latest(now)
        rows = [node_stats(watch.view(host, gpus, self._problems), os.getpid()) for watch in self._watches.values()]
        for row in rows:
            self._watches[row.node_id].since.append(row)
        if self._is_due("sample", now, SAMPLE_EVERY_S):
            for watch in self._watches.values():
                self._store.keep_sample(node_sample(watch.since))
                watch.since.clear()
        self._store.write(rows, now)
