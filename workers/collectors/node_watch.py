"""What a node collector remembers of one raylet of its host, from the raylet's start to its end."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from clusterstate.model import Gpu, NodeStats, Process
from workers.collectors.node_rows import NodeView
from workers.sources import gpus_decode, processes_merge
from workers.sources.cgroup import ContainerReader
from workers.sources.gcs import Credentials
from workers.sources.gpus import GpuReading
from workers.sources.host import HostReading
from workers.sources.processes_decode import NodeProcesses, RayletProcess
from workers.sources.raylet import RayletClient, worker_ids_from_logs
from workers.sources.raylet_decode import NodeAddress, RayletReading

STATS_KNOWN_FOR_S = 60.0
"""How long the raylet's last word on its store is shown when it no longer answers."""


class NodeWatch:
    """One raylet. It asks the raylet, and joins the answer with what /proc and NVML say."""

    def __init__(self, raylet: RayletProcess) -> None:
        self.raylet = raylet
        self.node_id = raylet.flags.node_id
        self.rows: list[Process] = []
        self.since: list[NodeStats] = []  # rows since the last sample
        self.lookup_problem: str | None = None
        self._client: RayletClient | None = None
        self._container = ContainerReader(raylet.pid)
        self._classes: dict[str, str] = {}
        self._by_pid: dict[int, Process] = {}

    @property
    def has_address(self) -> bool:
        """Whether it is known where the raylet listens."""
        return self._client is not None

    @property
    def stats(self) -> RayletReading | None:
        """The raylet's newest answer."""
        return self._client.answer if self._client is not None else None

    def listed(self) -> Collection[int]:
        """The pids that the raylet calls its workers and drivers."""
        return self.stats.workers.keys() if self.stats is not None else ()

    def locate(self, address: NodeAddress, credentials: Credentials) -> None:
        """Says where the raylet listens, and with what it is spoken to. It never changes while the raylet lives."""
        if self._client is None:
            self._client = RayletClient(address.address, address.port, credentials)

    def ask(self) -> None:
        if self._client is not None:
            self._client.ask()

    def look(self, now: float) -> bool:
        """Takes the raylet's answer; False while it is awaited."""
        return self._client is None or self._client.look(now)

    def update_processes(self, found: NodeProcesses, gpus: Sequence[Gpu]) -> None:
        """The process rows anew, from a scan."""
        answers = self._client is not None and self._client.problem is None and self.stats is not None
        ids = {} if answers else self._ids_from_logs(found)
        to_gpu = gpus_decode.slots_to_gpus(self.raylet.visible_gpus, gpus)
        rows = processes_merge.merge(found, self.stats, gpus, to_gpu, self._classes, ids)
        self._classes = processes_merge.classes_of(rows)
        self.rows = [processes_merge.steady(self._by_pid.get(row.pid), row) for row in rows]
        self._by_pid = {row.pid: row for row in self.rows}

    def view(self, host: HostReading, gpu_reading: GpuReading, also: Sequence[str] = ()) -> NodeView:
        """Everything known of the node now."""
        workers = self.stats.workers if self.stats is not None else {}
        to_gpu = gpus_decode.slots_to_gpus(self.raylet.visible_gpus, gpu_reading.gpus)
        return NodeView(
            raylet=self.raylet,
            host=host,
            container=self._container.read(host.at, host.cpu_count, host.memory_total_bytes),
            stats=self.stats if self.stats is not None and host.at - self.stats.at < STATS_KNOWN_FOR_S else None,
            gpus=gpus_decode.assign(gpu_reading.gpus, workers, to_gpu),
            gpu_reading=gpu_reading,
            processes=self.rows,
            problems=[*also, *self._problems()],
        )

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _problems(self) -> list[str]:
        if self._client is None:
            why = self.lookup_problem or "the GCS was not asked yet."
            return [f"The raylet cannot be asked for its workers: {why}"]
        if self._client.problem is not None:
            return [f"The raylet at {self._client.endpoint} cannot be asked for its workers: {self._client.problem}"]
        return []

    def _ids_from_logs(self, found: NodeProcesses) -> dict[int, str]:
        """Worker ids without the raylet's help, for those that it did not name before."""
        session_dir = self.raylet.flags.session_dir
        unknown = [
            reading.pid
            for reading in found.readings.values()
            if reading.title.startswith("ray::") and processes_merge.core_worker_of(reading, self.stats) is None
        ]
        return worker_ids_from_logs(session_dir, unknown) if session_dir and unknown else {}
