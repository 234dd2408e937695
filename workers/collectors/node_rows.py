"""What is written of a node: its NodeStats row and its samples, put together from what was read. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from clusterstate.model import Gpu, NodeSample, NodeStats, Process
from workers.sources.cgroup import ContainerReading
from workers.sources.gpus import GpuReading
from workers.sources.gpus_decode import totals
from workers.sources.host import HostReading
from workers.sources.processes_decode import RayletProcess
from workers.sources.raylet_decode import RayletReading


@dataclass(frozen=True, slots=True)
class NodeView:
    """Everything read of one node at one moment."""

    raylet: RayletProcess
    host: HostReading
    container: ContainerReading
    stats: RayletReading | None
    gpus: list[Gpu]
    gpu_reading: GpuReading
    processes: Sequence[Process]
    problems: list[str] = field(default_factory=list)


def node_stats(view: NodeView, collector_pid: int) -> NodeStats:
    """The node's row."""
    host, container, stats = view.host, view.container, view.stats
    knows_gpus = view.gpu_reading.problem is None
    gpu_busy, gpu_used, gpu_there = totals(view.gpus) if knows_gpus else (None, None, None)
    return NodeStats(
        node_id=view.raylet.flags.node_id,
        collected_at=round(host.at, 3),
        boot_id=host.boot_id,
        hostname=host.hostname,
        os=host.os,
        ray_commit=view.raylet.ray_commit,
        cpu_count=host.cpu_count,
        cpu_count_physical=host.cpu_count_physical,
        cpu_percent=host.cpu_percent,
        load_1=host.load_1,
        load_5=host.load_5,
        load_15=host.load_15,
        boot_time_ms=host.boot_time_ms,
        memory_total_bytes=host.memory_total_bytes,
        memory_used_bytes=host.memory_used_bytes,
        memory_available_bytes=host.memory_available_bytes,
        swap_total_bytes=host.swap_total_bytes,
        swap_used_bytes=host.swap_used_bytes,
        shared_memory_bytes=host.shared_memory_bytes,
        container_cpu_limit=container.cpu_limit,
        container_cpu_percent=container.cpu_percent,
        container_memory_limit_bytes=container.memory_limit_bytes,
        container_memory_used_bytes=container.memory_used_bytes,
        disks=host.disks,
        disk_root_total_bytes=host.disk_root_total_bytes,
        disk_root_used_bytes=host.disk_root_used_bytes,
        disk_read_bytes_per_s=host.disk_read_bytes_per_s,
        disk_write_bytes_per_s=host.disk_write_bytes_per_s,
        network=host.network,
        network_sent_bytes_per_s=host.network_sent_bytes_per_s,
        network_received_bytes_per_s=host.network_received_bytes_per_s,
        object_store_capacity_bytes=stats.object_store_capacity_bytes if stats else None,
        object_store_used_bytes=stats.object_store_used_bytes if stats else None,
        object_store_objects=stats.object_store_objects if stats else None,
        object_store_spilled_bytes=stats.object_store_spilled_bytes if stats else None,
        object_store_restored_bytes=stats.object_store_restored_bytes if stats else None,
        gpus=view.gpus if knows_gpus else [],
        gpu_count=len(view.gpus) if knows_gpus else None,
        gpu_utilization_percent=gpu_busy,
        gpu_memory_used_bytes=gpu_used,
        gpu_memory_total_bytes=gpu_there,
        gpu_problem=view.gpu_reading.problem,
        raylet_pid=view.raylet.pid,
        raylet_command_line=view.raylet.command_line,
        raylet_start_time_ms=view.raylet.start_time_ms,
        num_workers=sum(process.kind == "WORKER" for process in view.processes),
        num_processes=len(view.processes),
        collector_pid=collector_pid,
        problems=[*host.problems, *view.problems],
    )


def node_sample(since: Sequence[NodeStats]) -> NodeSample:
    """One point of history from the rows since the last one (at least one): rates as their mean, amounts as they are now."""
    now = since[-1]
    return NodeSample(
        node_id=now.node_id,
        at=now.collected_at,
        host=now.boot_id,
        cpu_percent=mean([row.cpu_percent for row in since]),
        memory_used_bytes=now.memory_used_bytes,
        memory_total_bytes=now.memory_total_bytes,
        object_store_used_bytes=now.object_store_used_bytes,
        object_store_capacity_bytes=now.object_store_capacity_bytes,
        gpu_utilization_percent=mean([row.gpu_utilization_percent for row in since]),
        gpu_memory_used_bytes=now.gpu_memory_used_bytes,
        network_sent_bytes_per_s=mean([row.network_sent_bytes_per_s for row in since]),
        network_received_bytes_per_s=mean([row.network_received_bytes_per_s for row in since]),
        disk_read_bytes_per_s=mean([row.disk_read_bytes_per_s for row in since]),
        disk_write_bytes_per_s=mean([row.disk_write_bytes_per_s for row in since]),
        cpu_count=now.cpu_count,
        gpu_count=now.gpu_count,
    )


def mean(values: Sequence[float | None]) -> float | None:
    """Of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return round(fmean(known), 1) if known else None
