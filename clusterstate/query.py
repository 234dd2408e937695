"""Questions to the index, as data: which view, which rows, in what order, how many. Pure."""

from __future__ import annotations

import base64
import json
import math
from dataclasses import dataclass, field
from typing import Any

from clusterstate import resources
from clusterstate.resources import Resource
from clusterstate.task_states import NOT_RECORDED

LONGEST_CURSOR = 400_000
"""Bytes of a sorted text that a link to the next page may carry."""


class BadQuery(ValueError):
    """The asker's mistake: the message says what is allowed."""


class NotFound(LookupError):
    """There is no such cluster, session or row; the message names it."""


@dataclass(frozen=True)
class Join:
    """Another resource's row beside each row of the view, where there is one."""

    resource: Resource
    on: str  # SQL between declared tables only


@dataclass(frozen=True)
class View:
    """Rows of one resource with what others know of them.

    `columns` maps a column that is not the base's own to its SQL. `:now_ms` may stand in it.
    `composed` are columns whose SQL gives JSON, `also` further resources that the SQL of columns reads.
    `last` is a column and its value in rows that come after all others, unless that very column is sorted.
    `parts` splits a sort that no single index serves into conditions, each with the SQL its rows are sorted by.
    """

    base: Resource
    joins: tuple[Join, ...] = ()
    columns: dict[str, str] = field(default_factory=dict)
    parts: dict[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    composed: frozenset[str] = frozenset()
    last: tuple[str, Any] | None = None
    also: tuple[Resource, ...] = ()

    @property
    def resources(self) -> tuple[str, ...]:
        """Names of all resources whose change changes this view."""
        return (self.base.name, *(join.resource.name for join in self.joins), *(resource.name for resource in self.also))

    def sql(self, column: str) -> str:
        """The SQL of a column."""
        return self.columns.get(column, f"{self.base.name}.{column}")


@dataclass(frozen=True)
class Condition:
    """One thing that must hold of a row. Operators: see OPERATORS."""

    column: str
    operator: str
    value: Any = None


@dataclass(frozen=True)
class AnyOf:
    """At least one of these must hold."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True)
class Cursor:
    """Where a page ends: the sorted value and the id of its last row, and the moment that ages were counted from."""

    value: Any
    key: int  # the row's hash in the index
    now_ms: int
    is_last: bool = False  # among the rows that come after all others

    def as_text(self) -> str:
        """For a URL."""
        parts = [self.value, self.key, self.now_ms, *([1] if self.is_last else [])]
        return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")

    @staticmethod
    def from_text(text: str) -> Cursor:
        """Raises BadQuery for anything as_text did not write."""
        try:
            value, key, now_ms, *rest = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            usable = rest in ([], [1]) and _is_whole(key) and _is_whole(now_ms) and now_ms >= 0 and (value is None or _can_be_bound(value))
        except (ValueError, TypeError, RecursionError):
            usable = False
        if not usable:
            raise BadQuery("after and before take only what a page's own next and previous links carry.")
        return Cursor(value, key, now_ms, bool(rest))


def _is_whole(value: object) -> bool:
    """A number that SQLite keeps as it is."""
    return type(value) is int and -(2**63) <= value < 2**63


def _can_be_bound(value: object) -> bool:
    if isinstance(value, str):
        return len(value.encode()) <= LONGEST_CURSOR  # raises ValueError for lone surrogates
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


@dataclass(frozen=True)
class Selection:
    """Which rows of a view, in what order."""

    columns: tuple[str, ...]
    sort: str
    descending: bool = False
    always: tuple[Condition, ...] = ()  # what makes this table the one of a job or node; the total counts these
    where: tuple[Condition | AnyOf, ...] = ()  # what was filtered for
    limit: int = 100
    after: Cursor | None = None
    before: Cursor | None = None
    counter: str | None = None  # the column whose values are counted beside the page: nothing need be counted twice


@dataclass(frozen=True)
class Page:
    """Rows in order, with honest counts."""

    rows: list[dict[str, Any]]
    total: int
    matching: int
    matching_is_exact: bool
    after: Cursor | None  # of the next page, None at the end
    before: Cursor | None  # of the previous page, None at the start
    is_cut: bool = False  # a part of the page: others follow
    given_up: int = 0  # rows of the whole table that had ended and are not remembered any more


OPERATORS = {
    "is": "{} = ?",
    "is_not": "({0} IS NULL OR {0} <> ?)",
    "lt": "{} < ?",
    "le": "{} <= ?",
    "gt": "{} > ?",
    "ge": "{} >= ?",
    "contains": "{} LIKE ? ESCAPE '\\'",
    "lacks": "({0} IS NULL OR {0} NOT LIKE ? ESCAPE '\\')",
    "starts": "{} LIKE ? ESCAPE '\\'",
    "like": "{} LIKE ? ESCAPE '\\'",
    "not_like": "({0} IS NULL OR {0} NOT LIKE ? ESCAPE '\\')",
    "unknown": "{} IS NULL",
    "known": "{} IS NOT NULL",
}
"""Operator → SQL. `like` takes * for any text; `contains`, `starts`, `lacks` take text as it is."""


ACTORS = View(
    resources.ACTORS,
    (
        Join(resources.PROCESSES, "processes.worker_id = actors.worker_id AND actors.state <> 'DEAD'"),
        Join(resources.NODE_STATS, "node_stats.node_id = actors.node_id AND actors.state <> 'DEAD'"),
    ),
    {
        "uptime_ms": "(coalesce(actors.end_time_ms, :now_ms) - actors.start_time_ms)",
        "cpu_percent": "processes.cpu_percent",
        "rss_bytes": "processes.rss_bytes",
        "uss_bytes": "processes.uss_bytes",
        "gpu_utilization_percent": "processes.gpu_utilization_percent",
        "gpu_memory_bytes": "processes.gpu_memory_bytes",
        "gpus": "processes.gpus",
        "gpu_slots": "processes.gpu_slots",
        "task_name": "processes.task_name",
        "memory_total_bytes": "node_stats.memory_total_bytes",
    },
    {
        "uptime_ms": (
            ("actors.end_time_ms IS NULL", "(:now_ms - actors.start_time_ms)"),
            ("actors.end_time_ms IS NOT NULL", "(actors.end_time_ms - actors.start_time_ms)"),
        )
    },
)
STATES_OF_TASKS = f"""
SELECT state, sum(n) AS n FROM (
    SELECT state, n FROM tasks_counts WHERE {{job}}
    UNION ALL SELECT state, n FROM tasks_given_up WHERE {{job}}
    UNION ALL SELECT '{NOT_RECORDED}', task_totals.reported - (
        SELECT coalesce(sum(n), 0) FROM (
            SELECT job_id, n FROM tasks_counts UNION ALL SELECT job_id, n FROM tasks_given_up
        ) AS known WHERE known.job_id = task_totals.job_id
    ) AS n FROM task_totals WHERE {{job}} AND n > 0
) GROUP BY state
"""  # noqa: S608 - names of tables
"""Attempts by state. `{job}`: a condition on job_id. Those that were given up go on counting; what Ray counts beyond what is
recorded was lost before it came here, or is on its way.
"""

JOBS = View(
    resources.JOBS,
    (),
    {
        "duration_ms": "(coalesce(jobs.end_time_ms, :now_ms) - jobs.start_time_ms)",
        "tasks": f"(SELECT json_group_object(state, n) FROM ({STATES_OF_TASKS.format(job='job_id = jobs.job_id')}))",  # noqa: S608
    },
    composed=frozenset({"tasks"}),
    also=(resources.TASKS, resources.TASK_TOTALS, resources.TASKS_GIVEN_UP),
)
NODES = View(
    resources.NODES,
    (
        Join(resources.NODE_STATS, "node_stats.node_id = nodes.node_id"),
        Join(resources.NODE_RESOURCES, "node_resources.node_id = nodes.node_id"),
    ),
    {
        **{
            name: f"node_stats.{name}"
            for name in (
                "cpu_percent",
                "cpu_count",
                "load_1",
                "memory_used_bytes",
                "memory_total_bytes",
                "object_store_used_bytes",
                "object_store_capacity_bytes",
                "disk_root_used_bytes",
                "disk_root_total_bytes",
                "network_sent_bytes_per_s",
                "network_received_bytes_per_s",
                "gpus",
                "gpu_count",
                "gpu_utilization_percent",
                "gpu_memory_used_bytes",
                "gpu_memory_total_bytes",
                "num_workers",
                "raylet_pid",
                "boot_id",
                "collected_at",
            )
        },
        "resources_available": "node_resources.resources_available",
        "status": "node_resources.status",
        "idle_since_ms": "node_resources.idle_since_ms",
        "uptime_ms": "(coalesce(nodes.end_time_ms, :now_ms) - nodes.start_time_ms)",
    },
    last=("state", "DEAD"),
)
WORKERS = View(
    resources.WORKERS,
    (Join(resources.PROCESSES, "processes.worker_id = workers.worker_id AND workers.is_alive"),),
    {
        **{
            name: f"processes.{name}"
            for name in (
                "title",
                "kind",
                "actor_id",
                "task_name",
                "class_name",
                "cpu_percent",
                "rss_bytes",
                "shared_bytes",
                "pss_bytes",
                "uss_bytes",
                "num_threads",
                "num_fds",
                "gpu_utilization_percent",
                "gpu_memory_bytes",
                "gpus",
                "gpu_slots",
                "used_resources",
                "tasks_running",
                "tasks_pending",
                "tasks_executed",
                "objects_owned",
            )
        },
        "current_job_id": "coalesce(processes.job_id, workers.job_id)",
    },
)
PROCESSES = View(resources.PROCESSES)
PLACEMENT_GROUPS = View(resources.PLACEMENT_GROUPS)


def _text(name: str) -> str:
    return f"(SELECT text FROM texts WHERE texts.text_id = (SELECT word FROM words WHERE words.n = tasks.{name}))"  # noqa: S608 - declared names


TASKS = View(
    resources.TASKS,
    (),
    {
        "attempt_id": "(lower(hex(tasks.task_id)) || CASE WHEN tasks.attempt_number THEN printf('%08x', tasks.attempt_number) ELSE '' END)",
        "duration_ms": (
            "(CASE WHEN tasks.end_time_ms IS NOT NULL THEN tasks.end_time_ms - tasks.start_time_ms"
            " WHEN tasks.state <> 'END_UNKNOWN' THEN :now_ms - tasks.start_time_ms END)"
        ),
        "error_message": "(SELECT text FROM texts WHERE texts.text_id = lower(hex(tasks.error_message_id)))",
        "required_resources": _text("required_resources_id"),
        "label_selector": _text("label_selector_id"),
        "call_site": _text("call_site_id"),
    },
    {
        "duration_ms": (
            ("tasks.end_time_ms IS NULL AND tasks.state <> 'END_UNKNOWN'", "(:now_ms - tasks.start_time_ms)"),
            ("tasks.end_time_ms IS NOT NULL", "(tasks.end_time_ms - tasks.start_time_ms)"),
        )
    },
    frozenset({"required_resources", "label_selector"}),
)
