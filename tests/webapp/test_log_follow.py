"""Following a log file over server-sent events: a real file, a real Redis, the role that reads on runs in a thread."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from clusterstate.hosts import host_id
from clusterstate.settings import Settings
from clusterstate.store import queues, signing
from tests.built_cluster import BuiltCluster
from tests.private_redis import PrivateRedis
from tests.webapp.conftest import Person
from tests.webapp.test_every_page import HOSTILE, Elements
from tests.webapp.test_log_files import NODE, folder
from webapp import followers
from webapp.logs import following
from workers import follower as follower_module
from workers.follower import Follower
from workers.sources.log_listing import file_id

__all__ = ["folder"]

HOST = host_id("gpu-7", None)
NAME = "worker.out"
FILE = f"/c/demo/logs/{NODE}/{file_id(NAME)}"


@dataclass
class Told:
    """An event as a browser sees it."""

    id: str
    html: str
    lines: int
    mark: str | None
    is_new_file: bool
    is_end: bool

    @property
    def texts(self) -> list[str]:
        return re.findall(r"<code>(.*?)</code>", self.html)

    @property
    def numbers(self) -> list[str]:
        return re.findall(r'<a class="at"[^>]*>([^<]*)</a>', self.html)


class Stream:
    """What comes over one connection."""

    def __init__(self, person: Person, path: str, headers: dict[str, str] | None = None) -> None:
        self.answer = person.get(path, {"Accept": "text/event-stream", **(headers or {})}, buffered=False)
        self.chunks = iter(self.answer.response)

    def next(self) -> Told:
        """The next event that is one."""
        for chunk in self.chunks:
            text = chunk.decode() if isinstance(chunk, bytes) else str(chunk)
            if data := re.search(r"^data: (.*)$", text, re.MULTILINE):
                found = re.search(r"^id: (.*)$", text, re.MULTILINE)
                return Told(found[1] if found else "", **json.loads(data[1]))
        raise AssertionError("the stream has ended")

    def until(self, is_it: Callable[[Told], bool]) -> list[Told]:
        found = [self.next()]
        while not is_it(found[-1]):
            found.append(self.next())
        return found

    def close(self) -> None:
        self.answer.close()


@pytest.fixture
def role(folder: Path, settings: Settings, redis_server: PrivateRedis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Follower]:
    """The log role of the node's host, at work."""
    monkeypatch.setattr(follower_module, "log_folder", lambda node_id: folder)
    monkeypatch.setattr(follower_module, "SUBSCRIPTIONS_EVERY_S", 0.1)
    client: redis.Redis = redis_server.client()
    found = Follower(client, signing.derive(signing.master_key(settings.state_dir), queues.worker_name("demo", HOST)), "demo", HOST)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            found.step(time.time())
            time.sleep(0.03)

    thread = threading.Thread(target=work)
    thread.start()
    yield found
    stop.set()
    thread.join()
    found.close()
    client.close()


@pytest.fixture
def log(folder: Path) -> Path:
    path = folder / NAME
    path.write_bytes(b"one\ntwo\n")
    return path


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


def events_address(person: Person) -> str:
    """As the page that follows says it."""
    page = person.page(f"{FILE}?follow=1")
    assert page.status_code == 200
    return next(attributes["data-follow"] for _, attributes in Elements(page.text).found if attributes.get("data-follow")) or ""


def test_a_written_line_comes_with_its_number_and_address(vera: Person, role: Follower, log: Path) -> None:
    stream = Stream(vera, events_address(vera))
    append(log, b"three\nERROR four\n")
    told = stream.next()
    assert (told.texts, told.numbers) == (["three", "ERROR four"], ["3", "4"])
    assert 'id="b8"' in told.html
    assert 'class="error"' in told.html
    assert f"{FILE}?at=8#b8" in told.html
    stream.close()


def test_it_is_a_stream_that_proxies_let_through(vera: Person, role: Follower, log: Path) -> None:
    stream = Stream(vera, events_address(vera))
    assert stream.answer.content_type == "text/event-stream; charset=utf-8"
    assert stream.answer.headers["X-Accel-Buffering"] == "no"
    assert stream.answer.headers["Cache-Control"] == "no-store"
    stream.close()


def test_what_came_while_the_page_was_made_comes_first(vera: Person, role: Follower, log: Path) -> None:
    address = events_address(vera)
    append(log, b"three\n")
    stream = Stream(vera, address)
    append(log, b"four\n")
    found = stream.until(lambda one: "four" in one.texts)
    assert [text for one in found for text in one.texts] == ["three", "four"]
    stream.close()


