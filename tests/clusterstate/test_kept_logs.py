"""What is kept of log files: whole or their end, within budgets, by what they are and not by what they are called."""

from __future__ import annotations

import os
import random
import sqlite3
import stat
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from clusterstate.store import kept_logs
from clusterstate.store.kept_logs import BadPiece, KeptFile, KeptLogsReader, KeptLogsWriter, Piece, host_file, of_node
from clusterstate.store.kept_space import Disk, delete_before, delete_beyond, delete_session, files_of, level

NODE = "0" * 55 + "7"


def piece(content: bytes, *, start: int = 0, inode: str = "1-1", name: bytes = b"raylet.out") -> Piece:
    return Piece(inode, name, start, len(content), 1_700_000_000_000, zlib.compress(content))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return host_file(tmp_path, "demo", "session_1", "host-1")


@pytest.fixture
def kept(path: Path) -> Iterator[KeptLogsWriter]:
    found = KeptLogsWriter(path, 1 << 20)
    yield found
    found.close()


def files(path: Path) -> dict[bytes, KeptFile]:
    with KeptLogsReader(path) as reader:
        return {file.name: file for file in reader.files()}


def content(path: Path, inode: str = "1-1") -> bytes:
    with KeptLogsReader(path) as reader:
        return b"".join(reader.chunks(inode))


def test_pieces_that_follow_each_other_are_the_file(kept: KeptLogsWriter, path: Path) -> None:
    kept.add(piece(b"one\n"))
    kept.add(piece(b"two\n", start=4))
    assert content(path) == b"one\ntwo\n"
    found = files(path)[b"raylet.out"]
    assert (found.first, found.end, found.lines_before) == (0, 8, 0)


def test_of_very_many_files_the_oldest_go(kept: KeptLogsWriter, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_logs, "MOST_FILES", 3)
    for number in range(5):
        kept.add(replace(piece(b"one\n", inode=f"1-{number}", name=b"%d.out" % number), modified_ms=1000 + number))
    assert set(files(path)) == {b"2.out", b"3.out", b"4.out"}
    with KeptLogsReader(path) as reader:
        assert reader.left_out() == 2, "and it is told that there were more"


def test_whether_it_begins_with_a_line_is_known_when_what_came_before_was_here(path: Path) -> None:
    kept = KeptLogsWriter(path, 1 << 20)
    found = []
    for start, content in enumerate((b"a\n", b"b ", b"c\n", b"d\n")):
        kept.add(piece(content, start=start * 2))
    for _ in range(3):
        kept._give_up_oldest(kept.files()[0])
        found.append((kept.files()[0].first, kept.files()[0].begins_line))
    kept.close()
    assert found == [(2, True), (4, False), (6, True)]


def test_what_an_earlier_version_wrote_is_written_on(path: Path) -> None:
    KeptLogsWriter(path, 1 << 20).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("ALTER TABLE files DROP COLUMN begins_line")
    kept = KeptLogsWriter(path, 1 << 20)
    kept.add(piece(b"one\n"))
    kept.close()
    assert content(path) == b"one\n"


def test_a_piece_that_comes_twice_is_kept_once(kept: KeptLogsWriter, path: Path) -> None:
    kept.add(piece(b"one\n"))
    kept.add(piece(b"two\n", start=4))
    kept.add(piece(b"one\n"))
    kept.add(piece(b"e\ntwo\nthree\n", start=2))
    assert content(path) == b"one\ntwo\nthree\n"


def test_what_does_not_follow_is_begun_anew(kept: KeptLogsWriter, path: Path) -> None:
    kept.add(piece(b"one\n"))
    kept.add(piece(b"far on\n", start=1000))
    assert content(path) == b"far on\n"
    found = files(path)[b"raylet.out"]
    assert (found.first, found.end, found.lines_before) == (1000, 1007, None)
    assert kept.stored == found.stored


def test_a_rotated_file_stays_itself(kept: KeptLogsWriter, path: Path) -> None:
    kept.add(piece(b"old\n"))
    kept.rename("1-1", b"raylet.out.1")
    kept.add(piece(b"new\n", inode="1-2"))
    kept.add(piece(b"still to the old one\n", start=4, name=b"raylet.out.1"))
    assert content(path, "1-1") == b"old\nstill to the old one\n"
    assert content(path, "1-2") == b"new\n"
    assert set(files(path)) == {b"raylet.out", b"raylet.out.1"}


