"""Why something waits is said in a sentence, with who holds what is missing."""

from __future__ import annotations

from typing import Any

import pytest

from clusterstate import model
from clusterstate.resources import ACTORS
from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import Person
from webapp import holders
from webapp.reasons import Reason, why_actor_waits, why_group_waits


def node(cluster: BuiltCluster, name: str, total: dict[str, float], available: dict[str, float], **fields: Any) -> str:
    made = cluster.with_node(hostname=name, resources_total=total, **fields)
    cluster.with_node_resources(made.node_id, resources_total=total, resources_available=available)
    return made.node_id


def waits(cluster: BuiltCluster, asks: dict[str, float], **fields: Any) -> Reason:
    actor = cluster.with_actor(**{"state": "PENDING_CREATION", "required_resources": asks, **fields})
    found = why_actor_waits(cluster.reader, actor)
    assert found is not None
    return found


def test_what_no_node_has_is_named(cluster: BuiltCluster) -> None:
    node(cluster, "one", {"CPU": 4.0}, {"CPU": 4.0})
    found = waits(cluster, {"CPU": 1.0, "accelerator_card": 2.0})
    assert found.sentence == "No node has any accelerator_card; it asks for 2."
    assert [(answer.name, answer.word, answer.lacks) for answer in found.nodes] == [("one", "cannot", ("no accelerator_card",))]


def test_the_largest_node_is_named_when_none_is_large_enough(cluster: BuiltCluster) -> None:
    node(cluster, "small", {"CPU": 2.0}, {"CPU": 2.0})
    node(cluster, "large", {"CPU": 8.0, "memory": 2.0**30}, {"CPU": 8.0})
    assert waits(cluster, {"CPU": 9.0}).sentence == "No node is large enough: the nearest, large, has CPU 8 of 9 asked for."
    assert "memory 1.00 GiB of 2.00 GiB asked for" in waits(cluster, {"memory": 2.0**31}).sentence


def test_who_holds_what_is_missing_is_told_the_largest_first(cluster: BuiltCluster) -> None:
    busy = node(cluster, "busy", {"CPU": 8.0}, {"CPU": 1.0})
    small = cluster.with_actor(name="small", node_id=busy, required_resources={"CPU": 1.0})
    large = cluster.with_actor(name="large", node_id=busy, required_resources={"CPU": 4.0, "custom": 9.0})
    cluster.with_actor(name="dead", state="DEAD", node_id=busy, required_resources={"CPU": 1.0})
    group = cluster.with_placement_group(name="trainers", bundles=[model.Bundle(0, {"CPU": 2.0}, busy)])
    cluster.with_actor(name="inside", node_id=busy, required_resources={"CPU": 2.0}, placement_group_id=group.placement_group_id)

    found = waits(cluster, {"CPU": 2.0})

    assert found.sentence.startswith("One node is large enough, but none has enough free: the nearest, busy, has CPU 1 free of 8")
    assert found.holders_node == "busy"
    assert [(one.label, one.amounts, one.since_ms) for one in found.holders] == [
        ("large", {"CPU": 4.0}, large.start_time_ms),
        ("placement group trainers", {"CPU": 2.0}, None),
        ("small", {"CPU": 1.0}, small.start_time_ms),
    ]


def test_dead_actors_do_not_hide_who_holds_something(cluster: BuiltCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holders, "LOOKED_AT", 10)
    busy = node(cluster, "busy", {"CPU": 8.0}, {"CPU": 1.0})
    group = cluster.with_placement_group(bundles=[model.Bundle(0, {"CPU": 2.0}, busy)])
    of: dict[str, Any] = {"node_id": busy, "required_resources": {"CPU": 1.0}}
    inside = {**of, "placement_group_id": group.placement_group_id}
    for fields in (of, inside):
        cluster.with_rows(ACTORS, *(model.Actor(f"{n:030x}{len(fields):02x}", state="DEAD", start_time_ms=n, **fields) for n in range(20)))
    lives = cluster.with_actor(name="lives", **of)
    in_group = cluster.with_actor(name="lives inside", **inside)

    assert [one.label for one in holders.holders_on(cluster.reader, busy, {"CPU"}) if one.endpoint == "actor"] == [lives.name]
    assert [one.label for one in holders.holders_in(cluster.reader, group.placement_group_id)] == [in_group.name]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"label_selector": {"zone": "east"}}, "No node has the labels that it asks for: zone=east."),
        ({"state": "DEPENDENCIES_UNREADY"}, "Its constructor waits for an argument"),
        ({}, "one has room for it now"),
        ({"placement_group_id": "ab" * 18}, "Its placement group is gone"),
    ],
)
def test_other_reasons(cluster: BuiltCluster, fields: dict[str, Any], words: str) -> None:
    node(cluster, "one", {"CPU": 4.0}, {"CPU": 4.0}, labels={"zone": "west"})
    assert words in waits(cluster, {"CPU": 1.0}, **fields).sentence


