"""Answers what the threads of a node's processes stand at."""

from __future__ import annotations

from typing import Any

from workers.probes.running import CannotAnswer


def dump_stacks(node_id: str, pid: int, started_ms: int, native: bool, subprocesses: bool) -> dict[str, Any]:
    """StacksPart (clusterstate.profile_answers)."""
    raise CannotAnswer("Not there yet.")


def dump_many_stacks(
    node_id: str, pids: tuple[int, ...], started_ms: tuple[int, ...], node_ids: tuple[str, ...], native: bool
) -> dict[str, Any]:
    """Tells StacksParts as they come."""
    raise CannotAnswer("Not there yet.")
