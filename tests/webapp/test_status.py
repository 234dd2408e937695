"""The page of Ray status, its text and its JSON, and the overview's cards."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import Any

import pytest

from clusterstate.model import BundleShape, ClusterStatus, FailedNode, NodeGroup, NodeResources, PendingNode, ResourceDemand
from clusterstate.resources import NODE_RESOURCES, STATUS, STATUS_HISTORY
from clusterstate.status_history import moment_of, worth_keeping
from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import Clock, Person
from tests.webapp.test_every_page import HOSTILE, Elements

NODE = "0" * 55 + "7"


def status(**fields: Any) -> ClusterStatus:
    base = ClusterStatus(
        collected_at=time.time(),
        nodes=[NodeGroup("gpu-8", 1, 2)],
        resources_total={"CPU": 8.0},
        resources_available={"CPU": 6.0},
        autoscaler_version="v2",
    )
    return replace(base, **fields)


def with_history(cluster: BuiltCluster, *known: tuple[float, ClusterStatus]) -> None:
    """What a collector would have kept of these, and the last as it is now."""
    before = None
    for at, one in known:
        kept = worth_keeping(before, moment_of(one, at))
        assert kept is not None
        cluster.with_rows(STATUS_HISTORY, kept)
        before = kept
    cluster.with_rows(STATUS, known[-1][1])


def data(person: Person, path: str = "/c/demo/status.json") -> Any:
    return person.get(path).json


def words(page: str) -> str:
    """A page without its markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_before_anything_is_known_the_page_says_so(vera: Person, cluster: BuiltCluster) -> None:
    assert "No cluster status is known yet" in vera.page("/c/demo/status").text
    assert vera.get("/c/demo/status.txt").text == "No cluster status is known yet.\n"
    answer = data(vera)
    assert (answer["nodes"], answer["resources"], answer["demands"]) == (None, None, None)
    assert set(answer["history"]["active"]["values"]) == {None}
    assert "status has not been read yet" in vera.page("/c/demo/").text


def test_nodes_are_told_by_state_and_type_with_reasons(vera: Person, cluster: BuiltCluster, clock: Clock) -> None:
    now_ms = int(clock.at * 1000)
    cluster.with_rows(
        STATUS,
        status(
            pending_nodes=[
                PendingNode("gpu-8", "10.0.0.9", "WAITING_FOR_SSH", since_ms=now_ms - 61_000),
                PendingNode("cpu-16", count=4, is_launch=True),
            ],
            failed_nodes=[FailedNode("gpu-8", "InsufficientInstanceCapacity", None, now_ms - 5000, "LaunchFailed")],
        ),
    )

    page = words(vera.page("/c/demo/status").text)

    assert "gpu-8 1 2" in page
    assert re.search(r"gpu-8 1 10\.0\.0\.9 WAITING_FOR_SSH 1 m 1 s", page)
    assert "cpu-16 4 – asked for –" in page
    assert "InsufficientInstanceCapacity" in page
    assert re.search(r"Active nodes 1 .*Idle nodes 2 .*Pending nodes 5 ", page)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"autoscaler_version": None}, "No autoscaler has reported: nodes join and leave by hand."),
        ({"autoscaler_version": None}, "No node is starting: without an autoscaler none is asked for."),
        ({"autoscaler_version": "v1"}, "The autoscaler (v1) has not reported yet."),
        ({"silent_since_ms": 1_700_000_000_000}, "The autoscaler (v2) has not reported since 2023-11-14 22:13:20"),
        ({"autoscaler_error": "boto has no credentials"}, "The autoscaler stopped boto has no credentials"),
        ({}, "No node is starting."),
        ({}, "No launch has failed and no node has died."),
        ({}, "Nothing waits: each task, actor and placement group that asked for resources has them."),
        ({}, "Nothing has changed since Raydeck watches."),
        ({"resources_total": {}}, "No logical resources are known: no node is alive."),
    ],
)
def test_what_is_empty_says_why(vera: Person, cluster: BuiltCluster, fields: dict[str, Any], sentence: str) -> None:
    cluster.with_rows(STATUS, status(**fields))

    assert sentence in words(vera.page("/c/demo/status").text)


