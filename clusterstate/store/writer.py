"""How collectors write what they saw. Every write is fenced by the writer's lease."""

from __future__ import annotations

import dataclasses
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec
import redis
from redis.exceptions import WatchError

from clusterstate.model import ClusterMetadata, NodeSample
from clusterstate.resources import ACTORS, JOBS, METADATA, NODES, TASKS, WORKERS, Resource
from clusterstate.store import keys
from clusterstate.store.encoding import codec, field_to_id, id_to_field
from clusterstate.store.leases import Lease
from clusterstate.store.recent import Recent
from clusterstate.store.row_ids import SINGLE_ROW_ID, row_id
from clusterstate.store.stored_rows import by_bucket, count_rows, read_all, read_rows, session_keys
from clusterstate.task_states import has_ended

T = TypeVar("T")

BATCH = 2000
"""Rows per round trip: about 800 kB, 5 ms of Redis' time. Many rows a bucket are one command."""
RENEWAL_RACES = 8

DEAD: dict[str, Callable[[Any], bool]] = {
    ACTORS.name: lambda row: row.state == "DEAD",
    NODES.name: lambda row: row.state == "DEAD",
    WORKERS.name: lambda row: not row.is_alive,
    JOBS.name: lambda row: row.status in {"SUCCEEDED", "FAILED", "STOPPED"},
    TASKS.name: lambda row: has_ended(row.state),
}
"""When a row counts against its resource's limit."""


Tally = Callable[["SessionWriter", list[Any]], "tuple[Resource, Sequence[Any]]"]


class LeaseLost(Exception):
    """Another process holds the lease now: stop writing at once."""


def current_session(client: redis.Redis, cluster: str) -> str | None:
    """The session that a cluster's collector writes now; None before the first."""
    value = client.hget(keys.clusters(), cluster)
    return value.decode() if isinstance(value, bytes) else None


