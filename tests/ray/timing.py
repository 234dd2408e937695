"""Waiting for what must be seen, and figures on how long it took."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping

from tests.running import Running

LOOK_EVERY_S = 0.03


def seen_at(look: Callable[[], object], what: str, within_s: float = 90.0) -> float:
    """When `look` first found what it looks for, as Unix seconds."""
    give_up = time.monotonic() + within_s
    while not look():
        assert time.monotonic() < give_up, f"not seen within {within_s:g} s: {what}"
        time.sleep(LOOK_EVERY_S)
    return time.time()


def state_seen_at(running: Running, table: str, row_id: str, state: str | None = None, within_s: float = 90.0) -> float:
    """When a row was first there, in this state (of a job: status) or any."""

    def look() -> bool:
        row = running.row(table, row_id)
        return row is not None and (state is None or state == row["status" if table == "jobs" else "state"])

    return seen_at(look, f"{table}: {row_id} {state or ''}", within_s)


def p95(figures: list[float]) -> float:
    return sorted(figures)[max(0, round(len(figures) * 0.95) - 1)]


def say_times(told: Mapping[str, list[float]]) -> None:
    """For who runs the tests with -s, or reads a failure."""
    for what, times in told.items():
        sys.stdout.write(f"\n{what}: median {sorted(times)[len(times) // 2]:.2f} s, p95 {p95(times):.2f} s, n {len(times)}")
    sys.stdout.write("\n")
