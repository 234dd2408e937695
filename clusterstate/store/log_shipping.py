"""Pieces of log files on their way from a node to the head, which keeps them. Signed by the node's key, so that none speaks for another.

Each host has a list of its own, from which the head takes in turn: a noisy host does not keep the others waiting. What the head keeps
already it says in a hash; what it says is not signed, because who can write there can delete what waits as well.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from contextlib import suppress
from typing import Annotated, Any

import msgspec
import redis
from msgspec import Meta

from clusterstate.store import keys
from clusterstate.store.queues import worker_name
from clusterstate.store.signing import derive

MOST_WAITING = 128
"""Messages of all hosts together: none sends more while its share of them waits (32 MB, if nothing can be compressed)."""
LEAST_WAITING = 2
"""Messages that each host may have waiting, however many hosts there are."""
HOSTS_AT_ONCE = 16
"""From so many is taken in one turn."""
PIECE_BYTES = 256 * 1024
MOST_MESSAGE_BYTES = 2 * PIECE_BYTES
TAIL_BYTES = 64
MOST_NUMBER = 1 << 62
"""A byte of a file, a time: SQLite takes no more than 63 bits."""
WAITING_S = 3600
KNOWN_S = KEEPER_S = 24 * 3600


class Shipped(msgspec.Struct, frozen=True, array_like=True):
    """A piece of a file, or with `length` 0 its new name."""

    session: Annotated[str, Meta(max_length=128)]
    node_ids: Annotated[tuple[str, ...], Meta(max_length=1000)]  # whose log folder it is: the raylets of that host
    file: Annotated[str, Meta(max_length=96)]  # which one it is, whatever its name: workers/sources/file_birth.py
    name: bytes
    start: Annotated[int, Meta(ge=0, le=MOST_NUMBER)]
    length: Annotated[int, Meta(ge=0, le=PIECE_BYTES)]
    modified_ms: Annotated[int, Meta(ge=-MOST_NUMBER, le=MOST_NUMBER)]
    body: bytes  # zlib
    kept: Annotated[int, Meta(ge=0, le=MOST_NUMBER)] = 0  # so far its node knows that the head keeps it
    left_out: Annotated[int, Meta(ge=0, le=MOST_NUMBER)] = 0  # files of the folder that are not looked at: there are too many
    begins: bool = False  # what was sent of this file before does not come before this: it was cut, or is passed over


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """A Shipped, and the proof that the host sent it in whose list it stands."""

    shipped: bytes
    signature: bytes


class Known(msgspec.Struct, frozen=True, array_like=True):
    """What the head keeps of a file already."""

    end: int
    name: bytes
    tail: bytes  # the last bytes before `end`, by which another file is told
    misses: bool = False  # what came later does not follow: it waits for what is between


class Keeper(msgspec.Struct, frozen=True, array_like=True):
    """Who keeps a cluster's log files."""

    host: str  # whose node worker is asked for them
    problem: str | None  # why not all is kept, in a sentence


class NotOurs(ValueError):
    """A message that is none, or that its sender did not sign."""


