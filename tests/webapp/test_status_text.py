"""The text of `ray status`, in the forms of both autoscalers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from clusterstate.model import BundleShape, ClusterStatus, FailedNode, NodeResources, PendingNode, ResourceDemand
from webapp.status_text import status_nodes, status_text

AT = 1_700_000_000.5
GIB = 2.0**30
ROWS = [
    NodeResources(
        "aa",
        {"CPU": 4.0, "memory": 8 * GIB, "node:10.0.0.1": 1.0, "accelerator_type:A100": 1.0},
        {"CPU": 2.75, "memory": 8 * GIB, "accelerator_type:A100": 1.0},
        "RUNNING",
        node_activity=["Busy workers on node."],
        reserved_total={"CPU": 0.75},
        reserved_available={"CPU": 0.5},
        node_type="gpu",
        instance_id="i-1",
    ),
    NodeResources("bb", {"CPU": 1.0}, {"CPU": 1.0}, "IDLE", idle_since_ms=int(AT * 1000) - 4200),
]
STATUS = ClusterStatus(
    collected_at=AT,
    pending_nodes=[PendingNode("gpu", "10.0.0.9", "WAITING_FOR_SSH", "i-9"), PendingNode("cpu", count=3, is_launch=True)],
    failed_nodes=[
        FailedNode("gpu", "no quota", None, 1_700_000_000_000, "LaunchFailed"),
        FailedNode("", "gone", "10.0.0.2", 1, node_id="dd", instance_id="i-2", is_reported=False),
    ],
    resources_total={"CPU": 5.0, "memory": 8 * GIB, "accelerator_type:A100": 1.0},
    resources_available={"CPU": 3.75, "memory": 7.5 * GIB, "accelerator_type:A100": 1.0},
    reserved_total={"CPU": 0.75},
    reserved_available={"CPU": 0.5},
    demands=[
        ResourceDemand("TASK_ACTOR", {"GPU": 1.0, "CPU": 2.0}, 7, in_placement_groups=2),
        ResourceDemand("PLACEMENT_GROUP", {"CPU": 100.0}, 2, "SPREAD", bundles=[BundleShape({"CPU": 50.0}, 2)]),
        ResourceDemand("REQUEST_RESOURCES", {"CPU": 1.0}, 1),
    ],
    autoscaler_version="v2",
)


def text(verbose: bool = False, rows: Any = ROWS, **fields: Any) -> str:
    return status_text(replace(STATUS, **fields), status_nodes(rows), AT, verbose=verbose)


def test_the_second_autoscalers_form() -> None:
    assert text() == (
        "======== Autoscaler status: 2023-11-14 22:13:20.500000+00:00 ========\n"
        "Node status\n"
        "---------------------------------------------------------------------\n"
        "Active:\n"
        " 1 gpu\n"
        "Idle:\n"
        " 1 node_bb\n"
        "Pending:\n"
        " cpu, 3 launching\n"
        " i-9: gpu, waiting_for_ssh\n"
        "Recent failures:\n"
        " gpu: LaunchFailed (latest_attempt: 22:13:20)\n"
        " node_dd: NodeTerminated (instance_id: i-2)\n"
        "\n"
        "Resources\n"
        "---------------------------------------------------------------------\n"
        "Total Usage:\n"
        " 0.75/5.0 CPU (0.25 used of 0.75 reserved in placement groups)\n"
        " 512.00MiB/8.00GiB memory\n"
        "\n"
        "From request_resources:\n"
        " {'CPU': 1.0}: 1 from request_resources()\n"
        "Pending Demands:\n"
        " {'CPU': 2.0, 'GPU': 1.0}: 7+ pending tasks/actors (2+ using placement groups)\n"
        " {'CPU': 50.0} * 2 (SPREAD): 2+ pending placement groups\n"
    )


def test_the_first_autoscalers_form_calls_idle_nodes_active_and_names_what_it_saw() -> None:
    found = text(autoscaler_version="v1")

    assert "Active:\n 1 gpu\n 1 node_bb\nPending:" in found
    assert "Idle" not in found
    assert "node_dd" not in found
    assert " {'CPU': 1}: 1 from request_resources()\n" in found


def test_verbose_adds_reasons_and_each_node() -> None:
    found = text(verbose=True)

    assert " gpu: LaunchFailed (latest_attempt: 22:13:20) - no quota\n" in found
    assert " 0.0/1.0 accelerator_type:A100\n" in found
    assert found.endswith(
        "\n"
        "\n"
        "Node: i-1 (gpu)\n"
        " Id: aa\n"
        " Usage:\n"
        "  0.75/4.0 CPU (0.25 used of 0.75 reserved in placement groups)\n"
        "  0.0/1.0 accelerator_type:A100\n"
        "  0B/8.00GiB memory\n"
        " Activity:\n"
        "  Busy workers on node.\n"
        "\n"
        "Node:  (node_bb)\n"
        " Id: bb\n"
        " Idle: 4200 ms\n"
        " Usage:\n"
        "  0.0/1.0 CPU\n"
        " Activity:\n"
        "  (no activity)\n"
    )


def test_nothing_at_all_is_said_as_ray_says_it() -> None:
    found = status_text(ClusterStatus(0.0), [], None)

    for line in ("(no active nodes)", "(no idle nodes)", "(no pending nodes)", "(no failures)", "(none)", "(no resource demands)"):
        assert f" {line}\n" in found
    assert "Autoscaler status: – =" in found


def test_what_is_not_known_is_a_dash() -> None:
    rows = [NodeResources("aa", {"CPU": float("nan"), "memory": 1.0}, {}, None)]
    failed = [FailedNode("gpu", "", category="LaunchFailed")]

    found = text(True, rows, failed_nodes=failed, pending_nodes=[PendingNode("gpu")])

    assert "  –/– CPU\n" in found
    assert " –: gpu, –\n" in found
    assert "(latest_attempt: –)" in found


def test_a_clusters_names_stay_on_their_line_and_show_what_cannot_be_seen() -> None:
    bad = "a\nNode status\x1b[31m\r\u202e"
    rows = [replace(ROWS[0], node_type=bad, instance_id=bad, node_activity=[bad], resources_total={bad: 1.0})]
    found = text(
        True,
        rows,
        pending_nodes=[PendingNode(bad, bad, bad, bad), PendingNode(bad, is_launch=True)],
        failed_nodes=[FailedNode(bad, bad, bad, category=bad)],
        resources_total={bad: 1.0},
        demands=[ResourceDemand("PLACEMENT_GROUP", {bad: 1.0}, 1, bad, bundles=[BundleShape({bad: 1.0})])],
        autoscaler_error="one\x1b[2J\ntwo",
    )

    assert found.count("\nNode status") == 1
    assert not {"\x1b", "\r", "\u202e"} & set(found)
    assert found.endswith("\none\ntwo\n")
