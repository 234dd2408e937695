"""Log files on their way to the head and what is kept of them there; real files, a real Redis."""

from __future__ import annotations

import os
import random
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from clusterstate import paths
from clusterstate.hosts import this_host
from clusterstate.settings import Settings
from clusterstate.store import kept_space, keys, log_shipping, queues, signing
from clusterstate.store.kept_logs import KeptFile, KeptLogsReader, KeptLogsWriter, host_file, of_node
from clusterstate.store.kept_space import Disk
from clusterstate.store.log_shipping import PIECE_BYTES, Shipped
from workers import log_keeper, log_shipper
from workers.log_keeper import LogKeeper
from workers.log_shipper import LogShipper
from workers.sources.file_birth import file_key
from workers.sources.log_listing import inode_of, list_folder

NODE = "0" * 55 + "7"
SESSION = "session_2026-11-22_10-00-00_000000_1"


class Host:
    """A log folder, the role that sends it and the one that keeps it."""

    def __init__(self, folder: Path, client: redis.Redis, settings: Settings) -> None:
        self.folder = folder
        self.redis = client
        self.settings = settings
        self.key = signing.derive(signing.master_key(settings.state_dir), queues.worker_name("demo", "h1"))
        self.keeper = LogKeeper(client, settings, "demo")
        self.now = self.began = time.monotonic()
        self.start()

    def start(self) -> None:
        self.shipper = LogShipper(self.redis, self.key, "demo", "h1", self.settings)

    def look(self, later_s: float = 3600) -> None:
        self.now += later_s
        self.shipper.step(self.now)

    def keep(self) -> None:
        self.keeper.drain(5.0)

    def keep_waiting(self) -> None:
        """What came, without an end of the keeper: it waits for what is missing."""
        while self.redis.exists(keys.shippers("demo")):
            self.keeper.step(self.began)

    def ship(self) -> None:
        self.look()
        self.keep()

    def write(self, name: str, content: bytes) -> None:
        with (self.folder / name).open("ab") as file:
            file.write(content)

    def waiting(self) -> list[Shipped]:
        master = signing.master_key(self.settings.state_dir)
        waiting: list[Any] = self.redis.lrange(keys.shipped("demo", "h1"), 0, -1)
        return [log_shipping.read(message, master, "demo", "h1") for message in waiting]

    def lose(self) -> None:
        """What waits."""
        self.redis.delete(keys.shipped("demo", "h1"))

    @property
    def path(self) -> Path:
        return host_file(self.settings.state_dir, "demo", SESSION, "h1")

    def kept(self) -> dict[str, KeptFile]:
        with KeptLogsReader(self.path) as reader:
            return {os.fsdecode(file.name): file for file in reader.files()}

    def content(self, name: str) -> bytes:
        with KeptLogsReader(self.path) as reader:
            return b"".join(reader.chunks(self.kept()[name].inode))


