"""A Ray worker as the GCS lists it, and the processes of a node as its collector sees them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Worker:
    """A Ray worker or driver process, from the GCS worker table."""

    worker_id: str  # 56 hex digits
    is_alive: bool
    node_id: str | None = None
    worker_type: str | None = None  # WORKER, DRIVER, SPILL_WORKER, RESTORE_WORKER
    ip: str | None = None
    pid: int | None = None
    job_id: str | None = None  # Ray 2.60 up
    exit_type: str | None = None  # INTENDED_USER_EXIT, SYSTEM_ERROR, ...
    exit_detail: str | None = None
    worker_launch_time_ms: int | None = None
    start_time_ms: int | None = None
    end_time_ms: int | None = None
    num_paused_threads: int | None = None
    uncaught_exception: str | None = None  # of a driver: the frames of its traceback; Ray leaves out the message


@dataclass(frozen=True, slots=True)
class Process:
    """A live process that belongs to a Ray node: its workers and drivers, and Ray's own."""

    process_id: str  # "<node_id>:<pid>"
    node_id: str
    pid: int
    kind: str  # WORKER, DRIVER, RAYLET, GCS_SERVER, AGENT, OTHER
    title: str | None = None  # what setproctitle shows: ray::Class.method, ray::IDLE, raylet
    command_line: str | None = None
    worker_id: str | None = None
    actor_id: str | None = None
    job_id: str | None = None
    task_name: str | None = None  # running now, from the title
    class_name: str | None = None  # of the actor, from the title
    user: str | None = None
    start_time_ms: int | None = None
    cpu_percent: float | None = None  # of one core, may exceed 100
    cpu_user_s: float | None = None
    cpu_system_s: float | None = None
    rss_bytes: int | None = None  # includes mapped object store pages
    shared_bytes: int | None = None
    pss_bytes: int | None = None  # each 60 s
    uss_bytes: int | None = None  # each 60 s
    num_threads: int | None = None
    num_fds: int | None = None
    gpu_utilization_percent: float | None = None  # sum over GPUs
    gpu_memory_bytes: int | None = None
    gpus: dict[str, int] = field(default_factory=dict)  # GPU index -> memory bytes of this process
    used_resources: dict[str, float] = field(default_factory=dict)  # logical resources it holds
    gpu_slots: list[int] = field(default_factory=list)  # GPU indices that Ray assigned to it
    tasks_running: int | None = None
    tasks_pending: int | None = None
    tasks_executed: int | None = None
    objects_owned: int | None = None
    object_refs_in_scope: int | None = None
    parent_pid: int | None = None
    stdout: str | None = None  # of a driver: what its descriptor 1 leads to, a path or as pipe:[7]; None also: not ours to read
    stderr: str | None = None