class SessionWriter:
    """Writes one session of one cluster.

    Methods raise LeaseLost when superseded, and what redis-py raises when Redis is away
    (`clusterstate.store.connection.UNREACHABLE`); nothing is half written within one batch.
    """

    def __init__(self, client: redis.Redis, cluster: str, session: str, lease: Lease | None = None) -> None:
        self.cluster = cluster
        self.session = session
        self._redis = client
        self._lease = lease
        self._epoch: bytes | None = None
        self._tick: int | None = None
        self._recent: dict[str, Recent] = {}  # of the resources that are joined
        self._announced: deque[int] = deque(maxlen=keys.CHANGES_MAXLEN)  # ids in each of the newest entries of the change stream
        self._announced_ids = 0

    def begin(self, metadata: ClusterMetadata) -> None:
        """Makes this the cluster's current session. After a loss of data, starts a new epoch."""
        lost = self._epoch is not None and not self.is_known()
        epoch = self._redis.get(keys.epoch(self.cluster, self.session))
        ended = self._has_ended()
        if lost or ended or not isinstance(epoch, bytes):
            epoch = secrets.token_bytes(8)

        def claim(pipe: Any) -> None:
            if ended:  # it was left for another cluster and is watched again: its keys were about to expire
                pipe.unlink(*session_keys(self.cluster, self.session))
            pipe.set(keys.epoch(self.cluster, self.session), epoch)
            pipe.hset(keys.clusters(), self.cluster, self.session)

        self._commit(claim)
        self._epoch, self._tick = epoch, None
        self._recent.clear()
        self.record(METADATA, [metadata], now=0)

    def end(self, now: float, reason: str) -> None:
        """The session is over; its rows are sealed by the projectors and leave Redis within the hour."""
        [metadata] = self.get(METADATA, [SINGLE_ROW_ID])
        if metadata is not None and metadata.ended_ms is None:
            self.record(METADATA, [dataclasses.replace(metadata, ended_ms=int(now * 1000), end_reason=reason)], now)

        def leave(pipe: Any) -> None:
            for key in session_keys(self.cluster, self.session):
                pipe.expire(key, keys.ENDED_SESSION_EXPIRES_S)

        self._commit(leave)

    def _has_ended(self) -> bool:
        [metadata] = self.get(METADATA, [SINGLE_ROW_ID])
        return metadata is not None and metadata.ended_ms is not None

    def is_known(self) -> bool:
        """False when Redis was flushed, replaced or went back in time since `begin`: begin again, record everything."""
        epoch, tick = self._redis.mget(keys.epoch(self.cluster, self.session), keys.tick(self.cluster, self.session))
        if self._epoch is None or epoch != self._epoch:
            return False
        return self._tick is None or int(tick or 0) >= self._tick

    def record(self, resource: Resource, rows: Iterable[Any], now: float) -> int:
        """Keeps these rows. Those that differ from what is stored are written and announced; their number is returned.

        Dead rows that were given up for the limit stay so, however often Ray lists them again.
        """
        encode = codec(resource.row).encode
        given_up = self.given_up_until(resource)
        changed, was_empty = 0, None
        iterator = iter(rows)
        while chunk := list(islice(iterator, BATCH)):
            if was_empty is None:
                was_empty = len(chunk) == BATCH and not count_rows(self._redis, self.cluster, self.session, resource)
            by_id = {id_to_field(row_id(resource, row)): row for row in chunk}
            blobs = {name: encode(row) for name, row in by_id.items()}
            before = {} if was_empty else self._stored(resource, list(blobs))
            changed += self._write_changed(resource, blobs, before, by_id, given_up)
        return changed

    def join(
        self, resource: Resource, updates: Mapping[str, T], how: Callable[[Any | None, T], Any], is_new: Callable[[str], bool] | None = None
    ) -> int:
        """Keeps, under each id, what `how` makes of the row that is kept (None: there is none) and its update; nothing for None.

        `is_new`: whether no row is kept for certain. Nobody else may write rows of this resource. Returns how many rows differ
        from what was stored.
        """
        recent = self._recent.setdefault(resource.name, Recent())
        decode, encode = codec(resource.row).decode, codec(resource.row).encode
        given_up = self.given_up_until(resource)
        changed = 0
        iterator = iter(updates.items())
        while some := list(islice(iterator, BATCH)):
            chunk = {id_to_field(item): update for item, update in some}
            told = {name: known for name in chunk if (known := recent.get(name)) is not None}
            asked = [name for (item, _), name in zip(some, chunk, strict=True) if name not in told and not (is_new and is_new(item))]
            told |= {name: (blob, decode(blob)) for name, blob in self._stored(resource, asked).items()}
            made = ((name, how(told[name][1] if name in told else None, update)) for name, update in chunk.items())
            rows = {name: row for name, row in made if row is not None}
            blobs = {name: encode(row) for name, row in rows.items()}
            changed += self._write_changed(resource, blobs, {name: blob for name, (blob, _) in told.items()}, rows, given_up, told)
        return changed

    def forget(self, resource: Resource, ids: Iterable[str], now: float) -> int:
        """Removes rows; returns how many there were."""
        removed = 0
        iterator = iter(ids)
        while chunk := [id_to_field(item) for item in islice(iterator, BATCH)]:
            removed += self._remove(resource, chunk)
        return removed

    def replace(self, resource: Resource, rows: Iterable[Any], now: float, within: Callable[[Any], bool] | None = None) -> int:
        """These rows are all there is (or all for which `within` holds): records them and forgets the others."""
        kept: set[str] = set()

        def noted() -> Iterator[Any]:
            for row in rows:
                kept.add(row_id(resource, row))
                yield row

        changed = self.record(resource, noted(), now)
        gone = [item for item, row in self._items(resource) if item not in kept and (within is None or within(row))]
        return changed + (self.forget(resource, gone, now) if gone else 0)

    def confirm(self, moments: Mapping[str, float]) -> None:
        """Says as of when, in Unix seconds, resources (or "node:<node_id>") are known right."""
        listed = {name: repr(at) for name, at in moments.items()}

        def stamp(pipe: Any) -> None:
            pipe.hset(keys.fresh(self.cluster, self.session), mapping=listed)
            if self._epoch is not None:
                pipe.incr(keys.tick(self.cluster, self.session))

        replies = self._commit(stamp)
        if self._epoch is not None:
            self._tick = int(replies[-1])

    def confirmed(self, name: str) -> float | None:
        """As of when something was last known right, Unix seconds."""
        value = self._redis.hget(keys.fresh(self.cluster, self.session), name)
        return float(value) if isinstance(value, bytes) else None

    def unconfirm(self, names: Iterable[str]) -> None:
        """Forgets when these were last known right: they are no more."""
        listed = list(names)
        if listed:
            self._commit(lambda pipe: pipe.hdel(keys.fresh(self.cluster, self.session), *listed))

    def record_samples(self, samples: Iterable[NodeSample]) -> None:
        """Appends to the short history."""
        blobs = [codec(NodeSample).encode(sample) for sample in samples]

        def append(pipe: Any) -> None:
            for blob in blobs:
                pipe.xadd(keys.samples(self.cluster, self.session), {b"s": blob}, maxlen=keys.SAMPLES_MAXLEN, approximate=True)

        self._commit(append)

    def rows(self, resource: Resource) -> Iterator[Any]:
        """All rows kept now, a bucket at a time."""
        return (row for _, row in self._items(resource))

    def get(self, resource: Resource, ids: Sequence[str]) -> list[Any]:
        """The rows of these ids, None for those that are not kept."""
        decode = codec(resource.row).decode
        blobs = read_rows(self._redis, self.cluster, self.session, resource, [id_to_field(item) for item in ids])
        return [None if blob is None else decode(blob) for blob in blobs]

    def reserve(self, resource: Resource, count: int) -> int:
        """The first of so many consecutive numbers, from 1, which nobody else is given in this session."""
        key = keys.counters(self.cluster, self.session)
        [last] = self._commit(lambda pipe: pipe.hincrby(key, "sequence:" + resource.name, count))
        return int(last) - count + 1

    def evicted(self, resource: Resource) -> int:
        """Dead rows given up for the limit since the session began."""
        return int(self._redis.hget(keys.counters(self.cluster, self.session), "evicted:" + resource.name) or 0)

    def trim_dead(self, resource: Resource, limit: int, now: float, tally: Tally | None = None) -> int:
        """Gives up the oldest dead rows over `limit`; returns how many were given up since the session began.

        `tally` turns rows that go into rows of another resource, which are written in the same transaction.
        """
        key = keys.dead(self.cluster, self.session, resource.name)
        over = int(self._redis.llen(key)) - limit
        while over > 0:
            names = [name for name in self._redis.lrange(key, 0, min(over, BATCH) - 1) if isinstance(name, bytes)]
            rows = self.get(resource, [field_to_id(name) for name in names])
            still_dead = {name: row for name, row in zip(names, rows, strict=True) if row is not None and DEAD[resource.name](row)}
            until = min(max((row.end_time_ms or 0 for row in still_dead.values()), default=0), int(now * 1000))  # a clock may be ahead
            instead = tally(self, list(still_dead.values())) if tally is not None and still_dead else None
            self._evict(resource, len(names), list(still_dead), max(until, self.given_up_until(resource)), instead)
            over -= len(names)
        return self.evicted(resource)

    def _remove(self, resource: Resource, names: list[bytes]) -> int:
        self._forget(resource, names)

        def remove(pipe: Any) -> None:
            for bucket, some in by_bucket(resource, names).items():
                pipe.hdel(self._rows_key(resource, bucket), *some)
            self._announce(pipe, resource, forgotten=names)

        return sum(int(reply) for reply in self._commit(remove)[:-1])

    def given_up_until(self, resource: Resource) -> int:
        """The latest end, in Unix milliseconds, of a dead row that was given up; 0 before any was."""
        if resource.name not in DEAD:
            return 0
        return int(self._redis.hget(keys.counters(self.cluster, self.session), "until:" + resource.name) or 0)

    def _evict(
        self, resource: Resource, listed: int, names: list[bytes], until: int, instead: tuple[Resource, Sequence[Any]] | None
    ) -> None:
        self._forget(resource, names)

        def evict(pipe: Any) -> None:
            if instead is not None:
                self._put(pipe, *instead)
            pipe.ltrim(keys.dead(self.cluster, self.session, resource.name), listed, -1)
            for bucket, some in by_bucket(resource, names).items():
                pipe.hdel(self._rows_key(resource, bucket), *some)
            if names:
                pipe.hincrby(keys.counters(self.cluster, self.session), "evicted:" + resource.name, len(names))
                pipe.hset(keys.counters(self.cluster, self.session), "until:" + resource.name, until)
                self._announce(pipe, resource, forgotten=names)

        self._commit(evict)

    def _forget(self, resource: Resource, names: Iterable[bytes]) -> None:
        if resource.name in self._recent:
            self._recent[resource.name].drop(names)

    def _stored(self, resource: Resource, names: list[bytes]) -> dict[bytes, bytes]:
        if not names:
            return {}
        stored = read_rows(self._redis, self.cluster, self.session, resource, names)
        return {name: blob for name, blob in zip(names, stored, strict=True) if blob is not None}

    def _write_changed(
        self,
        resource: Resource,
        blobs: dict[bytes, bytes],
        before: dict[bytes, bytes],
        by_id: dict[bytes, Any],
        given_up: int,
        told: Mapping[bytes, tuple[bytes, Any]] = MappingProxyType({}),
    ) -> int:
        changed = [
            name
            for name in blobs
            if before.get(name) != blobs[name] and (name in before or not _is_given_up(resource, by_id[name], given_up))
        ]
        if not changed:
            return 0
        died = self._newly_dead(resource, changed, before, by_id, told)

        def write(pipe: Any) -> None:
            for bucket, some in by_bucket(resource, changed).items():
                pipe.hset(self._rows_key(resource, bucket), mapping={name: blobs[name] for name in some})
            if died:
                pipe.rpush(keys.dead(self.cluster, self.session, resource.name), *died)
            self._announce(pipe, resource, updated=changed)

        self._commit(write)
        if resource.name in self._recent:
            for name in changed:
                self._recent[resource.name].put(name, blobs[name], by_id[name])
        return len(changed)

    def _put(self, pipe: Any, resource: Resource, rows: Sequence[Any]) -> None:
        encode = codec(resource.row).encode
        blobs = {id_to_field(row_id(resource, row)): encode(row) for row in rows}
        for bucket, some in by_bucket(resource, blobs).items():
            pipe.hset(self._rows_key(resource, bucket), mapping={name: blobs[name] for name in some})
        self._announce(pipe, resource, updated=list(blobs))

    def _newly_dead(
        self,
        resource: Resource,
        changed: list[bytes],
        before: dict[bytes, bytes],
        by_id: dict[bytes, Any],
        told: Mapping[bytes, tuple[bytes, Any]],
    ) -> list[bytes]:
        is_dead = DEAD.get(resource.name)
        if is_dead is None:
            return []
        decode = codec(resource.row).decode
        dead = [name for name in changed if is_dead(by_id[name])]
        return [name for name in dead if name not in before or not is_dead(told[name][1] if name in told else decode(before[name]))]

    def _items(self, resource: Resource) -> Iterator[tuple[str, Any]]:
        decode = codec(resource.row).decode
        for name, blob in read_all(self._redis, self.cluster, self.session, resource):
            yield field_to_id(name), decode(blob)

    def _rows_key(self, resource: Resource, bucket: int) -> bytes:
        return keys.rows(self.cluster, self.session, resource.name, bucket)

    def _announce(self, pipe: Any, resource: Resource, updated: Sequence[bytes] = (), forgotten: Sequence[bytes] = ()) -> None:
        entry = {b"r": resource.name, b"u": msgspec.msgpack.encode(list(updated)), b"d": msgspec.msgpack.encode(list(forgotten))}
        pipe.xadd(
            keys.changes(self.cluster, self.session), entry, maxlen=self._entries_kept(len(updated) + len(forgotten)), approximate=True
        )

    def _entries_kept(self, ids: int) -> int:
        """How many entries the change stream keeps once this one with so many ids is in. Those of others count as small."""
        if len(self._announced) == self._announced.maxlen:
            self._announced_ids -= self._announced.popleft()
        self._announced.append(ids)
        self._announced_ids += ids
        if self._announced_ids <= keys.CHANGED_IDS_KEPT:
            return keys.CHANGES_MAXLEN
        while self._announced_ids > keys.CHANGED_IDS_KEPT and len(self._announced) > 1:
            self._announced_ids -= self._announced.popleft()
        return len(self._announced)

    def _commit(self, fill: Callable[[Any], None]) -> list[Any]:
        """Runs what `fill` queues as one transaction, only while the lease is this writer's.

        A renewal between WATCH and EXEC touches the key although nothing changed hands: then again.
        """
        for _ in range(RENEWAL_RACES):
            pipe = self._redis.pipeline(transaction=True)
            try:
                self._watch_lease(pipe)
                fill(pipe)
                replies: list[Any] = pipe.execute()
                return replies
            except WatchError:
                continue
            finally:
                pipe.reset()
        raise LeaseLost("The lease changed hands again and again during a write.")

    def _watch_lease(self, pipe: Any) -> None:
        if self._lease is None:
            return
        key = keys.lease(self._lease.name)
        pipe.watch(key)
        held = pipe.get(key)
        if held != self._lease.value:
            raise LeaseLost(f"The lease {self._lease.name} is no longer held by {self._lease.holder}.")
        pipe.multi()


def _is_given_up(resource: Resource, row: Any, until: int) -> bool:
    """Whether a row that is not kept is one of those that had to go."""
    return until > 0 and row.end_time_ms is not None and row.end_time_ms <= until and DEAD[resource.name](row)
