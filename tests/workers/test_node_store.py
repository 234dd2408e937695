"""What a node collector leaves in a real Redis, and how it gets over Redis and leases being away."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from clusterstate.model import ClusterMetadata, NodeSample, NodeStats, Process
from clusterstate.resources import NODE_STATS, PROCESSES
from clusterstate.settings import read_settings
from clusterstate.store import keys, leases
from clusterstate.store.connection import connect
from clusterstate.store.encoding import codec
from clusterstate.store.writer import SessionWriter
from tests.private_redis import private_redis
from workers.collectors.node_store import NodeStore

NOW = 1_800_000_000.0
HERE, BESIDE, ELSEWHERE = "a" * 56, "b" * 56, "c" * 56


def begin(client: redis.Redis, session: str = "session_1") -> SessionWriter:
    """As the cluster collector does."""
    writer = SessionWriter(client, "demo", session)
    writer.begin(ClusterMetadata("demo", session, "127.0.0.1:6379"))
    return writer


def stats(node_id: str = HERE, hostname: str = "here", **fields: object) -> NodeStats:
    return NodeStats(node_id, NOW, boot_id="boot", hostname=hostname, **fields)  # type: ignore[arg-type]


def process(pid: int, node_id: str = HERE) -> Process:
    return Process(f"{node_id}:{pid}", node_id, pid, "WORKER")


def shown(writer: SessionWriter) -> set[tuple[str, int]]:
    return {(row.node_id, row.pid) for row in writer.rows(PROCESSES)}


@pytest.fixture
def cluster(redis_client: redis.Redis) -> SessionWriter:
    return begin(redis_client)


@pytest.fixture
def store(redis_client: redis.Redis, cluster: SessionWriter) -> NodeStore:
    store = NodeStore(redis_client, "demo", None)
    assert store.follow()
    return store


def test_a_nodes_row_its_processes_and_its_freshness_are_written(
    store: NodeStore, cluster: SessionWriter, redis_client: redis.Redis
) -> None:
    store.keep_processes(HERE, [process(1), process(2)])

    assert store.write([stats()], NOW)

    assert cluster.get(NODE_STATS, [HERE]) == [stats()]
    assert shown(cluster) == {(HERE, 1), (HERE, 2)}
    assert redis_client.hget(keys.fresh("demo", "session_1"), f"node:{HERE}") == repr(NOW).encode()


def test_a_process_that_ended_goes_and_other_nodes_keep_theirs(store: NodeStore, cluster: SessionWriter) -> None:
    cluster.record(PROCESSES, [process(9, ELSEWHERE)], NOW)
    store.keep_processes(HERE, [process(1), process(2)])
    store.keep_processes(BESIDE, [process(3, BESIDE)])
    store.write([stats(), stats(BESIDE)], NOW)

    store.keep_processes(HERE, [process(2)])
    store.write([stats(), stats(BESIDE)], NOW)

    assert shown(cluster) == {(HERE, 2), (BESIDE, 3), (ELSEWHERE, 9)}


def test_a_raylet_that_ended_takes_its_processes_and_leaves_its_last_figures(store: NodeStore, cluster: SessionWriter) -> None:
    store.keep_processes(HERE, [process(1)])
    store.write([stats(cpu_percent=5.0)], NOW)

    store.keep_processes(HERE, ())
    assert store.write([], NOW)

    assert shown(cluster) == set()
    assert cluster.get(NODE_STATS, [HERE])[0].cpu_percent == 5.0


def test_what_an_earlier_collector_of_this_host_left_is_swept_and_other_hosts_are_left_alone(
    store: NodeStore, cluster: SessionWriter
) -> None:
    cluster.record(NODE_STATS, [stats(BESIDE), stats(ELSEWHERE, hostname="elsewhere")], NOW)
    cluster.record(PROCESSES, [process(1), process(7, BESIDE), process(9, ELSEWHERE)], NOW)

    store.keep_processes(HERE, [process(2)])
    store.write([stats()], NOW)

    assert shown(cluster) == {(HERE, 2), (ELSEWHERE, 9)}


def test_another_session_is_followed_and_an_ended_one_is_not_written_to(
    store: NodeStore, cluster: SessionWriter, redis_client: redis.Redis
) -> None:
    assert not store.follow()
    cluster.end(NOW, "the GCS is gone")
    assert store.follow()
    assert store.session is None
    assert not store.write([stats()], NOW)

    begin(redis_client, "session_2")
    assert store.follow()
    assert store.session == "session_2"


def test_before_the_cluster_is_known_nothing_is_written(redis_client: redis.Redis) -> None:
    store = NodeStore(redis_client, "demo", None)
    assert not store.follow()
    assert not store.write([stats()], NOW)
    assert redis_client.dbsize() == 0


def test_a_collector_that_lost_its_lease_writes_nothing(redis_client: redis.Redis, cluster: SessionWriter) -> None:
    lease = leases.acquire(redis_client, "node:demo:here", "one", 60)
    assert lease is not None
    store = NodeStore(redis_client, "demo", lease)
    store.follow()
    assert store.write([stats()], NOW)

    redis_client.set(keys.lease(lease.name), replace(lease, holder="two", token=lease.token + 1).value)

    assert not store.write([stats(cpu_percent=99.0)], NOW)
    assert cluster.get(NODE_STATS, [HERE])[0].cpu_percent is None


def test_while_redis_is_away_history_is_kept_and_written_when_it_is_back(short_dir: Path) -> None:
    with private_redis(short_dir) as server:
        begin(server.client())
        store = NodeStore(connect(read_settings({}, state_dir=short_dir, redis_url=server.url)), "demo", None)
        store.follow()
        assert store.write([stats()], NOW)

    store.keep_sample(NodeSample(HERE, NOW + 5, cpu_percent=50.0))
    store.keep_processes(HERE, [process(1)])
    assert not store.write([stats()], NOW + 5)
    assert not store.follow()
    assert store.session == "session_1"

    with private_redis(short_dir) as server:
        writer = begin(server.client())
        store.keep_sample(NodeSample(HERE, NOW + 10, cpu_percent=60.0))
        assert store.write([stats()], NOW + 10)

        entries: Any = server.client().xrange(keys.samples("demo", "session_1"))
        samples = [codec(NodeSample).decode(fields[b"s"]) for _, fields in entries]
        assert [(sample.at, sample.cpu_percent) for sample in samples] == [(NOW + 5, 50.0), (NOW + 10, 60.0)]
        assert shown(writer) == {(HERE, 1)}