def test_demands_are_grouped_by_shape_with_why_they_wait_and_a_note_whose_they_may_be(
    vera: Person, cluster: BuiltCluster, clock: Clock
) -> None:
    cluster.with_node(node_id=NODE, hostname="one")
    cluster.with_node_resources(NODE, resources_total={"CPU": 8.0}, resources_available={"CPU": 6.0}, status="RUNNING")
    cluster.with_rows(
        STATUS,
        status(
            demands=[
                ResourceDemand("TASK_ACTOR", {"CPU": 7.0}, 3, since_ms=int(clock.at * 1000) - 125_000),
                ResourceDemand("TASK_ACTOR", {"GPU": 1.0}, 2, is_infeasible=True, in_placement_groups=1),
                ResourceDemand("PLACEMENT_GROUP", {"CPU": 18.0}, 1, "SPREAD", bundles=[BundleShape({"CPU": 9.0}, 2)]),
                ResourceDemand("REQUEST_RESOURCES", {"CPU": 64.0}, 1),
            ]
        ),
    )

    page = words(vera.page("/c/demo/status").text)

    assert "What waits may come from any job of the cluster: Ray does not say from which." in page
    assert "Waiting tasks, actors, groups 6" in page
    assert "3 CPU 7 One node is large enough, but none has enough free: the nearest, one, has CPU 6 free of 8" in page
    assert "2 m 5 s" in page
    assert "2 GPU 1 infeasible The autoscaler says that no type of node will ever do. No node has any GPU" in page
    assert "tasks and actors, 1 in placement groups" in page
    assert re.search(r"1 2 × \(CPU 9\) SPREAD .*2 bundles find no place even on empty nodes", page)
    assert "1 CPU 64 request_resources()" in page


def test_use_is_told_as_ray_counts_it_and_as_what_nobody_else_can_have(vera: Person, cluster: BuiltCluster) -> None:
    cluster.with_rows(STATUS, status(reserved_total={"CPU": 1.5}, reserved_available={"CPU": 1.0}))

    page = words(vera.page("/c/demo/status").text)

    assert "CPU 1 8 25 % 25 %" in page
    assert "0.5 of 1.5" in page
    [cpu] = data(vera)["resources"]
    assert cpu == {"name": "CPU", "total": 8.0, "taken": 2.0, "used": 1.0, "reserved": 1.5, "used_of_reserved": 0.5}


def test_changes_are_listed_newest_first_and_drawn(vera: Person, cluster: BuiltCluster, clock: Clock) -> None:
    now = clock.at
    waits = [ResourceDemand("TASK_ACTOR", {"GPU": 1.0}, 4)]
    with_history(
        cluster, (now - 300, status()), (now - 200, status(nodes=[NodeGroup("gpu-8", 0, 2)])), (now - 100, status(demands=waits, nodes=[]))
    )
    cluster.refresh(now)

    page = words(vera.page("/c/demo/status").text)
    answer = data(vera)

    assert [one["lines"] for one in answer["changes"]] == [
        ["gpu-8: 2 nodes idle → 0", "4 × GPU 1 asked for by tasks and actors"],
        ["gpu-8: 1 node active → 0"],
    ]
    assert page.index("gpu-8: 2 nodes idle → 0") < page.index("gpu-8: 1 node active → 0")
    history = answer["history"]
    assert history["active"]["values"][0] is None
    assert [value for value in dict.fromkeys(history["active"]["values"]) if value is not None] == [1, 0]
    assert [value for value in dict.fromkeys(history["waiting"]["values"]) if value is not None] == [0, 4]
    assert set(history["shares"]["CPU"]["values"]) == {None, 25.0}
    assert history["active"]["step_s"] == 10.0


def test_charts_move_on_while_nothing_changes(vera: Person, cluster: BuiltCluster, clock: Clock) -> None:
    with_history(cluster, (clock.at - 300, status()))
    cluster.refresh(clock.at)
    first = vera.fragment("/c/demo/status").headers["HX-PTag"]
    assert vera.fragment("/c/demo/status", {"HX-PTag": first}).status_code == 304

    clock.at += 20.0
    cluster.refresh(clock.at)

    assert vera.fragment("/c/demo/status", {"HX-PTag": first}).status_code == 200


def test_an_ended_session_keeps_its_status_and_its_history(vera: Person, cluster: BuiltCluster) -> None:
    now = time.time()
    with_history(cluster, (now - 300, status()), (now - 200, status(nodes=[NodeGroup("gpu-8", 0, 2)])))
    cluster.refresh(now)
    cluster.end(now)

    page = words(vera.page("/c/demo/s/session_1/status").text)
    answer = data(vera, "/c/demo/s/session_1/status.json")

    assert "gpu-8: 1 node active → 0" in page
    assert 1 in answer["history"]["active"]["values"]
    assert "Autoscaler status" in vera.get("/c/demo/s/session_1/status.txt").text


