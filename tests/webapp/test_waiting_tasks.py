"""Tasks that wait for the same reason stand together: on the list of tasks, on a job's page and on the overview."""

from __future__ import annotations

import html
import json
import re
import time
from typing import Any

import pytest

from clusterstate import model
from clusterstate.resources import NODE_STATS, TASKS
from clusterstate.store import tasks_by_state
from clusterstate.store.reader import SessionReader
from clusterstate.store.sqlite_reading import DeadlinePassed
from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import Clock, Person
from webapp import waiting_tasks
from webapp.attention import find_attention
from webapp.waiting_tasks import WaitingTasks

BEGAN = 1_700_000_000_000
PLACE = "PENDING_NODE_ASSIGNMENT"
ASKING = "SUBMITTED_TO_WORKER"
MANY = 100_000


def node(cluster: BuiltCluster, name: str, total: dict[str, float], available: dict[str, float]) -> str:
    made = cluster.with_node(hostname=name, resources_total=total)
    cluster.with_node_resources(made.node_id, resources_total=total, resources_available=available)
    return made.node_id


def tasks(cluster: BuiltCluster, count: int, amounts: dict[str, float] | None = None, first: int = 1, **fields: Any) -> None:
    if amounts is not None:
        fields["required_resources_id"] = cluster.with_text(json.dumps(amounts))
    wanted = {"state": PLACE, "name": "step", "type": "NORMAL_TASK", "sequence": 0, **fields}
    cluster.with_rows(
        TASKS, *(model.Task(f"{number:048x}", creation_time_ms=BEGAN + number, **wanted) for number in range(first, first + count))
    )


def grouped(cluster: BuiltCluster, job_id: str | None = None) -> WaitingTasks:
    return waiting_tasks.waiting_tasks(cluster.reader, time.time(), job_id)


def said(cluster: BuiltCluster, now: float) -> list[str]:
    reader = cluster.reader
    freshness = reader.freshness("nodes", now=now, nodes_matter=False)
    return [f"{one.level}: {one.text}" for one in find_attention(reader, reader.all(NODE_STATS), freshness, now)]


