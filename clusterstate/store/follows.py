"""Following log files: who is followed on a host, and what was written there since. Between the web app and a node's log role.

A subscription is signed for its node and short-lived: it is given again every few seconds for as long as somebody looks on.
However many look on, the node reads a file once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import redis

from clusterstate.store import keys
from clusterstate.store.queues import worker_name
from clusterstate.store.signing import derive, is_signature, sign

LASTS_S = 15.0
"""A subscription that is not given again ends."""
MOST_FILES = 64
"""Followed on one host at once."""
KEPT = 64
"""Pieces of each file that wait for the web app, 4 MB."""
KEPT_S = 30
WAKE_KEPT_S = 5
ALIVE_S = 6
WORK = "follow"

STARTED, WRITTEN, ROTATED, TRUNCATED, GONE, BACK, ENDED = "started", "written", "rotated", "truncated", "gone", "back", "ended"
"""What is told of a file: it is followed from here on; these bytes came; another file has its name now (all of the old one was read,
or not: `has_gap`); it was cut and is written from its beginning; its name is nobody's; it is there again; nobody reads it any more."""


class TooMany(Exception):
    """So many files of this host are followed already."""


@dataclass(frozen=True)
class Followed:
    """A file that is followed."""

    node_id: str
    file_id: str

    @property
    def name(self) -> str:
        return f"{self.node_id}/{self.file_id}"


@dataclass(frozen=True)
class Told:
    """Something that was told of a file, in its order."""

    entry_id: str
    kind: str
    inode: str
    offset: int  # of the first byte of `content`; else where reading stands
    content: bytes = b""
    has_gap: bool = False
    reason: str = ""


def subscribe(client: redis.Redis, master_key: bytes, cluster: str, host: str, file: Followed, now: float) -> None:
    """Sees to it that a file is followed for the next seconds. Two round trips. Raises TooMany."""
    key = keys.follows(cluster, host)
    worker = worker_name(cluster, host)
    expires_ms = int((now + LASTS_S) * 1000)
    signature = sign(derive(master_key, worker), file.name, WORK, {}, worker, expires_ms)
    is_new = not client.hexists(key, file.name)
    if is_new and client.hlen(key) >= MOST_FILES:
        raise TooMany(f"{MOST_FILES} log files of this host are followed already.")
    with client.pipeline(transaction=False) as pipe:
        pipe.hset(key, file.name, msgspec.json.encode((expires_ms, signature)))
        pipe.expire(key, int(LASTS_S * 4))
        if is_new:
            pipe.delete(keys.followed(cluster, host, file.name))
            pipe.lpush(keys.follow_wake(cluster, host), b"1")
            pipe.ltrim(keys.follow_wake(cluster, host), 0, 0)
            pipe.expire(keys.follow_wake(cluster, host), WAKE_KEPT_S)
        pipe.execute()


def subscribed(client: redis.Redis, key: bytes, cluster: str, host: str, now: float) -> set[Followed]:
    """What is to be followed on a host now, as far as it is signed for it. `key` is the worker's. What has expired is removed."""
    worker = worker_name(cluster, host)
    found: set[Followed] = set()
    for raw, value in client.hgetall(keys.follows(cluster, host)).items():
        try:
            name = bytes(raw).decode()  # type: ignore[arg-type]  # our connections answer in bytes
            expires_ms, signature = msgspec.json.decode(value, type=tuple[int, str])
            is_good = is_signature(signature, sign(key, name, WORK, {}, worker, expires_ms)) and now * 1000 < expires_ms
            node_id, _, file_id = name.partition("/")
        except (msgspec.DecodeError, UnicodeDecodeError):
            is_good = False
        if is_good and len(found) < MOST_FILES:
            found.add(Followed(node_id, file_id))
        elif not is_good:
            client.hdel(keys.follows(cluster, host), raw)
    return found


def wait_for_one(client: redis.Redis, cluster: str, host: str, within_s: int) -> None:
    """Returns when there is a new subscription, or after that long. One blocking round trip."""
    client.blpop([keys.follow_wake(cluster, host)], within_s)


def say_alive(client: redis.Redis, cluster: str, host: str) -> None:
    """By the log role of a host, every few seconds."""
    client.set(keys.follower(cluster, host), b"1", ex=ALIVE_S)


def is_alive(client: redis.Redis, cluster: str, host: str) -> bool:
    """Whether a host's log role runs."""
    return bool(client.exists(keys.follower(cluster, host)))


def tell(client: redis.Redis, cluster: str, host: str, file: Followed, told: Told) -> None:
    """Adds to what is told of a file. One round trip."""
    key = keys.followed(cluster, host, file.name)
    fields: dict[Any, Any] = {
        "k": told.kind,
        "i": told.inode,
        "o": told.offset,
        "d": told.content,
        "g": int(told.has_gap),
        "r": told.reason,
    }
    with client.pipeline(transaction=False) as pipe:
        pipe.xadd(key, fields, maxlen=KEPT, approximate=False)
        pipe.expire(key, KEPT_S)
        pipe.execute()


def keep(client: redis.Redis, cluster: str, host: str, file: Followed) -> None:
    """What was told stays a while longer, also where nothing is written."""
    client.expire(keys.followed(cluster, host, file.name), KEPT_S)


def told_since(client: redis.Redis, cluster: str, host: str, file: Followed, after: str | None) -> list[Told]:
    """What was told of a file since, all that is kept if `after` is None. One round trip."""
    found: Any = client.xrange(keys.followed(cluster, host, file.name), f"({after}" if after else "-", "+", count=KEPT)
    return list(_told(found))


def _told(entries: list[tuple[bytes, dict[bytes, bytes]]]) -> Iterator[Told]:
    for entry_id, fields in entries:
        try:
            yield Told(
                entry_id.decode(),
                fields[b"k"].decode(),
                fields[b"i"].decode(),
                int(fields[b"o"]),
                fields[b"d"],
                fields[b"g"] == b"1",
                fields[b"r"].decode("utf-8", "replace"),
            )
        except (KeyError, ValueError, UnicodeDecodeError):
            continue  # not of ours
