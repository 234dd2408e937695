"""A Ray actor, alive or remembered after its death."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Actor:
    """One actor, from the GCS actor table and its pubsub channel."""

    actor_id: str  # 32 hex digits
    state: str  # DEPENDENCIES_UNREADY, PENDING_CREATION, ALIVE, RESTARTING, DEAD
    class_name: str | None = None
    name: str | None = None  # None: not a named actor
    repr_name: str | None = None
    ray_namespace: str | None = None
    job_id: str | None = None
    node_id: str | None = None
    worker_id: str | None = None
    pid: int | None = None
    ip: str | None = None
    is_detached: bool = False
    start_time_ms: int | None = None
    end_time_ms: int | None = None
    num_restarts: int = 0
    max_restarts: int | None = None  # -1: without end
    num_restarts_due_to_node_preemption: int | None = None
    required_resources: dict[str, float] = field(default_factory=dict)
    placement_group_id: str | None = None
    label_selector: dict[str, str] = field(default_factory=dict)
    death_cause: str | None = None  # the kind: RAY_KILL, OUT_OF_SCOPE, WORKER_DIED, ...
    exit_detail: str | None = None  # the whole message
    call_site: str | None = None  # needs RAY_record_task_actor_creation_sites
    resource_mapping: dict[str, list[int]] = field(default_factory=dict)  # resource -> slots, GPU: indices
    previous_incarnations: list[dict[str, str]] = field(default_factory=list)  # {worker_id, node_id}, Ray 2.60
