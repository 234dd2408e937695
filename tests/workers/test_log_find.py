"""Finding a place in one log file with the real ripgrep: hits on both sides of it, lines around, and those that match alone."""

from __future__ import annotations

import random
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import pytest

from clusterstate.log_answers import Finding
from clusterstate.log_levels import level_of
from clusterstate.probes import FindInLog
from workers.probes import log_find, logs
from workers.probes.running import CannotAnswer
from workers.sources import log_finding
from workers.sources.log_listing import file_id

NODE = "ab" * 28
NAME = "raylet.out"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(logs, "log_folder", lambda node_id: tmp_path)
    return tmp_path


def find(pattern: str, **asked: Any) -> Finding:
    given = {"is_regex": False, "any_case": False, "level": None, "hit": None, "at": None, "backward": False, "only": False}
    probe = FindInLog(NODE, file_id(NAME), pattern, **{**given, "context": 0, "max_lines": 100, **asked})
    return msgspec.convert(log_find.find_in_log(**asdict(probe)), Finding)


def texts(found: Finding) -> list[str]:
    """The lines that are shown, `|` where some are left out."""
    return "|".join(part.bytes().decode("latin-1") for part in found.parts).splitlines()


def numbers(found: Finding) -> list[int | None]:
    return [None if part.lines_before is None else part.lines_before + 1 for part in found.parts]


def test_without_a_place_one_comes_to_the_last_line_that_matches(folder: Path) -> None:
    (folder / NAME).write_bytes(b"hit one\nno\nhit two hit\nend\n")
    found = find("hit")
    assert (found.count, found.is_exact, found.number) == (2, True, 2)
    assert (found.current, found.previous, found.next) == (11, 0, None)
    assert found.marks == ((0, 3), (11, 3), (19, 3))
    assert texts(found) == ["hit one", "no", "hit two hit", "end"]


def test_from_a_place_one_comes_to_the_next_line_that_matches_and_back(folder: Path) -> None:
    (folder / NAME).write_bytes(b"hit 1\n" + b"no\n" * 500 + b"  hit 2\n" + b"no\n" * 500 + b"hit 3\n")
    second = 6 + 1500 + 2
    found = find("hit", hit=1)
    assert (found.current, found.number, found.previous, found.next) == (second - 2, 2, 0, second + 6 + 1500)
    assert found.parts[0].lines_before == 501 - log_find.LINES_BEFORE, "what stands before it is shown"
    assert found.parts[0].start < second < found.parts[0].end
    assert find("hit", hit=found.next).number == 3
    assert find("hit", hit=found.previous).number == 1
    beyond = find("hit", hit=1 << 40)
    assert (beyond.number, beyond.next, beyond.previous) == (3, None, second), "none after it: the last one before"


def test_what_is_nowhere_shows_the_end(folder: Path) -> None:
    (folder / NAME).write_bytes(b"a\nb\n")
    found = find("nothing")
    assert (found.count, found.is_exact, found.current, found.number, found.previous, found.next) == (0, True, None, None, None, None)
    assert texts(found) == ["a", "b"]


def test_case_and_expressions_are_as_asked(folder: Path) -> None:
    (folder / NAME).write_bytes(b"Error one\nerror two\n(error)+\n")
    assert find("error").count == 2
    assert find("error", any_case=True).count == 3
    assert find("(error)+").count == 1
    assert find("^(E|e)rror (one|two)$", is_regex=True).count == 2
    assert find("^(E|e)rror (one|two)$", is_regex=True).marks == ((0, 9), (10, 9))


def test_a_window_is_shown_where_it_is_asked_with_the_hits_beside_it(folder: Path) -> None:
    (folder / NAME).write_bytes(b"hit\n" + b"no\n" * 10 + b"hit\n")
    found = find("hit", at=4, max_lines=3)
    assert texts(found) == ["no"] * 3
    assert (found.current, found.previous, found.next, found.count) == (None, 0, 34, 2)


def test_lines_that_match_alone_with_lines_around(folder: Path) -> None:
    (folder / NAME).write_bytes(b"a\nhit 1\nb\nc\nd\nhit 2\nhit 3\ne\n")
    found = find("hit", only=True)
    assert texts(found) == ["hit 1", "|hit 2", "hit 3"]
    assert (numbers(found), found.count, found.number) == ([2, 6], 3, 1)
    assert texts(find("hit", only=True, context=1)) == ["a", "hit 1", "b", "|d", "hit 2", "hit 3", "e"]
    assert texts(find("hit", only=True, context=5)) == ["a", "hit 1", "b", "c", "d", "hit 2", "hit 3", "e"]
    assert texts(find("nothing", only=True)) == []


