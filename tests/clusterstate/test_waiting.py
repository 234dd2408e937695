"""Why something waits: the rule by which Ray places, on nodes large and small."""

from __future__ import annotations

import pytest

from clusterstate.model import Bundle, Node, NodeResources
from clusterstate.waiting import Demand, Room, Shortage, Verdict, explain, explain_group, matches, rooms

SMALL = Room("a", "small", {"CPU": 4.0}, {"CPU": 1.0}, {"zone": "north"})
LARGE = Room("b", "large", {"CPU": 16.0, "GPU": 2.0}, {"CPU": 0.0, "GPU": 2.0}, {"zone": "south"})
SILENT = Room("c", "silent", {"CPU": 8.0}, None, {})


@pytest.mark.parametrize(
    ("demand", "verdict", "nearest"),
    [
        (Demand({"CPU": 1.0}), Verdict.FITS, "small"),
        (Demand({"CPU": 2.0}), Verdict.BUSY, "small"),
        (Demand({"CPU": 6.0}), Verdict.BUSY, "large"),
        (Demand({"GPU": 3.0}), Verdict.NEVER, "large"),
        (Demand({"TPU": 1.0}), Verdict.NEVER, "large"),
        (Demand({"CPU": 0.0}), Verdict.FITS, "large"),
        (Demand({"CPU": 1.0}, {"zone": "south"}), Verdict.BUSY, "large"),
        (Demand({"CPU": 1.0}, {"zone": "east"}), Verdict.NEVER, "small"),
        (Demand({"CPU": 1.0}, node_id="b"), Verdict.BUSY, "large"),
        (Demand({"CPU": 1.0}, node_id="gone"), Verdict.NEVER, "small"),
    ],
)
def test_the_best_node_gives_the_verdict(demand: Demand, verdict: Verdict, nearest: str) -> None:
    found = explain(demand, [SMALL, LARGE])
    assert (found.verdict, found.nearest and found.nearest.room.name) == (verdict, nearest)


def test_a_node_says_what_it_lacks_for_now_and_for_ever() -> None:
    found = {fit.room.name: fit for fit in explain(Demand({"CPU": 6.0, "GPU": 1.0}), [SMALL, LARGE]).fits}
    assert found["large"].shortages == (Shortage("CPU", 6.0, 16.0, 0.0),)
    assert [one.is_for_ever for one in found["large"].shortages] == [False]
    assert {one.resource: one.is_for_ever for one in found["small"].shortages} == {"CPU": True, "GPU": True}


def test_what_is_free_may_be_unknown_and_then_it_is_said() -> None:
    assert explain(Demand({"CPU": 8.0}), [SILENT]).verdict is Verdict.UNKNOWN
    assert explain(Demand({"CPU": 9.0}), [SILENT]).verdict is Verdict.NEVER


def test_without_a_live_node_nothing_can_be_placed() -> None:
    assert explain(Demand({"CPU": 1.0}), []).verdict is Verdict.NO_NODES
    assert explain_group([Bundle(0, {"CPU": 1.0})], "PACK", []).verdict is Verdict.NO_NODES


@pytest.mark.parametrize("demand", [0.1 + 0.2, 0.3])
def test_amounts_are_compared_as_ray_does(demand: float) -> None:
    assert explain(Demand({"CPU": demand}), [Room("a", "a", {"CPU": 0.3}, {"CPU": 0.3}, {})]).verdict is Verdict.FITS


@pytest.mark.parametrize(
    ("wanted", "found", "expected"),
    [
        ("spot", "spot", True),
        ("spot", None, False),
        ("!spot", "spot", False),
        ("!spot", None, True),
        ("in(a, b)", "b", True),
        ("in(a,b)", "c", False),
        ("!in(a,b)", "c", True),
        ("!in(a,b)", "a", False),
    ],
)
def test_label_selectors_are_rays(wanted: str, found: str | None, expected: bool) -> None:
    assert matches(wanted, found) is expected


def bundles(*cpus: float) -> list[Bundle]:
    return [Bundle(index, {"CPU": cpu}) for index, cpu in enumerate(cpus)]


def free(*cpus: float) -> list[Room]:
    return [Room(str(index), f"node-{index}", {"CPU": 8.0}, {"CPU": cpu}, {}) for index, cpu in enumerate(cpus)]


@pytest.mark.parametrize(
    ("asked", "strategy", "there", "verdict", "unplaced"),
    [
        (bundles(4, 4), "PACK", free(4, 4), Verdict.FITS, []),
        (bundles(4, 4), "STRICT_PACK", free(4, 4), Verdict.BUSY, [0]),
        (bundles(8, 8), "STRICT_PACK", free(8, 8), Verdict.NEVER, [0]),
        (bundles(1, 1, 1), "STRICT_SPREAD", free(8, 8), Verdict.NEVER, [2]),
        (bundles(1, 1), "STRICT_SPREAD", free(8, 0), Verdict.BUSY, [1]),
        (bundles(1, 6), "SPREAD", free(6, 0), Verdict.BUSY, [0]),
        (bundles(1, 9), "PACK", free(8), Verdict.NEVER, [1]),
        (bundles(8, 8), "PACK", free(8), Verdict.NEVER, [1]),
        (bundles(8, 8), "PACK", free(8, 1), Verdict.BUSY, [1]),
        ([], "PACK", free(8), Verdict.FITS, []),
    ],
)
def test_bundles_find_room_beside_each_other_or_not(
    asked: list[Bundle], strategy: str, there: list[Room], verdict: Verdict, unplaced: list[int]
) -> None:
    found = explain_group(asked, strategy, there)
    assert (found.verdict, [index for index, _ in found.unplaced]) == (verdict, unplaced)


