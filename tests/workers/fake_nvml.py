"""A FAKE of the `pynvml` module, for machines without a GPU. Nothing here speaks to hardware.

It has the functions that `workers.sources.gpus` calls, with NVML's units (bytes, milliwatts, microseconds).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

NVML_TEMPERATURE_GPU = 0


class NVMLError(Exception):
    """As pynvml's: raised by every function that fails."""


@dataclass
class FakeProcess:
    pid: int
    usedGpuMemory: int | None
    utilization: int | None = None


@dataclass
class FakeGpu:
    """One GPU. `unsupported` names functions that fail for it, such as nvmlDeviceGetPowerUsage."""

    uuid: str = "GPU-00000000-0000-0000-0000-000000000000"
    name: str | bytes = "FAKE GPU"
    busy: int = 0
    used: int = 1 << 30
    total: int = 80 << 30
    temperature: int = 40
    milliwatts: int = 100_000
    limit_milliwatts: int = 700_000
    processes: list[FakeProcess] = field(default_factory=list)
    unsupported: frozenset[str] = frozenset()


@dataclass
class _Fields:
    """What NVML answers with: named numbers."""

    values: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        return self.values[name]


class FakeNvml:
    """The module. `fails_to_start` is the message of nvmlInit's failure; `is_lost` makes every answer fail."""

    NVMLError = NVMLError
    NVML_TEMPERATURE_GPU = NVML_TEMPERATURE_GPU

    def __init__(self, gpus: list[FakeGpu], fails_to_start: str | None = None) -> None:
        self.gpus = gpus
        self.fails_to_start = fails_to_start
        self.is_lost = False
        self.times_started = 0

    def nvmlInit(self) -> None:
        if self.fails_to_start is not None:
            raise NVMLError(self.fails_to_start)
        self.times_started += 1

    def nvmlShutdown(self) -> None:
        pass

    def nvmlDeviceGetCount(self) -> int:
        if self.is_lost:
            raise NVMLError("Driver Not Loaded")
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:
        return self._of(self.gpus[index], "nvmlDeviceGetHandleByIndex")

    def nvmlDeviceGetUUID(self, gpu: FakeGpu) -> str:
        return self._of(gpu, "nvmlDeviceGetUUID").uuid

    def nvmlDeviceGetName(self, gpu: FakeGpu) -> str | bytes:
        return self._of(gpu, "nvmlDeviceGetName").name

    def nvmlDeviceGetUtilizationRates(self, gpu: FakeGpu) -> Any:
        return _Fields({"gpu": self._of(gpu, "nvmlDeviceGetUtilizationRates").busy})

    def nvmlDeviceGetMemoryInfo(self, gpu: FakeGpu) -> Any:
        return _Fields({"used": self._of(gpu, "nvmlDeviceGetMemoryInfo").used, "total": gpu.total})

    def nvmlDeviceGetTemperature(self, gpu: FakeGpu, sensor: int) -> int:
        return self._of(gpu, "nvmlDeviceGetTemperature").temperature

    def nvmlDeviceGetPowerUsage(self, gpu: FakeGpu) -> int:
        return self._of(gpu, "nvmlDeviceGetPowerUsage").milliwatts

    def nvmlDeviceGetEnforcedPowerLimit(self, gpu: FakeGpu) -> int:
        return self._of(gpu, "nvmlDeviceGetEnforcedPowerLimit").limit_milliwatts

    def nvmlDeviceGetComputeRunningProcesses(self, gpu: FakeGpu) -> list[FakeProcess]:
        return self._of(gpu, "nvmlDeviceGetComputeRunningProcesses").processes

    def nvmlDeviceGetGraphicsRunningProcesses(self, gpu: FakeGpu) -> list[FakeProcess]:
        self._of(gpu, "nvmlDeviceGetGraphicsRunningProcesses")
        return []

    def nvmlDeviceGetProcessUtilization(self, gpu: FakeGpu, since: int) -> list[Any]:
        busy = [p for p in self._of(gpu, "nvmlDeviceGetProcessUtilization").processes if p.utilization is not None]
        if not busy:
            raise NVMLError("Not Found")  # as NVML says that it has no sample
        old = [_Fields({"pid": p.pid, "smUtil": 1, "timeStamp": since + 1}) for p in busy]
        return old + [_Fields({"pid": p.pid, "smUtil": p.utilization, "timeStamp": since + 2}) for p in busy]

    @staticmethod
    def _of(gpu: FakeGpu, function: str) -> FakeGpu:
        if function in gpu.unsupported:
            raise NVMLError("Not Supported")
        return gpu