def test_the_text_alone_is_what_the_page_shows(vera: Person, cluster: BuiltCluster) -> None:
    cluster.with_rows(NODE_RESOURCES, NodeResources(NODE, {"CPU": 8.0}, {"CPU": 6.0}, "RUNNING", node_activity=["Busy workers on node."]))
    cluster.with_rows(STATUS, status())

    short, long = vera.get("/c/demo/status.txt"), vera.get("/c/demo/status.txt?verbose=1")

    assert short.mimetype == long.mimetype == "text/plain"
    assert f"Active:\n 1 node_{NODE}\nIdle:\n (no idle nodes)\n" in short.text
    assert "Busy workers" not in short.text
    assert f" Id: {NODE}\n Usage:\n  2.0/8.0 CPU\n Activity:\n  Busy workers on node.\n" in long.text
    for text, path in ((short.text, "status"), (long.text, "status?verbose=1")):
        shown = vera.page(f"/c/demo/{path}").text
        body = text.partition("\n")[2].replace("'", "&#39;").rstrip("\n")
        assert body in shown


def test_an_unknown_question_is_told_what_is_allowed(vera: Person, cluster: BuiltCluster) -> None:
    for path, allowed in (("status?verbose=yes", "0 or 1"), ("status.txt?v=1", "verbose"), ("status.json?verbose=1", "Allowed are: theme")):
        answer = vera.get(f"/c/demo/{path}")
        assert answer.status_code == 400
        assert allowed in answer.text


def test_the_overview_has_both_as_cards(vera: Person, cluster: BuiltCluster) -> None:
    cluster.with_rows(STATUS, status())
    page = words(vera.page("/c/demo/").text)
    assert "Node status autoscaler v2" in page
    assert "No node is starting, none has failed." in page
    assert "Nothing waits: all that was asked for was given." in page

    cluster.with_rows(
        STATUS,
        status(
            demands=[ResourceDemand("TASK_ACTOR", {"GPU": float(number)}, number) for number in range(8, 0, -1)],
            failed_nodes=[FailedNode("gpu-8", f"reason {number}", failed_at_ms=1) for number in range(5)],
        ),
    )
    shown = vera.page("/c/demo/").text
    page = words(shown)
    assert "Waiting tasks, actors, placement groups 36" in page
    assert "8 × GPU 8 tasks and actors" in page
    assert "and 3 more shapes" in page
    assert "reason 2" in page
    assert "reason 3" not in page
    assert "and 2 more" in page
    assert 'href="/c/demo/status"' in shown


def test_hostile_names_are_text_everywhere(vera: Person, cluster: BuiltCluster) -> None:
    bad = HOSTILE
    first = status(nodes=[NodeGroup(bad, 1)], resources_total={bad: 2.0}, resources_available={})
    second = status(
        nodes=[NodeGroup(bad, 0, 1)],
        pending_nodes=[PendingNode(bad, bad, bad, bad)],
        failed_nodes=[FailedNode(bad, bad, bad, 1, bad)],
        demands=[ResourceDemand("PLACEMENT_GROUP", {bad: 1.0}, 1, bad, {bad: bad}, [BundleShape({bad: 1.0}, 2, {bad: bad})])],
        resources_total={bad: 3.0},
        resources_available={bad: 1.0},
        autoscaler_version=bad,
        autoscaler_error=bad,
    )
    with_history(cluster, (time.time() - 60, first), (time.time() - 30, second))
    cluster.with_rows(NODE_RESOURCES, NodeResources(NODE, {bad: 1.0}, {}, "IDLE", node_activity=[bad], node_type=bad, instance_id=bad))

    for path in ("status", "status?verbose=1", ""):
        answer = vera.page(f"/c/demo/{path}")
        assert answer.status_code == 200
        for tag, attributes in Elements(answer.text).found:
            assert attributes.get("id") != "marker"
            assert tag != "script" or attributes.get("src", "").startswith("/static/")
        assert "54439" not in answer.text
    for path in ("status", "status.txt?verbose=1", ""):
        text = vera.get(f"/c/demo/{path}").text
        assert not {"\x1b", "\u202e"} & set(text)


def test_a_status_of_many_shapes_and_nodes_stays_a_page(vera: Person, cluster: BuiltCluster) -> None:
    cluster.with_rows(
        STATUS,
        status(
            pending_nodes=[PendingNode("cpu", f"10.0.0.{number}") for number in range(150)],
            demands=[ResourceDemand("TASK_ACTOR", {f"r{number}": 1.0}, 1) for number in range(1000)],
            resources_total={f"r{number}": 1.0 for number in range(300)},
        ),
    )

    page = words(vera.page("/c/demo/status").text)

    assert "and 50 more" in page
    assert "and 900 more shapes" in page
    assert "and 100 more" in page
