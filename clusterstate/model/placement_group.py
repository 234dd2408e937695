"""A Ray placement group and its bundles."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Bundle:
    bundle_index: int
    unit_resources: dict[str, float] = field(default_factory=dict)
    node_id: str | None = None  # None: not placed
    label_selector: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlacementGroup:
    """One placement group, from the GCS (polled: Ray has no pubsub channel for it)."""

    placement_group_id: str  # 36 hex digits
    state: str  # PENDING, PREPARED, CREATED, REMOVED, RESCHEDULING
    name: str | None = None
    creator_job_id: str | None = None
    creator_actor_id: str | None = None
    strategy: str | None = None  # PACK, SPREAD, STRICT_PACK, STRICT_SPREAD
    is_detached: bool = False
    bundles: list[Bundle] = field(default_factory=list)
    scheduling_state: str | None = None  # QUEUED, NO_RESOURCES, INFEASIBLE, ...
    scheduling_attempt: int | None = None
    highest_retry_delay_ms: float | None = None
    creation_request_received_ms: int | None = None
    end_to_end_creation_latency_ms: float | None = None
    topology: dict[str, str] = field(default_factory=dict)  # strategy and assignment, Ray 2.60
