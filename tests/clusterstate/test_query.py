"""Every declared sort, filter and page of every table, answered by the index."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
import random
from typing import Any

import pytest

from clusterstate import model
from clusterstate.query import ACTORS, NODES, BadQuery, Cursor, Selection, View
from clusterstate.resources import ACTORS as ACTOR_ROWS
from clusterstate.resources import PROCESSES as PROCESS_ROWS
from clusterstate.store.reader import SessionReader
from tests.built_cluster import BuiltCluster
from webapp.tables.catalogue import TABLES
from webapp.tables.framework import Table

NOW = 1_700_000_900.0


@pytest.fixture
def peopled(cluster: BuiltCluster) -> BuiltCluster:
    """200 actors with ties and unknowns in every column, some with a process, and a few rows of the other tables."""
    chance = random.Random(7)
    states = ("ALIVE", "DEAD", "PENDING_CREATION")
    actors = [
        model.Actor(
            f"{number:032x}",
            chance.choice(states),
            class_name=chance.choice(["Trainer", "Counter", None]),
            name=chance.choice([None, f"name-{number % 7}"]),
            start_time_ms=chance.choice([None, 1_700_000_000_000 + number % 20]),
            pid=number % 30 or None,
            worker_id=f"{number:056x}",
        )
        for number in range(200)
    ]
    cluster.with_rows(ACTOR_ROWS, *actors)
    node = cluster.with_node()
    processes = [
        model.Process(f"{number}", node.node_id, number, "WORKER", worker_id=f"{number:056x}", cpu_percent=float(number % 6))
        for number in range(0, 40, 2)
    ]
    cluster.with_rows(PROCESS_ROWS, *processes)
    cluster.with_job(metadata={"a": "b"})
    cluster.with_worker(node_id=node.node_id)
    cluster.with_placement_group(bundles=[model.Bundle(0)])
    return cluster


@pytest.mark.parametrize(("name", "sort"), [(table.name, sort) for table in TABLES.values() for sort in table.sorts])
def test_every_sortable_column_sorts_both_ways_with_unknowns_last(peopled: BuiltCluster, name: str, sort: str) -> None:
    table = TABLES[name]
    for text, backwards in ((sort, False), ("-" + sort, True)):
        rows = peopled.reader.page(table.view, _selection(table, sort=text, columns=sort), NOW).rows
        values = [row[sort] for row in rows]
        known = [value for value in values if value is not None]
        assert known == sorted(known, reverse=backwards)
        assert values[len(known) :] == [None] * (len(values) - len(known))


def _selection(table: Table, **args: str) -> Selection:
    return table.query({key: [value] for key, value in args.items()}).selection()


@pytest.mark.parametrize("sort", [sign + sort for sort in TABLES["nodes"].sorts if sort != "state" for sign in ("", "-")])
def test_nodes_that_are_alive_come_first_in_every_sort_and_on_every_page(cluster: BuiltCluster, sort: str) -> None:
    for number in range(9):
        state = "DEAD" if number % 3 == 0 else "ALIVE"
        node = cluster.with_node(state=state, start_time_ms=number if number % 4 else None, is_head_node=number == 1)
        if number % 5:
            cluster.with_node_stats(node.node_id, memory_total_bytes=number * 10, cpu_percent=float(number))
    selection = _selection(TABLES["nodes"], sort=sort, limit="2", columns=f"node_id,state,{sort.removeprefix('-')}")
    pages = list(_pages(cluster.reader, selection, view=NODES))
    rows: list[dict[str, Any]] = [row for page in pages for row in page]
    assert [row["state"] for row in rows] == ["ALIVE"] * 6 + ["DEAD"] * 3
    assert len({str(row["node_id"]) for row in rows}) == 9
    for some in (rows[:6], rows[6:]):
        known = [row[sort.removeprefix("-")] for row in some if row[sort.removeprefix("-")] is not None]
        assert known == sorted(known, reverse=sort.startswith("-"))
    assert list(_pages(cluster.reader, selection, view=NODES, backwards=True)) == pages


def test_the_dead_come_first_where_the_state_is_sorted_so(cluster: BuiltCluster) -> None:
    for state in ("ALIVE", "DEAD", "ALIVE"):
        cluster.with_node(state=state)
    rows = cluster.reader.page(NODES, _selection(TABLES["nodes"], sort="-state"), NOW).rows
    assert [row["state"] for row in rows] == ["DEAD", "ALIVE", "ALIVE"]


def test_actors_sort_by_the_memory_of_their_nodes_and_the_dead_come_last(cluster: BuiltCluster) -> None:
    nodes = [cluster.with_node() for _ in range(2)]
    for number, node in enumerate(nodes, 1):
        cluster.with_node_stats(node.node_id, memory_total_bytes=number * 2**30)
    cluster.with_actor(name="dead", state="DEAD", node_id=nodes[1].node_id)
    cluster.with_actor(name="small", node_id=nodes[0].node_id)
    cluster.with_actor(name="large", node_id=nodes[1].node_id)
    rows = cluster.reader.page(ACTORS, _selection(TABLES["actors"], sort="-memory_total_bytes", columns="name"), NOW).rows
    assert [row["name"] for row in rows] == ["large", "small", "dead"]


@pytest.mark.parametrize("sort", ["name", "-name", "start_time_ms", "-cpu_percent", "cpu_percent", "-uptime_ms", "state", "pid"])
def test_paging_forward_and_back_shows_every_row_once_in_one_order(peopled: BuiltCluster, sort: str) -> None:
    reader, selection = peopled.reader, _selection(TABLES["actors"], sort=sort, limit="7")
    pages = list(_pages(reader, selection))
    shown = [row["actor_id"] for page in pages for row in page]
    assert len(shown) == 200
    assert len(set(shown)) == 200
    assert list(_pages(reader, selection, backwards=True)) == pages


def _pages(reader: SessionReader, selection: Selection, *, view: View = ACTORS, backwards: bool = False) -> list[list[dict[str, object]]]:
    pages = []
    page = reader.page(view, selection, NOW)
    while page.after is not None:
        pages.append(page.rows)
        page = reader.page(view, dataclasses.replace(selection, after=page.after), NOW)
    pages.append(page.rows)
    if not backwards:
        return pages
    again = [page.rows]
    while page.before is not None:
        page = reader.page(view, dataclasses.replace(selection, after=None, before=page.before), NOW)
        again.append(page.rows)
    return again[::-1]


@pytest.mark.parametrize(
    ("q", "holds"),
    [
        ("state:DEAD", lambda row: row["state"] == "DEAD"),
        ("-state:DEAD", lambda row: row["state"] != "DEAD"),
        ("state!=dead class:train", lambda row: row["state"] != "DEAD" and row["class_name"] == "Trainer"),
        ("class=train", lambda row: False),
        ("class:T*r", lambda row: row["class_name"] == "Trainer"),
        ("-class:T*r", lambda row: row["class_name"] != "Trainer"),
        ("-name:*", lambda row: row["name"] is None),
        ("name:*", lambda row: row["name"] is not None),
        ("pid>=28", lambda row: row["pid"] is not None and row["pid"] >= 28),
        ("name-3", lambda row: row["name"] == "name-3"),
        ('"name-3"', lambda row: row["name"] == "name-3"),
        ("-name-3", lambda row: row["name"] != "name-3"),
        ("100%", lambda row: False),
        ("started>=2023-11-14T22:13:20.019Z", lambda row: (row["start_time_ms"] or 0) >= 1_700_000_000_019),
    ],
)
def test_the_query_box_means_what_it_says(peopled: BuiltCluster, q: str, holds: object) -> None:
    table = TABLES["actors"]
    everything = peopled.reader.page(table.view, table.query({"limit": ["500"]}).selection(everything=True), NOW).rows
    query = table.query({"q": [q], "limit": ["500"]})
    page = peopled.reader.page(table.view, query.selection(everything=True), NOW)
    assert callable(holds)
    assert [row["actor_id"] for row in page.rows] == [row["actor_id"] for row in everything if holds(row)]
    assert (page.matching, page.total) == (len(page.rows), 200)


def test_a_filter_given_twice_matches_either(peopled: BuiltCluster) -> None:
    table = TABLES["actors"]
    page = peopled.reader.page(table.view, table.query({"state": ["DEAD", "ALIVE"], "limit": ["500"]}).selection(), NOW)
    assert {row["state"] for row in page.rows} == {"ALIVE", "DEAD"}


BAD = {
    "nope": "x",
    "sort": "nope",
    "limit": "0",
    "state": "nope",
    "pid": "many",
    "start_time_ms": "yesterday",
    "is_detached": "perhaps",
    "after": "!!",
    "before": "W10",
    "columns": "nope",
    "q": "nope:1",
}


@pytest.mark.parametrize(
    ("name", "value"), [*BAD.items(), ("q", '"open'), ("q", "class:"), ("q", "a " * 30), ("q", "a" * 3000), ("limit", "²")]
)
def test_what_cannot_be_asked_is_refused_with_what_can(name: str, value: str) -> None:
    with pytest.raises(BadQuery) as refused:
        TABLES["actors"].query({name: [value]})
    assert len(str(refused.value)) > 20


def test_arguments_that_may_be_given_once_are_refused_twice() -> None:
    with pytest.raises(BadQuery, match="2 times"):
        TABLES["actors"].query({"sort": ["name", "pid"]})


def test_a_question_written_into_a_link_is_the_same_question() -> None:
    table = TABLES["actors"]
    args = {"state": ["DEAD"], "q": ["class:a b&c"], "sort": ["name"], "limit": ["50"], "columns": ["actor_id,state"]}
    query = table.query(args)
    from urllib.parse import parse_qs

    assert table.query(parse_qs(query.href().removeprefix("?"))) == query


def test_cursors_survive_their_text() -> None:
    for value, key in itertools.product((None, "x", 1, 1.5, "日本"), (0, 2**62)):
        for is_last in (False, True):
            cursor = Cursor(value, key, 5, is_last)
            assert Cursor.from_text(cursor.as_text()) == cursor


@pytest.mark.parametrize("text", ["00000050099999", "0100", "+5", "1e3", "9" * 40])
def test_a_limit_is_a_plain_whole_number(text: str) -> None:
    with pytest.raises(BadQuery):
        TABLES["actors"].query({"limit": [text]})


@pytest.mark.parametrize(
    "value",
    [[1, 10**30, 1], [10**30, 1, 1], ["\ud800", 1, 1], [True, 1, 1], [1.0, True, 1], [1, 1, -1], [1, 1, 1, 0], [1, 1, 1, 1, 1], "[" * 3000],
)
def test_a_cursor_made_by_hand_is_refused(value: object) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    with pytest.raises(BadQuery):
        Cursor.from_text(base64.urlsafe_b64encode(text.encode()).decode().rstrip("="))


def test_patterns_that_would_keep_the_index_busy_are_refused() -> None:
    for q in ("a" * 257, "a*" * 9, "name:" + "a" * 257):
        with pytest.raises(BadQuery, match="256"):
            TABLES["actors"].query({"q": [q]})
