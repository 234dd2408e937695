"""A Ray node: what the GCS knows of it, what it may still hand out, and what its host measures."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Node:
    """One raylet, as in the GCS node table (`GcsNodeInfo`). A host may hold several."""

    node_id: str  # 56 hex digits
    state: str  # ALIVE, DEAD
    node_ip: str | None = None
    node_name: str | None = None
    hostname: str | None = None  # node_manager_hostname
    is_head_node: bool = False
    state_message: str | None = None  # why it died, in Ray's words
    resources_total: dict[str, float] = field(default_factory=dict)  # memory and object_store_memory in bytes
    labels: dict[str, str] = field(default_factory=dict)
    start_time_ms: int | None = None
    end_time_ms: int | None = None
    node_manager_port: int | None = None
    object_manager_port: int | None = None
    metrics_export_port: int | None = None  # None where Ray says -1: not listening
    metrics_agent_port: int | None = None
    dashboard_agent_listen_port: int | None = None
    runtime_env_agent_port: int | None = None
    raylet_socket_name: str | None = None
    object_store_socket_name: str | None = None
    session_dir: str | None = None  # Ray 2.60 reports it, older ones do not
    instance_id: str | None = None
    node_type_name: str | None = None
    instance_type_name: str | None = None


@dataclass(frozen=True, slots=True)
class NodeResources:
    """Logical resources of one live node now, from the autoscaler's cluster status."""

    node_id: str
    resources_total: dict[str, float] = field(default_factory=dict)
    resources_available: dict[str, float] = field(default_factory=dict)
    status: str | None = None  # RUNNING, IDLE, DEAD, UNSPECIFIED
    idle_duration_ms: int | None = None  # when the row was written; idle_since_ms tells how long it is now
    node_activity: list[str] = field(default_factory=list)
    idle_since_ms: int | None = None
    reserved_total: dict[str, float] = field(default_factory=dict)  # of resources_total: by placement groups
    reserved_available: dict[str, float] = field(default_factory=dict)  # of that: not used by what runs in them
    node_type: str | None = None  # as the autoscaler calls it; None: it was started by hand
    instance_id: str | None = None


@dataclass(frozen=True, slots=True)
class Disk:
    """One mounted file system of a host."""

    mount: str
    device: str
    total_bytes: int
    used_bytes: int
    free_bytes: int
    fstype: str | None = None


@dataclass(frozen=True, slots=True)
class NetworkInterface:
    name: str
    sent_bytes_per_s: float
    received_bytes_per_s: float
    addresses: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process on a GPU, as NVML lists it."""

    pid: int
    memory_bytes: int | None = None
    utilization_percent: float | None = None
    worker_id: str | None = None  # None: not a Ray worker of this node


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, from NVML, with what Ray gave away of it."""

    index: int
    uuid: str | None = None
    name: str | None = None
    utilization_percent: float | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    temperature_celsius: float | None = None
    power_watts: float | None = None
    power_limit_watts: float | None = None
    processes: list[GpuProcess] = field(default_factory=list)
    assigned_to: dict[str, float] = field(default_factory=dict)  # worker_id -> share of this slot that Ray gave it


@dataclass(frozen=True, slots=True)
class NodeStats:
    """What a node's own collector measured last. Host and container figures are both kept where both exist."""

    node_id: str
    collected_at: float  # Unix seconds
    boot_id: str | None = None  # raylets with the same boot_id share a host
    hostname: str | None = None
    os: str | None = None
    cpu_count: int | None = None  # logical
    cpu_count_physical: int | None = None
    cpu_percent: float | None = None  # of all cores of the host, 0 to 100
    load_1: float | None = None
    load_5: float | None = None
    load_15: float | None = None
    boot_time_ms: int | None = None
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None
    memory_available_bytes: int | None = None
    swap_total_bytes: int | None = None
    swap_used_bytes: int | None = None
    shared_memory_bytes: int | None = None
    container_cpu_limit: float | None = None  # cores, None: no limit
    container_cpu_percent: float | None = None  # of container_cpu_limit (or of all cores), 0 to 100
    container_memory_limit_bytes: int | None = None
    container_memory_used_bytes: int | None = None  # working set
    disks: list[Disk] = field(default_factory=list)
    disk_root_total_bytes: int | None = None
    disk_root_used_bytes: int | None = None
    disk_read_bytes_per_s: float | None = None
    disk_write_bytes_per_s: float | None = None
    network: list[NetworkInterface] = field(default_factory=list)
    network_sent_bytes_per_s: float | None = None  # without loopback
    network_received_bytes_per_s: float | None = None
    object_store_capacity_bytes: int | None = None
    object_store_used_bytes: int | None = None
    object_store_objects: int | None = None
    object_store_spilled_bytes: int | None = None  # total since start
    object_store_restored_bytes: int | None = None
    gpus: list[Gpu] = field(default_factory=list)
    gpu_count: int | None = None  # None: NVML is not there, 0: it is and sees none
    gpu_utilization_percent: float | None = None  # mean over GPUs
    gpu_memory_used_bytes: int | None = None
    gpu_memory_total_bytes: int | None = None
    gpu_problem: str | None = None  # why GPUs are unknown
    raylet_pid: int | None = None
    raylet_command_line: str | None = None
    raylet_start_time_ms: int | None = None
    ray_commit: str | None = None  # of the Ray that the raylet was started from
    num_workers: int | None = None
    num_processes: int | None = None
    collector_pid: int | None = None
    problems: list[str] = field(default_factory=list)  # what could not be read, a sentence each