def test_only_live_nodes_count_and_their_totals_are_known_before_their_status() -> None:
    nodes = [
        Node("a", "ALIVE", hostname="one", resources_total={"CPU": 2.0}),
        Node("b", "ALIVE", node_ip="127.0.0.2"),
        Node("c", "DEAD"),
    ]
    found = rooms(nodes, [NodeResources("b", {"CPU": 4.0}, {"CPU": 3.0})])
    assert [(room.name, room.total, room.available) for room in found] == [
        ("one", {"CPU": 2.0}, None),
        ("127.0.0.2", {"CPU": 4.0}, {"CPU": 3.0}),
    ]


def test_raylets_of_one_host_are_told_apart() -> None:
    nodes = [Node("aa" * 28, "ALIVE", hostname="one"), Node("bb" * 28, "ALIVE", hostname="one")]
    assert [room.name for room in rooms(nodes, [])] == ["one (aaaaaaaa)", "one (bbbbbbbb)"]


def shapes(*asked: dict[str, float], **labels: str) -> list[Bundle]:
    return [Bundle(index, resources, label_selector=labels) for index, resources in enumerate(asked)]


def empty(*totals: dict[str, float]) -> list[Room]:
    return [Room(str(index), f"node-{index}", total, total, {}) for index, total in enumerate(totals)]


@pytest.mark.parametrize(
    ("asked", "strategy", "there"),
    [
        (shapes({"CPU": 4}, {"CPU": 1, "GPU": 1}), "PACK", empty({"CPU": 4, "GPU": 1}, {"CPU": 4})),
        (shapes({"CPU": 4}, {"CPU": 1, "GPU": 1}), "STRICT_SPREAD", empty({"CPU": 4, "GPU": 1}, {"CPU": 4})),
        (shapes({"CPU": 6}, {"CPU": 2}, {"CPU": 8}), "SPREAD", empty({"CPU": 8}, {"CPU": 8})),
        (shapes({"memory": 2**30}, {"CPU": 4, "memory": 1}), "PACK", empty({"CPU": 4, "memory": 2**30}, {"CPU": 1, "memory": 2**30})),
        (shapes({}, {"CPU": 0}), "PACK", empty({"CPU": 1})),
    ],
)
def test_what_is_scarce_is_placed_first_on_the_tightest_node(asked: list[Bundle], strategy: str, there: list[Room]) -> None:
    assert explain_group(asked, strategy, there).verdict is Verdict.FITS


def test_it_is_never_only_where_that_is_sure() -> None:
    tight = empty({"CPU": 8, "GPU": 4}, {"CPU": 8, "GPU": 4})
    hard = shapes({"CPU": 3, "GPU": 1}, {"CPU": 5, "GPU": 3}, {"CPU": 5, "GPU": 1}, {"CPU": 4, "GPU": 2})  # 17 of 16 CPU
    assert explain_group(hard, "PACK", tight).verdict is Verdict.NEVER
    unsure = explain_group(shapes({"CPU": 5}, {"CPU": 6}, {"CPU": 5.5}), "PACK", empty({"CPU": 9}, {"CPU": 9}))
    assert (unsure.verdict, unsure.is_for_ever, unsure.is_possible) == (Verdict.BUSY, False, False)
    of_one_shape = explain_group(shapes({"CPU": 5}, {"CPU": 5}, {"CPU": 5}), "PACK", empty({"CPU": 9}, {"CPU": 9}))
    assert of_one_shape.verdict is Verdict.NEVER, "two of them go on two nodes, however much is free beside"


def test_a_bundle_that_fits_nowhere_is_the_one_that_is_told() -> None:
    found = explain_group(shapes({"CPU": 4}, {"CPU": 4}, {"TPU": 1}), "PACK", empty({"CPU": 4}))
    assert found.is_for_ever
    assert [index for index, _ in found.unplaced] == [2]


def test_a_node_taken_by_another_bundle_is_no_reason_for_ever() -> None:
    there = [Room("0", "large", {"CPU": 8}, {"CPU": 8}, {}), Room("1", "full", {"CPU": 8}, {"CPU": 1}, {}), *empty({"CPU": 2})]
    found = explain_group(shapes({"CPU": 8}, {"CPU": 7}), "STRICT_SPREAD", there)
    assert (found.verdict, found.is_for_ever, found.is_possible) == (Verdict.BUSY, False, True)