def has_room(client: redis.Redis, cluster: str, host: str) -> bool:
    """Whether this host may send one more message. One round trip."""
    with client.pipeline(transaction=False) as pipe:
        pipe.llen(keys.shipped(cluster, host))
        pipe.scard(keys.shippers(cluster))
        waiting, hosts = pipe.execute()
    if waiting:
        client.sadd(keys.shippers(cluster), host)  # a keeper that died may have taken it out
    return int(waiting) < max(LEAST_WAITING, MOST_WAITING // max(1, int(hosts)))


def is_taken(client: redis.Redis, cluster: str, host: str) -> bool:
    """Whether nothing of this host waits any more. One round trip."""
    return not client.llen(keys.shipped(cluster, host))


def send(client: redis.Redis, key: bytes, cluster: str, host: str, shipped: Shipped) -> None:
    """Leaves a message for the head. `key` is the key of the host's worker."""
    packed = msgspec.msgpack.encode(shipped)
    message = msgspec.msgpack.encode(Envelope(packed, _signature(key, cluster, host, packed)))
    with client.pipeline(transaction=True) as pipe:
        pipe.rpush(keys.shipped(cluster, host), message)
        pipe.sadd(keys.shippers(cluster), host)
        for one in (keys.shipped(cluster, host), keys.shippers(cluster)):
            pipe.expire(one, WAITING_S)
        pipe.execute()


def take(client: redis.Redis, cluster: str, most: int) -> list[tuple[str, bytes]]:
    """(host, message) of what waits: from each of some hosts as much as from the others, those by chance. Two or three round trips."""
    hosts: Any = client.srandmember(keys.shippers(cluster), HOSTS_AT_ONCE)
    if not hosts:
        return []
    with client.pipeline(transaction=False) as pipe:
        for host in hosts:
            pipe.lpop(keys.shipped(cluster, host), max(1, most // len(hosts)))
            pipe.llen(keys.shipped(cluster, host))
        told = pipe.execute()
    _take_out(client, cluster, [host for host, left in zip(hosts, told[1::2], strict=True) if not left])
    pairs = zip(hosts, told[::2], strict=True)
    return [(host.decode("utf-8", "replace"), bytes(message)) for host, messages in pairs for message in messages or []]


def _take_out(client: redis.Redis, cluster: str, hosts: Iterable[bytes]) -> None:
    """Hosts of which nothing waits, but for those that have sent meanwhile."""
    for host in hosts:
        with client.pipeline(transaction=True) as pipe:
            pipe.srem(keys.shippers(cluster), host)
            pipe.llen(keys.shipped(cluster, host))
            if pipe.execute()[1]:
                client.sadd(keys.shippers(cluster), host)


def read(message: bytes, master_key: bytes, cluster: str, host: str) -> Shipped:
    """What `host` sent, in whose list it stood. Raises NotOurs."""
    if len(message) > MOST_MESSAGE_BYTES:
        raise NotOurs("A message is larger than any should be.")
    try:
        envelope = msgspec.msgpack.decode(message, type=Envelope)
        expected = _signature(derive(master_key, worker_name(cluster, host)), cluster, host, envelope.shipped)
        if not hmac.compare_digest(envelope.signature, expected):
            raise NotOurs(f"A message stands among those of {host[:64]!r}, which did not sign it.")
        return msgspec.msgpack.decode(envelope.shipped, type=Shipped)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise NotOurs(f"A message cannot be read: {str(error)[:200]}") from None


def say_known(client: redis.Redis, cluster: str, host: str, session: str, known: dict[str, Known]) -> None:
    """By the head: how far it keeps these files. A node that starts anew goes on there, and sends again what was lost. One round trip."""
    key = keys.shipped_known(cluster, session, host)
    with client.pipeline(transaction=False) as pipe:
        pipe.hset(key, mapping={file: msgspec.msgpack.encode(one) for file, one in known.items()})
        pipe.expire(key, KNOWN_S)
        pipe.execute()


def known(client: redis.Redis, cluster: str, host: str, session: str, files: list[str] | None = None) -> dict[str, Known]:
    """What `say_known` said of these files, or of all; nothing of what is lost. One round trip."""
    key = keys.shipped_known(cluster, session, host)
    told: Any = client.hgetall(key).items() if files is None else zip(files, client.hmget(key, files) if files else (), strict=True)
    found: dict[str, Known] = {}
    for file, value in told:
        with suppress(msgspec.DecodeError, UnicodeError):
            if value is not None:
                found[file if isinstance(file, str) else bytes(file).decode()] = msgspec.msgpack.decode(value, type=Known)
    return found


def say_keeper(client: redis.Redis, cluster: str, keeper: Keeper) -> None:
    """By the head's keeper. One round trip."""
    client.set(keys.keeper(cluster), msgspec.msgpack.encode(keeper), ex=KEEPER_S)


def keeper(client: redis.Redis, cluster: str) -> Keeper | None:
    """Who keeps the log files of a cluster, or did so last; None if that is not known. One round trip."""
    told: Any = client.get(keys.keeper(cluster))
    try:
        return msgspec.msgpack.decode(told, type=Keeper) if told else None
    except (msgspec.DecodeError, UnicodeError):
        return None


def _signature(key: bytes, cluster: str, host: str, shipped: bytes) -> bytes:
    return hmac.new(key, b"raydeck log 1\0" + f"{cluster}\0{host}\0".encode() + shipped, hashlib.sha256).digest()
