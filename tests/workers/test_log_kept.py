"""What the head answers of the log files of a node that is gone: what was kept, at the places where it stood."""

from __future__ import annotations

import zlib
from base64 import b64decode
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from clusterstate.log_answers import Finding, SearchProgress, read_part
from clusterstate.probes import FindInLog, ListLogs
from clusterstate.settings import Settings
from clusterstate.store.kept_logs import KeptLogsWriter, Piece, host_file
from workers.probes import log_search
from workers.probes import logs as probe
from workers.probes.log_find import count_levels, find_in_log
from workers.probes.logs import list_logs, read_bytes, read_log
from workers.probes.running import CannotAnswer, Running, set_running
from workers.sources.beneath import NotThere

NODE, STRANGER = "ab" * 28, "cd" * 28
PIECE = b"".join(b"line %05d says hello\n" % number for number in range(10_000, 12_000))


@pytest.fixture
def told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Of `cut.out` the second half is kept, of `whole.out` everything; what probes tell meanwhile comes into this list."""

    def no_raylet(node_id: str) -> Path:
        raise NotThere("The raylet of this node does not run on this machine (any more).")

    monkeypatch.setattr(probe, "log_folder", no_raylet)
    monkeypatch.setattr(log_search, "GIVES_WAY", 0)
    writer = KeptLogsWriter(host_file(settings.state_dir, "c", "session_1", "h1"), 1 << 20)
    writer.of_nodes((NODE,))
    body = zlib.compress(PIECE)
    for start, name, inode in ((0, b"whole.out", "1-1"), (1_000_000, b"late.out", "1-3")):
        writer.add(Piece(inode, name, start, len(PIECE), 1_700_000_000_000, body))
    before = b"given up\n" * 10
    writer.add(Piece("1-2", b"cut.out", 0, len(before), 1_700_000_000_000, zlib.compress(before)))
    writer.add(Piece("1-2", b"cut.out", len(before), len(PIECE), 1_700_000_000_000, body))
    cut = next(file for file in writer.files() if file.inode == "1-2")
    writer._give_up_oldest(cut)
    writer.close()
    parts: list[bytes] = []
    set_running(Running(settings, "c", "head", lambda words: None, parts.append))
    return parts


def file_id(name: str) -> str:
    ids: dict[str, str] = {file["name"]: file["file_id"] for file in list_logs(**asdict(ListLogs(NODE)))["files"]}
    return ids[name]


@pytest.mark.usefixtures("told")
def test_the_list_says_that_it_is_of_what_was_kept_and_from_where() -> None:
    answer = list_logs(**asdict(ListLogs(NODE, sort="name")))
    assert answer["is_kept"]
    assert [(file["name"], file["first"], file["size"]) for file in answer["files"]] == [
        ("cut.out", 90, 90 + len(PIECE)),
        ("late.out", 1_000_000, 1_000_000 + len(PIECE)),
        ("whole.out", 0, len(PIECE)),
    ]


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize(("name", "first", "lines_before"), [("whole.out", 0, 0), ("cut.out", 90, 10), ("late.out", 1_000_000, None)])
def test_lines_stand_where_they_stood(name: str, first: int, lines_before: int | None) -> None:
    last = read_log(NODE, file_id(name), None, True, 2)
    assert b64decode(last["content"]) == PIECE[-44:]
    assert (last["first"], last["end"], last["is_kept"]) == (first, first + len(PIECE), True)
    assert last["lines_before"] == (None if lines_before is None else lines_before + 1998)
    start = read_log(NODE, file_id(name), first, False, 1)
    assert b64decode(start["content"]) == b"line 10000 says hello\n"
    assert (start["start"], start["lines_before"]) == (first, lines_before)
    gone = read_log(NODE, file_id(name), 0, False, 1)
    assert gone["start"] == first, "what was given up is where it begins"


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize(("name", "first", "lines_before"), [("whole.out", 0, 0), ("cut.out", 90, 10), ("late.out", 1_000_000, None)])
@pytest.mark.parametrize("only", [False, True])
def test_places_are_found_where_they_stood(name: str, first: int, lines_before: int | None, only: bool) -> None:
    line = b"line 10007 says hello\n"
    place = first + PIECE.index(line)
    probe = FindInLog(NODE, file_id(name), "10007", False, False, None, first + 1, None, False, only, 0, 10)
    found = msgspec.convert(find_in_log(**asdict(probe)), Finding)
    assert (found.count, found.is_exact, found.number, found.marks) == (1, True, 1, ((place + 5, 5),))
    [part] = found.parts
    assert part.bytes()[place - part.start :].startswith(line)
    assert found.current == (None if only else place)
    before = None if lines_before is None else lines_before + PIECE[: part.start - first].count(b"\n")
    assert (part.lines_before, part.first, part.is_kept) == (before, first, True)
    assert count_levels(NODE, file_id(name))["counts"] == {"error": 0, "warning": 0}


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize(("name", "first", "starts"), [("whole.out", 0, True), ("cut.out", 90, True), ("late.out", 1_000_000, False)])
def test_what_may_begin_inside_a_line_is_not_shown_as_a_whole_one(name: str, first: int, starts: bool) -> None:
    pieces = read_log(NODE, file_id(name), first, False, 2)["pieces"]
    assert [one[1] for one in pieces] == [starts, True]


@pytest.mark.usefixtures("told")
def test_what_there_was_too_much_of_is_told(settings: Settings) -> None:
    assert list_logs(**asdict(ListLogs(NODE)))["is_whole"]
    writer = KeptLogsWriter(host_file(settings.state_dir, "c", "session_1", "h1"), 1 << 20)
    writer.leaves_out(3)
    writer.close()
    assert not list_logs(**asdict(ListLogs(NODE)))["is_whole"]


@pytest.mark.usefixtures("told")
def test_what_is_kept_is_downloaded_byte_by_byte() -> None:
    answer = read_bytes(NODE, file_id("cut.out"), None, 0, 1 << 20)
    assert (b64decode(answer["content"]), answer["size"]) == (PIECE, len(PIECE))


def test_what_is_kept_is_searched_like_the_rest(told: list[bytes]) -> None:
    asked: dict[str, Any] = {
        "node_id": NODE, "pattern": "line 11999", "is_regex": False, "any_case": False, "context": 0, "group": None, "name": "",
        "worker_ids": (), "job_ids": (), "submission_ids": (), "from_ms": None, "to_ms": None, "max_hits": 100,
    }  # fmt: skip
    progress = msgspec.convert(log_search.search_logs(**asked), SearchProgress)
    assert (progress.hits, progress.files, progress.files_done) == (3, 3, 3)
    hits = {found.file.name: found.lines[0] for part in map(read_part, told) for found in part.found}
    last = len(PIECE) - 22
    assert {name: (line.number, line.offset) for name, line in hits.items()} == {
        "whole.out": (2000, last),
        "cut.out": (2010, 90 + last),
        "late.out": (None, 1_000_000 + last),
    }


@pytest.mark.usefixtures("told")
def test_of_a_node_of_which_nothing_is_kept_that_is_said() -> None:
    with pytest.raises(CannotAnswer, match="Nothing of its log files was kept"):
        list_logs(**asdict(ListLogs(STRANGER)))


def test_what_another_cluster_kept_is_not_read(told: list[bytes], settings: Settings) -> None:
    set_running(replace(Running(settings, "c", "head", lambda words: None, told.append), cluster="d"))
    with pytest.raises(CannotAnswer, match="Nothing of its log files was kept"):
        list_logs(**asdict(ListLogs(NODE)))


@pytest.mark.usefixtures("told")
def test_a_damaged_file_is_said_to_be_that(settings: Settings) -> None:
    path = host_file(settings.state_dir, "c", "session_1", "h1")
    content = bytearray(path.read_bytes())
    for at in range(0, len(content), 4096):
        content[at + 3000 : at + 3100] = b"\0" * 100
    path.write_bytes(bytes(content))
    with pytest.raises(CannotAnswer, match="is damaged"):
        read_log(NODE, file_id("whole.out"), None, True, 2)
    path.write_bytes(content[:100] + b"\xff" * 8000)
    with pytest.raises(CannotAnswer, match="Nothing of its log files was kept"):
        list_logs(**asdict(ListLogs(NODE)))