def test_lines_that_match_alone_come_in_pages_both_ways(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_find, "MOST_ALONE", 3)
    (folder / NAME).write_bytes(b"".join(b"%d hit\nno\n" % number for number in range(8)))
    last = find("hit", only=True)
    assert ("".join(texts(last)), last.number, last.next) == ("5 hit|6 hit|7 hit", 6, None)
    middle = find("hit", only=True, at=last.previous, backward=True)
    assert ("".join(texts(middle)), middle.number) == ("2 hit|3 hit|4 hit", 3)
    first = find("hit", only=True, at=middle.previous, backward=True)
    assert ("".join(texts(first)), first.number, first.previous) == ("0 hit|1 hit", 1, None)
    assert "".join(texts(find("hit", only=True, at=first.next))) == "2 hit|3 hit|4 hit"


def test_lines_of_a_level_are_as_the_page_colours_them(folder: Path) -> None:
    lines = [
        "INFO the word ERROR in what it says",
        "ERROR it failed",
        "[2026-11-22 09:00:00,123 E 12 34] (raylet) a.cc:1: x",
        "[2026-11-22 09:00:00,123 W 12 34] (raylet) a.cc:1: x",
        "Traceback (most recent call last):",
        '  File "x.py", line 1',
        "ValueError: no",
        "E1122 09:00:00.123 12 a.cc:1] x",
        "\x1b[33mWARNING\x1b[0m slow",
        '{"asctime": "x", "levelname": "ERROR", "message": "all is WARNING"}',
        '{"time": 1, "level": "warn", "msg": "ERROR in what it says"}',
        "no errors",
    ]
    (folder / NAME).write_text("\n".join(lines) + "\n")
    for level in ("error", "warning"):
        found = find("", level=level, only=True)
        wanted = [line for line in lines if level_of(line.encode()) == level]
        assert re.sub(r"^\|", "", "\n".join(texts(found)), flags=re.MULTILINE).splitlines() == wanted
        assert found.count == len(wanted)
        counts = log_find.count_levels(NODE, file_id(NAME))
        assert (counts["counts"][level], counts["is_exact"]) == (len(wanted), True)


def test_in_a_file_too_large_to_be_looked_through_the_hits_near_the_place_are_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_finding, "COUNTED_WITHIN_S", 0.0)
    monkeypatch.setattr(log_finding, "FIRST_BACK_BYTES", 1000)
    (folder / NAME).write_bytes(b"hit 1\n" + b"no\n" * 50_000 + b"hit 2\n" + b"no\n" * 50_000 + b"hit 3\n")
    found = find("hit")
    assert (found.is_exact, found.number, found.current, found.previous) == (False, None, 300_012, 150_006)
    middle = find("hit", hit=7)
    assert (middle.current, middle.previous, middle.next) == (150_006, 0, 300_012)
    assert find("hit", only=True).count == 3
    assert middle.is_exact is False


def test_hits_in_any_bytes_and_long_lines_are_marked_where_they_stand(folder: Path) -> None:
    chance = random.Random(7)
    content = chance.randbytes(200_000).replace(b"N", b"\n") + b"\n" + b"x" * 100_000 + b"NEEDLE" + b"x" * 100_000 + b"\nNEEDLE"
    (folder / NAME).write_bytes(content)
    places = [found.start() for found in re.finditer(b"NEEDLE", content)]
    last = find("NEEDLE")
    assert content[last.marks[-1][0] :].startswith(b"NEEDLE")
    before = find("NEEDLE", hit=last.previous)
    assert (places[0], 6) in before.marks
    assert before.current == places[0], "of a long line the piece is shown that matches"
    for only in (False, True):
        for place, length in find("NEEDLE", only=only).marks:
            assert content[place : place + length] == b"NEEDLE"


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"pattern": ""}, "1 to 1000"),
        ({"pattern": "x" * 1001}, "1 to 1000"),
        ({"pattern": "(", "is_regex": True}, "unclosed group"),
        ({"pattern": "a\nb"}, "end of a line"),
        ({"pattern": "", "level": "loud"}, "levels error, warning"),
    ],
)
def test_what_cannot_be_looked_for_says_why(folder: Path, asked: dict[str, Any], why: str) -> None:
    (folder / NAME).write_bytes(b"x\n")
    with pytest.raises(CannotAnswer, match=why):
        find(**asked)


def test_an_option_in_the_text_is_text(folder: Path) -> None:
    (folder / NAME).write_bytes(b"--files and -e\n")
    assert find("--files").count == 1
    assert find("-e").count == 1
