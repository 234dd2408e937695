"""The table of actors."""

from __future__ import annotations

from clusterstate import query
from webapp.tables.column import Column
from webapp.tables.framework import Table

ACTOR_STATES = ("DEPENDENCIES_UNREADY", "PENDING_CREATION", "ALIVE", "RESTARTING", "DEAD")

ACTORS = Table(
    name="actors",
    label="Actors",
    view=query.ACTORS,
    key="actor_id",
    endpoint="actors",
    counter="state",
    default_sort="-start_time_ms",
    empty="No actor has been created in this session. An actor is made by calling .remote() on a class decorated with @ray.remote.",
    kept="RAYDECK_MAX_DEAD_ACTORS",
    columns=(
        Column("actor_id", "Actor", cell="actor_link", filter="id", searched=True, alias=("actor", "id")),
        Column("class_name", "Class", cell="code", sort="asc", filter="text", searched=True, alias=("class",)),
        Column("name", "Name", cell="code", sort="asc", filter="text", searched=True),
        Column("repr_name", "Repr", cell="code", sort="asc", filter="text", searched=True, alias=("repr",), help="What repr() of it gave."),
        Column("state", "State", cell="state", sort="asc", filter="choice", choices=ACTOR_STATES),
        Column(
            "uptime_ms",
            "Uptime",
            cell="uptime",
            sort="desc",
            numeric=True,
            carry=("start_time_ms", "end_time_ms"),
            help="From its start until its end, or until now.",
        ),
        Column("job_id", "Job", cell="job_link", sort="asc", filter="id", alias=("job",)),
        Column("pid", "PID", cell="text", sort="asc", filter="number", numeric=True),
        Column("node_id", "Node", cell="node_link", filter="id", alias=("node",), carry=("ip",)),
        Column("ip", "IP", cell="code", sort="asc", filter="text", hidden=True),
        Column("worker_id", "Worker", cell="worker_link", filter="id", alias=("worker",), hidden=True),
        Column("cpu_percent", "CPU", cell="percent", sort="desc", numeric=True, help="Of one core; more than 100 % is several cores."),
        Column(
            "rss_bytes",
            "Memory",
            cell="memory_of",
            sort="desc",
            numeric=True,
            carry=("memory_total_bytes", "uss_bytes"),
            alias=("memory",),
            help="Resident memory of its process, with mapped object store pages: rows do not add up. Beside it the node's total.",
        ),
        Column(
            "memory_total_bytes", "Total memory", cell="bytes", sort="desc", numeric=True, hidden=True, help="Of its node, while it lives."
        ),
        Column("gpu_utilization_percent", "GPU", cell="gpu_use", sort="desc", numeric=True, carry=("gpu_slots",), hidden=True),
        Column("gpu_memory_bytes", "GRAM", cell="bytes", sort="desc", numeric=True, carry=("gpus",), hidden=True),
        Column("num_restarts", "Restarts", cell="number", sort="desc", filter="number", numeric=True, alias=("restarts",)),
        Column("placement_group_id", "Placement group", cell="pg_link", filter="id", hidden=True, alias=("placement_group",)),
        Column("required_resources", "Required resources", cell="resources", hidden=True),
        Column("label_selector", "Label selector", cell="labels", hidden=True),
        Column("death_cause", "Death cause", cell="code", sort="asc", filter="text", hidden=True),
        Column("exit_detail", "Exit detail", cell="message", filter="text", help="Why it died, in Ray's words."),
        Column("task_name", "Running", cell="code", hidden=True, help="The method it runs now."),
        Column("ray_namespace", "Namespace", cell="code", sort="asc", filter="text", hidden=True, alias=("namespace",)),
        Column("is_detached", "Detached", cell="bool", filter="bool", hidden=True, alias=("detached",)),
        Column("max_restarts", "Max restarts", cell="max_restarts", numeric=True, hidden=True),
        Column("start_time_ms", "Started", cell="time", sort="desc", filter="time", hidden=True, alias=("started",)),
        Column("end_time_ms", "Ended", cell="time", sort="desc", filter="time", hidden=True, alias=("ended",)),
        Column("call_site", "Call site", cell="message", hidden=True),
    ),
)
