"""A Ray cluster in Ray's own words: frozen dataclasses, one file per resource (standard library only)."""

from clusterstate.model.actor import Actor
from clusterstate.model.autoscaler import (
    BundleShape,
    ClusterStatus,
    FailedNode,
    NodeGroup,
    PendingNode,
    ResourceDemand,
    StatusMoment,
)
from clusterstate.model.cluster import ClusterMetadata, CollectorReport, PushReport, RoleCost, SourceReport
from clusterstate.model.job import Job
from clusterstate.model.node import Disk, Gpu, GpuProcess, NetworkInterface, Node, NodeResources, NodeStats
from clusterstate.model.placement_group import Bundle, PlacementGroup
from clusterstate.model.sample import NodeSample
from clusterstate.model.task import OTHER_NAMES, GivenUpTasks, Task, TaskTotals, Text, attempt_id, attempt_of
from clusterstate.model.worker import Process, Worker

__all__ = [
    "OTHER_NAMES",
    "Actor",
    "Bundle",
    "BundleShape",
    "ClusterMetadata",
    "ClusterStatus",
    "CollectorReport",
    "Disk",
    "FailedNode",
    "GivenUpTasks",
    "Gpu",
    "GpuProcess",
    "Job",
    "NetworkInterface",
    "Node",
    "NodeGroup",
    "NodeResources",
    "NodeSample",
    "NodeStats",
    "PendingNode",
    "PlacementGroup",
    "Process",
    "PushReport",
    "ResourceDemand",
    "RoleCost",
    "SourceReport",
    "StatusMoment",
    "Task",
    "TaskTotals",
    "Text",
    "Worker",
    "attempt_id",
    "attempt_of",
]
