"""What the autoscaler says of the cluster: nodes by state, what is used, what is asked for in vain; and how that changed."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """Live nodes of one type."""

    node_type: str  # empty: started by hand, so that they have none
    active: int = 0
    idle: int = 0


@dataclass(frozen=True, slots=True)
class PendingNode:
    """A node that is starting, or nodes of one type that were asked for and have not begun to."""

    node_type: str
    ip: str | None = None
    details: str | None = None
    instance_id: str | None = None
    count: int = 1
    is_launch: bool = False  # asked for; there is no machine yet
    since_ms: int | None = None  # when it was asked for; of a node that starts, when it was seen first


@dataclass(frozen=True, slots=True)
class FailedNode:
    """A launch that failed, or a node that died."""

    node_type: str
    reason: str
    ip: str | None = None
    failed_at_ms: int | None = None
    category: str = "NodeTerminated"  # LaunchFailed, or what the autoscaler calls it
    node_id: str | None = None
    instance_id: str | None = None
    is_reported: bool = True  # by the autoscaler; False: the node table alone knows it


@dataclass(frozen=True, slots=True)
class BundleShape:
    """Equal bundles of a placement group."""

    shape: dict[str, float]
    count: int = 1
    label_selector: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ResourceDemand:
    """One shape that is asked for and not yet given."""

    kind: str  # TASK_ACTOR, PLACEMENT_GROUP, REQUEST_RESOURCES
    shape: dict[str, float]  # of a placement group: all its bundles together
    count: int  # tasks and actors, placement groups, or requests
    strategy: str | None = None  # of a placement group
    label_selector: dict[str, str] = field(default_factory=dict)
    bundles: list[BundleShape] = field(default_factory=list)  # of one placement group
    in_placement_groups: int = 0  # of `count`: those that are to run in a placement group
    since_ms: int | None = None  # when the shape was first seen waiting without a break
    is_infeasible: bool = False  # the autoscaler says that no node type will ever do

    @property
    def key(self) -> str:
        """The same for demands of one kind and shape, however many and since when."""
        return repr((self.kind, self.shape, self.strategy, self.label_selector, self.bundles))


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """The autoscaler's cluster status (`GetClusterStatus`) with totals over live nodes.

    The first autoscaler (v1) tells pending nodes, failures and request_resources() in a report of its own, each 5 s.
    """

    collected_at: float  # Unix seconds: since when it has been like this
    nodes: list[NodeGroup] = field(default_factory=list)
    pending_nodes: list[PendingNode] = field(default_factory=list)
    failed_nodes: list[FailedNode] = field(default_factory=list)
    resources_total: dict[str, float] = field(default_factory=dict)
    resources_available: dict[str, float] = field(default_factory=dict)
    demands: list[ResourceDemand] = field(default_factory=list)
    autoscaler_version: str | None = None  # v1, v2; None: no autoscaler has reported
    reserved_total: dict[str, float] = field(default_factory=dict)  # of resources_total: by placement groups
    reserved_available: dict[str, float] = field(default_factory=dict)  # of that: not used by what runs in them
    silent_since_ms: int | None = None  # when the autoscaler was heard last, if that is longer ago than it should be
    autoscaler_error: str | None = None  # why it stopped, in Ray's words


@dataclass(frozen=True, slots=True)
class StatusMoment:
    """What mattered of the cluster's status from one moment until the next one that is kept. A point of its history."""

    moment: str  # names the row: Unix milliseconds in 15 digits, so that names sort as moments do
    at: float  # Unix seconds
    is_event: bool  # nodes, failures or the shapes asked for changed; False: only counts and use did
    nodes: list[NodeGroup] = field(default_factory=list)
    pending: dict[str, int] = field(default_factory=dict)  # node type → nodes
    failed: list[FailedNode] = field(default_factory=list)  # the newest
    demands: list[ResourceDemand] = field(default_factory=list)  # the largest
    waiting: dict[str, int] = field(default_factory=dict)  # kind of demand → how many wait in all
    resources_total: dict[str, float] = field(default_factory=dict)
    resources_used: dict[str, float] = field(default_factory=dict)  # or reserved
    unknown_since: float | None = None  # nobody watched from then until `at`