def test_another_file_of_the_same_name_takes_its_place(kept: KeptLogsWriter, path: Path) -> None:
    kept.add(piece(b"old\n"))
    kept.add(piece(b"new\n", inode="1-2"))
    assert content(path, "1-2") == b"new\n"
    assert set(files(path)) == {b"raylet.out"}
    kept.rename("1-1", b"raylet.out.1")
    assert content(path, "1-1") == b"old\n", "that it was renamed was told late"
    assert set(files(path)) == {b"raylet.out", b"raylet.out.1"}


def test_what_lost_its_name_goes_first(kept: KeptLogsWriter, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_logs, "MOST_NAMELESS", 2)
    for number in range(5):
        kept.add(replace(piece(b"%d\n" % number, inode=f"1-{number}"), modified_ms=number))
    assert [content(path, f"1-{number}") for number in range(5)] == [b"", b"", b"2\n", b"3\n", b"4\n"]
    kept.shrink_to(kept.stored - 1)
    assert [content(path, f"1-{number}") for number in range(5)] == [b"", b"", b"", b"", b"4\n"]
    assert kept.stored == files(path)[b"raylet.out"].stored


def test_the_noisy_file_loses_its_oldest_bytes_and_small_ones_stay_whole(path: Path) -> None:
    kept = KeptLogsWriter(path, 200_000)
    noise = random.Random(1)
    kept.add(piece(b"quiet\n", inode="1-9", name=b"gcs_server.out"))
    at = 0
    for _ in range(50):
        block = noise.randbytes(20_000).replace(b"\n", b" ")[:-1] + b"\n"
        kept.add(piece(block, start=at))
        at += len(block)
        assert kept.stored <= 200_000
    kept.close()
    found = files(path)
    assert content(path, "1-9") == b"quiet\n"
    assert found[b"raylet.out"].end == 1_000_000
    assert 100_000 < found[b"raylet.out"].end - found[b"raylet.out"].first <= 200_000
    assert found[b"raylet.out"].lines_before == found[b"raylet.out"].first // 20_000
    assert len(content(path)) == found[b"raylet.out"].end - found[b"raylet.out"].first
    again = KeptLogsWriter(path, 200_000)
    assert again.stored == sum(file.stored for file in found.values())
    again.close()


def test_of_one_file_no_more_is_kept_than_can_be_unpacked(kept: KeptLogsWriter, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_logs, "MOST_OF_A_FILE", 10_000)
    for number in range(20):
        kept.add(piece(b"x" * 999 + b"\n", start=number * 1000))
    found = files(path)[b"raylet.out"]
    assert (found.first, found.end, found.lines_before) == (10_000, 20_000, 10)


@pytest.mark.parametrize(
    "bad",
    [
        Piece("1-1", b"x", 0, 4, 0, b"no zlib"),
        Piece("1-1", b"x", 0, 5, 0, zlib.compress(b"four")),
        Piece("1-1", b"x", 0, 3, 0, zlib.compress(b"four")),
        Piece("1-1", b"x", 0, 10, 0, zlib.compress(b"0" * 100_000_000)),
        Piece("1-1", b"", 0, 4, 0, zlib.compress(b"four")),
        Piece("1-1", b"\0x", 0, 4, 0, zlib.compress(b"four")),
        Piece("1-1", b"x" * 5000, 0, 4, 0, zlib.compress(b"four")),
        Piece("", b"x", 0, 4, 0, zlib.compress(b"four")),
        Piece("1-1", b"x", -1, 4, 0, zlib.compress(b"four")),
    ],
)
def test_what_is_no_piece_is_refused(kept: KeptLogsWriter, bad: Piece) -> None:
    with pytest.raises(BadPiece):
        kept.add(bad)


