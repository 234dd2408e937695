"""Figures of many nodes added up to one."""

from __future__ import annotations

from clusterstate.model import NodeStats
from clusterstate.utilisation import MOST_POINTS, Point, history_of, steps_of, use_now

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


def test_charts_have_so_many_points_at_most_and_end_now() -> None:
    assert steps_of(until=29.0, minutes=0.5) == (10.0, range(3))
    assert steps_of(until=36_000.0, minutes=30) == (10.0, range(3421, 3601))
    step_s, steps = steps_of(until=864_005.0, minutes=1440)
    assert (step_s, len(steps)) == (480.0, MOST_POINTS)
    assert steps[-1] == 864_005 // 480


def test_a_step_of_which_nothing_is_known_is_a_gap() -> None:
    charts = history_of({0: Point(cpu=20.0), 2: Point(cpu=30.0)}, 10.0, range(3))
    assert charts.cpu.values == (20.0, None, 30.0)
    assert (charts.cpu.started_at, charts.cpu.step_s) == (0.0, 10.0)
    assert charts.gpu.values == (None, None, None)
