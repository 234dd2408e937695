"""The table of placement groups."""

from __future__ import annotations

from clusterstate import query
from webapp.tables.column import Column
from webapp.tables.framework import Table

PLACEMENT_GROUP_STATES = ("PENDING", "PREPARED", "CREATED", "REMOVED", "RESCHEDULING")

PLACEMENT_GROUPS = Table(
    name="placement-groups",
    label="Placement groups",
    view=query.PLACEMENT_GROUPS,
    key="placement_group_id",
    endpoint="placement_groups",
    counter="state",
    default_sort="-creation_request_received_ms",
    empty="No placement group has been made in this session. ray.util.placement_group() makes one.",
    columns=(
        Column("placement_group_id", "Placement group", cell="pg_link", filter="id", searched=True, alias=("id", "placement_group")),
        Column("name", "Name", cell="code", sort="asc", filter="text", searched=True),
        Column("creator_job_id", "Job", cell="job_link", sort="asc", filter="id", alias=("job", "job_id")),
        Column("state", "State", cell="state", sort="asc", filter="choice", choices=PLACEMENT_GROUP_STATES),
        Column("strategy", "Strategy", cell="code", sort="asc", filter="text"),
        Column("bundles", "Reserved resources", cell="bundles"),
        Column("scheduling_state", "Scheduling", cell="code", sort="asc", filter="text", help="Where the GCS stands with placing it."),
        Column("scheduling_attempt", "Attempts", cell="number", sort="desc", numeric=True),
        Column("creation_request_received_ms", "Asked for", cell="time", sort="desc", filter="time", alias=("created",)),
        Column("end_to_end_creation_latency_ms", "Took", cell="duration", sort="desc", numeric=True, hidden=True),
        Column("is_detached", "Detached", cell="bool", filter="bool", hidden=True),
        Column("topology", "Topology", cell="labels", hidden=True),
    ),
)
