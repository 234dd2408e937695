"""Log pages: the files of a node and what stands in one, as a node answers; the node is made up, what it says is what a real one says."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import Any

import pytest

from clusterstate.log_levels import level_of
from clusterstate.node_questions import NodeQuestions, Unanswered
from clusterstate.probes import ListLogs, ReadLog
from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import Person
from tests.webapp.test_every_page import HOSTILE, Elements

NODE = "0" * 55 + "7"
FILE = "AbCdEfGhIjKlMnOp"


class Answering:
    """A node that answers what the test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.value: dict[str, Any] | None = None
        self.problem = "It does not want to."

    def ask(self, probe: Any, cluster: str, host: str, within_s: float) -> Any:
        self.asked.append(probe)
        if self.value is None:
            raise Unanswered(self.problem)
        return self.value


@pytest.fixture
def node(cluster: BuiltCluster, monkeypatch: pytest.MonkeyPatch) -> Answering:
    cluster.with_node(node_id=NODE, hostname="gpu-7", is_head_node=True)
    cluster.with_node_stats(NODE, hostname="gpu-7")
    cluster.project()
    found = Answering()
    monkeypatch.setattr(NodeQuestions, "ask", lambda self, *given: found.ask(*given))
    return found


def file(name: str, **more: Any) -> dict[str, Any]:
    told = {
        "file_id": FILE,
        "name": name,
        "size": 10,
        "modified_ms": 1_700_000_000_000,
        "group": "worker",
        "stream": "stdout",
        "base": name,
    }
    return {**told, "rotation": 0, "worker_id": None, "job_id": None, "submission_id": None, "pid": None, **more}


def listing(*files: dict[str, Any], **more: Any) -> dict[str, Any]:
    groups = {"worker": len(files)}
    return {"files": list(files), "matching": len(files), "groups": groups, "empty": 3, "total": 7, "is_whole": True, "at": 0.0, **more}


def window(content: bytes, *, start: int = 0, size: int | None = None, before: int | None = 0) -> dict[str, Any]:
    pieces = [(len(line.rstrip(b"\n")), True, line.endswith(b"\n")) for line in content.splitlines(keepends=True)]
    end = start + len(content)
    told = {"name": "raylet.out", "size": end if size is None else size, "modified_ms": 0, "inode": "1-1", "start": start, "end": end}
    return {**told, "lines_before": before, "pieces": pieces, "content": b64encode(content).decode(), "utc_offset_s": 0, "at": 0.0}


