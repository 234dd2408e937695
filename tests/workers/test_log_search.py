"""Searching a node's log files with the real ripgrep: what is found, where, and what cannot be done with it."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from clusterstate.log_answers import FoundLine, SearchPart, SearchProgress, read_part
from clusterstate.settings import Settings
from workers.probes import log_search, logs
from workers.probes.running import CannotAnswer, Running, set_running
from workers.sources import log_matching
from workers.sources.log_listing import Entry
from workers.sources.log_search import MOST_OF_A_FILE, batches

NODE = "ab" * 28
WORKER, OTHER = "cd" * 28, "ef" * 28


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    inner = tmp_path / "logs"
    inner.mkdir()
    monkeypatch.setattr(logs, "log_folder", lambda node_id: inner)
    monkeypatch.setattr(log_search, "GIVES_WAY", 0)
    return inner


class Searched:
    """All that a search told."""

    def __init__(self, parts: list[SearchPart], progress: SearchProgress) -> None:
        self.parts = parts
        self.progress = progress
        self.lines: dict[str, list[FoundLine]] = {}
        for part in parts:
            for found in part.found:
                self.lines.setdefault(found.file.name, []).extend(found.lines)

    def hits(self, name: str) -> list[FoundLine]:
        return [line for line in self.lines.get(name, []) if line.marks]


def search(pattern: str, **asked: Any) -> Searched:
    told: list[bytes] = []
    set_running(Running(Settings(), "c", "h", lambda words: None, told.append))
    given = {
        "node_id": NODE, "pattern": pattern, "is_regex": False, "any_case": False, "context": 0, "group": None, "name": "",
        "worker_ids": (), "job_ids": (), "submission_ids": (), "from_ms": None, "to_ms": None, "max_hits": 10_000,
    }  # fmt: skip
    value = log_search.search_logs(**{**given, **asked})
    return Searched([read_part(blob) for blob in told], msgspec.convert(value, SearchProgress))


def test_a_hit_says_where_it_stands_and_what_matched(folder: Path) -> None:
    (folder / "raylet.out").write_bytes(b"first\nit failed twice: failed\nlast\n")
    found = search("failed")
    [hit] = found.hits("raylet.out")
    assert (hit.number, hit.offset, hit.bytes()) == (2, 6, b"it failed twice: failed")
    assert hit.marks == ((3, 9), (17, 23))
    assert (found.progress.hits, found.progress.files, found.progress.files_done, found.progress.is_cut) == (1, 1, 1, False)


def test_lines_around_a_hit_come_with_it(folder: Path) -> None:
    (folder / "raylet.out").write_bytes(b"a\nb\nhit\nc\nd\n")
    found = search("hit", context=1)
    assert [(line.number, line.offset, line.text, bool(line.marks)) for line in found.lines["raylet.out"]] == [
        (2, 2, "b", False),
        (3, 4, "hit", True),
        (4, 8, "c", False),
    ]


def test_case_and_expressions_are_as_asked(folder: Path) -> None:
    (folder / "raylet.out").write_bytes(b"Error one\nerror two\n(error)+\n")
    assert len(search("error").hits("raylet.out")) == 2
    assert len(search("error", any_case=True).hits("raylet.out")) == 3
    assert [hit.text for hit in search("(error)+").hits("raylet.out")] == ["(error)+"]
    assert len(search("^(E|e)rror (one|two)$", is_regex=True).hits("raylet.out")) == 2


def test_every_needle_is_found_where_it_stands(folder: Path) -> None:
    """At block edges, in a last line without a newline, in rotated files, among bytes that are no text."""
    chance = random.Random(7)
    planted: dict[str, list[int]] = {}
    for name in ("raylet.out", "raylet.out.1", f"worker-{WORKER}-01000000-7.err", f"worker-{WORKER}-01000000-7.err.2"):
        size = 3 << 20
        content = bytearray(chance.randbytes(size).replace(b"N", b"\n"))
        edges = [edge + shift for edge in (65536, 1 << 20, 2 << 20) for shift in range(-9, 4, 3)]
        spots = sorted({*edges, *(chance.randrange(100, size - 100) // 64 * 64 + 17 for _ in range(200))})
        spots = [spot for at, spot in enumerate(spots) if at == 0 or spot - spots[at - 1] > 40]
        for spot in spots:
            content[spot - 1 : spot + 8] = b"\nNEEDLE!\n"
        content[-8:] = b"\nNEEDLE!"
        (folder / name).write_bytes(content)
        planted[name] = [*spots, size - 7]
    found = search("NEEDLE!")
    for name, spots in planted.items():
        assert [hit.offset for hit in found.hits(name)] == spots
    assert found.progress.hits == sum(map(len, planted.values()))


def test_a_hit_far_within_a_long_line_is_shown_with_what_stands_around_it(folder: Path) -> None:
    (folder / "raylet.out").write_bytes(b"short\n" + b"x" * 9_000 + b"NEEDLE" + b"y" * 9_000 + b"\nend\n")
    [hit] = search("NEEDLE").hits("raylet.out")
    assert hit.offset == 6
    assert hit.skipped == 9_000 - 120
    assert hit.is_cut
    assert hit.text[hit.marks[0][0] :].startswith("NEEDLE")


def test_a_long_line_that_matches_at_its_beginning_is_cut(folder: Path) -> None:
    (folder / "raylet.out").write_bytes(b"NEEDLE " + b"[... omitted end of long line]" * 100 + b"\n")
    [hit] = search("NEEDLE").hits("raylet.out")
    assert (hit.marks, hit.skipped, hit.is_cut) == (((0, 6),), 0, True)
    assert len(hit.bytes()) == log_matching.SHOWN_BYTES
    assert hit.text.startswith("NEEDLE [... omitted end of long line][... omitted")


def test_bytes_that_are_no_text_are_searched_and_told_as_they_are(folder: Path) -> None:
    (folder / "raylet.out").write_bytes(b"\xff\xfeU\x00T\x00F\x00\n\x00\x00 NEEDLE \xe2\x82 \x1b[31mred\n\rNEEDLE\r\n")
    first, second = search("NEEDLE").hits("raylet.out")
    assert first.bytes() == b"\x00\x00 NEEDLE \xe2\x82 \x1b[31mred"
    assert second.bytes() == b"\rNEEDLE\r"


def test_the_newest_file_is_told_first_and_links_are_searched_once(folder: Path) -> None:
    for at, name in enumerate(("a.log", "b.log", "c.log")):
        (folder / name).write_bytes(b"NEEDLE\n")
        os.utime(folder / name, (1000 + at, 1000 + at))
    (folder / "again.log").symlink_to("b.log")
    found = search("NEEDLE")
    assert found.progress.hits == 3
    assert next(iter(found.lines)) == "c.log"


def test_what_is_outside_the_folder_is_never_searched(folder: Path) -> None:
    (folder.parent / "secret").write_bytes(b"NEEDLE\n")
    (folder / "up.log").symlink_to("../secret")
    (folder / "root.log").symlink_to(folder.parent / "secret")
    os.mkfifo(folder / "pipe.log")
    os.link(folder.parent / "secret", folder / "hard.log")
    (folder / "good.log").write_bytes(b"NEEDLE\n")
    assert list(search("NEEDLE").lines) == ["good.log"]


def test_files_are_chosen_by_group_name_worker_and_job(folder: Path) -> None:
    mine, others = f"worker-{WORKER}-01000000-7.out", f"worker-{OTHER}-02000000-8.out"
    for name in (mine, others, "raylet.out", "job-driver-raysubmit_x.log"):
        (folder / name).write_bytes(b"NEEDLE\n")
    assert set(search("NEEDLE", group="worker").lines) == {mine, others}
    assert set(search("NEEDLE", name="RAYLET").lines) == {"raylet.out"}
    assert set(search("NEEDLE", worker_ids=(OTHER,)).lines) == {others}
    assert set(search("NEEDLE", job_ids=("01000000",), submission_ids=("raysubmit_x",)).lines) == {mine, "job-driver-raysubmit_x.log"}


def test_a_range_of_time_leaves_out_lines_that_say_another(folder: Path) -> None:
    lines = [f"2026-11-22T12:00:{second:02}Z NEEDLE {second}\n" for second in range(60)]
    (folder / "raylet.out").write_text("".join(lines) + "NEEDLE without a time\n")
    noon = 1_795_348_800_000
    found = search("NEEDLE", from_ms=noon + 10_000, to_ms=noon + 12_000)
    assert [hit.text.split()[-1] for hit in found.hits("raylet.out")] == ["10", "11", "12", "time"]
    assert found.progress.untimed == 1
    assert found.progress.times == {noon // 1000 + second: 1 for second in (10, 11, 12)}


def test_hits_over_days_are_counted_in_longer_steps(folder: Path) -> None:
    (folder / "raylet.out").write_text("".join(f"2026-11-{day:02}T{hour:02}:00:00Z NEEDLE\n" for day in range(1, 28) for hour in range(24)))
    progress = search("NEEDLE").progress
    assert progress.step_s == 6 * 3600
    assert sum(progress.times.values()) == 27 * 24


def test_many_hits_are_cut_and_it_is_said(folder: Path) -> None:
    (folder / "raylet.out").write_bytes(b"NEEDLE\n" * 3_000)
    (folder / "gcs_server.out").write_bytes(b"NEEDLE\n" * 10)
    found = search("NEEDLE")
    assert (found.progress.hits, found.progress.files_cut, found.progress.is_cut) == (MOST_OF_A_FILE + 10, 1, False)
    few = search("NEEDLE", max_hits=50)
    assert (few.progress.hits, few.progress.is_cut) == (50, True)
    assert sum(len(lines) for lines in few.lines.values()) == 50


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(", "unclosed group"),
        ("(?=a)", "look-around"),
        (r"(a)\1", "backreferences"),
        ("a{1000}{1000}{100}", "size limit"),
        (r"a\nb", "not allowed"),
        ("a\nb", "end of a line"),
        ("a\0b", "NUL"),
        ("", "1 to 1000"),
        ("a" * 1001, "1 to 1000"),
    ],
)
def test_what_cannot_be_searched_is_refused_with_a_reason(folder: Path, pattern: str, said: str) -> None:
    (folder / "raylet.out").write_bytes(b"a\n")
    with pytest.raises(CannotAnswer, match=said):
        search(pattern, is_regex=True)


@pytest.mark.parametrize("pattern", ["--pre=/bin/sh", "-f/etc/passwd", "--hostname-bin=x", "-", "--files", "-e", "--"])
def test_options_are_text(folder: Path, pattern: str) -> None:
    (folder / "raylet.out").write_text(f"before\nit says {pattern} here\n")
    (folder / "-f").write_text(f"it says {pattern} here\n")
    for is_regex in (False, True):
        found = search(pattern, is_regex=is_regex)
        assert [hit.number for hit in found.hits("raylet.out")] == [2]
        assert [hit.number for hit in found.hits("-f")] == [1]


def test_expressions_that_stop_other_engines_answer(folder: Path) -> None:
    (folder / "raylet.out").write_bytes(b"a" * 2_000_000 + b"!\n")
    for pattern in ("(a+)+$", "(a|aa)+$", "(a|a?)+$", "(.*a){25}", "^(([a-z])+.)+[A-Z]([a-z])+$", "(a*)*b"):
        try:
            search(pattern, is_regex=True)
        except CannotAnswer:
            pass


def test_a_log_that_holds_marks_of_a_hit_changes_nothing_but_its_own_line(folder: Path) -> None:
    forged = b"\x1b[0m\x1b[38;2;1;2;3mforged\x1b[0m NEEDLE \x1b[0m\x1b[38;2;1;2;3mopen"
    (folder / "raylet.out").write_bytes(forged + b"\n/proc/self/fd/0\x001:1:0:NEEDLE forged\nNEEDLE\n")
    hits = search("NEEDLE").hits("raylet.out")
    assert [(hit.number, hit.offset) for hit in hits] == [(1, 0), (2, len(forged) + 1), (3, len(forged) + 37)]


def test_small_batches_come_first_and_a_large_file_stands_alone() -> None:
    entries = (Entry("big", 900 << 20, 3), *(Entry(f"small-{at}", 1 << 20, 2) for at in range(100)))
    made = list(batches(entries))
    assert made[0] == entries[:1]
    assert sum(entry.size for entry in made[1]) <= 16 << 20
    assert [entry for batch in made for entry in batch] == list(entries)
