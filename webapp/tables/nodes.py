"""The table of nodes."""

from __future__ import annotations

from clusterstate import query
from webapp.tables.column import Column
from webapp.tables.framework import Table

NODES = Table(
    name="nodes",
    label="Nodes",
    view=query.NODES,
    key="node_id",
    endpoint="nodes",
    counter="state",
    default_sort="-is_head_node",
    empty="No node has registered with the GCS yet.",
    kept="RAYDECK_MAX_DEAD_NODES",
    columns=(
        Column(
            "hostname",
            "Host",
            cell="node_host",
            sort="asc",
            filter="text",
            searched=True,
            alias=("host",),
            carry=("is_head_node", "node_id", "state", "collected_at", "gpu_count", "memory_total_bytes"),
        ),
        Column("node_id", "Node", cell="node_link", filter="id", searched=True, alias=("node", "id")),
        Column("state", "State", cell="state", sort="asc", filter="choice", choices=("ALIVE", "DEAD")),
        Column("node_ip", "IP", cell="code", sort="asc", filter="text", searched=True, alias=("ip",)),
        Column("is_head_node", "Head", cell="bool", sort="desc", filter="bool", hidden=True, alias=("head",)),
        Column(
            "cpu_percent", "CPU", cell="percent_meter", sort="desc", numeric=True, carry=("cpu_count",), help="Of all cores of its host."
        ),
        Column("load_1", "Load", cell="number", sort="desc", numeric=True, hidden=True, help="Load average of one minute."),
        Column(
            "memory_used_bytes",
            "Memory",
            cell="memory",
            sort="desc",
            numeric=True,
            carry=("memory_total_bytes",),
            alias=("memory",),
            help="Used of its host.",
        ),
        Column("memory_total_bytes", "Total memory", cell="bytes", sort="desc", numeric=True, hidden=True),
        Column(
            "gpu_utilization_percent",
            "GPU",
            cell="gpus",
            sort="desc",
            numeric=True,
            hidden=True,
            carry=("gpus", "gpu_count"),
            help="Per GPU, from NVML. A dash: the node has none, or NVML is not there.",
        ),
        Column("gpu_memory_used_bytes", "GRAM", cell="gpu_memory", sort="desc", numeric=True, hidden=True, carry=("gpus",)),
        Column(
            "object_store_used_bytes",
            "Object store",
            cell="object_store",
            sort="desc",
            numeric=True,
            carry=("object_store_capacity_bytes",),
        ),
        Column(
            "disk_root_used_bytes",
            "Disk",
            cell="disk",
            sort="desc",
            numeric=True,
            carry=("disk_root_total_bytes",),
            help="The root file system. On Kubernetes pods of a machine share it.",
        ),
        Column("network_sent_bytes_per_s", "Sent", cell="bytes_per_s", sort="desc", numeric=True),
        Column("network_received_bytes_per_s", "Received", cell="bytes_per_s", sort="desc", numeric=True),
        Column(
            "resources_total",
            "Logical resources",
            cell="resources_used",
            carry=("resources_available",),
            help="Used of total, as `ray status -v` counts: what tasks and actors asked for, not what they use.",
        ),
        Column("num_workers", "Workers", cell="number", sort="desc", numeric=True),
        Column("state_message", "State message", cell="message", filter="text", help="Why it died, in Ray's words."),
        Column("labels", "Labels", cell="labels", hidden=True),
        Column("status", "Busy", cell="state", hidden=True, carry=("idle_since_ms",), help="RUNNING or IDLE, as the autoscaler sees it."),
        Column("uptime_ms", "Uptime", cell="uptime", sort="desc", numeric=True, hidden=True, carry=("start_time_ms", "end_time_ms")),
        Column("start_time_ms", "Started", cell="time", sort="desc", filter="time", hidden=True, alias=("started",)),
        Column("end_time_ms", "Ended", cell="time", sort="desc", filter="time", hidden=True, alias=("ended",)),
        Column("node_name", "Name", cell="code", sort="asc", filter="text", hidden=True, alias=("name",)),
        Column("raylet_pid", "Raylet PID", cell="number", numeric=True, hidden=True),
        Column("collected_at", "Measured", cell=""),
    ),
)