def panel(page: str) -> str:
    found = re.search(r'<section class="card wide" id="waiting">(.*?)</section>', page, re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", found[1]))) if found else ""


def test_nothing_is_said_where_nothing_waits(cluster: BuiltCluster, vera: Person) -> None:
    cluster.with_task(state="RUNNING")
    assert grouped(cluster) == WaitingTasks(0, ())
    assert panel(vera.page("/c/demo/tasks").text) == ""


def test_groups_are_told_the_largest_first_with_why(cluster: BuiltCluster) -> None:
    node(cluster, "one", {"CPU": 4.0}, {"CPU": 0.0})
    tasks(cluster, 3, {"CPU": 1.0})
    tasks(cluster, 2, {"CPU": 99.0}, first=10)
    tasks(cluster, 1, first=20, state="PENDING_ARGS_AVAIL")
    found = grouped(cluster)
    assert [(one.count, one.is_exact, one.is_for_ever, one.since_ms) for one in found.groups] == [
        (3, True, False, BEGAN + 1),
        (2, True, True, BEGAN + 10),
        (1, True, False, BEGAN + 20),
    ]
    assert "none has enough free" in found.groups[0].sentence
    assert "has CPU 4 of 99 asked for" in found.groups[1].sentence
    assert "Ray does not tell which one" in found.groups[2].sentence
    assert (found.total, found.left) == (6, 0)


def test_different_demands_with_the_same_reason_are_one_group(cluster: BuiltCluster) -> None:
    tasks(cluster, 2, {"CPU": 1.0})
    tasks(cluster, 1, {"CPU": 2.0}, first=10)
    [group] = grouped(cluster).groups
    assert (group.count, group.sentence) == (3, "No node of the cluster is alive.")
    assert group.listed == {"state": [PLACE], "type": "NORMAL_TASK"}


def test_the_same_reason_in_several_states_is_one_group(cluster: BuiltCluster, vera: Person) -> None:
    actor = cluster.with_actor(name="busy")
    method: dict[str, Any] = {"type": "ACTOR_TASK", "actor_id": actor.actor_id}
    cluster.with_task(state="RUNNING", name="work", **method)
    tasks(cluster, 2, state=ASKING, **method)
    tasks(cluster, 1, first=10, state="PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY", **method)
    [group] = grouped(cluster).groups
    assert (group.count, group.states) == (3, (ASKING, "PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY"))
    page = vera.page("/c/demo/tasks").text
    [link] = re.findall(r'<th scope="row"><a href="/c/demo/tasks(\?[^"]*)">3</a>', page)
    assert len(vera.get("/c/demo/tasks.json" + html.unescape(link)).get_json()["rows"]) == 3


def test_methods_stand_together_by_their_actor(cluster: BuiltCluster) -> None:
    busy, idle = cluster.with_actor(name="busy"), cluster.with_actor(name="idle")
    method: dict[str, Any] = {"state": ASKING, "type": "ACTOR_TASK"}
    tasks(cluster, 2, actor_id=busy.actor_id, **method)
    tasks(cluster, 1, first=10, actor_id=idle.actor_id, **method)
    cluster.with_task(state="RUNNING", type="ACTOR_TASK", actor_id=busy.actor_id, name="work")
    first, second = grouped(cluster).groups
    assert (first.count, first.sentence) == (2, "Its actor busy runs work first, and takes others when there is room.")
    assert second.sentence.startswith("Its actor idle is ALIVE")
    assert first.listed == {"state": [ASKING], "type": "ACTOR_TASK", "actor_id": busy.actor_id}


def test_a_group_leads_to_its_tasks_and_no_others(cluster: BuiltCluster, vera: Person) -> None:
    node(cluster, "one", {"CPU": 4.0}, {"CPU": 0.0})
    tasks(cluster, 3, {"CPU": 1.0}, job_id="01000000")
    tasks(cluster, 2, {"CPU": 99.0}, first=10, job_id="02000000")
    tasks(cluster, 1, {"CPU": 1.0}, first=20, state="RUNNING")
    page = vera.page("/c/demo/tasks").text
    assert "Why 5 tasks wait" in panel(page)
    links = re.findall(r'<th scope="row"><a href="/c/demo/tasks(\?[^"]*)">', page)
    counts = [len(vera.get("/c/demo/tasks.json" + html.unescape(link)).get_json()["rows"]) for link in links]
    assert counts == [3, 2]


def test_a_jobs_tab_tells_of_its_own(cluster: BuiltCluster, vera: Person) -> None:
    node(cluster, "one", {"CPU": 4.0}, {"CPU": 0.0})
    job = cluster.with_job()
    tasks(cluster, 3, {"CPU": 1.0}, job_id=job.job_id)
    tasks(cluster, 2, {"CPU": 99.0}, first=10, job_id="ffffff00")
    assert "Why 3 tasks wait" in panel(vera.page(f"/c/demo/jobs/{job.job_key}?tab=tasks").text)
    assert panel(vera.page(f"/c/demo/jobs/{job.job_key}").text) == ""
    assert "Why 3 tasks wait" in panel(vera.page(f"/c/demo/tasks?job_id={job.job_id}").text)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("", "Why 3 tasks wait"),
        (f"?state={PLACE}", "Why 2 tasks wait"),
        ("?state=PENDING_ARGS_AVAIL", "Why 1 task waits"),
        ("?state=FINISHED", ""),
        ("?name=step", ""),
        ("?q=step", ""),
        ("?job_id=0100*", ""),
    ],
)
def test_a_narrowed_list_tells_of_what_it_lists_or_nothing(cluster: BuiltCluster, vera: Person, asked: str, words: str) -> None:
    tasks(cluster, 2, {"CPU": 1.0})
    tasks(cluster, 1, first=10, state="PENDING_ARGS_AVAIL")
    page = vera.page(f"/c/demo/tasks{asked}").text
    assert words in panel(page)
    assert bool(panel(page)) is bool(words)


def test_of_a_hundred_thousand_with_one_reason_the_number_is_a_floor_and_the_total_exact(cluster: BuiltCluster, vera: Person) -> None:
    node(cluster, "one", {"CPU": 4.0}, {"CPU": 0.0})
    tasks(cluster, MANY, {"CPU": 1.0})
    found = grouped(cluster)
    [group] = found.groups
    assert (found.total, group.count, group.is_exact) == (MANY, tasks_by_state.GROUPED, False)
    shown = panel(vera.page("/c/demo/tasks").text)
    assert "Why 100 000 tasks wait" in shown
    assert "at least 10 000" in shown
    assert "and 90 000 more" in shown
    task = vera.page(f"/c/demo/tasks/{1:048x}").text
    assert "At least 9\u202f999 other tasks ask for the same and wait with it." in task