@pytest.mark.parametrize("name", ["../x", "", ".hidden", "a/b", "x" * 200, "a\0b", "..", "a\n"])
def test_names_that_are_none_are_refused(tmp_path: Path, name: str) -> None:
    for given in ((name, "s", "h"), ("c", name, "h"), ("c", "s", name)):
        with pytest.raises(BadPiece):
            host_file(tmp_path, *given)
    assert of_node(tmp_path, name, NODE) is None
    assert of_node(tmp_path, "demo", name) is None


def test_it_is_found_by_any_node_of_the_host(kept: KeptLogsWriter, path: Path, tmp_path: Path) -> None:
    kept.of_nodes((NODE, "1" * 56))
    assert of_node(tmp_path, "demo", NODE) == path
    assert of_node(tmp_path, "demo", "1" * 56) == path
    assert of_node(tmp_path, "demo", "2" * 56) is None
    assert of_node(tmp_path, "other", NODE) is None


def test_nobody_else_can_read_it(kept: KeptLogsWriter, path: Path) -> None:
    kept.add(piece(b"one\n"))
    for one in path.parent.iterdir():
        assert stat.S_IMODE(one.stat().st_mode) == 0o600, one
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_what_was_written_to_longest_ago_is_deleted_first(tmp_path: Path) -> None:
    made = []
    for number in range(3):
        path = host_file(tmp_path, "demo", f"session_{number}", "host-1")
        writer = KeptLogsWriter(path, 1 << 20)
        writer.add(piece(random.Random(number).randbytes(100_000)))
        writer.close()
        os.utime(path, (1000 + number, 1000 + number))
        made.append(path)
    found = files_of(tmp_path, "demo")
    assert found == made
    assert delete_beyond(found, 1 << 30, frozenset()) == []
    assert delete_beyond(found, 350_000, frozenset({made[0]})) == [made[1]]
    assert not made[1].parent.exists()
    assert files_of(tmp_path, "demo") == [made[0], made[2]]
    assert delete_before(files_of(tmp_path, "demo"), 1001, frozenset({made[0]})) == []
    assert delete_before(files_of(tmp_path, "demo"), 1001, frozenset()) == [made[0]]
    delete_session(tmp_path, "demo", "session_2")
    assert files_of(tmp_path, "demo") == []


@pytest.mark.parametrize(
    ("sizes", "most", "expected"),
    [((), 0, None), ((5, 5), 10, None), ((1, 100, 1), 12, 10), ((50, 50), 20, 10), ((10, 60, 90), 100, 45), ((5,), -5, 0)],
)
def test_the_largest_are_cut_until_all_fit(sizes: tuple[int, ...], most: int, expected: int | None) -> None:
    assert level(sizes, most) == expected
    if expected is not None:
        assert sum(min(size, expected) for size in sizes) <= max(0, most)


def test_what_is_given_up_is_free_on_the_disk(path: Path) -> None:
    kept = KeptLogsWriter(path, 1 << 30)
    for number in range(40):
        kept.add(piece(random.Random(number).randbytes(100_000), start=number * 100_000))
    kept.shrink_to(1_000_000)
    kept.close()
    assert path.stat().st_size < 1_200_000
    assert (files(path)[b"raylet.out"].first, len(content(path))) == (3_100_000, 900_000)


def test_what_is_damaged_can_be_given_up(path: Path) -> None:
    kept = KeptLogsWriter(path, 1 << 20)
    kept.add(piece(b"one\n"))
    kept.add(piece(b"two\n", start=4))
    kept._database.execute("UPDATE chunks SET body = x'00' WHERE start = 0")
    kept._give_up_oldest(kept.files()[0])
    kept.close()
    assert content(path) == b"two\n"
    assert (files(path)[b"raylet.out"].first, files(path)[b"raylet.out"].lines_before) == (4, None)


@pytest.mark.parametrize(
    ("size", "free", "told"),
    [(1e12, 2e9, (False, False)), (1e12, 9e8, (True, False)), (1e12, 2e8, (True, True)), (1e9, 6e7, (False, False))],
)
def test_a_large_disk_is_low_below_a_gigabyte_a_small_one_below_a_twentieth(size: float, free: float, told: tuple[bool, bool]) -> None:
    disk = Disk(int(size), int(free))
    assert (disk.is_low, disk.is_full) == told
