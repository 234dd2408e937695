"""Reading on in a log file: every line once, in its order, whatever is done to the file; real files, a real Redis."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from clusterstate.settings import Settings
from clusterstate.store import follows, keys, queues, signing
from clusterstate.store.follows import BACK, ENDED, GONE, ROTATED, STARTED, TRUNCATED, WRITTEN, Followed
from workers import follower as follower_module
from workers.follower import Follower
from workers.sources.beneath import folder_of
from workers.sources.log_following import FollowedFile, Happened
from workers.sources.log_listing import file_id

NODE = "0" * 55 + "7"


class Watched:
    """A file that is followed, and what was told of it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "worker.out"
        self.reading = FollowedFile(self.path.name)
        self.told: list[Happened] = []

    def look(self) -> list[str]:
        with folder_of(self.path.parent) as folder:
            happened = list(self.reading.look(folder))
        self.told += happened
        return [one.kind for one in happened]

    def write(self, content: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(content)

    @property
    def content(self) -> bytes:
        return b"".join(one.content for one in self.told)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    found = Watched(tmp_path)
    yield found
    found.reading.close()


def rotate(path: Path, kept: int = 5) -> None:
    """By renaming, as Ray's own handlers and spdlog do."""
    for number in range(kept - 1, 0, -1):
        if path.with_name(f"{path.name}.{number}").exists():
            path.with_name(f"{path.name}.{number}").rename(path.with_name(f"{path.name}.{number + 1}"))
    path.rename(path.with_name(f"{path.name}.1"))
    path.write_bytes(b"")


def test_it_begins_at_the_end_and_tells_what_is_written(watched: Watched) -> None:
    watched.write(b"old\n")
    assert watched.look() == [STARTED]
    assert watched.told[0].offset == 4
    assert watched.look() == []
    watched.write(b"new\nhal")
    assert watched.look() == [WRITTEN]
    assert (watched.told[-1].offset, watched.told[-1].content) == (4, b"new\nhal")
    watched.write(b"f\n")
    watched.look()
    assert watched.content == b"new\nhalf\n"


def test_every_line_comes_once_and_in_order_over_many_rotations(watched: Watched) -> None:
    """One process writes and renames as fast as it can, the other looks now and then."""
    watched.write(b"")
    watched.look()
    lines = [b"line %d of many\n" % number for number in range(100_000)]
    done = threading.Event()

    def write() -> None:
        for rotation in range(21):
            for first in range(rotation * 5000, min((rotation + 1) * 5000, len(lines)), 500):
                watched.write(b"".join(lines[first : first + 500]))
                time.sleep(0.004)
            if rotation < 20:
                rotate(watched.path)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        watched.look()
        time.sleep(0.05)
    writer.join()
    while watched.look():
        pass
    assert watched.content == b"".join(lines)
    rotations = [one for one in watched.told if one.kind == ROTATED]
    assert len(rotations) == 20
    assert not [one for one in rotations if one.has_gap]


def test_files_that_came_and_went_between_two_looks_are_read(watched: Watched) -> None:
    watched.write(b"one\n")
    watched.look()
    for number in range(3):
        rotate(watched.path)
        watched.write(b"of file %d\n" % number)
    watched.look()
    assert watched.content == b"of file 0\nof file 1\nof file 2\n"
    assert [one.kind for one in watched.told[1:]] == [ROTATED, WRITTEN] * 3


def test_a_rotation_beyond_what_is_kept_is_told_as_a_gap(watched: Watched) -> None:
    watched.write(b"one\n")
    watched.look()
    for number in range(4):
        rotate(watched.path, kept=2)
        watched.write(b"of file %d\n" % number)
    watched.look()
    assert watched.content == b"of file 3\n"
    assert [one.has_gap for one in watched.told if one.kind == ROTATED] == [True]


def test_a_file_that_is_copied_and_cut_is_told_as_cut(watched: Watched) -> None:
    watched.write(b"a line before it was cut\n" * 100)
    watched.look()
    os.truncate(watched.path, 0)
    watched.write(b"after\n")
    assert watched.look() == [TRUNCATED, WRITTEN]
    assert watched.content == b"after\n"


def test_a_file_that_was_cut_and_is_longer_by_now_is_told_as_cut(watched: Watched) -> None:
    watched.write(b"short\n")
    watched.look()
    os.truncate(watched.path, 0)
    watched.write(b"and already longer than it was\n")
    assert watched.look() == [TRUNCATED, WRITTEN]
    assert watched.content == b"and already longer than it was\n"


def test_a_file_that_is_gone_is_looked_for_on(watched: Watched) -> None:
    watched.write(b"one\n")
    watched.look()
    watched.path.unlink()
    assert watched.look() == [GONE]
    assert watched.look() == []
    watched.write(b"of the next one\n")
    watched.look()
    assert watched.content == b"of the next one\n"
    assert watched.told[2].kind == ROTATED
    assert watched.told[2].has_gap


def test_a_file_that_only_left_for_a_moment_is_told_as_back(watched: Watched) -> None:
    watched.write(b"one\n")
    watched.look()
    watched.path.rename(watched.path.with_name("elsewhere"))
    watched.look()
    watched.path.with_name("elsewhere").rename(watched.path)
    assert watched.look() == [BACK]


def test_a_link_in_its_place_is_not_read(watched: Watched, tmp_path: Path) -> None:
    secret = tmp_path.parent / f"{tmp_path.name}-secret"
    secret.write_bytes(b"secret\n")
    watched.write(b"one\n")
    watched.look()
    watched.path.unlink()
    watched.path.symlink_to(secret)
    watched.look()
    assert watched.content == b""


def test_much_that_was_written_at_once_comes_in_several_looks(watched: Watched) -> None:
    watched.write(b"")
    watched.look()
    content = bytes(range(256)) * 20_000
    watched.write(content)
    watched.look()
    assert 0 < len(watched.content) < len(content)
    while watched.look():
        pass
    assert watched.content == content


# --- The role ---------------------------------------------------------------------------


@pytest.fixture
def role(tmp_path: Path, settings: Settings, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Follower]:
    monkeypatch.setattr(follower_module, "log_folder", lambda node_id: tmp_path)
    monkeypatch.setattr(follower_module, "SUBSCRIPTIONS_EVERY_S", 0.0)
    monkeypatch.setattr(follower_module, "SLEEPS_S", 1)
    master = signing.master_key(settings.state_dir)
    found = Follower(redis_client, signing.derive(master, queues.worker_name("demo", "h1")), "demo", "h1")
    yield found
    found.close()


def subscribe(client: redis.Redis, settings: Settings, file: Followed, host: str = "h1") -> None:
    follows.subscribe(client, signing.master_key(settings.state_dir), "demo", host, file, time.time())


def kinds(client: redis.Redis, file: Followed) -> list[str]:
    return [one.kind for one in follows.told_since(client, "demo", "h1", file, None)]


def test_what_is_subscribed_to_is_told(role: Follower, redis_client: redis.Redis, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "raylet.out").write_bytes(b"one\n")
    file = Followed(NODE, file_id("raylet.out"))
    subscribe(redis_client, settings, file)
    role.step(time.time())
    with (tmp_path / "raylet.out").open("ab") as written:
        written.write(b"two\xff\n")
    role.step(time.time())
    told = follows.told_since(redis_client, "demo", "h1", file, None)
    assert [(one.kind, one.offset, one.content) for one in told] == [(STARTED, 4, b""), (WRITTEN, 4, b"two\xff\n")]
    assert follows.told_since(redis_client, "demo", "h1", file, told[0].entry_id) == told[1:]
    assert follows.is_alive(redis_client, "demo", "h1")


def test_a_hundred_who_look_on_are_one_file(role: Follower, redis_client: redis.Redis, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "raylet.out").write_bytes(b"one\n")
    file = Followed(NODE, file_id("raylet.out"))
    for _ in range(100):
        subscribe(redis_client, settings, file)
    role.step(time.time())
    role.step(time.time())
    assert kinds(redis_client, file) == [STARTED]


def test_a_subscription_that_is_not_renewed_ends(role: Follower, redis_client: redis.Redis, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "raylet.out").write_bytes(b"one\n")
    file = Followed(NODE, file_id("raylet.out"))
    subscribe(redis_client, settings, file)
    role.step(time.time())
    role.step(time.time() + follows.LASTS_S + 1)
    (tmp_path / "raylet.out").write_bytes(b"one\ntwo\n")
    role.step(time.time() + follows.LASTS_S + 1)
    assert kinds(redis_client, file) == [STARTED]
    assert not redis_client.exists(keys.follows("demo", "h1"))


def test_a_subscription_that_nobody_signed_is_not_followed(
    role: Follower, redis_client: redis.Redis, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "raylet.out").write_bytes(b"one\n")
    file = Followed(NODE, file_id("raylet.out"))
    for value in (b'[99999999999999, "00"]', b"no json", b'["x", 1]', b"[1]", b'{"a": 1}', b"\xff\xff", b"[1e400, null]"):
        redis_client.hset(keys.follows("demo", "h1"), file.name, value)
        role.step(time.time())
        assert kinds(redis_client, file) == []
    subscribe(redis_client, settings, file, host="h2")  # signed for another host
    redis_client.rename(keys.follows("demo", "h2"), keys.follows("demo", "h1"))
    role.step(time.time())
    assert kinds(redis_client, file) == []


def test_a_file_that_is_not_there_is_told_as_that(role: Follower, redis_client: redis.Redis, settings: Settings) -> None:
    file = Followed(NODE, file_id("nowhere.out"))
    subscribe(redis_client, settings, file)
    role.step(time.time())
    told = follows.told_since(redis_client, "demo", "h1", file, None)
    assert [one.kind for one in told] == [ENDED]
    assert "There is no such file" in told[0].reason


def test_one_host_is_not_asked_to_follow_without_limit(redis_client: redis.Redis, settings: Settings) -> None:
    for number in range(follows.MOST_FILES):
        subscribe(redis_client, settings, Followed(NODE, f"file{number}"))
    with pytest.raises(follows.TooMany, match="64 log files"):
        subscribe(redis_client, settings, Followed(NODE, "one more"))
    subscribe(redis_client, settings, Followed(NODE, "file3"))


def test_a_slow_reader_finds_a_bounded_number_of_pieces(
    role: Follower, redis_client: redis.Redis, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "raylet.out").write_bytes(b"")
    file = Followed(NODE, file_id("raylet.out"))
    subscribe(redis_client, settings, file)
    role.step(time.time())
    with (tmp_path / "raylet.out").open("ab") as written:
        written.write(b"x" * (8 << 20))
    for _ in range(6):
        role.step(time.time())
    assert len(kinds(redis_client, file)) == follows.KEPT
