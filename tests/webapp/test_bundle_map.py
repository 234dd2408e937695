"""Where the bundles of a placement group are, on its page."""

from __future__ import annotations

import re

import pytest

from clusterstate.model import Bundle, Node
from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import Person
from tests.webapp.test_every_page import HOSTILE, Elements
from webapp.bundle_map import bundle_map

ONE, TWO = "0" * 55 + "1", "0" * 55 + "2"


def bundle(index: int, node_id: str | None, **resources: float) -> Bundle:
    return Bundle(index, resources or {"CPU": 1.0}, node_id)


def rows_of(page: str) -> list[tuple[str, list[str]]]:
    """(what the row is of, its blocks) of each row of the map."""
    found = re.search(r'<ul class="map".*?</ul>\n<details', page, re.DOTALL)
    assert found
    rows = re.findall(r"<li[^>]*><div>(.*?)</div><ol class=\"blocks\">(.*?)</ol></li>", found[0], re.DOTALL)
    return [(text(head), [text(block) for block in re.findall(r"<li[^>]*>(.*?)</li>", blocks)]) for head, blocks in rows]


def text(markup: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", markup)).strip()


def test_each_node_has_a_row_with_its_bundles_and_what_they_reserve_together() -> None:
    nodes = {ONE: Node(ONE, "ALIVE", hostname="one"), TWO: Node(TWO, "DEAD", node_ip="10.0.0.2")}
    bundles = [bundle(2, TWO, CPU=1.0), bundle(0, ONE, CPU=0.1), bundle(3, None, GPU=1.0), bundle(1, ONE, CPU=0.2, GPU=1.0)]

    found = bundle_map(bundles, nodes)

    assert [(row.name, [block.index for block in row.blocks], row.together) for row in found.rows] == [
        ("one", [0, 1], {"CPU": 0.3, "GPU": 1.0}),
        ("10.0.0.2", [2], {"CPU": 1.0}),
    ]
    assert [(block.index, block.reserves) for block in found.unplaced] == [(3, "GPU 1")]
    assert (found.count, found.alike) == (4, None)


def test_what_all_bundles_reserve_is_said_once() -> None:
    assert bundle_map([bundle(0, ONE), bundle(1, None)], {}).alike == "CPU 1"
    assert bundle_map([bundle(0, ONE), Bundle(1, {"CPU": 1.0}, None, {"zone": "a"})], {}).alike is None
    assert bundle_map([bundle(0, ONE)], {}).alike is None
    assert bundle_map([], {}).count == 0


def test_the_page_shows_the_map(vera: Person, cluster: BuiltCluster) -> None:
    cluster.with_node(node_id=ONE, hostname="one")
    cluster.with_node(node_id=TWO, hostname="two", state="DEAD")
    group = cluster.with_placement_group(
        bundles=[bundle(0, ONE, CPU=1.0), bundle(1, TWO, GPU=2.0), bundle(2, None, CPU=1.0), bundle(3, "f" * 56, CPU=1.0)]
    )

    page = vera.page(f"/c/demo/placement-groups/{group.placement_group_id}").text

    assert "4 on 3 nodes, 1 not placed" in text(page)
    assert rows_of(page) == [
        ("Not placed 1 bundle", ["2 CPU 1"]),
        ("f" * 39 + "… 1 bundle, CPU 1", ["3 CPU 1"]),
        ("one 1 bundle, CPU 1", ["0 CPU 1"]),
        ("two DEAD 1 bundle, GPU 2", ["1 GPU 2"]),
    ]
    assert f'href="/c/demo/nodes/{ONE}"' in page


@pytest.mark.parametrize("count", [1, 1000])
def test_any_number_of_bundles_is_drawn(vera: Person, cluster: BuiltCluster, count: int) -> None:
    cluster.with_node(node_id=ONE, hostname="one")
    group = cluster.with_placement_group(bundles=[bundle(index, ONE) for index in range(count)])

    page = vera.page(f"/c/demo/placement-groups/{group.placement_group_id}").text

    [(head, blocks)] = rows_of(page)
    assert head == ("one 1 bundle, CPU 1" if count == 1 else "one 1 000 bundles, CPU 1 000")
    assert blocks == (["0 CPU 1"] if count == 1 else [str(index) for index in range(count)])
    assert len(page) < 600_000


def test_a_group_without_bundles_says_so(vera: Person, cluster: BuiltCluster) -> None:
    group = cluster.with_placement_group()

    assert "It has no bundles." in vera.page(f"/c/demo/placement-groups/{group.placement_group_id}").text


def test_hostile_names_are_text_in_the_map(vera: Person, cluster: BuiltCluster) -> None:
    cluster.with_node(node_id=ONE, hostname=HOSTILE)
    group = cluster.with_placement_group(bundles=[Bundle(0, {HOSTILE: 1.0}, ONE, {HOSTILE: HOSTILE}), Bundle(1, {HOSTILE: 2.0})])

    page = vera.page(f"/c/demo/placement-groups/{group.placement_group_id}").text

    assert not [attributes for _, attributes in Elements(page).found if attributes.get("id") == "marker" or "style" in attributes]
    assert not {"\x1b", "\u202e"} & set(page)
    assert "54439" not in page
