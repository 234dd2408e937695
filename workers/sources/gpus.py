"""The GPUs of this host, through NVML: the one module that knows `pynvml` (of the nvidia-ml-py distribution)."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from clusterstate.model import Gpu, GpuProcess

T = TypeVar("T")

MAX_GPUS = 64
MAX_PROCESSES_A_GPU = 256
TRY_AGAIN_S = 60.0
"""After NVML was not there: a driver may be installed while we run, but seldom is."""
UTILIZATION_WINDOW_US = 10_000_000


@dataclass(frozen=True, slots=True)
class GpuReading:
    """All GPUs at one moment. `problem` says why there is no answer: then the GPUs are unknown, not absent."""

    at: float  # Unix seconds
    gpus: list[Gpu] = field(default_factory=list)
    problem: str | None = None


class GpuReader:
    """Reads NVML, which is started with the first reading and stays: starting it can take seconds.

    `nvml` is a module with pynvml's functions; tests give a stand-in.
    """

    def __init__(self, nvml: Any = None) -> None:
        self._nvml = nvml
        self._is_started = False
        self._failed_at = -float("inf")
        self._problem: str | None = None

    def read(self, now: float) -> GpuReading:
        """The GPUs now. What a GPU does not support is None; a GPU that is lost is listed without figures."""
        if not self._is_started and now - self._failed_at >= TRY_AGAIN_S:
            self._start(now)
        if not self._is_started:
            return GpuReading(now, problem=self._problem)
        try:
            count = min(int(self._nvml.nvmlDeviceGetCount()), MAX_GPUS)
            return GpuReading(now, [self._gpu(index, now) for index in range(count)])
        except self._nvml.NVMLError as error:
            self.close()
            self._failed_at, self._problem = now, f"NVML stopped answering: {error}."
            return GpuReading(now, problem=self._problem)

    def close(self) -> None:
        """Lets NVML go. A later reading starts it again."""
        if self._is_started:
            self._is_started = False
            self._maybe(lambda: self._nvml.nvmlShutdown())

    def _start(self, now: float) -> None:
        try:
            self._nvml = self._nvml or importlib.import_module("pynvml")
            self._nvml.nvmlInit()
        except ModuleNotFoundError:
            self._failed_at, self._problem = now, "The Python module pynvml is not installed (distribution nvidia-ml-py)."
        except self._nvml.NVMLError as error:
            self._failed_at, self._problem = now, f"NVML cannot be used: {error}. Without an NVIDIA driver that is expected."
        else:
            self._is_started, self._problem = True, None

    def _gpu(self, index: int, now: float) -> Gpu:
        nvml = self._nvml
        handle = self._maybe(lambda: nvml.nvmlDeviceGetHandleByIndex(index))
        if handle is None:
            return Gpu(index)
        memory = self._maybe(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
        milliwatts = self._maybe(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        limit = self._maybe(lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle))
        return Gpu(
            index=index,
            uuid=self._text(lambda: nvml.nvmlDeviceGetUUID(handle)),
            name=self._text(lambda: nvml.nvmlDeviceGetName(handle)),
            utilization_percent=self._maybe(lambda: float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)),
            memory_used_bytes=None if memory is None else int(memory.used),
            memory_total_bytes=None if memory is None else int(memory.total),
            temperature_celsius=self._maybe(lambda: float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))),
            power_watts=None if milliwatts is None else milliwatts / 1000,
            power_limit_watts=None if limit is None else limit / 1000,
            processes=self._processes(handle, now),
        )

    def _processes(self, handle: Any, now: float) -> list[GpuProcess]:
        nvml = self._nvml
        memory: dict[int, int | None] = {}
        for running in (nvml.nvmlDeviceGetComputeRunningProcesses, nvml.nvmlDeviceGetGraphicsRunningProcesses):
            for process in self._maybe(partial(running, handle)) or []:
                memory[process.pid] = process.usedGpuMemory  # None where the driver may not say (some containers)
        busy = self._busy(handle, now)
        return [GpuProcess(pid, memory[pid], busy.get(pid)) for pid in sorted(memory)[:MAX_PROCESSES_A_GPU]]

    def _busy(self, handle: Any, now: float) -> dict[int, float]:
        """pid → percent, the newest of NVML's own samples. No sample: the process did nothing, or NVML cannot tell."""
        since = int(now * 1e6) - UTILIZATION_WINDOW_US
        samples = self._maybe(lambda: self._nvml.nvmlDeviceGetProcessUtilization(handle, since)) or []
        newest: dict[int, tuple[int, float]] = {}
        for sample in samples:
            if 0 <= sample.smUtil <= 100 and sample.timeStamp >= newest.get(sample.pid, (0, 0.0))[0]:
                newest[sample.pid] = (sample.timeStamp, float(sample.smUtil))
        return {pid: percent for pid, (_, percent) in newest.items()}

    def _maybe(self, ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except self._nvml.NVMLError:
            return None

    def _text(self, ask: Callable[[], str | bytes]) -> str | None:
        answer = self._maybe(ask)
        return answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer


class GpuWatcher:
    """Reads in a thread of its own: a driver in trouble can hold a call up for ever, and must hold up nothing else."""

    def __init__(self, reader: GpuReader, every_s: float = 5.0) -> None:
        self._reader = reader
        self._every_s = every_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="nvml")
        self._asked: Future[GpuReading] | None = None
        self._asked_at = -float("inf")
        self._latest: GpuReading | None = None

    def latest(self, now: float) -> GpuReading:
        """The newest reading; asks for the next one when it is time. Never waits."""
        if self._asked is not None and self._asked.done():
            self._latest, self._asked = self._asked.result(), None
        if self._asked is None and abs(now - self._asked_at) >= self._every_s:
            self._asked_at = now
            self._asked = self._thread.submit(self._reader.read, now)
        overdue = self._asked is not None and now - self._asked_at > 3 * self._every_s
        if self._latest is None or overdue:
            return GpuReading(now, problem="NVML does not answer." if overdue else "NVML was not asked yet.")
        return self._latest

    def close(self) -> None:
        """Waits for nothing."""
        self._thread.shutdown(wait=False, cancel_futures=True)
