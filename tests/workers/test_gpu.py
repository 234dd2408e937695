"""GPUs: what NVML says, what it does not say, and which worker has which GPU."""

from __future__ import annotations

import threading
from typing import Any

from clusterstate.model import Gpu, GpuProcess
from tests.workers.fake_nvml import FakeGpu, FakeNvml, FakeProcess
from workers.sources.gpus import TRY_AGAIN_S, GpuReader, GpuReading, GpuWatcher
from workers.sources.gpus_decode import assign, slots_to_gpus, totals
from workers.sources.raylet_decode import CoreWorker

NOW = 1_800_000_000.0


def reading(*gpus: FakeGpu) -> GpuReading:
    return GpuReader(FakeNvml(list(gpus))).read(NOW)


def worker(pid: int, worker_id: str, **slots: float) -> CoreWorker:
    return CoreWorker(pid, worker_id, "WORKER", gpu_slots={int(name[1:]): share for name, share in slots.items()})


def test_a_gpu_is_shown_with_load_memory_temperature_and_power() -> None:
    [gpu] = reading(FakeGpu(uuid="GPU-a", name="FAKE", busy=73, used=5 << 30, total=80 << 30)).gpus

    assert (gpu.index, gpu.uuid, gpu.name, gpu.utilization_percent) == (0, "GPU-a", "FAKE", 73.0)
    assert (gpu.memory_used_bytes, gpu.memory_total_bytes) == (5 << 30, 80 << 30)
    assert (gpu.temperature_celsius, gpu.power_watts, gpu.power_limit_watts) == (40.0, 100.0, 700.0)


def test_without_a_driver_gpus_are_unknown_and_it_is_said_why() -> None:
    answer = GpuReader(FakeNvml([], fails_to_start="NVML Shared Library Not Found")).read(NOW)

    assert answer.gpus == []
    assert answer.problem is not None
    assert "NVML Shared Library Not Found" in answer.problem


def test_this_machines_own_nvml_answers_or_says_why_not() -> None:
    answer = GpuReader().read(NOW)

    assert answer.problem is not None or all(gpu.uuid for gpu in answer.gpus)


def test_a_machine_with_a_driver_and_no_gpu_has_zero_of_them() -> None:
    assert reading() == GpuReading(NOW, [], None)


def test_a_figure_that_a_gpu_does_not_have_is_unknown_and_not_zero() -> None:
    refused = {"nvmlDeviceGetPowerUsage", "nvmlDeviceGetUtilizationRates", "nvmlDeviceGetMemoryInfo"}
    [gpu] = reading(FakeGpu(unsupported=frozenset(refused))).gpus

    assert (gpu.power_watts, gpu.utilization_percent, gpu.memory_used_bytes) == (None, None, None)
    assert gpu.temperature_celsius == 40.0


def test_a_gpu_that_fell_off_the_bus_is_still_listed() -> None:
    answer = reading(FakeGpu(), FakeGpu(unsupported=frozenset({"nvmlDeviceGetHandleByIndex"})))

    assert [gpu.index for gpu in answer.gpus] == [0, 1]
    assert answer.gpus[1].uuid is None


def test_processes_on_a_gpu_have_their_own_memory_and_newest_load() -> None:
    processes = [FakeProcess(7, 2 << 30, 55), FakeProcess(8, None)]
    [gpu] = reading(FakeGpu(processes=processes)).gpus

    assert gpu.processes == [GpuProcess(7, 2 << 30, 55.0), GpuProcess(8, None, None)]


def test_a_driver_that_comes_back_is_used_again() -> None:
    nvml = FakeNvml([FakeGpu()])
    reader = GpuReader(nvml)
    nvml.is_lost = True
    assert "Driver Not Loaded" in (reader.read(NOW).problem or "")

    nvml.is_lost = False
    assert reader.read(NOW + 1).gpus == []  # not asked each second
    assert len(reader.read(NOW + TRY_AGAIN_S).gpus) == 1


def test_a_driver_that_hangs_holds_nothing_up() -> None:
    go_on = threading.Event()

    class Hanging(GpuReader):
        def read(self, now: float) -> GpuReading:
            go_on.wait(10)
            return GpuReading(now)

    watcher = GpuWatcher(Hanging(FakeNvml([])))
    try:
        assert watcher.latest(NOW).problem == "NVML was not asked yet."
        assert watcher.latest(NOW + 20).problem == "NVML does not answer."
    finally:
        go_on.set()
        watcher.close()


def test_slots_are_counted_over_the_gpus_that_the_raylet_sees() -> None:
    gpus = [Gpu(index, uuid=f"GPU-{index}{index}") for index in range(4)]

    assert slots_to_gpus(None, gpus) == {0: 0, 1: 1, 2: 2, 3: 3}
    assert slots_to_gpus("2,3", gpus) == {0: 2, 1: 3}
    assert slots_to_gpus("GPU-3, GPU-00", gpus) == {0: 3, 1: 0}
    assert slots_to_gpus("9,GPU-,1", gpus) == {2: 1}
    assert slots_to_gpus("", gpus) == {}


def test_a_gpu_names_the_workers_that_ray_gave_it_to_and_those_that_run_there() -> None:
    gpus = [Gpu(0, processes=[GpuProcess(11), GpuProcess(99)]), Gpu(1)]
    workers = {11: worker(11, "aa", s0=0.5), 12: worker(12, "bb", s0=0.5, s1=1.0)}

    shown = assign(gpus, workers, {0: 0, 1: 1})

    assert shown[0].assigned_to == {"aa": 0.5, "bb": 0.5}
    assert shown[1].assigned_to == {"bb": 1.0}
    assert [process.worker_id for process in shown[0].processes] == ["aa", None]


def test_totals_leave_out_what_is_unknown() -> None:
    gpus = [Gpu(0, utilization_percent=50.0, memory_used_bytes=1, memory_total_bytes=4), Gpu(1), Gpu(2, utilization_percent=100.0)]
    nothing: list[Any] = []

    assert totals(gpus) == (75.0, 1, 4)
    assert totals(nothing) == (None, None, None)
