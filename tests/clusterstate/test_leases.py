"""One process at a time runs a loop, and a late one cannot write."""

from __future__ import annotations

import time

import redis

from clusterstate.store import keys, leases


def test_only_one_holder_has_a_lease(redis_client: redis.Redis) -> None:
    first = leases.acquire(redis_client, "cluster:a", "one", 5)

    assert first is not None
    assert leases.acquire(redis_client, "cluster:a", "two", 5) is None
    assert leases.current(redis_client, "cluster:a") == first


def test_each_acquisition_has_a_greater_token(redis_client: redis.Redis) -> None:
    first = leases.acquire(redis_client, "cluster:a", "one", 5)
    assert first is not None
    leases.release(redis_client, first)

    second = leases.acquire(redis_client, "cluster:a", "one", 5)

    assert second is not None
    assert second.token > first.token


def test_a_lease_that_ran_out_is_given_to_another_and_not_renewed(redis_client: redis.Redis) -> None:
    first = leases.acquire(redis_client, "cluster:a", "one", 0.05)
    assert first is not None
    time.sleep(0.1)
    second = leases.acquire(redis_client, "cluster:a", "two", 5)

    assert second is not None
    assert leases.renew(redis_client, first, 5) is False
    assert leases.current(redis_client, "cluster:a") == second


def test_a_lease_that_ran_out_and_nobody_took_is_renewed_with_the_same_token(redis_client: redis.Redis) -> None:
    lease = leases.acquire(redis_client, "cluster:a", "one", 0.05)
    assert lease is not None
    time.sleep(0.1)

    assert leases.renew(redis_client, lease, 5) is True
    assert leases.current(redis_client, "cluster:a") == lease


def test_a_lease_outlives_the_loss_of_all_redis_data(redis_client: redis.Redis) -> None:
    lease = leases.acquire(redis_client, "cluster:a", "one", 5)
    assert lease is not None
    redis_client.flushall()

    assert leases.renew(redis_client, lease, 5) is True
    assert leases.acquire(redis_client, "cluster:a", "two", 5) is None


def test_only_the_holder_releases(redis_client: redis.Redis) -> None:
    lease = leases.acquire(redis_client, "cluster:a", "one", 5)
    assert lease is not None

    leases.release(redis_client, leases.Lease("cluster:a", "two", lease.token))

    assert redis_client.get(keys.lease("cluster:a")) == lease.value