def test_without_live_nodes_or_their_figures_that_is_the_reason(cluster: BuiltCluster) -> None:
    assert waits(cluster, {"CPU": 1.0}).sentence == "No node of the cluster is alive."
    cluster.with_node(resources_total={"CPU": 4.0})
    assert waits(cluster, {"CPU": 1.0}).sentence == "What is free on the nodes is not known yet."


def test_an_actor_in_a_group_waits_for_the_group_or_for_room_in_it(cluster: BuiltCluster) -> None:
    home = node(cluster, "one", {"CPU": 4.0}, {"CPU": 0.0})
    pending = cluster.with_placement_group(state="PENDING", strategy="PACK", bundles=[model.Bundle(0, {"GPU": 1.0})])
    placed = cluster.with_placement_group(bundles=[model.Bundle(0, {"CPU": 2.0}, home)])
    inside = cluster.with_actor(name="first", required_resources={"CPU": 2.0}, placement_group_id=placed.placement_group_id)

    of_pending = waits(cluster, {"GPU": 1.0}, placement_group_id=pending.placement_group_id)
    of_placed = waits(cluster, {"CPU": 2.0}, placement_group_id=placed.placement_group_id)
    too_large = waits(cluster, {"CPU": 3.0}, placement_group_id=placed.placement_group_id)

    assert of_pending.sentence.startswith(
        "Its placement group is PENDING. Bundle 0 finds no place even on empty nodes. No node has any GPU"
    )
    assert "waits for room in its placement group" in of_placed.sentence
    assert [holder.arguments for holder in of_placed.holders] == [{"actor_id": inside.actor_id}]
    assert too_large.sentence == "No bundle of its placement group is large enough for it."


@pytest.mark.parametrize(
    ("strategy", "bundles", "words"),
    [
        ("STRICT_SPREAD", [{"CPU": 1.0}, {"CPU": 1.0}], "needs a node for each of 2 bundles; 1 are alive"),
        ("STRICT_PACK", [{"CPU": 3.0}, {"CPU": 3.0}], "All bundles must be on one node. No node is large enough"),
        ("PACK", [{"CPU": 3.0}, {"CPU": 1.0}], "Bundle 0 finds no place beside the others. One node is large enough"),
        ("PACK", [{"CPU": 1.0}], "There is room for every bundle now"),
    ],
)
def test_why_a_group_has_no_place(cluster: BuiltCluster, strategy: str, bundles: list[dict[str, float]], words: str) -> None:
    node(cluster, "one", {"CPU": 4.0}, {"CPU": 2.0})
    group = cluster.with_placement_group(
        state="PENDING", strategy=strategy, bundles=[model.Bundle(index, asks) for index, asks in enumerate(bundles)]
    )
    found = why_group_waits(cluster.reader, group)
    assert found is not None
    assert words in found.sentence


def test_what_does_not_wait_has_no_reason(cluster: BuiltCluster) -> None:
    assert why_actor_waits(cluster.reader, cluster.with_actor()) is None
    assert why_group_waits(cluster.reader, cluster.with_placement_group()) is None


def test_the_pages_say_it_with_links_and_as_text(cluster: BuiltCluster, vera: Person) -> None:
    home = node(cluster, "<b>busy</b>", {"CPU": 4.0}, {"CPU": 0.0})
    holder = cluster.with_actor(name="<i>greedy", node_id=home, required_resources={"CPU": 4.0})
    actor = cluster.with_actor(state="PENDING_CREATION", required_resources={"CPU": 1.0})
    group = cluster.with_placement_group(state="PENDING", strategy="PACK", bundles=[model.Bundle(0, {"CPU": 1.0})])
    for path in (f"/c/demo/actors/{actor.actor_id}", f"/c/demo/placement-groups/{group.placement_group_id}"):
        page = vera.page(path).text
        assert "Why it waits" in page
        assert "&lt;b&gt;busy&lt;/b&gt;" in page
        assert f"/c/demo/actors/{holder.actor_id}" in page
        assert f"/c/demo/nodes/{home}" in page
        assert "<b>busy" not in page
    assert "Why it waits" not in vera.page(f"/c/demo/actors/{holder.actor_id}").text