def text(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_the_files_of_the_head_are_shown_first(vera: Person, node: Answering) -> None:
    node.value = listing(file("worker-x.out", worker_id="ab" * 28, pid=77, job_id="01000000"))
    page = vera.page("/c/demo/logs")
    assert page.status_code == 200
    assert node.asked == [ListLogs(NODE, with_workers=True)]
    assert f"/c/demo/logs/{NODE}/{FILE}" in page.text
    assert f"/c/demo/workers/{'ab' * 28}" in page.text
    assert "1 of 7 files; 3 empty ones are hidden" in text(page.text).replace(" ;", ";")


def test_what_is_asked_of_the_list_is_asked_of_the_node(vera: Person, node: Answering) -> None:
    node.value = listing(file("a.err"), matching=500)
    page = vera.page(f"/c/demo/logs?node={NODE}&group=serve&name=.ERR&empty=1&sort=size&from=100")
    assert node.asked == [ListLogs(NODE, "serve", ".ERR", with_empty=True, sort="size", offset=100, with_workers=True)]
    assert 'rel="next"' in page.text
    assert 'rel="prev"' in page.text


@pytest.mark.parametrize("wrong", ["group=x", "sort=x", "from=-1", "from=x", "from=" + "9" * 40, "nonsense=1"])
def test_what_cannot_be_asked_is_refused_and_said(vera: Person, node: Answering, wrong: str) -> None:
    answer = vera.page(f"/c/demo/logs?{wrong}")
    assert answer.status_code == 400
    assert node.asked == []


def test_a_node_that_is_not_there_is_not_found(vera: Person, node: Answering) -> None:
    assert vera.page("/c/demo/logs?node=" + "f" * 56).status_code == 404
    assert vera.page(f"/c/demo/logs/{'f' * 56}/{FILE}").status_code == 404
    assert node.asked == []


def test_a_node_that_does_not_answer_says_why(vera: Person, node: Answering) -> None:
    for path in ("/c/demo/logs", f"/c/demo/logs/{NODE}/{FILE}"):
        page = vera.page(path)
        assert page.status_code == 200
        assert "It does not want to." in page.text


def test_a_node_without_a_collector_says_how_to_add_one(vera: Person, cluster: BuiltCluster, node: Answering) -> None:
    cluster.with_node(node_id="0" * 55 + "8", hostname="gpu-8")
    cluster.project()
    assert "raydeck node" in vera.page("/c/demo/logs?node=" + "0" * 55 + "8").text
    assert node.asked == []


def test_a_file_opens_at_its_end_with_numbers_and_links_to_lines(vera: Person, node: Answering) -> None:
    node.value = window(b"two\n\x1b[31mERROR\x1b[0m three\n", start=4, size=500, before=1)
    page = vera.page(f"/c/demo/logs/{NODE}/{FILE}")
    assert node.asked == [ReadLog(NODE, FILE, None, True, 400)]
    assert "2 two" in text(page.text)
    assert f'href="/c/demo/logs/{NODE}/{FILE}?at=8#b8"' in page.text
    assert '<span class="fg-red">ERROR</span>' in page.text
    assert 'class="error"' in page.text
    assert f"/c/demo/logs/{NODE}/{FILE}?at=4&amp;back=1" in page.text, "what stands before"
    assert f"/c/demo/logs/{NODE}/{FILE}?at=29" in page.text, "what follows"


def test_a_place_in_the_file_is_asked_for(vera: Person, node: Answering) -> None:
    node.value = window(b"x\n")
    vera.page(f"/c/demo/logs/{NODE}/{FILE}?at=12345678901")
    vera.page(f"/c/demo/logs/{NODE}/{FILE}?at=7&back=1&raw=1")
    assert node.asked == [ReadLog(NODE, FILE, 12345678901, False, 400), ReadLog(NODE, FILE, 7, True, 400)]


def test_nothing_in_a_log_or_its_name_does_anything(vera: Person, node: Answering) -> None:
    hostile = HOSTILE.encode() + b"\x1b]8;;javascript:alert(1)\x07click\x1b]8;;\x07\xff\x00"
    node.value = {**window(hostile + b"\n"), "name": HOSTILE}
    shown = vera.page(f"/c/demo/logs/{NODE}/{FILE}").text
    raw = vera.page(f"/c/demo/logs/{NODE}/{FILE}?raw=1").text
    node.value = listing(file(HOSTILE, group="worker"))
    for page in (shown, raw, vera.page("/c/demo/logs").text):
        found = Elements(page).found
        assert not [1 for name, attrs in found if name in {"b", "img"} and ("onerror" in attrs or attrs.get("id") == "marker")]
        assert not [1 for _, attrs in found if attrs.get("href", "").startswith("javascript")]
        assert "\x1b" not in page
        assert "\u202e" not in page


@pytest.mark.parametrize(
    "broken",
    [
        {},
        [],
        None,
        "x",
        {**listing(), "files": [{"file_id": 7}]},
        {**window(b"x"), "size": "much"},
        {**window(b"x"), "content": "no base64!"},
        {**window(b"x"), "pieces": [[1]]},
    ],
)
def test_an_answer_that_is_none_is_no_page_of_trouble(vera: Person, node: Answering, broken: Any) -> None:
    node.value = {} if broken is None else broken
    for path in ("/c/demo/logs", f"/c/demo/logs/{NODE}/{FILE}"):
        assert vera.page(path).status_code == 200


def test_a_group_that_nobody_knows_is_another(vera: Person, node: Answering) -> None:
    node.value = listing(file("x.log", group="of tomorrow"))
    assert "Other stdout" in text(vera.page("/c/demo/logs").text)


def test_an_empty_file_says_so(vera: Person, node: Answering) -> None:
    node.value = window(b"")
    assert "The file is empty." in vera.page(f"/c/demo/logs/{NODE}/{FILE}").text


@pytest.mark.parametrize(
    ("line", "level"),
    [
        (b"[2026-11-22 09:00:00,123 E 12 34] (raylet) a.cc:1: x", "error"),
        (b"[2026-11-22 09:00:00,123 W 12 34] a.cc:1: x", "warning"),
        (b"2026-11-22 09:00:00,123\tINFO a.py:1 -- started", "info"),
        (b"2026-11-22 09:00:00,123\tWARNING a.py:1 -- slow", "warning"),
        (b"ERROR:root:it failed", "error"),
        (b"\x1b[31mERROR\x1b[0m it failed", "error"),
        (b'{"levelname": "ERROR", "message": "x"}', "error"),
        (b'{"message": "ERROR", "level": "warn"}', "warning"),
        (b'{"message": "{\\"level\\": \\"ERROR\\"}", "level": "info"}', "info"),
        (b'{"level": "loud", "message": "ERROR"}', None),
        (b"Traceback (most recent call last):", "error"),
        (b"(pid=7) Traceback (most recent call last):", "error"),
        (b"ValueError: nope", "error"),
        (b"ray.exceptions.RayTaskError: nope", "error"),
        (b"I1122 09:00:00.123 12 a.cc:1] x", "info"),
        (b"no errors were found", None),
        (b"an INFORMATION", None),
        (b"", None),
        (b"\xff\xfe\x00", None),
    ],
)
def test_how_grave_a_line_is(line: bytes, level: str | None) -> None:
    assert level_of(line) == level
