"""The table of task attempts."""

from __future__ import annotations

from clusterstate import query
from clusterstate.task_states import END_UNKNOWN, TASK_STATES
from webapp.tables.column import Column
from webapp.tables.framework import Table

STATES = (*TASK_STATES.values(), END_UNKNOWN)
TYPES = ("NORMAL_TASK", "ACTOR_TASK", "ACTOR_CREATION_TASK", "DRIVER_TASK")

TASKS = Table(
    name="tasks",
    label="Tasks",
    view=query.TASKS,
    key="attempt_id",
    endpoint="tasks",
    counter="state",
    default_sort="-creation_time_ms",
    empty="No task is known in this session. A task is made by calling .remote() on a function decorated with @ray.remote.",
    kept="RAYDECK_MAX_TASKS",
    columns=(
        Column("task_id", "Task", cell="task_link", filter="id", searched=True, alias=("task", "id"), carry=("attempt_number",)),
        Column("name", "Name", cell="code", sort="asc", filter="text", searched=True),
        Column("state", "State", cell="state", filter="choice", choices=STATES),
        Column(
            "duration_ms",
            "Duration",
            cell="task_duration",
            sort="desc",
            numeric=True,
            carry=("start_time_ms", "end_time_ms", "state"),
            help="From the start of running until its end, or until now.",
        ),
        Column("job_id", "Job", cell="job_link", filter="id", alias=("job",)),
        Column("func_or_class_name", "Function or class", cell="code", filter="text", searched=True, alias=("func", "function")),
        Column("node_id", "Node", cell="node_link", filter="id", alias=("node",)),
        Column("actor_id", "Actor", cell="actor_link", filter="id", alias=("actor",)),
        Column("worker_id", "Worker", cell="worker_link", filter="id", alias=("worker",), hidden=True),
        Column("type", "Type", cell="code", filter="choice", choices=TYPES),
        Column("attempt_number", "Attempt", cell="number", numeric=True, filter="number", alias=("attempt",), hidden=True),
        Column("error_type", "Error", cell="code", filter="text", alias=("error",)),
        Column("error_message", "Error message", cell="error", help="Why it failed, in Ray's words."),
        Column("placement_group_id", "Placement group", cell="pg_link", filter="id", hidden=True, alias=("placement_group",)),
        Column("required_resources", "Required resources", cell="resources", hidden=True),
        Column("label_selector", "Label selector", cell="labels", hidden=True),
        Column("required_resources_id", "Resources' id", cell="", filter="id", help="Tasks that require the same have the same."),
        Column("label_selector_id", "Label selector's id", cell="", filter="id", help="Tasks that select the same have the same."),
        Column("parent_task_id", "Parent", cell="parent_task_link", filter="id", hidden=True, alias=("parent",)),
        Column("worker_pid", "PID", cell="text", filter="number", numeric=True, hidden=True, alias=("pid",)),
        Column("creation_time_ms", "Created", cell="time", sort="desc", filter="time", alias=("created",)),
        Column("start_time_ms", "Started", cell="time", sort="desc", filter="time", hidden=True, alias=("started",)),
        Column("end_time_ms", "Ended", cell="time", sort="desc", filter="time", hidden=True, alias=("ended",)),
        Column("call_site", "Call site", cell="message", hidden=True),
    ),
)
