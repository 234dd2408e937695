"""A loop is put back into its queue when it ends; what a dead worker held is free, and nobody else's."""

from __future__ import annotations

import pytest
import redis

from clusterstate.loops import CollectCluster
from clusterstate.store import keys, leases
from clusterstate.store.safe_jobs import SafeQueue
from workers.backoff import STEPS_S, back_off_s
from workers.schedule import LoopWatch

LOOP = CollectCluster("demo", "127.0.0.1:1")
KEY = b"k" * 32


def taken(client: redis.Redis, watch: LoopWatch, host: str, pid: int) -> leases.Lease:
    """What `watch` enqueues is taken by a worker of some host, which beats."""
    watch.look(client, 1000.0)
    [job_id] = SafeQueue(LOOP.queue, client).job_ids
    lease = leases.acquire(client, LOOP.name, leases.holder(host, pid, job_id), 60)
    assert lease is not None
    client.set(keys.heartbeat(LOOP.name), b"beats")
    return lease


def test_a_dead_worker_frees_its_loop_at_once(redis_client: redis.Redis) -> None:
    watch = LoopWatch(LOOP, KEY, "here")
    taken(redis_client, watch, "here", 7)

    watch.worker_died(redis_client, 7)

    assert leases.current(redis_client, LOOP.name) is None
    assert not redis_client.exists(keys.heartbeat(LOOP.name))


@pytest.mark.parametrize(("host", "pid"), [("elsewhere", 7), ("here", 77), ("here", 8)])
def test_a_loop_that_another_worker_took_goes_on_when_ours_dies(redis_client: redis.Redis, host: str, pid: int) -> None:
    watch = LoopWatch(LOOP, KEY, "here")
    lease = taken(redis_client, watch, host, pid)

    watch.worker_died(redis_client, 7)

    assert leases.current(redis_client, LOOP.name) == lease
    assert redis_client.exists(keys.heartbeat(LOOP.name))


def test_our_worker_is_known_also_where_another_host_enqueued_the_loop(redis_client: redis.Redis) -> None:
    taken(redis_client, LoopWatch(LOOP, KEY, "elsewhere"), "here", 7)

    LoopWatch(LOOP, KEY, "here").worker_died(redis_client, 7)

    assert leases.current(redis_client, LOOP.name) is None


def test_the_heartbeat_of_the_next_holder_stays_when_a_late_one_lets_go(redis_client: redis.Redis) -> None:
    late = taken(redis_client, LoopWatch(LOOP, KEY, "here"), "here", 7)
    redis_client.delete(keys.lease(LOOP.name))
    following = leases.acquire(redis_client, LOOP.name, leases.holder("elsewhere", 9, "job"), 60)

    leases.release(redis_client, late)

    assert leases.current(redis_client, LOOP.name) == following
    assert redis_client.exists(keys.heartbeat(LOOP.name))


def test_waiting_grows_and_ends_somewhere() -> None:
    waits = [back_off_s(failures) for failures in range(12)]

    assert waits[0] == 0
    assert waits == sorted(waits)
    assert waits[-1] == STEPS_S[-1]
