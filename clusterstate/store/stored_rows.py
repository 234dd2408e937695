"""Rows as they lie in Redis: by bucket, or by id in one round trip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import redis

from clusterstate.resources import RESOURCES, Resource
from clusterstate.store import keys

BUCKETS_AT_ONCE = 64
"""About 6,000 rows, 2 MB, at full size."""


def session_keys(cluster: str, session: str) -> Iterable[bytes]:
    """Every key of a session."""
    for resource in RESOURCES:
        yield keys.dead(cluster, session, resource.name)
        for bucket in range(resource.buckets):
            yield keys.rows(cluster, session, resource.name, bucket)
    for make in (keys.changes, keys.samples, keys.fresh, keys.epoch, keys.tick, keys.counters):
        yield make(cluster, session)


def by_bucket(resource: Resource, names: Iterable[bytes]) -> dict[int, list[bytes]]:
    """Hash fields by the bucket they lie in."""
    buckets: dict[int, list[bytes]] = {}
    for name in names:
        buckets.setdefault(keys.bucket_of(name, resource.buckets), []).append(name)
    return buckets


def read_all(client: redis.Redis, cluster: str, session: str, resource: Resource) -> Iterator[tuple[bytes, bytes]]:
    """The (field, row) pairs of a resource, some buckets a round trip. Thousands of buckets of nothing are one question."""
    if resource.buckets > BUCKETS_AT_ONCE:
        everything = [keys.rows(cluster, session, resource.name, bucket) for bucket in range(resource.buckets)]
        if not client.exists(*everything):
            return
    for start in range(0, resource.buckets, BUCKETS_AT_ONCE):
        pipe = client.pipeline(transaction=False)
        for bucket in range(start, min(start + BUCKETS_AT_ONCE, resource.buckets)):
            pipe.hgetall(keys.rows(cluster, session, resource.name, bucket))
        for rows in pipe.execute():
            yield from rows.items()


def read_rows(client: redis.Redis, cluster: str, session: str, resource: Resource, names: Sequence[bytes]) -> list[bytes | None]:
    """The stored rows of these fields, None where there is none."""
    buckets = by_bucket(resource, names)
    pipe = client.pipeline(transaction=False)
    for bucket, some in buckets.items():
        pipe.hmget(keys.rows(cluster, session, resource.name, bucket), some)
    found: dict[bytes, bytes | None] = {}
    for some, values in zip(buckets.values(), pipe.execute(), strict=True):
        found.update(zip(some, values, strict=True))
    return [found[name] for name in names]


def count_rows(client: redis.Redis, cluster: str, session: str, resource: Resource) -> int:
    """How many rows of a resource there are."""
    pipe = client.pipeline(transaction=False)
    for bucket in range(resource.buckets):
        pipe.hlen(keys.rows(cluster, session, resource.name, bucket))
    return sum(int(number) for number in pipe.execute())
