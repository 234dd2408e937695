"""Follows one session's change stream in Redis into its SQLite index, and rebuilds the index when it cannot follow."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import redis

from clusterstate.model import NodeSample
from clusterstate.resources import ACTORS, BY_NAME, JOBS, METADATA, NODES, RESOURCES, Resource
from clusterstate.store import keys
from clusterstate.store.encoding import codec, field_to_id
from clusterstate.store.index import Index
from clusterstate.store.row_ids import SINGLE_ROW_ID
from clusterstate.store.stored_rows import read_all, read_rows

log = logging.getLogger(__name__)

FIRST_ID = b"0-0"
WHOLE_SNAPSHOT = (NODES.name, ACTORS.name, JOBS.name)
"""Once these are confirmed, what is in Redis is a whole picture."""
ENTRIES_AT_ONCE = 500
IDS_AT_ONCE = 1000

StreamEntries = Sequence[tuple[bytes, dict[bytes, bytes]]]


class Projection:
    """One session's index and where it stands in the streams. Raises what redis-py raises when Redis is away."""

    def __init__(self, client: redis.Redis, path: Path, cluster: str, session: str, history_s: float) -> None:
        self.cluster = cluster
        self.session = session
        self.path = path
        self._redis = client
        self._history_s = history_s
        self._fresh: dict[str, float] = {}
        self._index = self._open()
        self.change_id = (self._index.noted("change_id") or FIRST_ID.decode()).encode()
        self.sample_id = (self._index.noted("sample_id") or FIRST_ID.decode()).encode()

    def close(self) -> None:
        self._index.close()

    @property
    def streams(self) -> dict[bytes, bytes]:
        """Stream key → the last entry seen."""
        return {
            keys.changes(self.cluster, self.session): self.change_id,
            keys.samples(self.cluster, self.session): self.sample_id,
        }

    def catch_up(self) -> None:
        """Checks that the index belongs to what Redis holds; rebuilds it if not. To be called now and then."""
        epoch = self._redis.get(keys.epoch(self.cluster, self.session))
        if not isinstance(epoch, bytes):
            return  # flushed: what the index knows stays until the collector has written anew
        known = self._index.noted("epoch")
        if known == epoch.hex() and not self._is_behind():
            return
        if known is not None and not self._is_whole():
            return  # half a snapshot must not replace a whole picture
        self.rebuild(epoch.hex())

    def apply(self, changes: StreamEntries, samples: StreamEntries, now: float) -> bool:
        """Puts stream entries into the index as one transaction. True when anything changed."""
        if not changes and not samples:
            return False
        updated, forgotten = _gather(changes)
        self._index.begin()
        try:
            for resource, fields in updated.items():
                self._put(resource, list(fields))
            for resource, fields in forgotten.items():
                self._index.delete(resource, (field_to_id(item) for item in fields))
            self._index.bump({resource.name for resource in (*updated, *forgotten)})
            self._put_samples(samples, now)
            self._advance(changes, samples)
            self._index.commit()
        except BaseException:
            self._index.rollback()
            raise
        return True

    def follow_freshness(self) -> None:
        """Copies when each resource was last known right. Does not count as a change."""
        reply: Any = self._redis.hgetall(keys.fresh(self.cluster, self.session))
        moments = {name.decode(errors="replace"): float(at) for name, at in reply.items()}
        if moments and moments != self._fresh:
            self._index.begin()
            self._index.set_fresh(moments)
            self._index.commit()
            self._fresh = moments

    def rebuild(self, epoch: str) -> None:
        """Writes a new index from what Redis holds and puts it in the old one's place."""
        new = self.path.with_suffix(".new")
        _remove(new)
        last = self._last_change_id()
        index = Index(new)
        index.begin()
        for resource in RESOURCES:
            decode = codec(resource.row).decode
            index.put(resource, ((field_to_id(name), decode(blob)) for name, blob in self._stored(resource)))
        index.note("epoch", epoch)
        index.note("change_id", last.decode())
        index.commit()
        index.make_sorts()
        index.tune()
        index.close()
        self._index.close()
        _remove(self.path)
        os.replace(new, self.path)
        for suffix in ("-wal", "-shm"):
            new.with_name(new.name + suffix).unlink(missing_ok=True)
        self._index = Index(self.path)
        self.change_id, self.sample_id, self._fresh = last, FIRST_ID, {}
        log.info("rebuilt the index of %s %s", self.cluster, self.session)

    def _stored(self, resource: Resource) -> Iterable[tuple[bytes, bytes]]:
        return read_all(self._redis, self.cluster, self.session, resource)

    def tune(self) -> None:
        """Lets SQLite learn the sizes of tables."""
        self._index.tune()

    def has_ended(self) -> bool:
        """Whether the collector said that the session is over."""
        [blob] = read_rows(self._redis, self.cluster, self.session, METADATA, [b"t" + SINGLE_ROW_ID.encode()])
        return blob is not None and codec(METADATA.row).decode(blob).ended_ms is not None

    def seal(self, now: float) -> None:
        """Closes the index for ever and lets the session's keys expire."""
        self._index.seal()
        pipe = self._redis.pipeline(transaction=False)
        for key in session_keys(self.cluster, self.session):
            pipe.expire(key, keys.ENDED_SESSION_EXPIRES_S)
        pipe.execute()

    def _open(self) -> Index:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            index = Index(self.path)
            index.make_sorts()
        except sqlite3.DatabaseError as error:
            log.warning("the index %s cannot be used (%s); it is rebuilt", self.path.name, error)
            _remove(self.path)
            index = Index(self.path)
            index.make_sorts()
        return index

    def _is_behind(self) -> bool:
        """The stream was trimmed past our place, or ends before it (Redis went back in time)."""
        key = keys.changes(self.cluster, self.session)
        first: Any = self._redis.xrange(key, count=1)
        last: Any = self._redis.xrevrange(key, count=1)
        if not first or not last:
            return self.change_id != FIRST_ID
        ours = stream_position(self.change_id)
        trimmed = ours < stream_position(first[0][0]) and int(self._redis.xinfo_stream(key)["entries-added"]) > int(self._redis.xlen(key))
        return trimmed or stream_position(last[0][0]) < ours

    def _is_whole(self) -> bool:
        return all(self._redis.hmget(keys.fresh(self.cluster, self.session), WHOLE_SNAPSHOT))

    def _last_change_id(self) -> bytes:
        last: Any = self._redis.xrevrange(keys.changes(self.cluster, self.session), count=1)
        return bytes(last[0][0]) if last else FIRST_ID

    def _put(self, resource: Resource, fields: list[bytes]) -> None:
        decode = codec(resource.row).decode
        for start in range(0, len(fields), IDS_AT_ONCE):
            some = fields[start : start + IDS_AT_ONCE]
            blobs = read_rows(self._redis, self.cluster, self.session, resource, some)
            self._index.put(resource, ((field_to_id(name), decode(blob)) for name, blob in zip(some, blobs, strict=True) if blob))
            self._index.delete(resource, (field_to_id(name) for name, blob in zip(some, blobs, strict=True) if not blob))

    def _put_samples(self, entries: StreamEntries, now: float) -> None:
        if not entries:
            return
        decode = codec(NodeSample).decode
        self._index.put_samples([decode(fields[b"s"]) for _, fields in entries], now - self._history_s)
        self._index.bump(["samples"])

    def _advance(self, changes: StreamEntries, samples: StreamEntries) -> None:
        if changes:
            self.change_id = changes[-1][0]
            self._index.note("change_id", self.change_id.decode())
        if samples:
            self.sample_id = samples[-1][0]
            self._index.note("sample_id", self.sample_id.decode())


