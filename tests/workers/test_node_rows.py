"""A node's row, its samples and its process rows, put together from what was read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from clusterstate.model import Gpu, GpuProcess, NodeStats, Process
from workers.collectors.node_rows import NodeView, node_sample, node_stats
from workers.sources import gcs_stubs
from workers.sources.cgroup import ContainerReading
from workers.sources.gpus import GpuReading
from workers.sources.host import HostReading
from workers.sources.processes_decode import NodeProcesses, ProcessReading, RayletFlags, RayletProcess
from workers.sources.processes_merge import classes_of, merge, steady
from workers.sources.raylet_decode import (
    CoreWorker,
    RayletReading,
    decode_node_address,
    decode_node_stats,
    worker_ids_from_log_names,
)

NODE_ID, WORKER_ID, ACTOR_ID = "a" * 56, "b" * 56, "c" * 32
NOW = 1_800_000_000.0
RAYLET = RayletProcess(10, 1_000, RayletFlags(NODE_ID, "session_1"), "raylet --x")


def process(pid: int, **fields: Any) -> ProcessReading:
    return ProcessReading(**{"pid": pid, "parent_pid": 10, "name": "ray::IDLE", "start_time_ms": 5_000, "seen_at": NOW, **fields})


def core(pid: int = 11, **fields: Any) -> CoreWorker:
    return CoreWorker(**{"pid": pid, "worker_id": WORKER_ID, "worker_type": "WORKER", **fields})


def rows(*readings: ProcessReading, workers: tuple[CoreWorker, ...] = (), at: float = NOW, **given: Any) -> list[Process]:
    stats = RayletReading(at, {worker.pid: worker for worker in workers})
    return merge(NodeProcesses(RAYLET, {reading.pid: reading for reading in readings}), stats, **given)


def node_stats_reply(**fields: Any) -> Any:
    return gcs_stubs.module("node_manager_pb2").GetNodeStatsReply(**fields)


def test_a_worker_carries_its_ids_its_task_and_what_it_holds() -> None:
    held = core(actor_id=ACTOR_ID, job_id="01000000", used_resources={"CPU": 0.5}, tasks_running=1, tasks_executed=7, objects_owned=3)
    [row] = rows(process(11, title="ray::Counter.go", cpu_percent=12.0, rss_bytes=5), workers=(held,))

    assert (row.process_id, row.node_id, row.kind) == (f"{NODE_ID}:11", NODE_ID, "WORKER")
    assert (row.worker_id, row.actor_id, row.job_id) == (WORKER_ID, ACTOR_ID, "01000000")
    assert (row.class_name, row.task_name) == ("Counter", "Counter.go")
    assert (row.used_resources, row.tasks_running, row.tasks_executed, row.objects_owned) == ({"CPU": 0.5}, 1, 7, 3)
    assert (row.cpu_percent, row.rss_bytes, row.pss_bytes) == (12.0, 5, None)


def test_a_driver_is_one_because_its_raylet_says_so() -> None:
    [row] = rows(process(11, name="python", title="train.py"), workers=(core(worker_type="DRIVER"),))
    assert (row.kind, row.title, row.task_name) == ("DRIVER", "train.py", None)


def test_where_a_driver_prints_to_is_noted_and_of_others_it_is_not() -> None:
    reading = process(11, stdout="/dev/pts/3", stderr="pipe:[7]")
    assert [(row.stdout, row.stderr) for row in rows(reading, workers=(core(worker_type="DRIVER"),))] == [("/dev/pts/3", "pipe:[7]")]
    assert [(row.stdout, row.stderr) for row in rows(reading, workers=(core(),))] == [(None, None)]


def test_a_pid_that_was_given_to_another_process_does_not_inherit_its_worker() -> None:
    [row] = rows(process(11, title="bash", name="bash", start_time_ms=int(NOW * 1000) + 9_000), workers=(core(),))
    assert (row.kind, row.worker_id) == ("OTHER", None)


def test_a_program_that_a_worker_started_is_no_worker() -> None:
    [row] = rows(process(12, title="sleep", name="sleep", parent_pid=11), workers=(core(),))
    assert (row.kind, row.worker_id, row.parent_pid) == ("OTHER", None, 11)


def test_a_worker_is_known_by_its_log_file_when_its_raylet_is_silent() -> None:
    names = [f"python-core-worker-{WORKER_ID}_11.log", "raylet.out", f"python-core-driver-01000000{'f' * 48}_12.log"]
    [row] = rows(process(11, title="ray::IDLE"), fallback_ids=worker_ids_from_log_names(names, [11, 12]))
    assert row.worker_id == WORKER_ID


def test_without_the_raylets_word_a_title_is_not_taken_for_a_task() -> None:
    [row] = rows(process(11, title="ray::Counter"))
    assert (row.title, row.task_name, row.class_name) == ("ray::Counter", None, None)


def test_a_pid_with_two_log_files_was_given_out_twice_and_is_not_guessed() -> None:
    names = [f"python-core-worker-{WORKER_ID}_11.log", f"python-core-worker-{'d' * 56}_11.log"]
    assert worker_ids_from_log_names(names, [11]) == {}


def test_a_process_has_its_memory_and_load_on_each_gpu_and_the_slots_that_ray_gave_it() -> None:
    gpus = [Gpu(2, processes=[GpuProcess(11, 100, 30.0)]), Gpu(3, processes=[GpuProcess(11, 50, 40.0), GpuProcess(12, 9)])]
    [row] = rows(process(11), workers=(core(gpu_slots={0: 1.0, 1: 1.0}),), gpus=gpus, to_gpu={0: 2, 1: 3})

    assert (row.gpus, row.gpu_memory_bytes, row.gpu_utilization_percent, row.gpu_slots) == ({"2": 100, "3": 50}, 150, 70.0, [2, 3])


def test_gpu_use_that_nvml_does_not_tell_is_unknown() -> None:
    [row] = rows(process(11), gpus=[Gpu(0, processes=[GpuProcess(11)])])
    assert (row.gpus, row.gpu_memory_bytes, row.gpu_utilization_percent) == ({}, None, None)


def test_an_actors_class_is_remembered_while_it_runs_something_else() -> None:
    actor = core(actor_id=ACTOR_ID)
    before = rows(process(11, title="ray::Outer.Inner"), workers=(actor,))
    [row] = rows(process(11, title="ray::Outer.Inner.go"), workers=(replace(actor, tasks_running=1),), classes=classes_of(before))
    assert (row.class_name, row.task_name) == ("Outer.Inner", "Outer.Inner.go")


def test_an_idle_worker_is_not_written_anew_for_a_hair() -> None:
    [before] = rows(process(11, cpu_percent=0.2, rss_bytes=80_000_000, cpu_user_s=1.0))

    assert steady(before, replace(before, cpu_percent=0.4, rss_bytes=80_001_000, cpu_user_s=1.01)) is before
    for change in ({"cpu_percent": 9.0}, {"rss_bytes": 90_000_000}, {"title": "ray::f"}, {"cpu_percent": None}, {"tasks_executed": 2}):
        changed = replace(before, **change)
        assert steady(before, changed) is changed
    assert steady(None, before) is before


def test_a_raylets_reply_is_read_in_rays_words() -> None:
    slots = [{"slot": 0, "allocation": 0.5}, {"slot": 2, "allocation": 1.0}]
    group = "d" * 36
    reply = node_stats_reply(
        core_workers_stats=[
            {
                "pid": 11,
                "worker_id": bytes.fromhex(WORKER_ID),
                "actor_id": bytes.fromhex(ACTOR_ID),
                "job_id": bytes.fromhex("01000000"),
                "used_resources": {"CPU": {"resource_slots": [{"allocation": 0.1}]}, "GPU": {"resource_slots": slots}},
                "num_running_tasks": 1,
                "task_queue_length": 4,
            },
            {
                "pid": 12,
                "worker_id": b"\1" * 28,
                "worker_type": 1,
                "job_id": b"\xff" * 4,
                "actor_id": b"\xff" * 16,
                "used_resources": {
                    f"CPU_group_{group}": {"resource_slots": [{"allocation": 2}]},
                    f"CPU_group_0_{group}": {"resource_slots": [{"allocation": 2}]},
                    f"bundle_group_{group}": {"resource_slots": [{"allocation": 0.001}]},
                    f"GPU_group_0_{group}": {"resource_slots": [{"slot": 1, "allocation": 1}]},
                },
            },
        ],
        store_stats={"object_store_bytes_used": 30, "object_store_bytes_avail": 70, "num_local_objects": 2, "spilled_bytes_total": 5},
    )

    reading = decode_node_stats(reply, NOW, limit=100)

    assert reading.workers[11] == core(
        actor_id=ACTOR_ID, job_id="01000000", used_resources={"CPU": 0.1, "GPU": 1.5}, gpu_slots={0: 0.5, 2: 1.0}, tasks_running=1
    )
    driver = reading.workers[12]
    assert (driver.worker_type, driver.job_id, driver.actor_id) == ("DRIVER", None, None)
    assert (driver.used_resources, driver.gpu_slots) == ({"CPU": 2.0, "GPU": 1.0}, {1: 1.0})
    assert (reading.object_store_capacity_bytes, reading.object_store_used_bytes) == (70, 30)
    assert (reading.object_store_objects, reading.object_store_spilled_bytes) == (2, 5)


def test_a_reply_without_end_is_cut() -> None:
    reply = node_stats_reply(core_workers_stats=[{"pid": pid} for pid in range(1, 50)])
    assert len(decode_node_stats(reply, NOW, limit=10).workers) == 10


def test_where_a_node_listens_is_read_from_the_gcs() -> None:
    info = gcs_stubs.module("gcs_pb2").GcsNodeInfo(node_id=b"\xaa" * 28, node_manager_address="10.0.0.7", node_manager_port=99, state=1)
    address = decode_node_address(info)
    assert (address.node_id, address.address, address.port, address.is_alive) == (NODE_ID, "10.0.0.7", 99, False)


def view(**fields: Any) -> NodeView:
    host = HostReading(NOW, boot_id="boot", hostname="h", cpu_percent=50.0, memory_used_bytes=7, problems=["disk"])
    given = {"raylet": RAYLET, "host": host, "container": ContainerReading(2.0, 75.0), "stats": None, "gpus": [], "processes": []}
    return NodeView(**{**given, "gpu_reading": GpuReading(NOW), **fields})


def test_host_and_container_figures_are_both_kept() -> None:
    row = node_stats(view(), collector_pid=1)
    assert (row.cpu_percent, row.container_cpu_percent, row.container_cpu_limit, row.boot_id) == (50.0, 75.0, 2.0, "boot")


def test_no_gpu_and_no_way_to_know_are_told_apart() -> None:
    none = node_stats(view(), 1)
    unknown = node_stats(view(gpu_reading=GpuReading(NOW, problem="no driver")), 1)
    assert (none.gpu_count, none.gpu_problem) == (0, None)
    assert (unknown.gpu_count, unknown.gpu_problem) == (None, "no driver")


def test_a_silent_raylet_leaves_its_store_unknown_and_says_so() -> None:
    row = node_stats(view(problems=["The raylet is silent."]), 1)
    assert row.object_store_used_bytes is None
    assert row.problems == ["disk", "The raylet is silent."]


def test_a_nodes_workers_are_counted_without_its_drivers_and_helpers() -> None:
    kinds = [Process(f"{n}", NODE_ID, n, kind) for n, kind in enumerate(["WORKER", "WORKER", "DRIVER", "AGENT", "RAYLET"])]
    row = node_stats(view(processes=kinds), 1)
    assert (row.num_workers, row.num_processes) == (2, 5)


def test_a_sample_is_the_mean_of_rates_and_the_last_of_amounts() -> None:
    rows_since = [
        NodeStats(NODE_ID, NOW - 1, cpu_percent=None, memory_used_bytes=1),
        NodeStats(NODE_ID, NOW, boot_id="boot", cpu_percent=20.0, memory_used_bytes=5, network_sent_bytes_per_s=4.0),
        NodeStats(NODE_ID, NOW + 1, boot_id="boot", cpu_percent=40.0, memory_used_bytes=9, network_sent_bytes_per_s=8.0, cpu_count=8),
    ]
    sample = node_sample(rows_since)
    assert (sample.node_id, sample.at, sample.host) == (NODE_ID, NOW + 1, "boot")
    assert (sample.cpu_percent, sample.memory_used_bytes, sample.network_sent_bytes_per_s) == (30.0, 9, 6.0)
    assert sample.disk_read_bytes_per_s is None
    assert (sample.cpu_count, sample.gpu_count) == (8, None)


@pytest.mark.parametrize("count", [1, 3])
def test_each_raylet_of_a_host_has_its_own_row(count: int) -> None:
    raylets = [replace(RAYLET, flags=RayletFlags(f"{n:056x}", "session_1")) for n in range(count)]
    stats = [node_stats(view(raylet=raylet), 1) for raylet in raylets]
    assert len({row.node_id for row in stats}) == count
    assert {row.boot_id for row in stats} == {"boot"}
