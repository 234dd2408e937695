"""The spool between receivers and the collector: nothing is lost that was kept, and its size is bounded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clusterstate import spool
from clusterstate.settings import BadSetting, read_settings
from clusterstate.spool import JSON, PROTOBUF, SpoolFull, SpoolReader, SpoolWriter
from webapp.cluster_api import MAX_BODY_BYTES

LIMIT = 10_000_000


def bodies(reader: SpoolReader, most_bytes: int = LIMIT) -> list[bytes]:
    return [record.body for record in reader.read(most_bytes)]


def test_records_come_back_once_in_the_order_they_were_kept(tmp_path: Path) -> None:
    writer, reader = SpoolWriter(tmp_path / "spool", LIMIT, clock=lambda: 12.5), SpoolReader(tmp_path / "spool")
    assert bodies(reader) == []
    writer.append(PROTOBUF, b"one")
    writer.append(JSON, b"")

    records = reader.read(LIMIT)

    assert [(record.kind, record.received_at, record.body) for record in records] == [(PROTOBUF, 12.5, b"one"), (JSON, 12.5, b"")]
    reader.confirm()
    assert bodies(reader) == []
    writer.append(PROTOBUF, b"two")
    assert bodies(reader) == [b"two"]


def test_what_was_not_confirmed_is_read_again(tmp_path: Path) -> None:
    writer, reader = SpoolWriter(tmp_path, LIMIT), SpoolReader(tmp_path)
    writer.append(PROTOBUF, b"one")
    assert bodies(reader) == [b"one"]
    assert bodies(reader) == [b"one"]
    assert bodies(SpoolReader(tmp_path)) == [b"one"]


def test_what_only_an_earlier_reading_got_to_is_not_confirmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "FILE_BYTES", 100)
    writer, reader = SpoolWriter(tmp_path, LIMIT), SpoolReader(tmp_path)
    for name in (b"one", b"two"):  # a file each
        writer.append(PROTOBUF, name * 30)
    assert len(bodies(reader)) == 2
    assert len(bodies(reader, 1)) == 1
    reader.confirm()

    assert bodies(reader) == [b"two" * 30]


def test_reading_goes_on_where_it_stopped(tmp_path: Path) -> None:
    writer, reader = SpoolWriter(tmp_path, LIMIT), SpoolReader(tmp_path)
    for number in range(5):
        writer.append(PROTOBUF, b"%d" % number * 100)
    found = []
    while some := bodies(reader, 150):
        found.append(len(some))
        reader.confirm()
    assert found == [2, 2, 1]


def test_a_file_goes_when_its_writer_has_gone_on_and_all_of_it_was_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "FILE_BYTES", 100)
    writer, reader = SpoolWriter(tmp_path, LIMIT), SpoolReader(tmp_path)
    for _ in range(3):
        writer.append(PROTOBUF, b"x" * 60)
    assert len(list(tmp_path.iterdir())) == 3
    assert len(bodies(reader, 1)) == 1
    reader.confirm()
    assert len(list(tmp_path.iterdir())) == 2
    assert len(bodies(reader)) == 2
    reader.confirm()
    assert len(list(tmp_path.iterdir())) == 1, "the writer may go on with the last one"
    writer.close()
    reader.read(LIMIT)
    reader.confirm()
    assert list(tmp_path.iterdir()) == []
    assert reader.broken == 0
    assert reader.waiting_bytes == 0


def test_beyond_its_limit_nothing_is_kept_until_something_was_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "FILE_BYTES", 100)
    monkeypatch.setattr(spool, "MEASURED_EVERY_S", 0)
    writer, reader = SpoolWriter(tmp_path, 250), SpoolReader(tmp_path)
    writer.append(PROTOBUF, b"x" * 80)
    writer.append(PROTOBUF, b"y" * 80)
    with pytest.raises(SpoolFull, match="250"):
        writer.append(PROTOBUF, b"z" * 80)
    bodies(reader)
    reader.confirm()
    writer.append(PROTOBUF, b"z" * 80)
    assert bodies(reader) == [b"z" * 80]


def test_the_least_limit_that_may_be_set_never_stops_what_is_read_at_once(tmp_path: Path) -> None:
    settings = read_settings({"RAYDECK_SPOOL_MB": "200"})
    writer, reader = SpoolWriter(tmp_path, settings.spool_mb * 1024 * 1024), SpoolReader(tmp_path)
    for body in (b"x" * MAX_BODY_BYTES, b"y" * 1000, b"z" * MAX_BODY_BYTES) * 2:
        writer.append(PROTOBUF, body)
        assert bodies(reader) == [body]
        reader.confirm()
    with pytest.raises(BadSetting, match="200"):
        read_settings({"RAYDECK_SPOOL_MB": "199"})


def test_a_full_disk_is_no_room_and_what_was_cut_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, reader = SpoolWriter(tmp_path, LIMIT), SpoolReader(tmp_path)
    writer.append(PROTOBUF, b"kept")
    whole = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: whole(descriptor, data[: len(data) // 2]))
    with pytest.raises(SpoolFull):
        writer.append(PROTOBUF, b"lost" * 10)
    monkeypatch.setattr(os, "write", whole)
    writer.append(PROTOBUF, b"also kept")

    assert bodies(reader) == [b"kept", b"also kept"]
    reader.confirm()
    assert reader.broken == 1


def test_nothing_is_lost_when_a_writer_is_killed_at_any_moment(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from clusterstate.spool import *\n"
        f"writer = SpoolWriter(Path({str(tmp_path)!r}), {LIMIT * 10}); number = 0\n"
        "while True:\n"
        "    writer.append(1, b'%09d' % number * 20); print(number, flush=True); number += 1\n"
    )
    reader, found = SpoolReader(tmp_path), []
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            said = [int(writer.stdout.readline()) for _ in range(200)]
            found += [int(body[:9]) for body in bodies(reader, 5000)]
            reader.confirm()
            writer.send_signal(signal.SIGKILL)
            said += [int(line) for line in writer.stdout.read().splitlines() if line]
        while some := bodies(reader):
            found += [int(body[:9]) for body in some]
            reader.confirm()
        reader.confirm()
        assert len(found) >= len(said)
        assert found[: len(said)] == said
        found.clear()
    assert list(tmp_path.glob("*.spool")) == []


def test_files_are_its_owners_alone_and_links_are_not_followed(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "spool", tmp_path / "secret"
    writer = SpoolWriter(folder, LIMIT)
    writer.append(PROTOBUF, b"x")
    [file] = folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    elsewhere.write_bytes(b"y" * 100)
    (folder / "0-1-1.spool").symlink_to(elsewhere)
    reader = SpoolReader(folder)
    assert bodies(reader) == [b"x"]
    reader.confirm()
    assert elsewhere.exists()