@pytest.fixture
def host(tmp_path: Path, redis_client: redis.Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    folder = tmp_path / "logs"
    folder.mkdir()
    monkeypatch.setattr(log_shipper, "log_folders", lambda session: {folder: (NODE,)} if folder.exists() else {})
    monkeypatch.setattr(log_shipper, "current_session", lambda client, cluster: SESSION)
    monkeypatch.setattr(log_keeper, "current_session", lambda client, cluster: SESSION)
    found = Host(folder, redis_client, settings)
    yield found
    found.keeper.close()


def test_what_is_written_is_kept(host: Host) -> None:
    host.write("raylet.out", b"one\n")
    (host.folder / "serve").mkdir()
    host.write("serve/replica.log", b"served\n")
    host.ship()
    assert (host.content("raylet.out"), host.content("serve/replica.log")) == (b"one\n", b"served\n")
    host.write("raylet.out", b"two\xff\n")
    host.ship()
    assert host.content("raylet.out") == b"one\ntwo\xff\n"
    assert of_node(host.settings.state_dir, "demo", NODE) == host.path
    assert host.path.stat().st_mode & 0o777 == 0o600
    host.look()
    assert host.waiting() == [], "nothing new, nothing sent"


def test_a_rotated_file_stays_itself(host: Host) -> None:
    for number in range(4):
        host.write("raylet.out", b"%d\n" % number * 3)
        host.ship()
        for older in range(number, 0, -1):
            (host.folder / f"raylet.out.{older}").rename(host.folder / f"raylet.out.{older + 1}")
        (host.folder / "raylet.out").rename(host.folder / "raylet.out.1")
    host.write("raylet.out", b"new\n")
    host.look()
    assert sum(shipped.length for shipped in host.waiting()) == len(b"new\n"), "the old ones are told by their new names alone"
    host.keep()
    found = {name: host.content(name) for name in host.kept()}
    assert found == {
        "raylet.out": b"new\n",
        "raylet.out.1": b"3\n3\n3\n",
        "raylet.out.2": b"2\n2\n2\n",
        "raylet.out.3": b"1\n1\n1\n",
        "raylet.out.4": b"0\n0\n0\n",
    }


def test_a_cut_file_begins_anew(host: Host) -> None:
    host.write("raylet.out", b"a long beginning\n")
    host.ship()
    (host.folder / "raylet.out").write_bytes(b"new\n")
    host.ship()
    assert host.content("raylet.out") == b"new\n"


def test_another_file_with_the_same_inode_is_told_by_what_stands_in_it(host: Host) -> None:
    """A folder's file is deleted and the file system gives its inode to the next one: here one is written over, and longer."""
    host.write("raylet.out", b"old words\n")
    host.ship()
    (host.folder / "raylet.out").write_bytes(b"entirely other words\n")
    host.ship()
    assert host.content("raylet.out") == b"entirely other words\n"


def test_a_deleted_file_is_kept(host: Host) -> None:
    host.write("worker.out", b"printed\n")
    host.ship()
    (host.folder / "worker.out").unlink()
    host.ship()
    assert host.content("worker.out") == b"printed\n"


def test_a_role_that_starts_again_goes_on_where_it_was(host: Host) -> None:
    host.write("raylet.out", b"one\n")
    host.ship()
    host.start()
    host.write("raylet.out", b"two\n")
    host.look()
    [shipped] = host.waiting()
    assert (shipped.start, shipped.length, shipped.begins) == (4, 4, False)
    host.keep()
    assert host.content("raylet.out") == b"one\ntwo\n"


def test_what_redis_lost_is_sent_once_more_and_kept_once(host: Host) -> None:
    host.write("raylet.out", b"one\n")
    host.ship()
    host.redis.flushdb()
    host.start()
    host.write("raylet.out", b"two\n")
    host.ship()
    assert host.content("raylet.out") == b"one\ntwo\n"


def test_what_was_lost_on_its_way_is_sent_again(host: Host) -> None:
    host.write("raylet.out", b"one\n")
    host.ship()
    host.write("raylet.out", b"two\n")
    host.look()
    host.lose()
    host.write("raylet.out", b"three\n")
    host.ship()
    assert host.content("raylet.out") == b"one\ntwo\nthree\n"
    host.look()
    assert host.waiting() == [], "what is kept is not sent again"


def test_a_rotation_that_was_lost_on_its_way_is_told_again(host: Host) -> None:
    host.write("raylet.out", b"old\n")
    host.ship()
    (host.folder / "raylet.out").rename(host.folder / "raylet.out.1")
    host.write("raylet.out", b"new\n")
    host.look()
    host.lose()
    host.ship()
    assert {name: host.content(name) for name in host.kept()} == {"raylet.out": b"new\n", "raylet.out.1": b"old\n"}
    host.look()
    assert host.waiting() == []


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_lost_in_the_end_all_that_is_there_is_kept(host: Host, seed: int) -> None:
    """Files grow, rotate, are cut, deleted and made anew while Redis, the keeper and the log role lose what they know."""
    chosen = random.Random(seed)
    names = [f"worker-{number}.out" for number in range(4)]

    def rotate() -> None:
        name = chosen.choice(names)
        for older in (2, 1):
            with suppress(FileNotFoundError):
                (host.folder / f"{name}.{older}").rename(host.folder / f"{name}.{older + 1}")
        with suppress(FileNotFoundError):
            (host.folder / name).rename(host.folder / f"{name}.1")

    def restart_keeper() -> None:
        host.keeper.close()
        host.keeper = LogKeeper(host.redis, host.settings, "demo")

    happenings: list[Callable[[], object]] = [
        *[lambda: host.write(chosen.choice(names), chosen.randbytes(chosen.randrange(1, 300)))] * 8,
        *[lambda: host.look(chosen.choice((4, 25, 3600)))] * 5,
        *[host.keep_waiting] * 4,
        *[rotate] * 2,
        lambda: (host.folder / chosen.choice(names)).write_bytes(chosen.randbytes(chosen.randrange(100))),
        lambda: (host.folder / chosen.choice(names)).unlink(missing_ok=True),
        lambda: log_shipping.take(host.redis, "demo", chosen.randrange(1, 4)),
        host.lose,
        host.redis.flushdb,
        host.start,
        restart_keeper,
    ]
    for _ in range(150):
        chosen.choice(happenings)()
    for _ in range(10):
        host.look()
        host.keep_waiting()
    there = {path.name: path.read_bytes() for path in host.folder.iterdir() if path.stat().st_size}
    kept = host.kept()
    assert {name: host.content(name) for name in there if name in kept} == there
    host.look()
    assert host.waiting() == []


def test_what_nobody_keeps_is_sent_again_each_time_after_twice_as_long(host: Host) -> None:
    host.write("raylet.out", b"one\n")
    host.look()
    for wait in (20, 40, 80, 160):
        host.lose()
        host.look(wait - 4)
        assert host.waiting() == []
        host.look(5)
        assert [shipped.begins for shipped in host.waiting()] == [True]
    host.keep()
    assert host.content("raylet.out") == b"one\n"
    host.write("raylet.out", b"two\n")
    host.look(5)
    host.lose()
    host.look(21)
    assert [shipped.start for shipped in host.waiting()] == [4], "what came in between is the measure"


def test_what_still_waits_is_not_sent_again(host: Host) -> None:
    host.write("raylet.out", b"one\n")
    for _ in range(3):
        host.look()
    assert len(host.waiting()) == 1


def test_the_head_asks_for_what_it_misses(host: Host) -> None:
    """A host that writes all the time: pieces wait at each look, and of those one was lost."""
    host.write("raylet.out", b"one\n")
    host.ship()
    host.write("raylet.out", b"two\n")
    host.look(5)
    host.lose()
    host.write("raylet.out", b"three\n")
    host.look(5)
    host.keep_waiting()
    assert host.content("raylet.out") == b"one\n", "what does not follow waits for what is between"
    host.look(5)
    assert [shipped.start for shipped in host.waiting()] == [4], "asked for, it comes at once"
    host.keep()
    assert host.content("raylet.out") == b"one\ntwo\nthree\n"


def test_a_gap_is_not_bridged(host: Host) -> None:
    """Of what was lost and does not come again: what came before is given up, so that what is kept has no hole in it."""
    host.write("raylet.out", b"one\n")
    host.ship()
    host.write("raylet.out", b"two\n")
    host.look()
    host.lose()
    host.write("raylet.out", b"three\n")
    host.look(5)
    host.keep_waiting()
    host.keeper.step(host.now + 1000)
    file = host.kept()["raylet.out"]
    assert (file.first, file.end, file.lines_before, host.content("raylet.out")) == (8, 14, None, b"three\n")


def test_a_file_with_the_number_of_one_that_is_gone_is_another_one(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first bytes may even be the same; the role was started anew meanwhile, so nobody saw the first one go."""
    host.write("raylet.out", b"started\n")
    host.ship()
    inode = (host.folder / "raylet.out").stat().st_ino
    monkeypatch.setattr(log_shipper, "file_key", lambda file: f"1-{inode}-of the second birth")
    for _ in range(2):
        host.start()
        host.write("raylet.out", b"more\n")
        host.ship()
    file = host.kept()["raylet.out"]
    assert (file.inode, file.first, host.content("raylet.out")) == (f"1-{inode}-of the second birth", 0, b"started\nmore\nmore\n")


def test_where_births_are_not_noted_another_file_is_told_by_its_last_bytes(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_shipper, "file_key", lambda file: inode_of(os.fstat(file)))
    host.write("raylet.out", b"old words\n")
    host.ship()
    host.start()
    (host.folder / "raylet.out").write_bytes(b"entirely other words\n")
    host.ship()
    assert host.content("raylet.out") == b"entirely other words\n"


def test_a_file_keeps_its_birth_when_it_is_renamed(tmp_path: Path) -> None:
    path = tmp_path / "raylet.out"
    path.write_bytes(b"one\n")
    with path.open("rb") as file:
        first = file_key(file.fileno())
    with path.open("ab") as file:
        file.write(b"two\n")
    path.rename(tmp_path / "raylet.out.1")
    path.write_bytes(b"new\n")
    with (tmp_path / "raylet.out.1").open("rb") as same, path.open("rb") as other:
        assert file_key(same.fileno()) == first != file_key(other.fileno())


def test_a_second_of_it_is_within_the_budget(host: Host) -> None:
    host.shipper.settings = replace(host.settings, kept_logs_kb_s=256)
    host.write("noisy.out", os.urandom(20 * PIECE_BYTES))
    host.write("small.out", b"small\n")
    host.look()
    sent = host.waiting()
    assert sent[0].name == b"small.out", "a noisy file does not keep the others waiting"
    assert sum(shipped.length for shipped in sent) <= 12 * PIECE_BYTES, "ten seconds of the budget, and a piece"
    host.keep()
    for _ in range(3):
        host.ship()
    assert host.content("noisy.out") == (host.folder / "noisy.out").read_bytes()


def test_no_more_is_sent_than_the_head_takes(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_shipping, "MOST_WAITING", 3)
    for number in range(10):
        host.write(f"worker-{number}.out", b"%d\n" % number)
    host.look()
    assert len(host.waiting()) == 3
    for _ in range(4):
        host.ship()
    assert len(host.kept()) == 10


def test_a_noisy_host_does_not_keep_others_waiting(host: Host) -> None:
    for number in range(100):
        signed(host, message(start=number * 4, length=4, body=zlib.compress(b"one\n")))
    quiet = signing.derive(signing.master_key(host.settings.state_dir), queues.worker_name("demo", "h2"))
    signed(host, message(node_ids=()), key=quiet, name="h2")
    taken = log_shipping.take(host.redis, "demo", 10)
    assert [name for name, _ in taken].count("h2") == 1
    assert [name for name, _ in taken].count("h1") == 5
    assert len(log_shipping.take(host.redis, "demo", 200)) == 95
    assert log_shipping.take(host.redis, "demo", 10) == []
    assert not host.redis.exists(keys.shippers("demo"))


def test_each_host_has_its_share_of_what_may_wait(host: Host) -> None:
    for number in range(log_shipping.MOST_WAITING // 2):
        assert log_shipping.has_room(host.redis, "demo", "h1")
        signed(host, message(start=number))
    host.redis.sadd(keys.shippers("demo"), "h2")
    assert not log_shipping.has_room(host.redis, "demo", "h1"), "half of it, now that there are two"
    assert log_shipping.has_room(host.redis, "demo", "h2")
    host.redis.sadd(keys.shippers("demo"), *(f"x{number}" for number in range(1000)))
    assert log_shipping.has_room(host.redis, "demo", "h2"), "each may have something waiting, however many there are"


def test_a_host_that_the_keeper_lost_sight_of_is_seen_again(host: Host) -> None:
    signed(host, message())
    host.redis.delete(keys.shippers("demo"))
    assert log_shipping.has_room(host.redis, "demo", "h1")
    assert len(log_shipping.take(host.redis, "demo", 10)) == 1


def test_files_that_are_not_looked_at_are_counted(host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(log_shipper, "list_folder", lambda folder: list_folder(folder, max_files=2))
    for number in range(5):
        host.write(f"worker-{number}.out", b"%d\n" % number)
    for _ in range(2):
        host.ship()
    assert [one.message for one in caplog.records].count(f"{SESSION} has 3 files more than are looked at: they are not kept.") == 1
    with KeptLogsReader(host.path) as reader:
        assert (len(reader.files()), reader.left_out()) == (2, 3)


def test_nothing_is_sent_where_nothing_is_to_be_kept(host: Host) -> None:
    host.shipper.settings = replace(host.settings, kept_logs_kb_s=0)
    host.write("raylet.out", b"one\n")
    host.look()
    host.shipper.finish()
    assert host.waiting() == []


def test_links_and_what_is_no_log_are_not_sent(host: Host, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret\n")
    (host.folder / "link.out").symlink_to(secret)
    os.mkfifo(host.folder / "pipe.out")
    (host.folder / "export_events").mkdir()
    host.write("export_events/event_task.log", b"{}\n")
    host.write("raylet.out", b"one\n")
    host.ship()
    assert set(host.kept()) == {"raylet.out"}


def test_the_last_lines_are_sent_when_the_role_ends(host: Host) -> None:
    host.write("raylet.out", b"one\n")
    host.ship()
    host.write("raylet.out", b"the last\n")
    host.shipper.finish()
    host.keep()
    assert host.content("raylet.out") == b"one\nthe last\n"


def test_the_last_lines_of_a_raylet_that_died_are_sent(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.write("raylet.out", b"one\n")
    host.ship()
    host.write("raylet.out", b"the last\n")
    monkeypatch.setattr(log_shipper, "log_folders", lambda session: {})
    monkeypatch.setattr(log_shipper, "current_session", lambda client, cluster: None)
    host.ship()
    assert host.content("raylet.out") == b"one\nthe last\n"
    host.look()
    assert host.shipper._folders == {}, "and then the folder is let go"


def test_of_a_host_the_budget_is_kept_and_small_files_stay_whole(host: Host) -> None:
    use(host, kept_logs_node_mb=1)
    noise = os.urandom(12 * PIECE_BYTES)
    host.write("noisy.out", noise)
    host.write("small.out", b"small\n")
    host.ship()
    host.ship()
    noisy = host.kept()["noisy.out"]
    assert sum(file.stored for file in host.kept().values()) <= 1 << 20
    assert noisy.first > 0
    assert host.content("noisy.out") == noise[noisy.first :]
    assert host.content("small.out") == b"small\n"


def signed(host: Host, shipped: Shipped, key: bytes | None = None, name: str = "h1") -> None:
    log_shipping.send(host.redis, key or host.key, "demo", name, shipped)


def message(**changed: Any) -> Shipped:
    told: dict[str, Any] = {"session": SESSION, "node_ids": (NODE,), "file": "1-1", "name": b"x.out", "start": 0, "length": 0}
    return Shipped(**{**told, "modified_ms": 0, "body": b"", **changed})


def test_what_its_sender_did_not_sign_is_left_out(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    piece = message(length=4, body=b"x\x9c\xcb\xcfK\xe5\x02\x00\x03\xde\x01M")
    signed(host, piece, key=b"another key" * 3)
    signed(host, piece, name="h2")  # the key of one host does not speak for another
    for hostile in (b"", b"\xff" * 100, msgspec.msgpack.encode([b"x", b"y"]), b"x" * (log_shipping.MOST_MESSAGE_BYTES + 1)):
        host.redis.rpush(keys.shipped("demo", "h1"), hostile)
    host.keep()
    assert not host.path.parent.exists()
    assert len([one for one in caplog.records if "left out" in one.message]) == 6


@pytest.mark.parametrize(
    "changed",
    [
        {"session": "../../etc"},
        {"session": ""},
        {"node_ids": ("x",)},
        {"length": 1 << 30, "body": b"x"},
        {"length": 1 << 28, "body": zlib.compress(bytes(1 << 28), 9)},
        {"length": 4, "body": zlib.compress(b"one\n"), "start": 1 << 63},
        {"length": 4, "body": zlib.compress(b"one\n"), "modified_ms": 1 << 63},
        {"length": 4, "body": zlib.compress(b"one\n"), "file": "1" * 97},
        {"length": 5, "body": b"x\x9c\xcb\xcfK\xe5\x02\x00\x03\xde\x01M"},
        {"length": 4, "body": b"x\x9c\xcb\xcfK\xe5\x02\x00\x03\xde\x01M", "start": -1},
        {"length": 4, "body": b"x\x9c\xcb\xcfK\xe5\x02\x00\x03\xde\x01M", "name": b""},
    ],
)
def test_a_host_that_lies_harms_nothing_else(host: Host, changed: dict[str, Any]) -> None:
    host.write("raylet.out", b"one\n")
    host.ship()
    signed(host, message(**changed))
    host.write("raylet.out", b"two\n")
    host.ship()
    assert host.content("raylet.out") == b"one\ntwo\n"
    assert set(host.kept()) == {"raylet.out"}


def test_a_host_does_not_speak_for_another_ones_node(host: Host) -> None:
    host.write("raylet.out", b"one\n")
    host.ship()
    forged = message(length=4, body=zlib.compress(b"lie\n"), name=b"raylet.out")
    for _ in range(2):
        signed(host, forged, key=signing.derive(signing.master_key(host.settings.state_dir), queues.worker_name("demo", "h2")), name="h2")
        host.keep()
        assert of_node(host.settings.state_dir, "demo", NODE) == host.path
        elsewhere = msgspec.structs.replace(forged, session="session_x")
        signed(host, elsewhere)
        host.keep()
        assert not host_file(host.settings.state_dir, "demo", "session_x", "h1").exists(), "no session of this cluster"
        host.keeper.close()
        host.keeper = LogKeeper(host.redis, host.settings, "demo")  # what is known of it outlives the keeper


def test_one_host_does_not_use_up_the_nodes_of_all(host: Host) -> None:
    many = tuple(f"{number:056x}" for number in range(1000, 2000))
    key = signing.derive(signing.master_key(host.settings.state_dir), queues.worker_name("demo", "h2"))
    signed(host, message(node_ids=many), key=key, name="h2")
    host.keep()
    host.write("raylet.out", b"one\n")
    host.ship()
    assert of_node(host.settings.state_dir, "demo", NODE) == host.path
    assert len([node_id for node_id in many if of_node(host.settings.state_dir, "demo", node_id)]) == log_keeper.MOST_NODES


def test_one_host_does_not_use_up_the_place_for_what_waits_for_missing_pieces(host: Host) -> None:
    signed(host, message(length=4, body=zlib.compress(b"one\n")))
    for number in range(3 * log_keeper.MOST_ASIDE_OF_A_HOST):
        signed(host, message(length=4, body=zlib.compress(b"%03d\n" % number), start=1000 + number * 4))
    host.keep_waiting()
    waiting = sum(len(aside.pieces) for aside in host.keeper._aside.values())
    assert waiting <= log_keeper.MOST_ASIDE_OF_A_HOST
    host.keeper.step(host.now + 1000)
    numbers = range(3 * log_keeper.MOST_ASIDE_OF_A_HOST)
    assert host.content("x.out") == b"".join(b"%03d\n" % number for number in numbers), "all that follows the gap is kept"


def test_what_waited_is_not_added_to_a_file_that_was_cut_meanwhile(host: Host) -> None:
    signed(host, message(length=4, body=zlib.compress(b"one\n")))
    signed(host, message(length=4, body=zlib.compress(b"old\n"), start=100))
    signed(host, message(length=4, body=zlib.compress(b"new\n"), begins=True))
    host.keep_waiting()
    host.keeper.step(host.now + 1000)
    assert host.content("x.out") == b"new\n"


def test_names_of_hosts_that_nobody_has_are_let_go(host: Host) -> None:
    host.redis.sadd(keys.shippers("demo"), b"\xff\xfe", "nobody", "../../etc")
    assert log_shipping.take(host.redis, "demo", 10) == []
    assert not host.redis.exists(keys.shippers("demo"))


def test_a_new_name_waits_like_the_rest_while_there_is_no_room(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.write("raylet.out", b"one\n")
    host.ship()
    (host.folder / "raylet.out").rename(host.folder / "raylet.out.1")
    with monkeypatch.context() as full:
        full.setattr(log_shipping, "LEAST_WAITING", 0)
        full.setattr(log_shipping, "MOST_WAITING", 0)
        host.look()
        assert host.waiting() == []
    host.ship()
    assert set(host.kept()) == {"raylet.out.1"}


def test_what_could_not_be_written_is_written_later(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.write("raylet.out", b"one\n")
    host.look()
    full = KeptLogsWriter.add
    monkeypatch.setattr(KeptLogsWriter, "add", lambda self, piece: (_ for _ in ()).throw(sqlite3.OperationalError("disk is full")))
    with pytest.raises(sqlite3.Error):
        host.keeper.step(host.now)
    monkeypatch.setattr(KeptLogsWriter, "add", full)
    host.keeper.step(host.now)
    assert host.content("raylet.out") == b"one\n"


def test_a_damaged_file_does_not_keep_others_from_being_written(host: Host) -> None:
    host.write("raylet.out", b"one\n")
    host.ship()
    host.keeper.close()
    host.path.write_bytes(b"no database at all" * 1000)
    host.write("raylet.out", b"two\n")
    host.ship()
    host.write("raylet.out", b"three\n")
    host.ship()
    assert host.content("raylet.out") == b"two\nthree\n", "what came meanwhile is sent again"


def test_a_file_with_two_names_is_sent_at_most_once(host: Host) -> None:
    host.write("raylet.out", b"one\n")
    os.link(host.folder / "raylet.out", host.folder / "also.out")
    host.ship()
    for _ in range(3):
        host.look()
        assert host.waiting() == [], "and its names are not told in turns"


def old_session(host: Host, size: int, changed: float = 1e9) -> Path:
    old = host_file(host.settings.state_dir, "demo", "session_2020-01-01_00-00-00_000000_1", "h1")
    for folder in (old.parent.parent.parent, old.parent.parent, old.parent):
        paths.make_private_dir(folder)
    old.write_bytes(b"x" * size)
    os.utime(old, (changed, changed))
    return old


def use(host: Host, **changed: Any) -> None:
    """Other settings of the keeper."""
    host.keeper.close()
    host.keeper = LogKeeper(host.redis, replace(host.settings, **changed), "demo")


def test_what_is_kept_in_all_is_limited_and_ended_sessions_go_first(host: Host) -> None:
    use(host, kept_logs_gb=0.001, session_retention_days=36500)
    old = old_session(host, 990_000)
    host.write("raylet.out", b"one\n")
    host.ship()
    host.keeper.step(host.now)
    assert not old.parent.exists()
    assert host.content("raylet.out") == b"one\n"


def test_the_limit_holds_also_for_hosts_that_write_now(host: Host) -> None:
    use(host, kept_logs_gb=0.002)
    noise = os.urandom(30 * PIECE_BYTES)
    host.write("noisy.out", noise)
    host.write("small.out", b"small\n")
    host.shipper.settings = replace(host.settings, kept_logs_kb_s=100_000)
    host.look()
    host.keep_waiting()
    host.keeper.step(host.now)
    assert sum(map(kept_space.size_of, kept_space.files_of(host.settings.state_dir, "demo"))) <= 2_100_000
    assert host.content("small.out") == b"small\n"
    assert noise.endswith(host.content("noisy.out"))
    assert len(host.content("noisy.out")) > 1_500_000


def test_sessions_that_are_not_readable_any_more_are_not_kept_either(host: Host) -> None:
    now = time.time()
    old = old_session(host, 100, now - 29 * 86_400)
    host.keeper.step(host.now)
    assert old.exists(), "the last thirty days stay"
    os.utime(old, (now - 31 * 86_400,) * 2)
    host.keeper.step(host.now + 100)
    assert not old.parent.exists()


def test_on_a_disk_that_is_nearly_full_the_newest_takes_the_place_of_the_oldest(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    use(host, session_retention_days=36500)
    old = old_session(host, 500_000)
    host.keeper.step(host.now)
    monkeypatch.setattr(kept_space, "disk_of", lambda state_dir: Disk(10**12, 9 * 10**8))
    host.keeper.step(host.now + 100)
    assert old.exists(), "nothing goes as long as nothing comes"
    host.write("raylet.out", os.urandom(PIECE_BYTES))
    host.ship()
    host.keeper.step(host.now + 3600)
    assert not old.exists()
    keeper = log_shipping.keeper(host.redis, "demo")
    assert keeper is not None
    assert "the newest takes the place of the oldest: only 0.9 GB are free" in str(keeper.problem)


def test_on_a_full_disk_nothing_is_kept_until_there_is_room_and_it_says_so(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_space, "disk_of", lambda state_dir: Disk(10**12, 10**8))
    host.write("raylet.out", b"one\n")
    host.look()
    host.keeper.step(host.now)
    keeper = log_shipping.keeper(host.redis, "demo")
    assert keeper is not None
    assert keeper.host == this_host()
    assert "No log files are kept now: only 0.1 GB are free" in str(keeper.problem)
    assert len(host.waiting()) == 1
    monkeypatch.setattr(kept_space, "disk_of", lambda state_dir: Disk(10**12, 10**11))
    host.keeper.step(host.now + 100)
    assert host.content("raylet.out") == b"one\n"
    assert log_shipping.keeper(host.redis, "demo") == log_shipping.Keeper(this_host(), None)
