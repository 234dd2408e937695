"""What is remembered of a session: one entry per kind of row, from which keys, encoding and index follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from clusterstate import model


@dataclass(frozen=True)
class Resource:
    """A kind of row. `key` is the field that names a row; None: there is one row a session."""

    name: str
    row: Any  # the dataclass of its rows
    key: str | None
    buckets: int = 1  # Redis hashes the rows are spread over: about 100 rows each at full size
    indexed: tuple[str, ...] = ()  # SQLite indexes, "a" or "a,b": for each sort, and for filters in the default order
    counted: tuple[tuple[str, ...], ...] = ()  # columns of few values: how many rows have each combination is kept up, not counted
    searched: tuple[str, ...] = ()  # columns that a bare word is looked for in: kept once more, side by side, for one short scan
    packed: tuple[str, ...] = ()  # columns of hex digits that the index keeps as bytes, half the size
    interned: tuple[str, ...] = ()  # columns of few long values, which the index keeps once and refers to by a number
    sequence: str | None = None  # the field that rows lie in the order of; None: in that of their hash
    has_lineage: bool = False  # tasks: `store.lineage` keeps who called whom, `store.durations` how long they ran
    place: Callable[[str], Mapping[str, Any]] | None = None  # a row's id -> the columns that tell it, where its hash does not

    @property
    def is_small(self) -> bool:
        """Some hundreds or thousands of rows: any question is answered at once."""
        return self.buckets < 256

    @property
    def filtered(self) -> frozenset[str]:
        """Columns by whose value an index finds rows."""
        return frozenset(listed.split(",")[0] for listed in self.indexed) | set().union(*self.counted) | ({self.key} if self.key else set())


NODES = Resource("nodes", model.Node, "node_id", 16, ("state", "node_ip", "start_time_ms"))
NODE_RESOURCES = Resource("node_resources", model.NodeResources, "node_id", 16, ("node_id",))
NODE_STATS = Resource("node_stats", model.NodeStats, "node_id", 16, ("node_id",))
PROCESSES = Resource("processes", model.Process, "process_id", 64, ("node_id", "worker_id", "actor_id", "job_id", "pid"))
WORKERS = Resource("workers", model.Worker, "worker_id", 256, ("node_id", "job_id", "is_alive", "pid", "start_time_ms", "end_time_ms"))
JOBS = Resource("jobs", model.Job, "job_key", 64, ("job_id", "submission_id", "status", "name", "start_time_ms", "end_time_ms"))
ACTORS = Resource(
    "actors",
    model.Actor,
    "actor_id",
    1024,
    (
        "state",
        "state,start_time_ms",
        "job_id,start_time_ms",
        "node_id,start_time_ms",
        "class_name,start_time_ms",
        "class_name",
        "name",
        "repr_name",
        "ray_namespace",
        "job_id",
        "worker_id",
        "pid",
        "ip",
        "start_time_ms",
        "end_time_ms",
        "(end_time_ms - start_time_ms)",
        "num_restarts",
        "placement_group_id",
        "death_cause",
        "death_cause,end_time_ms",
    ),
    counted=(("state", "class_name", "death_cause"),),
    searched=("actor_id", "class_name", "name", "repr_name"),
)
PLACEMENT_GROUPS = Resource(
    "placement_groups", model.PlacementGroup, "placement_group_id", 64, ("state", "name", "creator_job_id", "creation_request_received_ms")
)
TASKS = Resource(
    "tasks",
    model.Task,
    "attempt_id",
    8192,
    (
        "state,creation_time_ms",
        "job_id,creation_time_ms",
        "name,creation_time_ms",
        "node_id,creation_time_ms",
        "actor_id,creation_time_ms",
        "worker_id,creation_time_ms",
        "worker_id,start_time_ms,end_time_ms",  # the timeline reads and counts what a worker ran from this alone
        "parent_task_id,creation_time_ms",
        "task_id",
        "name",
        "func_or_class_name,creation_time_ms",
        "error_type,creation_time_ms",
        "worker_pid,creation_time_ms",
        "creation_time_ms",
        "start_time_ms",
        "end_time_ms",
        "(end_time_ms - start_time_ms)",
    ),
    counted=(
        ("job_id", "type", "state"),
        ("job_id", "name", "func_or_class_name", "state"),
        ("name", "node_id", "type", "state"),
        ("node_id", "worker_id", "actor_id", "job_id", "type", "state"),
    ),
    packed=("task_id", "parent_task_id", "error_message_id"),
    interned=(
        "func_or_class_name",
        "actor_id",
        "node_id",
        "worker_id",
        "placement_group_id",
        "error_type",
        "required_resources_id",
        "label_selector_id",
        "runtime_env_id",
        "call_site_id",
        "log_files_id",
        "actor_repr_name",
    ),
    sequence="sequence",
    place=model.attempt_of,
    has_lineage=True,
)
"""One row an attempt. A million are common: packed, interned and in order they take half the room, and half the time to write."""
TASK_TOTALS = Resource("task_totals", model.TaskTotals, "job_id", 16, ("job_id",))
TASKS_GIVEN_UP = Resource("tasks_given_up", model.GivenUpTasks, "key", 128, ("job_id",))
TEXTS = Resource("texts", model.Text, "text_id", 1024, ("text_id",))
"""Long or repeated texts of tasks, once each."""
METADATA = Resource("metadata", model.ClusterMetadata, None)
STATUS = Resource("status", model.ClusterStatus, None)
STATUS_HISTORY = Resource("status_history", model.StatusMoment, "moment", 16, ("moment", "is_event,moment"))
"""How the status came to be what it is: some of its changes, as `clusterstate.status_history` keeps them."""
COLLECTOR = Resource("collector", model.CollectorReport, None)

RESOURCES: tuple[Resource, ...] = (
    NODES,
    NODE_RESOURCES,
    NODE_STATS,
    PROCESSES,
    WORKERS,
    JOBS,
    ACTORS,
    PLACEMENT_GROUPS,
    TASKS,
    TASK_TOTALS,
    TASKS_GIVEN_UP,
    TEXTS,
    METADATA,
    STATUS,
    STATUS_HISTORY,
    COLLECTOR,
)
BY_NAME: dict[str, Resource] = {resource.name: resource for resource in RESOURCES}
