"""Which GPU a Ray slot is, and who has it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from clusterstate.model import Gpu
from workers.sources.raylet_decode import CoreWorker


def slots_to_gpus(visible: str | None, gpus: Sequence[Gpu]) -> dict[int, int]:
    """Ray's slot → NVML index, for a raylet that was started with this CUDA_VISIBLE_DEVICES.

    Ray counts slots from 0 over what the raylet sees; without the variable that is every GPU, in NVML's order.
    Entries are indices or UUIDs, which may be shortened. What cannot be found is left out.
    """
    if visible is None:
        return {gpu.index: gpu.index for gpu in gpus}
    found: dict[int, int] = {}
    for slot, word in enumerate(part.strip() for part in visible.split(",")):
        index = _gpu_named(word, gpus)
        if index is not None:
            found[slot] = index
    return found


def _gpu_named(word: str, gpus: Sequence[Gpu]) -> int | None:
    if word.isdigit():
        return int(word) if any(gpu.index == int(word) for gpu in gpus) else None
    matching = [gpu.index for gpu in gpus if word and gpu.uuid is not None and gpu.uuid.startswith(word)]
    return matching[0] if len(matching) == 1 else None


def assign(gpus: Sequence[Gpu], workers: Mapping[int, CoreWorker], to_gpu: Mapping[int, int]) -> list[Gpu]:
    """The GPUs as one node sees them: which worker Ray gave a share of each, and which of its workers run there."""
    given: dict[int, dict[str, float]] = {gpu.index: {} for gpu in gpus}
    for worker in workers.values():
        for slot, share in worker.gpu_slots.items():
            index = to_gpu.get(slot)
            if index is not None and index in given:
                given[index][worker.worker_id] = share
    return [
        replace(
            gpu,
            assigned_to=given[gpu.index],
            processes=[replace(p, worker_id=workers[p.pid].worker_id if p.pid in workers else None) for p in gpu.processes],
        )
        for gpu in gpus
    ]


def totals(gpus: Sequence[Gpu]) -> tuple[float | None, int | None, int | None]:
    """Mean utilisation in percent, memory used and memory there is in bytes, over GPUs that say them."""
    busy = [gpu.utilization_percent for gpu in gpus if gpu.utilization_percent is not None]
    used = [gpu.memory_used_bytes for gpu in gpus if gpu.memory_used_bytes is not None]
    there = [gpu.memory_total_bytes for gpu in gpus if gpu.memory_total_bytes is not None]
    return (
        round(sum(busy) / len(busy), 1) if busy else None,
        sum(used) if used else None,
        sum(there) if there else None,
    )
