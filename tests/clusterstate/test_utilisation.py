"""Figures of many nodes added up to one."""

from __future__ import annotations

from clusterstate.model import NodeSample, NodeStats
from clusterstate.utilisation import history, use_now

GIB = 2**30


def test_raylets_of_one_host_are_counted_once() -> None:
    twins = [
        NodeStats(node, 0.0, boot_id="one", cpu_count=4, cpu_percent=50.0, memory_used_bytes=GIB, memory_total_bytes=2 * GIB)
        for node in "ab"
    ]
    other = NodeStats("c", 0.0, boot_id="two", cpu_count=12, cpu_percent=10.0, memory_used_bytes=0, memory_total_bytes=2 * GIB)
    use = use_now([*twins, other])
    assert (use.hosts, use.nodes, use.cpu_count) == (2, 3, 16)
    assert use.cpu_percent == (50 * 4 + 10 * 12) / 16
    assert (use.memory_used_bytes, use.memory_total_bytes) == (GIB, 4 * GIB)


def test_object_stores_of_one_host_are_several() -> None:
    stats = [NodeStats(node, 0.0, boot_id="one", object_store_capacity_bytes=10) for node in "ab"]
    assert use_now(stats).object_store_capacity_bytes == 20


def test_what_nobody_measured_is_unknown_and_not_zero() -> None:
    use = use_now([NodeStats("a", 0.0)])
    assert (use.cpu_percent, use.memory_used_bytes, use.gpu_percent, use.sent_bytes_per_s) == (None, None, None, None)
    assert use_now([]).cpu_percent is None


def test_gpus_weigh_by_their_number() -> None:
    one = NodeStats("a", 0.0, boot_id="a", gpu_count=1, gpu_utilization_percent=100.0)
    three = NodeStats("b", 0.0, boot_id="b", gpu_count=3, gpu_utilization_percent=0.0)
    assert use_now([one, three]).gpu_percent == 25.0


def test_history_has_a_point_a_step_and_gaps_where_nothing_was_measured() -> None:
    samples = [NodeSample("a", 5.0, cpu_percent=10.0), NodeSample("a", 9.0, cpu_percent=20.0), NodeSample("a", 25.0, cpu_percent=30.0)]
    points = history(samples, now=29.0, minutes=0.5, step_s=10.0)
    assert points.cpu.values == (20.0, None, 30.0)
    assert points.cpu.started_at == 0.0
    assert points.cpu.last == 30.0
    assert points.gpu.last is None


def test_history_shares_are_of_the_whole_cluster() -> None:
    samples = [
        NodeSample("a", 5.0, host="x", memory_used_bytes=1, memory_total_bytes=10),
        NodeSample("b", 5.0, host="y", memory_used_bytes=9, memory_total_bytes=30),
        NodeSample("c", 5.0, host="y", memory_used_bytes=9, memory_total_bytes=30),
    ]
    assert history(samples, now=5.0, minutes=1, step_s=60.0).memory.values == (25.0,)
