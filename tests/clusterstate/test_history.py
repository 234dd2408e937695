"""The small charts: what many nodes measured over time, added up in the index."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from clusterstate.model import NodeSample, NodeStats
from clusterstate.settings import Settings
from clusterstate.store import history
from clusterstate.store.encoding import codec
from clusterstate.utilisation import History, use_now
from tests.built_cluster import BuiltCluster

NOW = time.time() // 10 * 10 + 9.0
"""Near the end of a step, so that all of a test's samples can be in it."""


@pytest.fixture
def cluster(redis_client: redis.Redis, settings: Settings) -> BuiltCluster:
    return BuiltCluster(redis_client, settings)


def charts(cluster: BuiltCluster, *samples: NodeSample, node_id: str | None = None, minutes: float = 1) -> History:
    cluster.writer.record_samples(samples)
    cluster.project(NOW)
    return cluster.reader.history(node_id, NOW, minutes)


def test_the_newest_sample_of_a_step_counts_and_steps_without_one_are_gaps(cluster: BuiltCluster) -> None:
    found = charts(
        cluster,
        NodeSample("a", NOW - 20, cpu_percent=30.0),
        NodeSample("a", NOW - 5, cpu_percent=10.0),
        NodeSample("a", NOW, cpu_percent=20.0),
        minutes=0.5,
    )
    assert found.cpu.values == (30.0, None, 20.0)
    assert found.gpu.values == (None, None, None)


def test_the_newest_sample_counts_in_whatever_order_they_came(cluster: BuiltCluster) -> None:
    assert charts(cluster, NodeSample("a", NOW, cpu_percent=20.0), NodeSample("a", NOW - 5, cpu_percent=10.0)).cpu.values[-1] == 20.0


def test_charts_and_figures_weigh_alike(cluster: BuiltCluster) -> None:
    hosts = [("a", 4, 90.0, 1, 100.0), ("b", 60, 10.0, 3, 0.0), ("c", 8, None, 0, None)]
    found = charts(
        cluster,
        *(
            NodeSample(
                node_id,
                NOW,
                host=node_id,
                cpu_percent=busy,
                cpu_count=cores,
                gpu_utilization_percent=gpu_busy,
                gpu_count=gpus,
                network_sent_bytes_per_s=2.0,
            )
            for node_id, cores, busy, gpus, gpu_busy in hosts
        ),
    )
    use = use_now(
        [
            NodeStats(
                node_id,
                NOW,
                boot_id=node_id,
                cpu_percent=busy,
                cpu_count=cores,
                gpu_utilization_percent=gpu_busy,
                gpu_count=gpus,
                network_sent_bytes_per_s=2.0,
            )
            for node_id, cores, busy, gpus, gpu_busy in hosts
        ]
    )
    assert found.cpu.values[-1] == use.cpu_percent == 15.0
    assert found.gpu.values[-1] == use.gpu_percent == 25.0
    assert found.network_bytes_per_s.values[-1] == use.sent_bytes_per_s == 6.0


def test_a_host_of_several_nodes_counts_once_but_all_its_object_stores_do(cluster: BuiltCluster) -> None:
    twin = NodeSample(
        "b", NOW, host="y", memory_used_bytes=9, memory_total_bytes=30, cpu_percent=50.0, cpu_count=1, network_received_bytes_per_s=5.0
    )
    found = charts(
        cluster,
        NodeSample("a", NOW, host="x", memory_used_bytes=1, memory_total_bytes=10, cpu_percent=20.0, cpu_count=1),
        replace(twin, object_store_used_bytes=1, object_store_capacity_bytes=2),
        replace(twin, node_id="c", at=NOW - 1, object_store_used_bytes=0, object_store_capacity_bytes=2),
    )
    newest = [series.values[-1] for series in (found.memory, found.cpu, found.object_store, found.network_bytes_per_s)]
    assert newest == [25.0, 35.0, 25.0, 5.0]


def test_samples_of_before_cores_were_kept_are_read_and_weigh_the_same(cluster: BuiltCluster) -> None:
    old = codec(NodeSample).decode(msgspec.msgpack.encode(["n", NOW, "host", 50.0, *[None] * 10]))
    assert (old.cpu_percent, old.cpu_count, old.gpu_count) == (50.0, None, None)
    assert charts(cluster, old, NodeSample("o", NOW, host="other", cpu_percent=10.0)).cpu.values[-1] == 30.0


def test_the_chart_of_a_node_is_its_own(cluster: BuiltCluster) -> None:
    samples = (NodeSample("a", NOW, cpu_percent=20.0), NodeSample("b", NOW, cpu_percent=80.0))
    assert charts(cluster, *samples, node_id="b").cpu.values[-1] == 80.0


def test_samples_that_come_late_are_in_the_chart_all_the_same(cluster: BuiltCluster) -> None:
    assert charts(cluster, NodeSample("a", NOW, cpu_percent=20.0)).cpu.values[-2:] == (None, 20.0)
    assert charts(cluster, NodeSample("a", NOW - 10, cpu_percent=70.0)).cpu.values[-2:] == (70.0, 20.0)


def test_the_next_look_adds_up_only_what_has_changed(cluster: BuiltCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    charts(cluster, *(NodeSample("a", NOW - 1 - 10 * step, cpu_percent=20.0) for step in range(6)))
    asked: list[range] = []
    real = history._asked

    def counting(path: Path, steps: range, *rest: Any) -> Any:
        asked.append(steps)
        return real(path, steps, *rest)

    monkeypatch.setattr(history, "_asked", counting)
    assert charts(cluster, NodeSample("a", NOW, cpu_percent=30.0)).cpu.values[-1] == 30.0
    assert [len(steps) for steps in asked] == [1]


def test_what_takes_too_long_at_once_is_added_up_look_by_look(cluster: BuiltCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clusterstate.store.reader.OLD_POINTS_MAY_TAKE", 0.0)
    samples = [NodeSample("a", NOW - 10 * step, cpu_percent=20.0) for step in range(12)]
    found = charts(cluster, *samples, minutes=2)
    assert found.cpu.values == (*[None] * (12 - history.STEPS_AT_ONCE), *[20.0] * history.STEPS_AT_ONCE)
    for _ in range(2):
        found = charts(cluster, minutes=2)
    assert found.cpu.values == (20.0,) * 12


def test_the_charts_of_an_ended_session_are_of_its_last_minutes(cluster: BuiltCluster) -> None:
    cluster.writer.record_samples([NodeSample("a", NOW - 1, cpu_percent=20.0)])
    cluster.end(NOW)
    assert cluster.reader.history(None, NOW + 86_400, 1).cpu.values[-1] == 20.0
    assert cluster.reader.history("a", NOW + 86_400, 1).cpu.values[-1] == 20.0
