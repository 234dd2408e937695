"""The table of jobs."""

from __future__ import annotations

from clusterstate import query
from webapp.tables.column import Column
from webapp.tables.framework import Table

JOB_STATUSES = ("PENDING", "RUNNING", "SUCCEEDED", "STOPPED", "FAILED")

JOBS = Table(
    name="jobs",
    label="Jobs",
    view=query.JOBS,
    key="job_key",
    endpoint="jobs",
    counter="status",
    default_sort="-start_time_ms",
    empty="No job has run in this session. Submit one with `ray job submit`, or start a driver that calls ray.init().",
    kept="RAYDECK_MAX_FINISHED_JOBS",
    columns=(
        Column("job_key", "Key", cell="", help="The submission id, else the job id."),
        Column("job_id", "Job", cell="job_link", sort="asc", filter="id", searched=True, alias=("job", "id"), carry=("job_key", "type")),
        Column("name", "Name", cell="code", sort="asc", filter="text", searched=True, help="metadata.job_name of a submission."),
        Column(
            "submission_id",
            "Submission",
            cell="submission_link",
            sort="asc",
            filter="text",
            searched=True,
            alias=("submission",),
            carry=("job_key",),
        ),
        Column(
            "status",
            "Status",
            cell="job_status",
            sort="asc",
            filter="choice",
            choices=JOB_STATUSES,
            alias=("state",),
            carry=("driver_evidence",),
            help="As Ray says. It calls a driver job SUCCEEDED when it has ended, however that was; what its process's record says beside.",
        ),
        Column("tasks", "Tasks", cell="task_progress", help="Attempts by state, those that finished first."),
        Column("entrypoint", "Entrypoint", cell="message", filter="text", searched=True),
        Column("duration_ms", "Duration", cell="uptime", sort="desc", numeric=True, carry=("start_time_ms", "end_time_ms")),
        Column("start_time_ms", "Started", cell="time", sort="desc", filter="time", alias=("started",)),
        Column("end_time_ms", "Ended", cell="time", sort="desc", filter="time", alias=("ended",)),
        Column("message", "Message", cell="message", filter="text"),
        Column("driver_pid", "Driver PID", cell="text", filter="number", numeric=True, alias=("pid",)),
        Column("driver_ip", "Driver IP", cell="code", filter="text", hidden=True, alias=("ip",)),
        Column("driver_node_id", "Driver node", cell="node_link", filter="id", hidden=True, alias=("node",)),
        Column(
            "driver_evidence",
            "Driver's end",
            cell="message",
            filter="text",
            hidden=True,
            help="Of a driver job: what the record of its process says of a bad end. Exit codes are not recorded by Ray.",
        ),
        Column("driver_exit_code", "Exit code", cell="number", filter="number", numeric=True, hidden=True),
        Column("error_type", "Error type", cell="code", filter="text", hidden=True),
        Column("type", "Type", cell="code", filter="choice", choices=("DRIVER", "SUBMISSION"), hidden=True),
        Column("ray_namespace", "Namespace", cell="code", filter="text", hidden=True, alias=("namespace",)),
        Column("metadata", "Metadata", cell="labels", hidden=True),
        Column("is_internal", "Ray's own", cell="bool", filter="bool", hidden=True, help="Drivers of Ray's own dashboard and agents."),
        Column("runtime_env", "Runtime environment", cell=""),
    ),
)
