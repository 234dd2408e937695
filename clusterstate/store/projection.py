"""Follows one session's change stream in Redis into its SQLite index, and rebuilds the index when it cannot follow."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import redis

from clusterstate.model import NodeSample
from clusterstate.resources import ACTORS, BY_NAME, JOBS, METADATA, NODES, RESOURCES, Resource
from clusterstate.store import keys
from clusterstate.store.encoding import codec, field_to_id
from clusterstate.store.index import Index
from clusterstate.store.new_index import NewIndex, remove
from clusterstate.store.row_ids import SINGLE_ROW_ID
from clusterstate.store.stored_rows import read_all, read_rows, session_keys
from clusterstate.store.upgrade import bring_up_to_date

log = logging.getLogger(__name__)

FIRST_ID = b"0-0"
WHOLE_SNAPSHOT = (NODES.name, ACTORS.name, JOBS.name)
"""Once these are confirmed, what is in Redis is a whole picture."""
ENTRIES_AT_ONCE = 500
IDS_AT_ONCE = 1000
IN_BULK_FROM = 20_000
"""Changed rows at once from which a new index is filled faster than this one is brought up to date, if they are more than it has."""
SHOWN_AT_ONCE = 5000
"""A new index of fewer rows does not wait until the collector has written all there is."""
IN_FIRST_SNAPSHOT = 1000
"""The same while the collector has not written all there is: more is coming."""
NOTHING_MORE_S = 5.0
"""After this long without rows a new index is shown even though the collector has not said that it is whole."""

StreamEntries = Sequence[tuple[bytes, dict[bytes, bytes]]]
Fields = dict[Resource, set[bytes]]


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
        self._new: NewIndex | None = None
        self._belongs = True  # what the streams say is about the data that the index holds
        self.is_sorted = True
        self.change_id = self.sample_id = FIRST_ID
        self._stand_where(self._index)

    def close(self) -> None:
        self._drop_new()
        self._index.close()

    @property
    def streams(self) -> dict[bytes, bytes]:
        """Stream key → the last entry seen."""
        return {
            keys.changes(self.cluster, self.session): self.change_id,
            keys.samples(self.cluster, self.session): self.sample_id,
        }

    def catch_up(self) -> None:
        """Checks that the index is there and belongs to what Redis holds; begins a new one if not. To be called now and then."""
        epoch = self._redis.get(keys.epoch(self.cluster, self.session))
        if not isinstance(epoch, bytes):
            self._belongs = False
            return  # flushed: what the index knows stays, and ages, until the collector has written anew
        known = self._index.noted("epoch") if self._new is None else self._new.epoch
        is_there = self._new is not None or self.path.exists()  # who deletes the file has it made again
        if is_there and known == epoch.hex() and not self._is_behind():
            self._belongs = True
            return
        self._drop_new()
        self._belongs = False
        if is_there and self._index.noted("epoch") is not None and not is_whole(self.read_freshness()):
            return  # half a snapshot must not replace a whole picture
        self._begin_new(epoch.hex())
        self._belongs = True
        if self._new is not None and self._new.rows < SHOWN_AT_ONCE:
            self._show_new()

    def apply(self, changes: StreamEntries, samples: StreamEntries, now: float) -> bool:
        """Puts stream entries into the index as one transaction. True when anything changed."""
        if not changes and not samples:
            return False
        if not self._belongs:
            self._pass_over(changes, samples)
            return False
        updated, forgotten = _gather(changes)
        epoch = self._index.noted("epoch")
        if self._new is None and epoch is not None and self._is_much(sum(map(len, updated.values()))):
            self._begin_new(epoch)  # reads what these entries announce
            return False
        try:
            self._apply(updated, forgotten, changes, samples, now)
        except BaseException:
            self._give_up_transaction()
            raise
        return True

    def read_freshness(self) -> dict[str, float]:
        """When each resource was last known right, as Redis has it now. To be read before the streams are."""
        reply: Any = self._redis.hgetall(keys.fresh(self.cluster, self.session))
        return {name.decode(errors="replace"): float(at) for name, at in reply.items()}

    def say_fresh(self, moments: dict[str, float]) -> None:
        """All that was announced before `moments` were read is in: a new index may be shown, and they are true of it.

        Does not count as a change.
        """
        if not self._belongs:
            return
        if self._new is not None:
            if self._new.rows >= SHOWN_AT_ONCE and not is_whole(moments) and self._new.idle_s() < NOTHING_MORE_S:
                return
            self._show_new()
        if moments and moments != self._fresh:
            self._index.begin()
            self._index.set_fresh(self._fresh, moments)
            self._index.commit()
            self._fresh = moments

    def follow_freshness(self) -> None:
        """The same for who knows that nobody writes meanwhile."""
        self.say_fresh(self.read_freshness())

    def sort_on(self) -> None:
        """Makes one of the sorts that a new index still lacks: until then its lists are read whole and sorted for each reader."""
        if not self.is_sorted and not self._index.make_a_sort():
            self._index.tune()
            self.is_sorted = True

    def tune(self) -> None:
        """Lets SQLite learn the sizes of tables."""
        self._index.tune()

    def has_ended(self) -> bool:
        """Whether the collector said that the session is over."""
        return has_ended(self._redis, self.cluster, self.session) is True

    def seal(self, now: float) -> None:
        """Closes the index for ever and lets the session's keys expire."""
        if self._new is not None:
            self._show_new()
        self._index.make_sorts()
        last_known = max(self._fresh.values(), default=now)
        self._index.note_end(int(last_known * 1000), "nobody watches it any more")
        self._index.seal()
        pipe = self._redis.pipeline(transaction=False)
        for key in session_keys(self.cluster, self.session):
            pipe.expire(key, keys.ENDED_SESSION_EXPIRES_S)
        pipe.execute()

    def _open(self) -> Index:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            bring_up_to_date(self.path)
            index = Index(self.path)
            index.make_sorts()
        except sqlite3.DatabaseError as error:
            log.warning("the index %s cannot be used (%s); it is rebuilt", self.path.name, error)
            remove(self.path)
            index = Index(self.path)
            index.make_sorts()
        return index

    def _begin_new(self, epoch: str) -> None:
        """Fills a new index with what Redis holds; the streams go into it from there on."""
        last = self._last_change_id()
        new = self._new = NewIndex(self.path, epoch)
        try:
            new.index.begin()
            for resource in RESOURCES:
                values = codec(resource.row).values
                stored = read_all(self._redis, self.cluster, self.session, resource)
                new.count(new.index.put(resource, ((field_to_id(name), values(blob)) for name, blob in stored)))
            new.index.note("change_id", last.decode())
            new.index.commit()
        except BaseException:
            self._drop_new()
            raise
        self.change_id, self.sample_id = last, FIRST_ID

    def _show_new(self) -> None:
        if self._new is not None:
            new, self._new = self._new, None
            self._index = new.put_in_place_of(self._index)
            self._fresh = {}
            self.is_sorted = False
            log.info("a new index of %s %s: %d rows", self.cluster, self.session, new.rows)

    def _drop_new(self) -> None:
        """Whatever is wrong with it, the index that is shown goes on from where it stands."""
        if self._new is not None:
            self._new.discard()
            self._new = None
            self._stand_where(self._index)

    def _stand_where(self, index: Index) -> None:
        self.change_id = (index.noted("change_id") or FIRST_ID.decode()).encode()
        self.sample_id = (index.noted("sample_id") or FIRST_ID.decode()).encode()

    def _give_up_transaction(self) -> None:
        if self._new is None:
            self._index.rollback()
        self._drop_new()

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

    def _last_change_id(self) -> bytes:
        last: Any = self._redis.xrevrange(keys.changes(self.cluster, self.session), count=1)
        return bytes(last[0][0]) if last else FIRST_ID

    def _is_much(self, rows: int) -> bool:
        """Whether a new index takes in so many changed rows sooner than this one: it takes in all others as well."""
        if not is_whole(self._fresh):
            return rows > IN_FIRST_SNAPSHOT
        return rows > IN_BULK_FROM and rows > self._index.large_rows()

    def _apply(self, updated: Fields, forgotten: Fields, changes: StreamEntries, samples: StreamEntries, now: float) -> None:
        index = self._index if self._new is None else self._new.index
        index.begin()
        for resource, fields in updated.items():
            self._put(index, resource, list(fields))
        for resource, fields in forgotten.items():
            index.delete(resource, (field_to_id(item) for item in fields))
        index.bump({resource.name for resource in (*updated, *forgotten)})
        if samples:
            decode = codec(NodeSample).decode
            index.put_samples([decode(fields[b"s"]) for _, fields in samples], now - self._history_s)
            index.bump(["samples"])
        self._advance(index, changes, samples)
        index.commit()

    def _put(self, index: Index, resource: Resource, fields: list[bytes]) -> None:
        gone: list[str] = []
        count = index.put(resource, self._read(resource, fields, gone))
        index.delete(resource, gone)
        if self._new is not None:
            self._new.count(count)

    def _read(self, resource: Resource, fields: list[bytes], gone: list[str]) -> Iterator[tuple[str, list[Any]]]:
        """(id, values) of the rows that are kept under these fields. `gone` gets the ids of the others."""
        values = codec(resource.row).values
        for start in range(0, len(fields), IDS_AT_ONCE):
            some = fields[start : start + IDS_AT_ONCE]
            for name, blob in zip(some, read_rows(self._redis, self.cluster, self.session, resource, some), strict=True):
                if blob:
                    yield field_to_id(name), values(blob)
                else:
                    gone.append(field_to_id(name))

    def _pass_over(self, changes: StreamEntries, samples: StreamEntries) -> None:
        """A new index will be filled from the rows themselves."""
        self.change_id = changes[-1][0] if changes else self.change_id
        self.sample_id = samples[-1][0] if samples else self.sample_id

    def _advance(self, index: Index, changes: StreamEntries, samples: StreamEntries) -> None:
        if changes:
            self.change_id = changes[-1][0]
            index.note("change_id", self.change_id.decode())
        if samples:
            self.sample_id = samples[-1][0]
            index.note("sample_id", self.sample_id.decode())


def has_ended(client: redis.Redis, cluster: str, session: str) -> bool | None:
    """Whether the collector said that a session is over; None when Redis knows nothing of it."""
    [blob] = read_rows(client, cluster, session, METADATA, [b"t" + SINGLE_ROW_ID.encode()])
    return None if blob is None else codec(METADATA.row).decode(blob).ended_ms is not None


def is_whole(moments: dict[str, float]) -> bool:
    """Whether the collector has written all there is."""
    return all(name in moments for name in WHOLE_SNAPSHOT)


def stream_position(entry_id: bytes) -> tuple[int, int]:
    """An entry's id as numbers that compare."""
    milliseconds, _, number = entry_id.partition(b"-")
    return int(milliseconds), int(number or 0)


def _gather(entries: StreamEntries) -> tuple[Fields, Fields]:
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
