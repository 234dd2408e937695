"""Pieces of log files on their way from a node to the head, which keeps them. Signed by the node's key, so that none speaks for another."""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated, Any

import msgspec
import redis
from msgspec import Meta

from clusterstate.store import keys
from clusterstate.store.queues import worker_name
from clusterstate.store.signing import derive

MOST_WAITING = 128
"""Messages: no more are sent while so many wait (32 MB, if nothing can be compressed)."""
PIECE_BYTES = 256 * 1024
MOST_MESSAGE_BYTES = 2 * PIECE_BYTES
MOST_NUMBER = 1 << 62
"""A byte of a file, a time: SQLite takes no more than 63 bits."""
WAITING_S = 3600
KNOWN_S = 24 * 3600


class Shipped(msgspec.Struct, frozen=True, array_like=True):
    """A piece of a file, or with `length` 0 its new name."""

    session: Annotated[str, Meta(max_length=128)]
    node_ids: Annotated[tuple[str, ...], Meta(max_length=1000)]  # whose log folder it is: the raylets of that host
    inode: Annotated[str, Meta(max_length=64)]
    name: bytes
    start: Annotated[int, Meta(ge=0, le=MOST_NUMBER)]
    length: Annotated[int, Meta(ge=0, le=PIECE_BYTES)]
    modified_ms: Annotated[int, Meta(ge=-MOST_NUMBER, le=MOST_NUMBER)]
    body: bytes  # zlib
    begins: bool = False  # what was sent of a file with this inode before is of another one, or was cut


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """Who sent it, and the proof of that."""

    host: str
    shipped: bytes
    signature: bytes


class Known(msgspec.Struct, frozen=True, array_like=True):
    """What the head keeps of a file already."""

    end: int
    name: bytes


class NotOurs(ValueError):
    """A message that is none, or that its sender did not sign."""


def has_room(client: redis.Redis, cluster: str) -> bool:
    """Whether one more message may be sent. One round trip."""
    return int(client.llen(keys.shipped(cluster))) < MOST_WAITING


def send(client: redis.Redis, key: bytes, cluster: str, host: str, shipped: Shipped) -> None:
    """Leaves a message for the head. `key` is the key of the host's worker."""
    packed = msgspec.msgpack.encode(shipped)
    message = msgspec.msgpack.encode(Envelope(host, packed, _signature(key, cluster, host, packed)))
    with client.pipeline(transaction=False) as pipe:
        pipe.rpush(keys.shipped(cluster), message)
        pipe.expire(keys.shipped(cluster), WAITING_S)
        pipe.execute()


def receive(client: redis.Redis, cluster: str, within_s: int, most: int) -> list[bytes]:
    """The next messages; none if none comes within that time. One blocking round trip, and one for more of them."""
    first: Any = client.blpop([keys.shipped(cluster)], within_s)
    if not first:
        return []
    return [bytes(first[1]), *waiting(client, cluster, most - 1)]


def waiting(client: redis.Redis, cluster: str, most: int) -> list[bytes]:
    """Messages that wait now. One round trip."""
    found: Any = client.lpop(keys.shipped(cluster), most)
    return list(map(bytes, found or []))


def read(message: bytes, master_key: bytes, cluster: str) -> tuple[str, Shipped]:
    """(host, what it sent). Raises NotOurs."""
    if len(message) > MOST_MESSAGE_BYTES:
        raise NotOurs("A message is larger than any should be.")
    try:
        envelope = msgspec.msgpack.decode(message, type=Envelope)
        expected = _signature(derive(master_key, worker_name(cluster, envelope.host)), cluster, envelope.host, envelope.shipped)
        if not hmac.compare_digest(envelope.signature, expected):
            raise NotOurs(f"A message says it is of {envelope.host[:64]!r}, which did not sign it.")
        return envelope.host, msgspec.msgpack.decode(envelope.shipped, type=Shipped)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise NotOurs(f"A message cannot be read: {str(error)[:200]}") from None


def say_known(client: redis.Redis, cluster: str, host: str, session: str, known: dict[str, Known]) -> None:
    """By the head: how far it keeps these files, by inode. A node that starts anew goes on there. One round trip."""
    key = keys.shipped_known(cluster, session, host)
    with client.pipeline(transaction=False) as pipe:
        pipe.hset(key, mapping={inode: msgspec.msgpack.encode(one) for inode, one in known.items()})
        pipe.expire(key, KNOWN_S)
        pipe.execute()


def known(client: redis.Redis, cluster: str, host: str, session: str) -> dict[str, Known]:
    """What `say_known` said; nothing of it if that is lost, and then files are sent once more. One round trip."""
    found: dict[str, Known] = {}
    for inode, value in client.hgetall(keys.shipped_known(cluster, session, host)).items():
        try:
            found[bytes(inode).decode()] = msgspec.msgpack.decode(value, type=Known)  # type: ignore[arg-type]  # we get bytes
        except (msgspec.DecodeError, UnicodeError):
            continue
    return found


def _signature(key: bytes, cluster: str, host: str, shipped: bytes) -> bytes:
    return hmac.new(key, b"raydeck log 1\0" + f"{cluster}\0{host}\0".encode() + shipped, hashlib.sha256).digest()
