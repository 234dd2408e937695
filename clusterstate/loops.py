"""The loops that collectors run: a closed list. Each is one job that goes on until it is told to stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class CollectCluster:
    """Watch one cluster through its GCS. One runs per cluster, whichever host has the lease."""

    answered_by: ClassVar[str] = "workers.loops.collect_cluster"
    time_limit_s: ClassVar[int] = -1  # none

    cluster: str
    address: str  # of the GCS, host:port
    session_dir: str | None = None

    @property
    def name(self) -> str:
        """Of its lease and heartbeat."""
        return f"cluster:{self.cluster}"

    @property
    def queue(self) -> str:
        return f"collect.cluster.{self.cluster}"


@dataclass(frozen=True)
class CollectNode:
    """Watch all raylets of a cluster that live on one host."""

    answered_by: ClassVar[str] = "workers.loops.collect_node"
    time_limit_s: ClassVar[int] = -1  # none

    cluster: str
    host: str  # as clusterstate.hosts names it
    address: str

    @property
    def name(self) -> str:
        """Of its lease and heartbeat."""
        return f"node:{self.cluster}:{self.host}"

    @property
    def queue(self) -> str:
        return f"collect.node.{self.cluster}.{self.host}"


Loop = CollectCluster | CollectNode
LOOPS: tuple[type[Loop], ...] = (CollectCluster, CollectNode)
