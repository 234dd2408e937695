"""What the autoscaler says of the cluster: nodes by state, and what is asked for in vain."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """Live nodes of one type."""

    node_type: str
    active: int = 0
    idle: int = 0


@dataclass(frozen=True, slots=True)
class PendingNode:
    node_type: str
    ip: str | None = None
    details: str | None = None


@dataclass(frozen=True, slots=True)
class FailedNode:
    node_type: str
    reason: str
    ip: str | None = None
    failed_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class ResourceDemand:
    """One shape that is asked for and not yet given."""

    kind: str  # TASK_ACTOR, PLACEMENT_GROUP, REQUEST_RESOURCES
    shape: dict[str, float]  # a placement group: of one bundle
    count: int
    strategy: str | None = None  # of a placement group
    label_selector: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """The autoscaler's cluster status (`GetClusterStatus`) with totals over live nodes."""

    collected_at: float  # Unix seconds
    nodes: list[NodeGroup] = field(default_factory=list)
    pending_nodes: list[PendingNode] = field(default_factory=list)
    failed_nodes: list[FailedNode] = field(default_factory=list)
    resources_total: dict[str, float] = field(default_factory=dict)
    resources_available: dict[str, float] = field(default_factory=dict)
    demands: list[ResourceDemand] = field(default_factory=list)
    autoscaler_version: str | None = None