def session_keys(cluster: str, session: str) -> Iterable[bytes]:
    """Every key of a session."""
    for resource in RESOURCES:
        yield keys.dead(cluster, session, resource.name)
        for bucket in range(resource.buckets):
            yield keys.rows(cluster, session, resource.name, bucket)
    for make in (keys.changes, keys.samples, keys.fresh, keys.epoch, keys.tick, keys.counters):
        yield make(cluster, session)


def stream_position(entry_id: bytes) -> tuple[int, int]:
    """An entry's id as numbers that compare."""
    milliseconds, _, number = entry_id.partition(b"-")
    return int(milliseconds), int(number or 0)


def _gather(entries: StreamEntries) -> tuple[dict[Resource, set[bytes]], dict[Resource, set[bytes]]]:
    """What to read again and what to remove: the last word on each id counts."""
    updated: dict[Resource, set[bytes]] = {}
    forgotten: dict[Resource, set[bytes]] = {}
    for _, fields in entries:
        resource = BY_NAME.get(fields[b"r"].decode())
        if resource is None:
            continue  # written by a newer Raydeck
        _move(_ids(fields, b"u"), updated.setdefault(resource, set()), forgotten.get(resource))
        _move(_ids(fields, b"d"), forgotten.setdefault(resource, set()), updated.get(resource))
    drop_empty = {resource: some for resource, some in updated.items() if some}
    return drop_empty, {resource: some for resource, some in forgotten.items() if some}


def _ids(fields: dict[bytes, bytes], name: bytes) -> list[bytes]:
    found: list[Any] = msgspec.msgpack.decode(fields[name])
    return found


def _move(ids: list[bytes], into: set[bytes], out_of: set[bytes] | None) -> None:
    into.update(ids)
    if out_of:
        out_of.difference_update(ids)


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
