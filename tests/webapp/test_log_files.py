"""Log files as files: the node is this process, its files are real."""

from __future__ import annotations

import io
import json
import os
import random
import tarfile
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from clusterstate.node_questions import NodeQuestions, Unanswered
from clusterstate.settings import Settings
from clusterstate.store.kept_logs import KeptLogsWriter, Piece, host_file
from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import Person
from webapp.logs.reading import safe_path
from workers.probes import logs
from workers.probes.running import CannotAnswer, Running, set_running
from workers.sources.beneath import NotThere
from workers.sources.log_listing import file_id
from workers.start import function_of

NODE = "0" * 55 + "7"
FILES = f"/c/demo/logs/{NODE}"


@pytest.fixture
def folder(tmp_path: Path, cluster: BuiltCluster, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log folder of a node that answers in this process, as over the queue: in JSON."""
    cluster.with_node(node_id=NODE, hostname="gpu-7", is_head_node=True)
    cluster.with_node_stats(NODE, hostname="gpu-7")
    cluster.project()
    inner = tmp_path / "logs"
    inner.mkdir()
    monkeypatch.setattr(logs, "log_folder", lambda node_id: inner)

    def ask(self: NodeQuestions, probe: Any, cluster: str, host: str, within_s: float) -> Any:
        try:
            return json.loads(json.dumps(function_of(type(probe))(**asdict(probe))))
        except CannotAnswer as why:
            raise Unanswered(str(why)) from None

    monkeypatch.setattr(NodeQuestions, "ask", ask)
    return inner


@pytest.fixture
def content(folder: Path) -> bytes:
    """Of raylet.out: more than is read at once, and no text."""
    made = random.Random(3).randbytes(5 << 20)
    (folder / "raylet.out").write_bytes(made)
    return made


def test_a_file_comes_byte_by_byte(vera: Person, content: bytes) -> None:
    answer = vera.page(f"{FILES}/{file_id('raylet.out')}/file")
    assert answer.status_code == 200
    assert answer.data == content
    assert answer.headers["Content-Length"] == str(len(content))
    assert answer.headers["Content-Disposition"] == 'attachment; filename="raylet.out"'
    assert "Content-Encoding" not in answer.headers


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-9", 0, 9),
        ("bytes=2097150-2097160", 2097150, 2097160),
        ("bytes=5242870-", 5242870, 5242879),
        ("bytes=-7", 5242873, 5242879),
    ],
)
def test_a_part_of_it_comes_as_asked(vera: Person, content: bytes, asked: str, first: int, last: int) -> None:
    answer = vera.get(f"{FILES}/{file_id('raylet.out')}/file", {"Range": asked})
    assert answer.status_code == 206
    assert answer.data == content[first : last + 1]
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(content)}"


def test_a_part_that_is_not_there(vera: Person, content: bytes) -> None:
    answer = vera.get(f"{FILES}/{file_id('raylet.out')}/file", {"Range": "bytes=99999999-"})
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(content)}"


def test_an_empty_file_is_an_empty_file(vera: Person, folder: Path) -> None:
    (folder / "raylet.err").write_bytes(b"")
    answer = vera.page(f"{FILES}/{file_id('raylet.err')}/file")
    assert (answer.status_code, answer.data) == (200, b"")


def test_a_file_that_is_not_there_is_an_error_that_says_so(vera: Person, folder: Path) -> None:
    for wrong in (file_id("nothing.log"), "x" * 300, "%2e%2e%2fetc"):
        answer = vera.page(f"{FILES}/{wrong}/file")
        assert answer.status_code in (404, 502)
    assert "There is no such file" in vera.page(f"{FILES}/{file_id('nothing.log')}/file").text


def test_a_file_that_is_rotated_away_ends_the_download(vera: Person, folder: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a file is never a whole one: the connection ends before the length that was promised."""
    pread = os.pread
    reads: list[int] = []

    def rotating(file: int, length: int, at: int) -> bytes:
        reads.append(at)
        if len(reads) == 1:
            (folder / "raylet.out").rename(folder / "raylet.out.1")
            (folder / "raylet.out").write_bytes(b"new")
        return pread(file, length, at)

    monkeypatch.setattr(os, "pread", rotating)
    with pytest.raises(Unanswered, match="rotated away"):
        _ = vera.page(f"{FILES}/{file_id('raylet.out')}/file").data


def members(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as found:
        return {member.name: (found.extractfile(member) or io.BytesIO()).read() for member in found}


def test_many_files_are_one_archive(vera: Person, folder: Path, content: bytes) -> None:
    (folder / "serve").mkdir()
    (folder / "serve/x.log").write_bytes(b"served\n")
    (folder / "empty.log").write_bytes(b"")
    answer = vera.page(f"/c/demo/logs/archive.tar.gz?node={NODE}")
    found = members(answer.data)
    assert found[f"{NODE[:8]}/raylet.out"] == content
    assert found[f"{NODE[:8]}/serve/x.log"] == b"served\n"
    told = json.loads(found[f"{NODE[:8]}/archive.json"])
    assert {file["file"] for file in told["files"]} == {"raylet.out", "serve/x.log"}


def test_those_chosen_are_in_the_archive_and_what_is_missing_is_told(vera: Person, folder: Path) -> None:
    (folder / "a.log").write_bytes(b"a\n")
    (folder / "b.log").write_bytes(b"b\n")
    answer = vera.page(f"/c/demo/logs/archive.tar.gz?node={NODE}&file={file_id('a.log')}&file={file_id('gone.log')}")
    found = members(answer.data)
    assert set(found) == {f"{NODE[:8]}/a.log", f"{NODE[:8]}/archive.json"}
    assert "no such file" in json.loads(found[f"{NODE[:8]}/archive.json"])["files"][1]["problem"]


def test_too_many_files_are_refused(vera: Person, folder: Path) -> None:
    for number in range(501):
        (folder / f"{number}.log").write_bytes(b"x")
    answer = vera.page(f"/c/demo/logs/archive.tar.gz?node={NODE}")
    assert answer.status_code == 400
    assert "501" in answer.text
    assert vera.page("/c/demo/logs/archive.tar.gz").status_code == 400


def test_of_kept_files_what_was_kept_counts(
    vera: Person, folder: Path, settings: Settings, cluster: BuiltCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver's file that grew to hundreds of gigabytes, of which the end was kept."""

    def no_raylet(node_id: str) -> Path:
        raise NotThere("The raylet of this node does not run on this machine (any more).")

    monkeypatch.setattr(logs, "log_folder", no_raylet)
    gone = "0" * 55 + "9"
    cluster.with_node(node_id=gone, state="DEAD", end_time_ms=1_700_000_000_000)
    cluster.project()
    set_running(Running(settings, "demo", "head", lambda words: None, lambda part: None))
    writer = KeptLogsWriter(host_file(settings.state_dir, "demo", "session_1", "h9"), 1 << 20)
    writer.of_nodes((gone,))
    writer.add(Piece("1-1", b"raylet.out", 900 << 30, 14, 1_700_000_000_000, zlib.compress(b"its last words")))
    writer.close()
    answer = vera.page(f"/c/demo/logs/archive.tar.gz?node={gone}")
    with tarfile.open(fileobj=io.BytesIO(answer.data)) as found:
        assert [member.size for member in found if member.name.endswith("raylet.out")] == [14]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("serve/x.log", "serve/x.log"),
        ("/etc/passwd", "etc/passwd"),
        ("../../x", "x"),
        ("a/../../b", "a/b"),
        ("..", "file"),
        ("a\\..\\b", "a/b"),
    ],
)
def test_no_name_leads_out_of_an_archive(name: str, kept: str) -> None:
    assert safe_path(name) == kept