def test_a_connection_that_broke_off_goes_on_where_it_was(vera: Person, role: Follower, log: Path) -> None:
    address = events_address(vera)
    stream = Stream(vera, address)
    append(log, b"three\n")
    last = stream.next().id
    stream.close()
    append(log, b"four\n")
    again = Stream(vera, address, {"Last-Event-ID": last})
    told = again.next()
    assert (told.texts, told.numbers) == (["four"], ["4"])
    again.close()


def test_a_line_without_an_end_is_shown_as_far_as_it_came(vera: Person, role: Follower, log: Path) -> None:
    stream = Stream(vera, events_address(vera))
    append(log, b"50 %")
    assert stream.next().texts == ["50 %"]
    append(log, b" and done\n")
    told = stream.next()
    assert told.texts == ["50 % and done"]
    assert 'id="b8"' in told.html  # in place of what stood there
    stream.close()


def test_rotation_and_cutting_are_marked(vera: Person, role: Follower, log: Path) -> None:
    stream = Stream(vera, events_address(vera))
    append(log, b"three\n")
    assert stream.next().texts == ["three"]
    log.rename(log.with_name(f"{NAME}.1"))
    log.write_bytes(b"first of the next\n")
    marked, told = stream.until(lambda one: bool(one.texts))[-2:]
    assert marked.is_new_file
    assert marked.mark == "The file was rotated: a new one begins."
    assert (told.texts, told.numbers) == (["first of the next"], ["1"])
    log.write_bytes(b"cut\n")
    marked, told = stream.until(lambda one: bool(one.texts))[-2:]
    assert "was cut" in (marked.mark or "")
    assert told.texts == ["cut"]
    stream.close()


def test_text_of_a_cluster_stays_text(vera: Person, role: Follower, log: Path) -> None:
    stream = Stream(vera, events_address(vera))
    append(log, HOSTILE.replace("\n", " ").encode() + b"\n\r\ndata: forged\r\n\x1b[31mred\x1b[0m\x00\xff\n")
    found = stream.until(lambda one: any("red" in text for text in one.texts))
    for told in found:
        assert "script" not in {tag for tag, _ in Elements(told.html).found}
        assert told.mark is None
    stream.close()


def test_it_says_that_the_node_was_lost_and_when(vera: Person, role: Follower, log: Path, cluster: BuiltCluster) -> None:
    stream = Stream(vera, events_address(vera))
    append(log, b"three\n")
    stream.next()
    cluster.with_node(node_id=NODE, state="DEAD", end_time_ms=1_700_000_000_000, state_message="Expected termination: drained")
    cluster.project()
    told = stream.until(lambda one: one.is_end)[-1]
    assert "The node was lost at 2023-11-14" in (told.mark or "")
    assert "drained" in (told.mark or "")
    stream.close()


def test_it_says_when_nobody_reads_on_that_node(
    vera: Person, folder: Path, settings: Settings, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "BEGIN_WITHIN_S", 0.3)
    told = Stream(vera, events_address(vera)).next()
    assert told.is_end
    assert "does not answer" in (told.mark or "")


def test_much_more_than_is_shown_is_told_as_a_number(vera: Person, role: Follower, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "MOST_CAUGHT_UP", 1000)
    address = events_address(vera)
    append(log, b"line\n" * 1000)
    stream = Stream(vera, address)
    found = stream.until(lambda one: one.lines > 0 and one.mark is None)
    assert found[0].mark == "4,000 bytes are not shown here."
    assert sum(one.lines for one in found) == 200
    stream.close()


def test_nobody_follows_without_limit(vera: Person, role: Follower, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers, "MOST_OF_ONE", 1)
    address = events_address(vera)
    first = Stream(vera, address)
    assert first.answer.status_code == 200
    refused = vera.get(address, {"Accept": "text/event-stream"})
    assert refused.status_code == 429
    assert "Close one of those pages" in refused.text
    first.close()
    again = Stream(vera, address)
    assert again.answer.status_code == 200
    again.close()


@pytest.mark.parametrize("asked", ["at=-1", "at=x", "number=1.5", "who=me", "at=99999999999999999999999"])
def test_what_cannot_be_asked_is_refused(vera: Person, folder: Path, asked: str) -> None:
    answer = vera.get(f"{FILE}/follow?{asked}")
    assert answer.status_code == 400


def test_a_node_that_is_not_known_has_nothing_to_follow(vera: Person, folder: Path) -> None:
    assert vera.get(f"/c/demo/logs/{'1' * 56}/{file_id(NAME)}/follow").status_code == 404
