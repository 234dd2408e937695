"""One measured moment of a node, kept as short history."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NodeSample:
    """A point of a node's history. Taken each few seconds, kept for a while."""

    node_id: str
    at: float  # Unix seconds
    host: str | None = None  # boot_id: figures of raylets on one host are the same figures
    cpu_percent: float | None = None  # of all cores of the host, 0 to 100
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    object_store_used_bytes: int | None = None
    object_store_capacity_bytes: int | None = None
    gpu_utilization_percent: float | None = None  # mean over GPUs
    gpu_memory_used_bytes: int | None = None
    network_sent_bytes_per_s: float | None = None
    network_received_bytes_per_s: float | None = None
    disk_read_bytes_per_s: float | None = None
    disk_write_bytes_per_s: float | None = None
    cpu_count: int | None = None  # logical: what cpu_percent weighs in the cluster's
    gpu_count: int | None = None