def test_at_most_ten_groups_are_shown_and_the_rest_counted(cluster: BuiltCluster) -> None:
    node(cluster, "one", {"CPU": 4.0}, {"CPU": 0.0})
    for number in range(12):
        tasks(cluster, 1, {"CPU": 10.0 + number}, first=10 * number + 1)
    found = grouped(cluster)
    assert (len(found.groups), found.total, found.left) == (10, 12, 2)


def test_the_groups_hold_for_some_seconds_and_then_are_found_anew(cluster: BuiltCluster, vera: Person, clock: Clock) -> None:
    tasks(cluster, 1, {"CPU": 1.0})
    assert "Why 1 task waits" in panel(vera.page("/c/demo/tasks").text)
    unchanged = vera.fragment("/c/demo/tasks", {"HX-Target": "section#table"})
    tag = unchanged.headers["HX-PTag"]
    assert vera.fragment("/c/demo/tasks", {"HX-Target": "section#table", "HX-PTag": tag}).status_code == 304
    tasks(cluster, 1, {"CPU": 1.0}, first=10)
    assert "Why 1 task waits" in panel(vera.page("/c/demo/tasks").text)
    held = vera.fragment("/c/demo/tasks", {"HX-Target": "section#table"}).headers["HX-PTag"]
    clock.at += waiting_tasks.HOLD_S
    cluster.refresh(clock.at)
    assert "Why 2 tasks wait" in panel(vera.page("/c/demo/tasks").text)
    assert vera.fragment("/c/demo/tasks", {"HX-Target": "section#table", "HX-PTag": held}).status_code == 200


def test_what_cannot_be_read_in_time_is_counted_and_not_told(cluster: BuiltCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_long(*_: object) -> list[Any]:
        raise DeadlinePassed

    tasks(cluster, 3, {"CPU": 1.0})
    monkeypatch.setattr(tasks_by_state.TasksByState, "alike", too_long)
    assert grouped(cluster) == WaitingTasks(3, ())


def test_the_overview_tells_at_once_what_no_node_can_hold_and_the_rest_when_it_lasts(cluster: BuiltCluster) -> None:
    now = time.time()
    node(cluster, "one", {"CPU": 4.0}, {"CPU": 0.0})
    recently = int(now * 1000)
    tasks(cluster, 2, {"CPU": 99.0}, pending_node_assignment_ms=recently)
    tasks(cluster, 5, {"CPU": 1.0}, first=10, pending_node_assignment_ms=recently)
    assert [text for text in said(cluster, now) if "task" in text] == [
        "warning: 2 tasks wait: No node is large enough: the nearest, one, has CPU 4 of 99 asked for."
    ]
    later = said(cluster, now + 61)
    assert any(text.startswith("note: 5 tasks wait: One node is large enough") for text in later)


def test_what_waits_for_a_waiting_actor_or_group_is_told_once(cluster: BuiltCluster) -> None:
    now = time.time()
    node(cluster, "one", {"CPU": 4.0}, {"CPU": 4.0})
    actor = cluster.with_actor(state="PENDING_CREATION", required_resources={"CPU": 9.0})
    group = cluster.with_placement_group(state="PENDING", strategy="PACK", bundles=[model.Bundle(0, {"CPU": 70.0})])
    tasks(cluster, 1, {"CPU": 9.0}, type="ACTOR_CREATION_TASK", actor_id=actor.actor_id)
    tasks(cluster, 1, first=10, type="ACTOR_TASK", actor_id=actor.actor_id)
    tasks(cluster, 1, {"CPU": 1.0}, first=20, placement_group_id=group.placement_group_id)
    assert len(grouped(cluster).groups) == 3
    assert not [text for text in said(cluster, now) if "task" in text]


def test_an_ended_session_waits_for_nothing(cluster: BuiltCluster, vera: Person) -> None:
    tasks(cluster, 2, {"CPU": 1.0})
    cluster.end()
    assert panel(vera.page("/c/demo/s/session_1/tasks").text) == ""


def test_what_cannot_be_counted_in_time_is_said_to_be_unknown_and_tried_again(
    cluster: BuiltCluster, vera: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_long(*_: object, **__: object) -> dict[str, int]:
        raise DeadlinePassed

    tasks(cluster, 3, {"CPU": 1.0})
    cluster.project()
    with monkeypatch.context() as patched:
        patched.setattr(SessionReader, "counts", too_long)
        assert grouped(cluster) == WaitingTasks(0, (), is_counted=False)
    assert grouped(cluster).total == 3
