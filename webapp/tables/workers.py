"""The table of worker processes."""

from __future__ import annotations

from clusterstate import query
from webapp.tables.column import Column
from webapp.tables.framework import Table

WORKERS = Table(
    name="workers",
    label="Workers",
    view=query.WORKERS,
    key="worker_id",
    endpoint="workers",
    counter="is_alive",
    default_sort="-start_time_ms",
    empty="No worker process has started yet.",
    kept="RAYDECK_MAX_DEAD_WORKERS",
    columns=(
        Column(
            "title",
            "Process",
            cell="process_title",
            sort="asc",
            filter="text",
            searched=True,
            carry=("worker_id", "is_alive", "worker_type"),
        ),
        Column("worker_id", "Worker", cell="worker_link", filter="id", searched=True, alias=("worker", "id")),
        Column("is_alive", "State", cell="alive", sort="desc", filter="bool", alias=("alive",)),
        Column("worker_type", "Type", cell="code", sort="asc", filter="text", alias=("type",)),
        Column("pid", "PID", cell="text", sort="asc", filter="number", numeric=True),
        Column("ip", "IP", cell="code", filter="text", hidden=True),
        Column("node_id", "Node", cell="node_link", filter="id", alias=("node",), carry=("ip",)),
        Column("current_job_id", "Job", cell="job_link", sort="asc", filter="id", alias=("job", "job_id")),
        Column("actor_id", "Actor", cell="actor_link", filter="id", alias=("actor",)),
        Column("task_name", "Running", cell="code", filter="text", alias=("task",), help="The task or method it runs now."),
        Column("cpu_percent", "CPU", cell="percent", sort="desc", numeric=True, help="Of one core; more than 100 % is several cores."),
        Column(
            "rss_bytes",
            "Memory",
            cell="bytes",
            sort="desc",
            filter="bytes",
            numeric=True,
            alias=("memory",),
            help="Resident memory, with mapped object store pages.",
        ),
        Column(
            "uss_bytes", "Own memory", cell="bytes", sort="desc", numeric=True, help="Unique set size: freed when it ends. Each minute."
        ),
        Column("gpu_utilization_percent", "GPU", cell="gpu_use", sort="desc", numeric=True, hidden=True, carry=("gpu_slots",)),
        Column("gpu_memory_bytes", "GRAM", cell="bytes", sort="desc", numeric=True, hidden=True),
        Column("used_resources", "Holds", cell="resources", help="Logical resources that Ray gave it."),
        Column("num_fds", "Files", cell="number", sort="desc", numeric=True, hidden=True, help="Open file descriptors."),
        Column("num_threads", "Threads", cell="number", sort="desc", numeric=True, hidden=True),
        Column("tasks_executed", "Executed", cell="number", sort="desc", numeric=True, hidden=True),
        Column("objects_owned", "Objects", cell="number", sort="desc", numeric=True, hidden=True),
        Column("start_time_ms", "Started", cell="time", sort="desc", filter="time", hidden=True, alias=("started",)),
        Column("end_time_ms", "Ended", cell="time", sort="desc", filter="time", hidden=True, alias=("ended",)),
        Column("exit_type", "Exit type", cell="code", filter="text", hidden=True),
        Column("exit_detail", "Exit detail", cell="message", filter="text", hidden=True),
    ),
)
