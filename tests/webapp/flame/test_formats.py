"""Files of a profile: counts are those of the samples, and names are text in each of them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

from clusterstate.stacks import BYTES, Frame, Samples, Stack, Thread
from tests.webapp.flame.profiles import HOSTILE, MAIN, Tags, hostile_profile, profile, random_profile
from webapp.flame.asking import AskedFlame
from webapp.flame.formats import FORMATS
from webapp.flame.palette import FILLS

SVG = "{http://www.w3.org/2000/svg}"


def written(kind: str, samples: Samples, asked: AskedFlame = AskedFlame()) -> str:  # noqa: B008 - it is frozen
    return b"".join(FORMATS[kind].write(samples, asked, "worker <7>")).decode()


def read_back(text: str) -> Counter[tuple[str, ...]]:
    """Collapsed stacks as every reader of them parses a line."""
    found: Counter[tuple[str, ...]] = Counter()
    for line in text.splitlines():
        path, count = line.rsplit(" ", 1)
        found[tuple(path.split(";"))] += int(count)
    return found


def printed(frame: Frame) -> str:
    place = f"{frame.file}:{frame.line}" if frame.line else frame.file
    return f"{frame.function} ({place})" if frame.file else frame.function


def as_pyspy_has_it(samples: Samples) -> Counter[tuple[str, ...]]:
    expected: Counter[tuple[str, ...]] = Counter()
    for stack in samples.stacks:
        frames = [samples.frames[place] for place in stack.frames]
        names = tuple(
            f"{frame.function} ({frame.file}{f':{frame.line}' if frame.line else ''})" if frame.file else frame.function for frame in frames
        )
        expected[names] += stack.count
    return expected


@pytest.mark.parametrize("seed", range(5))
def test_the_raw_file_has_the_counts_of_the_samples(seed: int) -> None:
    samples = random_profile(seed)

    assert read_back(written("raw", samples)) == as_pyspy_has_it(samples)


def test_the_raw_file_names_threads_as_py_spy_does_where_they_stand_apart() -> None:
    samples = Samples("samples", (Frame("run", "a.py", 4), Frame("poll")), (MAIN, Thread(7, 9)), (Stack(0, (0, 1), 3), Stack(1, (0,), 5)))

    assert written("raw", samples, AskedFlame(by="thread")) == (
        "thread (7): MainThread;run (a.py:4);poll 3\n"
        "thread (9);run (a.py:4) 5\n"
    )  # fmt: skip


def test_a_hostile_name_parts_no_stack_and_no_line_of_the_raw_file() -> None:
    samples = hostile_profile()

    lines = written("raw", samples).splitlines()

    assert all(line.isprintable() and len(line.split(";")) == 3 for line in lines)
    assert sum(int(line.rsplit(" ", 1)[1]) for line in lines) == samples.total


@pytest.mark.parametrize("seed", range(3))
def test_the_speedscope_file_has_every_stack_with_its_weight(seed: int) -> None:
    samples = random_profile(seed)

    found = json.loads(written("speedscope", samples))

    frames = found["shared"]["frames"]
    counted: Counter[tuple[str, ...]] = Counter()
    for one in found["profiles"]:
        assert one["type"] == "sampled"
        assert len(one["samples"]) == len(one["weights"])
        assert one["endValue"] == sum(one["weights"])
        for stack, weight in zip(one["samples"], one["weights"], strict=True):
            counted[
                tuple(f"{frames[place]['name']} {frames[place].get('file', '')} {frames[place].get('line', 0)}" for place in stack)
            ] += weight
    expected: Counter[tuple[str, ...]] = Counter()
    for stack in samples.stacks:
        all_frames = [samples.frames[place] for place in stack.frames]
        expected[tuple(f"{frame.function} {frame.file} {frame.line}" for frame in all_frames)] += stack.count
    assert counted == expected


def test_bytes_are_bytes_in_speedscope() -> None:
    assert json.loads(written("speedscope", profile("main 12", unit=BYTES)))["profiles"][0]["unit"] == "bytes"


def test_the_picture_is_xml_without_script_in_which_names_are_text() -> None:
    root = ElementTree.fromstring(written("svg", hostile_profile()))  # noqa: S314 - it is ours

    assert {element.tag for element in root.iter()} == {f"{SVG}{name}" for name in ("svg", "g", "title", "rect", "text")}
    assert not [name for element in root.iter() for name in element.attrib if name.startswith("on") or name in {"href", "style"}]
    titles = [element.text or "" for element in root.iter(f"{SVG}title")]
    assert any("<script>alert(1)</script>" in title for title in titles)
    assert not any(character in title for title in titles for character in "\x00\x1b\u202e\ufffe")


def test_the_page_may_load_and_run_nothing() -> None:
    page = written("html", hostile_profile())

    assert "default-src 'none'" in page
    assert page.count("<script") == page.count("<img") == 0
    assert "worker &lt;7&gt;" in page
    tags = Tags(page)
    assert not tags.attributes & {"src", "href", "style", "onerror", "onmouseover"}
    drawn, table = {"svg", "g", "rect", "text"}, {"table", "thead", "tbody", "tr", "th", "td"}
    assert tags.tags <= {"html", "head", "meta", "title", "style", "body", "h1", "p", *drawn, *table}


def test_an_empty_profile_is_an_empty_picture() -> None:
    assert "0 samples" in written("svg", profile())
    assert written("raw", profile()) == ""
    assert json.loads(written("speedscope", profile()))["profiles"] == []


def test_the_table_as_a_file_has_no_formula_for_a_spreadsheet() -> None:
    rows = list(csv.DictReader(io.StringIO(written("csv", hostile_profile()))))

    assert len(rows) > len(HOSTILE)
    assert not [cell for row in rows for cell in (row["function"], row["file"]) if cell.startswith(("=", "+", "-", "@"))]


def test_the_table_as_a_file_counts_recursion_once() -> None:
    rows = list(csv.DictReader(io.StringIO(written("csv", profile("main;walk;walk 3", "main 1")))))

    assert [(row["function"], row["self"], row["total"], row["total_percent"]) for row in rows] == [
        ("walk", "3", "3", "75.0"),
        ("main", "1", "4", "100.0"),
    ]


def test_pictures_have_the_colours_of_the_light_pages() -> None:
    sheet = Path(__file__).parents[3].joinpath("static/css/profiles.css").read_text()
    light = dict(re.findall(r"--([a-z]+(?:-[a-z0-9]+)?): (#[0-9a-f]{6})", sheet.split("@media", 1)[0]))

    assert light == FILLS
