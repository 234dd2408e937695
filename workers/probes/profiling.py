"""Answers what the processes of a node run and allocate over a while."""

from __future__ import annotations

from typing import Any

from workers.probes.running import CannotAnswer


def check_profiling(node_id: str, pid: int | None, started_ms: int | None) -> dict[str, Any]:
    """Abilities (clusterstate.profile_answers)."""
    raise CannotAnswer("Not there yet.")


def record_cpu(
    node_id: str,
    pid: int,
    started_ms: int,
    duration_s: int,
    rate_hz: int,
    native: bool,
    idle: bool,
    subprocesses: bool,
    while_task: str,
) -> dict[str, Any]:
    """Tells packed samples in parts at the end; answers a ProfileProgress."""
    raise CannotAnswer("Not there yet.")


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
    raise CannotAnswer("Not there yet.")
