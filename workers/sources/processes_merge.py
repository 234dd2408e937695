"""One row for each process of a node: what /proc measured, what its raylet says it is, what it does on GPUs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from clusterstate.model import Gpu, Process
from workers.sources import processes_decode as decode
from workers.sources.processes_decode import NodeProcesses, ProcessReading
from workers.sources.raylet_decode import CoreWorker, RayletReading

START_SLACK_MS = 2000
"""Start times are counted from the boot time, which the kernel gives in whole seconds."""

TOLERANCES: dict[str, tuple[float, float]] = {
    "cpu_percent": (0.4, 0.0),
    "cpu_user_s": (0.5, 0.0),
    "cpu_system_s": (0.5, 0.0),
    "rss_bytes": (0, 0.002),
    "shared_bytes": (0, 0.002),
    "pss_bytes": (0, 0.002),
    "uss_bytes": (0, 0.002),
}
"""field → (absolute, relative) difference that is too small to show."""


def merge(
    node: NodeProcesses,
    stats: RayletReading | None,
    gpus: Sequence[Gpu] = (),
    to_gpu: Mapping[int, int] | None = None,
    classes: Mapping[str, str] | None = None,
    fallback_ids: Mapping[int, str] | None = None,
) -> list[Process]:
    """The rows of one node.

    `classes` (process key → class) is what earlier titles said, see `classes_of`. `fallback_ids` (pid → worker id) is
    used for workers that `stats` does not know.
    """
    rows = []
    for reading in node.readings.values():
        core = core_worker_of(reading, stats)
        known_class = (classes or {}).get(process_key(reading))
        rows.append(_row(node, reading, core, known_class, gpus, to_gpu or {}, (fallback_ids or {}).get(reading.pid)))
    return rows


def core_worker_of(reading: ProcessReading, stats: RayletReading | None) -> CoreWorker | None:
    """What the raylet says of this pid, unless the pid was given to another process since."""
    if stats is None or reading.start_time_ms > stats.at * 1000 + START_SLACK_MS:
        return None
    return stats.workers.get(reading.pid)


def process_key(reading: ProcessReading) -> str:
    """Tells a process from a later one with the same pid."""
    return f"{reading.pid}:{reading.start_time_ms}"


def classes_of(rows: Sequence[Process]) -> dict[str, str]:
    """What to remember of the classes of actors until the next look."""
    return {f"{row.pid}:{row.start_time_ms}": row.class_name for row in rows if row.class_name is not None}


def steady(before: Process | None, after: Process) -> Process:
    """`before` again where nothing changed that anyone would notice, so that an idle worker is not written anew."""
    if before is None or not _is_jitter(before, after):
        return after
    return before


def _is_jitter(before: Process, after: Process) -> bool:
    same = replace(after, **{name: getattr(before, name) for name in TOLERANCES})
    return same == before and all(_is_close(getattr(before, name), getattr(after, name), *limits) for name, limits in TOLERANCES.items())


def _is_close(before: float | None, after: float | None, absolute: float, relative: float) -> bool:
    if before is None or after is None:
        return before is after
    return abs(after - before) <= max(absolute, relative * abs(before))


def _row(
    node: NodeProcesses,
    reading: ProcessReading,
    core: CoreWorker | None,
    known_class: str | None,
    gpus: Sequence[Gpu],
    to_gpu: Mapping[int, int],
    fallback_id: str | None,
) -> Process:
    kind = _kind(reading, core)
    title = decode.TitleReading()
    is_actor = core.actor_id is not None if core is not None else known_class is not None
    if kind == "WORKER" and (core is not None or is_actor):  # else ray::Counter may be a function or a class
        title = decode.decode_title(reading.title, is_actor, known_class, core is not None and core.tasks_running == 0)
    memory, busy = _on_gpus(reading.pid, gpus)
    return Process(
        process_id=f"{node.raylet.flags.node_id}:{reading.pid}",
        node_id=node.raylet.flags.node_id,
        pid=reading.pid,
        kind=kind,
        title=reading.title,
        command_line=reading.command_line,
        worker_id=core.worker_id if core else (fallback_id if kind == "WORKER" else None),
        actor_id=core.actor_id if core else None,
        job_id=core.job_id if core else None,
        task_name=title.task_name,
        class_name=title.class_name,
        user=reading.user,
        start_time_ms=reading.start_time_ms,
        cpu_percent=reading.cpu_percent,
        cpu_user_s=reading.cpu_user_s,
        cpu_system_s=reading.cpu_system_s,
        rss_bytes=reading.rss_bytes,
        shared_bytes=reading.shared_bytes,
        pss_bytes=reading.pss_bytes,
        uss_bytes=reading.uss_bytes,
        num_threads=reading.num_threads,
        num_fds=reading.num_fds,
        gpu_utilization_percent=busy,
        gpu_memory_bytes=sum(memory.values()) if memory else None,
        gpus=memory,
        used_resources=core.used_resources if core else {},
        gpu_slots=[to_gpu.get(slot, slot) for slot in core.gpu_slots] if core else [],
        tasks_running=core.tasks_running if core else None,
        tasks_pending=core.tasks_pending if core else None,
        tasks_executed=core.tasks_executed if core else None,
        objects_owned=core.objects_owned if core else None,
        object_refs_in_scope=core.object_refs_in_scope if core else None,
        parent_pid=reading.parent_pid,
        stdout=reading.stdout if kind == "DRIVER" else None,
        stderr=reading.stderr if kind == "DRIVER" else None,
    )


def _kind(reading: ProcessReading, core: CoreWorker | None) -> str:
    if core is not None:
        return "DRIVER" if core.worker_type == "DRIVER" else "WORKER"
    return decode.own_kind(reading.name, reading.title)


def _on_gpus(pid: int, gpus: Sequence[Gpu]) -> tuple[dict[str, int], float | None]:
    """Memory by GPU index, and utilisation summed over GPUs (None where NVML says nothing of this process)."""
    memory: dict[str, int] = {}
    busy: list[float] = []
    for gpu in gpus:
        for process in gpu.processes:
            if process.pid == pid:
                if process.memory_bytes is not None:
                    memory[str(gpu.index)] = process.memory_bytes
                busy += [process.utilization_percent] if process.utilization_percent is not None else []
    return memory, sum(busy) if busy else None
