"""Answers what the processes of a node run and allocate over a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from clusterstate import stacks
from clusterstate.profile_answers import Abilities, ProcessProgress, ProfileProgress
from workers.probes.profile_places import Place
from workers.probes.running import CannotAnswer, running
from workers.sources import cpu_recording, gpu_tracing, jax_tracing, memory_recording, profile_facts, profile_notes, profile_obstacles
from workers.sources.cpu_recording import Recorded, Recording, Wanted
from workers.sources.gpu_tracing import GpuTracing
from workers.sources.jax_tracing import JaxTracing
from workers.sources.memory_recording import MemoryRecording
from workers.sources.memray_running import Options, memray_version
from workers.sources.profile_notes import Note
from workers.sources.profile_obstacles import NodeFacts
from workers.sources.profile_targets import Refused, Target
from workers.sources.py_spy import version_of

PART_BYTES = 256 * 1024
MOST_SECONDS = 300
MOST_HZ = 500
MOST_TRACE_SECONDS = 60
MOST_TASK_NAME = 1_000


def check_profiling(node_id: str, pid: int | None, started_ms: int | None) -> dict[str, Any]:
    """Abilities (clusterstate.profile_answers)."""
    place = Place()
    try:
        if pid is None:
            place.finder(node_id)
            return _plain(abilities(place.node, None))
        with place.open(node_id, pid, started_ms) as target:
            return _plain(abilities(place.node, target))
    except Refused as refused:
        why = refused.why_not
        return _plain(Abilities(why, why, why, why))


def abilities(node: NodeFacts, target: Target | None) -> Abilities:
    """What could look into a process of this node, or into any."""
    facts = profile_facts.target_facts(target) if target is not None else None
    why_not = profile_obstacles.before(node, facts)
    memory = memory_recording.obstacle(memory_recording.parts_for(target), node, facts)
    gpu = gpu_tracing.obstacle(gpu_tracing.parts_for(target), target, node, facts)
    jax = jax_tracing.obstacle(jax_tracing.parts_for(target), target, node, facts)
    return Abilities(stacks=why_not, memory=memory, gpu=gpu, jax=jax)


def record_cpu(
    node_id: str,
    pid: int,
    started_ms: int,
    duration_s: int,
    rate_hz: int,
    native: bool,
    idle: bool,
    subprocesses: bool,
    gil: bool,
    nonblocking: bool,
    while_task: str,
) -> dict[str, Any]:
    """Tells packed samples in parts at the end; answers a ProfileProgress."""
    if not 1 <= duration_s <= MOST_SECONDS or not 1 <= rate_hz <= MOST_HZ or len(while_task) > MOST_TASK_NAME:
        raise CannotAnswer(f"A profile lasts 1 to {MOST_SECONDS} s, with 1 to {MOST_HZ} samples a second.")
    place = Place()
    program = place.program
    if program is None:
        return told(Recorded(why_not=profile_obstacles.before(place.node)), duration_s, "")
    wanted = Wanted(duration_s, rate_hz, native, idle, subprocesses, gil, nonblocking, while_task)

    def record(target: Target, note: Note) -> Recorded:
        return Recording(program, target, wanted, place.node, running().report, running().should_stop).run(note)

    return told(_recorded(place, node_id, pid, started_ms, record), duration_s, version_of(program))


def record_memory(
    node_id: str,
    pid: int,
    started_ms: int,
    duration_s: int,
    native: bool,
    leaks: bool,
    python_allocators: bool,
    while_task: str,
) -> dict[str, Any]:
    """Tells packed samples in parts at the end; answers a ProfileProgress."""
    if not 1 <= duration_s <= MOST_SECONDS or len(while_task) > MOST_TASK_NAME:
        raise CannotAnswer(f"A profile lasts 1 to {MOST_SECONDS} s.")
    place = Place()
    options = Options(native, leaks, python_allocators)

    def record(target: Target, note: Note) -> Recorded:
        return MemoryRecording(target, duration_s, options, while_task, place.node, running().report, running().should_stop).run(note)

    return told(_recorded(place, node_id, pid, started_ms, record), duration_s, memray_version())


def record_gpu(node_id: str, pid: int, started_ms: int, duration_s: int) -> dict[str, Any]:
    """Tells a gzip Chrome trace in parts at the end; answers a ProfileProgress."""
    _check_trace(duration_s)
    place = Place()

    def record(target: Target, note: Note) -> Recorded:
        return GpuTracing(target, duration_s, place.node, running().report).run(note)

    return told(_recorded(place, node_id, pid, started_ms, record), duration_s, "dynolog")


def record_jax(node_id: str, pid: int, started_ms: int, duration_s: int) -> dict[str, Any]:
    """Tells a gzip Chrome trace in parts at the end; answers a ProfileProgress."""
    _check_trace(duration_s)
    place = Place()

    def record(target: Target, note: Note) -> Recorded:
        return JaxTracing(target, duration_s, place.node, running().report).run(note)

    return told(_recorded(place, node_id, pid, started_ms, record), duration_s, jax_tracing.jax_version())


def _check_trace(duration_s: int) -> None:
    if not 1 <= duration_s <= MOST_TRACE_SECONDS:
        raise CannotAnswer(f"A trace lasts 1 to {MOST_TRACE_SECONDS} s.")


def _recorded(place: Place, node_id: str, pid: int, started_ms: int, record: Callable[[Target, Note], Recorded]) -> Recorded:
    """One profile of a process at a time."""
    try:
        with place.open(node_id, pid, started_ms) as target, profile_notes.profiling(place.notes(), target) as note:
            return record(target, note)
    except Refused as refused:
        return Recorded(why_not=refused.why_not)
    except profile_notes.Busy:
        return cpu_recording.busy("Somebody profiles this process already.")


def told(found: Recorded, duration_s: int, profiler: str, processes: tuple[ProcessProgress, ...] = ()) -> dict[str, Any]:
    """Tells the samples, or the trace, in parts; the answer is how it went."""
    packed = stacks.pack(found.samples) if found.samples.stacks else found.trace
    for start in range(0, len(packed), PART_BYTES):
        running().tell(packed[start : start + PART_BYTES])
    return _plain(
        ProfileProgress(
            sampled_s=found.sampled_s,
            duration_s=float(duration_s),
            samples=found.samples.total,
            errors=found.errors,
            cpu_s=found.cpu_s,
            ended=found.ended,
            detail=found.detail[:2000],
            why_not=found.why_not,
            profiler=profiler,
            packed_bytes=len(packed),
            trace_bytes=found.trace_bytes,
            processes=processes,
        )
    )


def _plain(answer: msgspec.Struct) -> dict[str, Any]:
    value: dict[str, Any] = msgspec.to_builtins(answer)
    return value
