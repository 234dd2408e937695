"""Errors in log files on their way from a node to their groups on the head; real files, a real Redis."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

import pytest

from clusterstate.log_error_answers import ErrorList
from clusterstate.store import kept_space, keys, log_error_groups
from clusterstate.store.log_error_reader import Asked, ErrorGroupsReader
from tests.workers.test_log_shipping import NODE, Host, host  # noqa: F401 - a fixture
from workers.log_keeper import LogKeeper

TRACEBACK = b'Traceback (most recent call last):\n  File "/a/b.py", line %d, in f\nValueError: bad %d\n'
WORKER = "worker-" + "ab" * 28
ERR, OTHER = f"{WORKER}-01000000-7.err", f"{WORKER}-02000000-8.err"


def folder(host: Host) -> Path:  # noqa: F811
    return host.path.parent


def said(minutes_ago: int, what: bytes) -> bytes:
    """A line that says ERROR and when."""
    when = time.strftime("%Y-%m-%d %H:%M:00", time.localtime(time.time() - 60 * minutes_ago))
    return b"%s,000 ERROR a.py:1 -- %s\n" % (when.encode(), what)


def settle(host: Host) -> None:  # noqa: F811
    host.keeper._errors.settle(0.0, everything=True)


def groups(host: Host, **asked: object) -> ErrorList:  # noqa: F811
    settle(host)
    with ErrorGroupsReader(folder(host)) as reader:
        return reader.page(Asked(**asked))  # type: ignore[arg-type]


def test_the_same_error_again_is_counted_where_it_was(host: Host) -> None:  # noqa: F811
    host.write(ERR, TRACEBACK % (3, 1))
    host.ship()
    host.write(ERR, TRACEBACK % (3, 2))
    host.write(OTHER, b"fine\n" + TRACEBACK % (4, 3))
    host.write("raylet.out", b"[2026-11-23 10:00:00,123 E 1 2] x.cc:9: Lost 7\n")
    host.ship()
    found = groups(host)
    assert [(one.exception, one.count, one.owner_count, one.host_count) for one in sorted(found.groups, key=lambda one: one.kind)] == [
        ("", 1, 1, 1),
        ("ValueError", 3, 2, 1),
    ]
    assert found.kinds == {"line": 1, "traceback": 1}
    [first] = groups(host, kind="traceback").groups
    assert {one.key: one.count for one in first.owners} == {"job:01000000": 2, "job:02000000": 1}
    assert first.hosts[0].node_id == NODE
    with ErrorGroupsReader(folder(host)) as reader:
        places = {(name, place.offset) for place, name in reader.places(first.fingerprint)}
        told = reader.detail(first.fingerprint)
    assert places == {(ERR, 0), (ERR, len(TRACEBACK % (3, 1))), (OTHER, 5)}
    assert told is not None
    assert told[1].endswith("ValueError: bad 1")


def test_a_traceback_written_in_parts_is_one(host: Host) -> None:  # noqa: F811
    whole = TRACEBACK % (3, 1)
    for at in range(0, len(whole), 9):
        host.write(ERR, whole[at : at + 9])
        host.ship()
    assert [(one.exception, one.count) for one in groups(host).groups] == [("ValueError", 1)]


def test_nothing_is_counted_twice_whatever_starts_again(host: Host) -> None:  # noqa: F811
    host.write(ERR, TRACEBACK % (3, 1))
    host.ship()
    host.redis.delete(keys.shipped_known("demo", folder(host).name, "h1"))
    host.start()
    host.ship()
    host.keeper.close()
    host.keeper = LogKeeper(host.redis, host.settings, "demo")
    host.redis.delete(keys.shipped_known("demo", folder(host).name, "h1"))
    host.start()
    host.ship()
    assert [one.count for one in groups(host).groups] == [1]
    host.write(ERR, TRACEBACK % (3, 2))
    host.ship()
    assert [one.count for one in groups(host).groups] == [2]


def test_an_undecided_error_outlives_the_keeper(host: Host) -> None:  # noqa: F811
    whole = TRACEBACK % (3, 1)
    host.write(ERR, whole[:60])
    host.ship()
    host.keeper._errors.write(0.0)
    host.keeper = LogKeeper(host.redis, host.settings, "demo")
    host.write(ERR, whole[60:])
    host.ship()
    assert [(one.exception, one.count) for one in groups(host).groups] == [("ValueError", 1)]


def test_a_rotated_file_is_found_by_its_new_name(host: Host) -> None:  # noqa: F811
    host.write("raylet.err", TRACEBACK % (3, 1))
    host.ship()
    (host.folder / "raylet.err").rename(host.folder / "raylet.err.1")
    host.write("raylet.err", b"new\n")
    host.ship()
    [one] = groups(host).groups
    with ErrorGroupsReader(folder(host)) as reader:
        assert [name for _, name in reader.places(one.fingerprint)] == ["raylet.err.1"]


def test_a_cut_file_and_another_with_its_inode_are_looked_at_anew(host: Host) -> None:  # noqa: F811
    host.write(ERR, TRACEBACK % (3, 1))
    host.ship()
    (host.folder / ERR).write_bytes(b"of another program\n" + TRACEBACK % (3, 2))
    host.ship()
    [one] = groups(host).groups
    assert one.count == 2
    (host.folder / ERR).rename(host.folder / "raylet.err")
    host.ship()
    with ErrorGroupsReader(folder(host)) as reader:
        assert {name for _, name in reader.places(one.fingerprint)} == {ERR}


def test_what_a_driver_shows_of_its_workers_is_not_counted_again(host: Host) -> None:  # noqa: F811
    lines = (TRACEBACK % (3, 1)).splitlines(keepends=True)
    host.write(ERR, b"".join(lines))
    host.write("job-driver-raysubmit_1.log", b"".join(b"(f pid=7) " + line for line in lines))
    host.ship()
    assert [one.count for one in groups(host).groups] == [1]


def test_an_error_is_new_in_the_job_that_had_it_first(host: Host) -> None:  # noqa: F811
    host.write(ERR, said(50, b"one") + said(49, b"two"))
    host.write(OTHER, said(90, b"one") + said(20, b"two"))
    host.ship()

    def new(job: str) -> dict[str, bool]:
        return {one.title[-3:]: one.is_new for one in groups(host, owners=(f"job:{job}",)).groups}

    assert new("01000000") == {"one": False, "two": True}
    assert new("02000000") == {"one": True, "two": False}


def test_an_error_that_an_earlier_session_had_is_not_new(host: Host) -> None:  # noqa: F811
    host.write(ERR, TRACEBACK % (3, 1))
    host.ship()
    settle(host)
    earlier = folder(host).parent / "session_2026-01-01_00-00-00_000000_1"
    earlier.mkdir()
    host.keeper.close()
    (earlier / log_error_groups.FILE_NAME).write_bytes((folder(host) / log_error_groups.FILE_NAME).read_bytes())
    with sqlite3.connect(earlier / log_error_groups.FILE_NAME) as database:
        database.execute("UPDATE groups SET first_ms = 5, last_ms = 6")
    database.close()
    [found] = groups(host, owners=("job:01000000",)).groups
    assert (found.is_new, found.seen_before_ms) == (False, 6)


def test_of_very_many_errors_those_seen_longest_ago_go_and_it_is_said(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(log_error_groups, "MOST_GROUPS", 3)
    monkeypatch.setattr(log_error_groups, "MOST_PLACES", 2)
    words = [b"one", b"two", b"three", b"four", b"five"]
    host.write("a.log", b"".join(said(50 - at, word) for at, word in enumerate(words)))
    host.write("b.log", said(5, b"five") * 9)
    host.ship()
    found = groups(host)
    assert {one.title.rpartition(" ")[2] for one in found.groups} == {"three", "four", "five"}
    assert found.kept.gone == 2
    with ErrorGroupsReader(folder(host)) as reader:
        assert len(reader.places(found.groups[0].fingerprint)) == 2


def test_secrets_are_masked_in_what_is_shown(host: Host) -> None:  # noqa: F811
    secret = b"hf_" + b"aB3" * 12
    host.write(ERR, (TRACEBACK % (3, 1)).replace(b"bad 1", b"token=" + secret))
    host.ship()
    [one] = groups(host).groups
    with ErrorGroupsReader(folder(host)) as reader:
        told = reader.detail(one.fingerprint)
    assert told is not None
    assert secret.decode() not in one.title + told[1]


def test_groups_go_with_the_kept_logs_of_their_session_and_begin_anew(host: Host) -> None:  # noqa: F811
    host.write(ERR, TRACEBACK % (3, 1))
    host.ship()
    settle(host)
    path = folder(host) / log_error_groups.FILE_NAME
    assert path.stat().st_mode & 0o777 == 0o600
    host.keeper._writers.clear()
    kept_space.delete(host.path)
    assert not folder(host).exists()
    host.write(ERR, TRACEBACK % (3, 2))
    host.start()
    host.ship()
    assert path.exists()


def test_logs_are_kept_whatever_becomes_of_the_groups(host: Host) -> None:  # noqa: F811
    host.write(ERR, TRACEBACK % (3, 1))
    host.ship()
    host.keeper.close()
    path = folder(host) / log_error_groups.FILE_NAME
    for name in os.listdir(folder(host)):
        if name.startswith(path.name):
            (folder(host) / name).unlink()
    path.write_bytes(b"no database at all" * 1000)
    host.keeper = LogKeeper(host.redis, host.settings, "demo")
    host.write(ERR, TRACEBACK % (3, 2))
    host.ship()
    assert host.content(ERR).endswith(b"bad 2\n")
    host.write(ERR, b"more\n" + TRACEBACK % (3, 3))
    host.ship()
    assert [one.exception for one in groups(host).groups] == ["ValueError"]
