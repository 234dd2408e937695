"""Finding in a log file on its page: the node is this process, and everything goes by links and forms."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest

from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import Person
from tests.webapp.nodes_here import answer_here
from tests.webapp.test_every_page import HOSTILE, Elements
from webapp.pages import log_view
from workers.sources import log_finding
from workers.sources.log_listing import file_id

NODE = "0" * 55 + "7"
NAME = "raylet.out"
PAGE = f"/c/demo/logs/{NODE}/{file_id(NAME)}"


@pytest.fixture
def folder(tmp_path: Path, cluster: BuiltCluster, monkeypatch: pytest.MonkeyPatch) -> Path:
    cluster.with_node(node_id=NODE, hostname="gpu-7", is_head_node=True)
    cluster.with_node_stats(NODE, hostname="gpu-7")
    cluster.project()
    answer_here(tmp_path, monkeypatch)
    (tmp_path / NAME).write_text("".join(f"line {number}{' lost' if number % 100 == 7 else ''}\n" for number in range(1000)))
    return tmp_path


def text(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.split("<main", 1)[1]))


def shown(page: str) -> list[str]:
    return [re.sub(r"<[^>]+>", "", line) for line in re.findall(r"<code>(.*?)</code></li>", page)]


def link(page: str, label: str) -> str:
    found = re.search(rf'<a [^>]*href="([^"]+)"[^>]*>{label}</a>', page)
    assert found is not None, label
    return unescape(found[1]).partition("#")[0]


def test_a_text_is_found_where_it_stands_last_with_all_lines_around(vera: Person, folder: Path) -> None:
    page = vera.page(f"{PAGE}?q=LOST").text
    assert "10 of 10 lines that match" in text(page)
    assert "line 906" in shown(page)
    assert "line 907 <mark>lost</mark>" in page
    here = page.split('class="here"')[1]
    assert 'id="hit"' in here[:60]
    assert "line 907" in here.partition("</li>")[0]


def test_one_goes_from_hit_to_hit_and_around(vera: Person, folder: Path) -> None:
    page = vera.page(f"{PAGE}?q=lost").text
    before = vera.page(link(page, "Previous")).text
    assert "9 of 10" in text(before)
    assert "10 of 10" in text(vera.page(link(before, "Next")).text)
    first = vera.page(link(page, "First")).text
    assert "1 of 10" in text(first)
    assert "10 of 10" in text(vera.page(link(first, "Last")).text)


def test_a_search_begins_where_one_looks(vera: Person, folder: Path) -> None:
    page = vera.page(f"{PAGE}?at={len('line 0') * 10}").text
    assert re.search(r'name="hit" value="(\d+)"', page)
    assert 'name="hit"' not in vera.page(PAGE).text, "at the end it is looked back from there"


def test_case_and_expression_are_switches(vera: Person, folder: Path) -> None:
    assert "Nothing was found" in text(vera.page(f"{PAGE}?q=LOST&case=1").text)
    assert "1 of 2 lines that match" in text(vera.page(f"{PAGE}?q=^line%20(5|6)07&regex=1&hit=0").text)
    wrong = vera.page(f"{PAGE}?q=(&regex=1")
    assert "unclosed group" in wrong.text
    assert 'name="q" value="("' in wrong.text, "the box is still there"


def test_lines_that_match_alone_with_lines_around(vera: Person, folder: Path) -> None:
    page = vera.page(f"{PAGE}?q=lost&only=1").text
    assert shown(page) == [f"line {number} lost" for number in range(7, 1000, 100)]
    around = vera.page(f"{PAGE}?q=lost&only=1&context=1").text
    assert len(shown(around)) == 30
    assert around.count("gap") == 9
    assert around.count("beside") == 20
    back = vera.page(link(page, "With all lines")).text
    assert "line 8" in shown(back)


def test_a_line_that_matches_leads_to_its_place_in_the_file(vera: Person, folder: Path) -> None:
    page = vera.page(f"{PAGE}?q=lost&only=1").text
    there = vera.page(link(page, "108")).text
    assert "line 107 lost" in shown(there)
    assert "line 106" in shown(there)
    assert "2 of 10" in text(there)


def test_errors_of_the_whole_file_are_a_link_away(vera: Person, folder: Path) -> None:
    (folder / NAME).write_text("ERROR one\n" + "fine\n" * 2000 + "Traceback (most recent call last):\n" + "fine\n" * 2000)
    page = vera.page(PAGE).text
    counts = vera.page(link(page, "count them")).text
    assert "2 errors no warnings in the file" in text(counts)
    assert re.search(r'id="levels"[^>]*hx-get="[^"]+/levels"', page), "counted at once where there are scripts"
    there = vera.page(link(counts, "<b>2</b> errors")).text
    assert "2 of 2 errors" in text(there)
    assert "Traceback (most recent call last):" in shown(there)
    assert "1 of 2 errors" in text(vera.page(link(there, "Previous")).text)
    assert "No line is a warning" in text(vera.page(f"{PAGE}?level=warning").text)


def test_of_a_file_too_large_errors_are_counted_when_that_is_asked(vera: Person, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_view, "MOST_COUNTED_BYTES", 10)
    monkeypatch.setattr(log_finding, "COUNTED_WITHIN_S", 0.0)
    page = vera.page(PAGE).text
    assert "/levels" not in page.partition('id="levels"')[2].partition(">")[0]
    assert "so far no errors" in text(vera.page(link(page, "count them")).text)


def test_switches_keep_what_is_found_and_leaving_keeps_the_place(vera: Person, folder: Path) -> None:
    page = vera.page(f"{PAGE}?q=lost&hit=3000").text
    raw = link(page, "Raw")
    assert "q=lost" in raw
    assert "hit=3000" in raw
    left = link(page, "Leave")
    assert "q=" not in left
    assert shown(vera.page(left).text)[0] == shown(page)[0]


def test_nothing_in_what_is_found_does_anything(vera: Person, folder: Path) -> None:
    (folder / NAME).write_text(HOSTILE + " lost\n")
    for asked in ("q=lost", "q=lost&only=1", "q=.*&regex=1", "q=%3Cb%20id=marker%3E"):
        found = Elements(vera.page(f"{PAGE}?{asked}").text).found
        assert not [1 for name, attrs in found if name in {"b", "img"} and ("onerror" in attrs or attrs.get("id") == "marker")]


@pytest.mark.parametrize(
    "wrong", ["level=loud", "q=a&level=error", "regex=2", "context=9", "context=x", "hit=-1", "only=yes", "q=" + "x" * 1001]
)
def test_what_cannot_be_asked_is_refused(vera: Person, folder: Path, wrong: str) -> None:
    assert vera.page(f"{PAGE}?{wrong}").status_code == 400
