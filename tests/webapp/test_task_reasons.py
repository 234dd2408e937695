"""Why a task waits is said by its state, with what Ray tells of it; what Ray does not tell is not guessed."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from clusterstate import model
from tests.built_cluster import BuiltCluster
from tests.simulated_ray.hostile import TEXTS, by_name
from tests.webapp.conftest import Person
from webapp.reasons import Reason, why_actor_waits
from webapp.task_reasons import why_task_waits

BEGAN = 1_700_000_000_000
DRIVER = "f" * 40 + "01000000"
PLACE = "PENDING_NODE_ASSIGNMENT"


def node(cluster: BuiltCluster, name: str, total: dict[str, float], available: dict[str, float], **fields: Any) -> str:
    made = cluster.with_node(hostname=name, resources_total=total, **fields)
    cluster.with_node_resources(made.node_id, resources_total=total, resources_available=available)
    return made.node_id


def asks(cluster: BuiltCluster, amounts: dict[str, float], **fields: Any) -> dict[str, Any]:
    return {"state": PLACE, "type": "NORMAL_TASK", "required_resources_id": cluster.with_text(json.dumps(amounts)), **fields}


def waits(cluster: BuiltCluster, **fields: Any) -> Reason:
    found = why_task_waits(cluster.reader, cluster.with_task(**fields))
    assert found is not None
    return found


@pytest.mark.parametrize("state", ["RUNNING", "RUNNING_IN_RAY_GET", "FINISHED", "FAILED", "END_UNKNOWN", "NIL", "UNKNOWN(17)"])
def test_a_task_that_does_not_wait_has_no_reason(cluster: BuiltCluster, state: str) -> None:
    assert why_task_waits(cluster.reader, cluster.with_task(state=state)) is None


def test_what_no_node_has_is_named_with_each_nodes_answer(cluster: BuiltCluster) -> None:
    node(cluster, "one", {"CPU": 4.0}, {"CPU": 4.0}, labels={"zone": "west"})
    huge = waits(cluster, **asks(cluster, {"CPU": 99.0}))
    assert huge.sentence == "No node is large enough: the nearest, one, has CPU 4 of 99 asked for."
    assert [(one.name, one.word, one.lacks) for one in huge.nodes] == [("one", "cannot", ("CPU: 4 in all, 99 asked for",))]
    labelled = asks(cluster, {"CPU": 1.0}, label_selector_id=cluster.with_text(json.dumps({"zone": "moon"})))
    assert waits(cluster, **labelled).sentence == "No node has the labels that it asks for: zone=moon."


def test_who_holds_what_is_missing_are_actors_and_running_tasks(cluster: BuiltCluster) -> None:
    busy = node(cluster, "busy", {"CPU": 8.0}, {"CPU": 0.0})
    cluster.with_actor(name="served", node_id=busy, required_resources={"CPU": 4.0})
    running = asks(cluster, {"CPU": 3.0, "custom": 1.0}, state="RUNNING", name="crunch", node_id=busy, start_time_ms=BEGAN)
    cluster.with_task(**running)
    cluster.with_task(**{**running, "type": "ACTOR_TASK", "name": "a method"})
    cluster.with_task(**{**running, "placement_group_id": "ab" * 18, "name": "reserved"})
    cluster.with_task(**{**running, "state": "FINISHED", "name": "over"})
    cluster.with_task(**{**running, "node_id": "99" * 28, "name": "elsewhere"})

    found = waits(cluster, **asks(cluster, {"CPU": 2.0}))

    assert found.sentence.startswith("One node is large enough, but none has enough free: the nearest, busy, has CPU 0 free of 8")
    assert [(one.label, one.amounts) for one in found.holders] == [("served", {"CPU": 4.0}), ("task crunch", {"CPU": 3.0})]
    assert found.holders[1].since_ms == BEGAN
    actor = cluster.with_actor(state="PENDING_CREATION", required_resources={"CPU": 2.0})
    of_actor = why_actor_waits(cluster.reader, actor)
    assert of_actor is not None
    assert "task crunch" in [one.label for one in of_actor.holders]


def test_a_task_that_waits_for_others_holds_no_cpu(cluster: BuiltCluster) -> None:
    busy = node(cluster, "busy", {"CPU": 2.0, "GPU": 1.0}, {"CPU": 0.0, "GPU": 0.0})
    both = asks(cluster, {"CPU": 1.0, "GPU": 1.0}, node_id=busy, start_time_ms=BEGAN)
    cluster.with_task(**{**both, "state": "RUNNING_IN_RAY_GET", "name": "told"})
    cluster.with_task(**{**both, "state": "RUNNING", "name": "seen", "worker_id": "aa" * 28})
    cluster.with_process(busy, 7, worker_id="aa" * 28, used_resources={"GPU": 1.0})
    cluster.writer.confirm({f"node:{busy}": time.time()})
    cluster.refresh()
    assert waits(cluster, **asks(cluster, {"CPU": 2.0})).holders == ()
    assert {one.label for one in waits(cluster, **asks(cluster, {"GPU": 1.0})).holders} == {"task seen", "task told"}


def test_where_there_is_room_it_is_said_what_may_take_time(cluster: BuiltCluster) -> None:
    home = node(cluster, "roomy", {"CPU": 4.0}, {"CPU": 4.0})
    cluster.with_process(home, 1, title="ray::IDLE")
    cluster.with_process(home, 2, title="ray::step")
    cluster.with_process(home, 3, kind="RAYLET")
    found = waits(cluster, **asks(cluster, {"CPU": 1.0}, runtime_env_id=cluster.with_text('{"pip":["x"]}')))
    assert found.sentence.startswith("roomy has room for it now")
    assert found.facts[0] == "2 worker processes run on roomy, 1 of them idle."
    assert "names a runtime environment" in found.facts[1]
    assert waits(cluster, **asks(cluster, {"CPU": 1.0})).facts[0] == "1 other task asks for the same and waits with it."


def test_what_is_asked_for_may_be_unknown(cluster: BuiltCluster) -> None:
    node(cluster, "roomy", {"CPU": 4.0}, {"CPU": 4.0})
    for unknown in ({"name": None}, {"required_resources_id": "ab" * 8}):
        assert waits(cluster, **{"state": PLACE, **unknown}).sentence == "It waits for a place. What it asks for is not known."
    assert "roomy has room" in waits(cluster, state=PLACE, name="asks for nothing").sentence


def test_a_task_in_a_placement_group_waits_for_it_or_for_room_in_it(cluster: BuiltCluster) -> None:
    home = node(cluster, "one", {"CPU": 4.0}, {"CPU": 0.0})
    placed = cluster.with_placement_group(bundles=[model.Bundle(0, {"CPU": 2.0}, home)])
    pending = cluster.with_placement_group(state="PENDING", strategy="PACK", bundles=[model.Bundle(0, {"GPU": 1.0})])
    inside = {"placement_group_id": placed.placement_group_id}
    cluster.with_task(**asks(cluster, {"CPU": 2.0}, state="RUNNING", name="first", **inside))

    full = waits(cluster, **asks(cluster, {"CPU": 2.0}, **inside))
    assert full.sentence == "It waits for room in its placement group, whose bundles are large enough."
    assert [one.label for one in full.holders] == ["task first"]
    large = waits(cluster, **asks(cluster, {"CPU": 3.0}, **inside))
    assert large.sentence == "No bundle of its placement group is large enough for it."
    of_pending = waits(cluster, **asks(cluster, {"GPU": 1.0}, placement_group_id=pending.placement_group_id))
    assert of_pending.sentence.startswith("Its placement group is PENDING. Bundle 0 finds no place")
    gone = waits(cluster, **asks(cluster, {"CPU": 1.0}, placement_group_id="ab" * 18))
    assert gone.sentence == "Its placement group is gone: it can never be placed."


def test_what_may_make_an_argument_is_what_was_called_earlier_and_is_not_finished(cluster: BuiltCluster) -> None:
    source = cluster.with_task(name="source", state="RUNNING", parent_task_id=DRIVER, creation_time_ms=BEGAN)
    cluster.with_task(name="done", state="FINISHED", parent_task_id=DRIVER, creation_time_ms=BEGAN + 1)
    queued = cluster.with_task(name="queued", state=PLACE, parent_task_id=DRIVER, creation_time_ms=BEGAN + 2)
    cluster.with_task(name="later", state="RUNNING", parent_task_id=DRIVER, creation_time_ms=BEGAN + 9)
    cluster.with_task(name="of another", state="RUNNING", parent_task_id="ab" * 24, creation_time_ms=BEGAN)

    found = waits(cluster, state="PENDING_ARGS_AVAIL", parent_task_id=DRIVER, creation_time_ms=BEGAN + 5)

    assert "Ray does not tell which one" in found.sentence
    [others] = found.others
    assert others.tasks == (source, queued)
    assert others.counts == (("RUNNING", 1, True), (PLACE, 1, True))
    assert "may be one of these, called earlier by its driver" in others.caption


def test_an_argument_may_come_from_further_up(cluster: BuiltCluster) -> None:
    source = cluster.with_task(name="source", state="RUNNING", parent_task_id=DRIVER, creation_time_ms=BEGAN)
    parent = cluster.with_task(name="parent", state="RUNNING", parent_task_id=DRIVER, creation_time_ms=BEGAN + 1)
    found = waits(cluster, state="PENDING_ARGS_AVAIL", parent_task_id=parent.task_id, creation_time_ms=BEGAN + 5)
    own, above = found.others
    assert own.tasks == ()
    assert "No task that the task that called it called earlier is known to be unfinished" in own.caption
    assert above.tasks == (source,)


def test_an_attempt_that_was_tried_again_is_not_its_own_source(cluster: BuiltCluster) -> None:
    found = waits(cluster, state="PENDING_ARGS_AVAIL", parent_task_id=DRIVER, attempt_number=1, creation_time_ms=BEGAN)
    assert found.others[0].tasks == ()
    assert found.others[0].counts == ()


@pytest.mark.parametrize("state", ["SUBMITTED_TO_WORKER", "PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY"])
def test_a_method_waits_its_turn_behind_what_its_actor_runs(cluster: BuiltCluster, state: str) -> None:
    actor = cluster.with_actor(name="slowpoke")
    method = {"actor_id": actor.actor_id, "type": "ACTOR_TASK"}
    running = cluster.with_task(name="work", state="RUNNING", start_time_ms=BEGAN, **method)
    for _ in range(3):
        cluster.with_task(state="SUBMITTED_TO_WORKER", **method)
    cluster.with_task(state="RUNNING", actor_id="ee" * 16, type="ACTOR_TASK")
    task = cluster.with_task(state=state, **method)
    cluster.with_task(state=state, **method)

    found = why_task_waits(cluster.reader, task)

    assert found is not None
    assert found.sentence == "Its actor slowpoke runs work first, and takes others when there is room."
    assert found.others[0].tasks == (running,)
    assert found.others[0].counts == (("SUBMITTED_TO_WORKER", 3, True),)


def test_a_method_of_an_actor_that_waits_has_the_actors_reason(cluster: BuiltCluster) -> None:
    node(cluster, "one", {"CPU": 4.0}, {"CPU": 4.0})
    actor = cluster.with_actor(name="big", state="PENDING_CREATION", required_resources={"CPU": 9.0})
    for kind, begin in (("ACTOR_TASK", "Its actor big is PENDING_CREATION. "), ("ACTOR_CREATION_TASK", "")):
        found = waits(cluster, state=PLACE, type=kind, actor_id=actor.actor_id)
        assert found.sentence == f"{begin}No node is large enough: the nearest, one, has CPU 4 of 9 asked for."
        assert [one.word for one in found.nodes] == ["cannot"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"state": "DEAD", "death_cause": "WORKER_DIED"}, "Its actor x is DEAD (WORKER_DIED): it will never run"),
        ({"state": "RESTARTING"}, "Its actor x is RESTARTING. No node of the cluster is alive."),
        ({"state": "DEPENDENCIES_UNREADY"}, "Its actor x is DEPENDENCIES_UNREADY. Its constructor waits for an argument"),
        ({"state": "ALIVE"}, "Its actor x is ALIVE, and nothing that it runs now is known"),
    ],
)
def test_a_method_is_told_what_its_actor_is(cluster: BuiltCluster, fields: dict[str, Any], words: str) -> None:
    actor = cluster.with_actor(name="x", **fields)
    assert words in waits(cluster, state=PLACE, type="ACTOR_TASK", actor_id=actor.actor_id).sentence


def test_a_method_of_an_actor_that_is_not_remembered_says_so(cluster: BuiltCluster) -> None:
    found = waits(cluster, state=PLACE, type="ACTOR_TASK", actor_id="ab" * 16)
    assert found.sentence == "Its actor abababababab is not remembered: why it does not take the task is not known."


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("PENDING_OBJ_STORE_MEM_AVAIL", "object store of its node has room"),
        ("PENDING_ARGS_FETCH", "arguments are on their way"),
        ("PENDING_ACTOR_TASK_ARGS_FETCH", "arguments are on their way"),
        ("GETTING_AND_PINNING_ARGS", "arguments are on their way"),
        ("SUBMITTED_TO_WORKER", "handed to a worker process"),
    ],
)
def test_every_other_state_has_its_sentence(cluster: BuiltCluster, vera: Person, state: str, words: str) -> None:
    task = cluster.with_task(state=state, type="NORMAL_TASK")
    page = vera.page(f"/c/demo/tasks/{task.task_id}").text
    assert "Why it waits" in page
    assert words in page


def test_the_page_links_to_what_is_in_the_way_and_to_all_of_it(cluster: BuiltCluster, vera: Person) -> None:
    source = cluster.with_task(name="<i>source", state="RUNNING", parent_task_id=DRIVER, creation_time_ms=BEGAN)
    task = cluster.with_task(state="PENDING_ARGS_AVAIL", parent_task_id=DRIVER, creation_time_ms=BEGAN + 1)
    page = vera.page(f"/c/demo/tasks/{task.task_id}").text
    assert f'href="/c/demo/tasks/{source.task_id}"' in page
    assert "&lt;i&gt;source" in page
    [link] = re.findall(r'href="/c/demo/tasks(\?[^"]*parent_task_id=[^"]*)"', page)
    rows = vera.get("/c/demo/tasks.json" + link.replace("&amp;", "&")).get_json()["rows"]
    assert [row["task_id"] for row in rows] == [source.task_id]
    assert "Why it waits" not in vera.page(f"/c/demo/tasks/{source.task_id}").text
    cluster.end()
    assert "Why it waits" not in vera.page(f"/c/demo/s/session_1/tasks/{task.task_id}").text


def test_names_that_a_program_made_up_are_text(cluster: BuiltCluster, vera: Person) -> None:
    home = node(cluster, by_name("script"), {"CPU": 1.0}, {"CPU": 0.0})
    cluster.with_process(home, 1, title=by_name("script"))
    tasks = []
    for number, one in enumerate(TEXTS):
        actor = cluster.with_actor(name=one.text, node_id=home, required_resources={"CPU": 1.0})
        method = {"type": "ACTOR_TASK", "actor_id": actor.actor_id, "name": one.text}
        cluster.with_task(state="RUNNING", **method)
        selector = cluster.with_text(json.dumps({one.text: one.text}))
        some = (
            asks(cluster, {"CPU": 1.0}, name=one.text),
            asks(cluster, {one.text: 2.0}, name=one.text, label_selector_id=selector),
            {"state": "SUBMITTED_TO_WORKER", **method},
            {"state": "PENDING_ARGS_AVAIL", "name": one.text, "parent_task_id": DRIVER},
        )
        tasks.append((one, cluster.with_task(**some[number % len(some)])))
    for one, task in tasks:
        page = vera.page(f"/c/demo/tasks/{task.task_id}").text
        assert "Why it waits" in page, one.name
        assert "<" not in one.text or one.text not in page, one.name
    for path in ("/c/demo/tasks", "/c/demo/"):
        page = vera.page(path).text
        assert not [one.name for one in TEXTS if "<" in one.text and one.text in page]
