"""The files of all nodes in one list, and lists and files as JSON for programs."""

from __future__ import annotations

import os
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from clusterstate.node_questions import NodeQuestions, Unanswered
from clusterstate.store import queues
from clusterstate.store.queues import Answer
from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import Person
from tests.webapp.nodes_here import answer_here
from webapp.logs import everywhere
from webapp.pages import logs as page
from workers.sources.log_listing import file_id

HEAD, BESIDE, FAR, SILENT = ("0" * 55 + digit for digit in "1234")
WORKER = "ab" * 28


@pytest.fixture
def folders(tmp_path: Path, cluster: BuiltCluster, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    for node_id, hostname in ((HEAD, "a"), (BESIDE, "a"), (FAR, "b"), (SILENT, "c")):
        cluster.with_node(node_id=node_id, hostname=hostname, node_ip=f"10.0.0.{hostname}", is_head_node=node_id == HEAD)
        if node_id != SILENT:
            cluster.with_node_stats(node_id, hostname=hostname)
    cluster.with_actor(class_name="Trainer", state="ALIVE", worker_id=WORKER, node_id=FAR)
    cluster.with_worker(worker_id=WORKER, node_id=FAR, is_alive=True)
    cluster.project()
    head, far = tmp_path / "head", tmp_path / "far"
    for number, (folder, name) in enumerate(
        ((head, "gcs_server.out"), (far, f"worker-{WORKER}-01000000-7.out"), (head, "raylet.out"), (far, "raylet.out"))
    ):
        folder.mkdir(exist_ok=True)
        (folder / name).write_text("x\n" * (number + 1))
        os.utime(folder / name, (1000 + number, 1000 + number))
    answer_here(head, monkeypatch, {FAR: far})
    return head, far


def text(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def names(data: dict[str, Any]) -> list[tuple[str, str]]:
    return [(row["node_id"][-1], row["name"]) for row in data["rows"]]


def test_files_of_all_nodes_are_one_list_and_each_host_is_asked_once(vera: Person, folders: tuple[Path, Path]) -> None:
    data = vera.page("/c/demo/logs.json?node=all").get_json()
    assert names(data) == [("3", "raylet.out"), ("1", "raylet.out"), ("3", f"worker-{WORKER}-01000000-7.out"), ("1", "gcs_server.out")]
    assert (data["total"], data["matching"], data["groups"]) == (4, 4, {"gcs": 1, "worker": 1, "raylet": 2})
    assert [problem["node"] for problem in data["partial"]] == [SILENT]
    assert data["exact"] is False, "a node is missing"
    shown = vera.page("/c/demo/logs?node=all").text
    assert "at least 4 of 4 files" in text(shown)
    assert "raydeck node" in shown, "the node without a collector is named"
    assert f"/c/demo/logs/{FAR}/{file_id('raylet.out')}" in shown


def test_they_are_sorted_narrowed_and_paged_together(vera: Person, folders: tuple[Path, Path]) -> None:
    assert names(vera.page("/c/demo/logs.json?node=all&sort=size").get_json())[0] == ("1", "gcs_server.out")
    assert len(names(vera.page("/c/demo/logs.json?node=all&name=RAYLET").get_json())) == 2
    first = vera.page("/c/demo/logs.json?node=all&limit=3").get_json()
    second = vera.page(first["next"]).get_json()
    assert [*names(first), *names(second)] == names(vera.page("/c/demo/logs.json?node=all").get_json())
    assert second["next"] is None


def test_files_of_a_thing_are_looked_for_on_every_node(vera: Person, folders: tuple[Path, Path]) -> None:
    assert names(vera.page(f"/c/demo/logs.json?worker={WORKER}").get_json()) == [("3", f"worker-{WORKER}-01000000-7.out")]
    [row] = vera.page("/c/demo/logs.json?node=all&class_name=Trainer").get_json()["rows"]
    assert (row["owner"], row["owner_state"], row["worker_id"]) == ("Trainer", "ALIVE", WORKER)


def test_a_node_that_is_late_or_refuses_is_named_and_the_others_are_shown(
    vera: Person, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    start, answer = NodeQuestions.start, NodeQuestions.answer
    monkeypatch.setattr(page, "ANSWERED_WITHIN_S", 0.0)
    late = {"0"}
    monkeypatch.setattr(
        NodeQuestions, "answer", lambda self, one: Answer(one, queues.RUNNING, 0.0, None, None) if one in late else answer(self, one)
    )
    data = vera.page("/c/demo/logs.json?node=all").get_json()
    assert {row["node_id"] for row in data["rows"]} == {FAR}
    assert [problem["reason"] for problem in data["partial"] if problem["node"] == HEAD] == ["It did not answer within 0 s."]

    def refuse(self: NodeQuestions, probe: Any, cluster: str, host: str) -> str:
        if probe.node_id == FAR:
            raise Unanswered("Nobody answers there.")
        return start(self, probe, cluster, host)

    late.clear()
    monkeypatch.setattr(NodeQuestions, "start", refuse)
    assert "Nobody answers there." in text(vera.page("/c/demo/logs?node=all").text)


def test_only_so_many_can_be_paged_through_and_that_is_said(
    vera: Person, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (everywhere, page):
        monkeypatch.setattr(module, "MOST_OF_A_HOST", 3)
    monkeypatch.setattr(page, "FILES_SHOWN", 3)
    shown = vera.page("/c/demo/logs?node=all").text
    assert 'rel="next"' not in shown
    assert "Narrow the list" in shown


def test_the_files_of_a_node_as_json(vera: Person, folders: tuple[Path, Path]) -> None:
    shown = vera.page(f"/c/demo/logs?node={FAR}").text
    link = re.search(r'href="([^"]+)">JSON<', shown)
    assert link is not None
    data = vera.page(unescape(link[1])).get_json()
    assert set(data) >= {"rows", "total", "matching", "next", "as_of", "age_s", "stale", "partial", "source", "exact"}
    assert (data["source"], data["exact"], data["partial"]) == ("logs", True, [])
    assert [row["name"] for row in data["rows"]] == ["raylet.out", f"worker-{WORKER}-01000000-7.out"]


def test_the_lines_of_a_file_as_json(vera: Person, folders: tuple[Path, Path]) -> None:
    (folders[1] / "raylet.out").write_bytes(b"".join(b"\x1b[31mERROR\x1b[0m %d\n" % number for number in range(1000)))
    base = f"/c/demo/logs/{FAR}/{file_id('raylet.out')}"
    last = vera.page(f"{base}.json").get_json()
    assert (last["rows"][-1]["text"], last["rows"][-1]["line"], last["rows"][-1]["level"]) == ("ERROR 999", 1000, "error")
    assert (last["next"], last["name"], last["exact"], last["matching"]) == (None, "raylet.out", True, None)
    before = vera.page(last["previous"]).get_json()
    assert before["rows"][-1]["text"] == f"ERROR {999 - len(last['rows'])}"
    found = vera.page(f"{base}.json?q=m%207$&regex=1&only=1").get_json()
    assert ([row["text"] for row in found["rows"]], found["matching"]) == (["ERROR 7"], 1)
    located = vera.page(f"{base}.json?q=ERROR&hit=0").get_json()
    assert located["hit"]["number"] == 1
    assert [row for row in located["rows"] if row["is_hit"]]
    link = re.search(r'href="([^"]+)">JSON<', vera.page(f"{base}?q=ERROR&hit=0").text)
    assert link is not None
    assert vera.page(unescape(link[1])).get_json()["rows"] == located["rows"]


@pytest.mark.parametrize("asked", ["logs.json?limit=0", "logs.json?limit=501", "logs.json?nonsense=1", "logs.json?group=x", "logs?limit=5"])
def test_what_cannot_be_asked_is_refused(vera: Person, folders: tuple[Path, Path], asked: str) -> None:
    assert vera.page(f"/c/demo/{asked}").status_code == 400


def test_a_node_that_does_not_answer_is_named_in_the_json(vera: Person, folders: tuple[Path, Path]) -> None:
    data = vera.page(f"/c/demo/logs.json?node={SILENT}").get_json()
    assert (data["rows"], data["exact"], data["partial"][0]["node"]) == ([], False, SILENT)
