"""The figures of a run as a table and as JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import redis

from benchmarks.load import HEALTH, SEARCH, Figures, Load, Plan
from benchmarks.machine import Cost


@dataclass(frozen=True)
class Moment:
    """The machine before or after the load."""

    costs: dict[str, Cost]
    cpu: tuple[float, float]  # busy, total seconds
    load: str
    at: float
    calls: dict[str, int]


@dataclass(frozen=True)
class Result:
    """All that was measured."""

    plan: Plan
    load: Load
    before: Moment
    after: Moment
    redis_bytes: int | None
    rows: dict[str, int]


def redis_memory(url: str) -> int | None:
    """What Redis says that its data takes, or None."""
    if not url:
        return None
    try:
        with redis.Redis.from_url(url) as client:
            return int(client.info("memory")["used_memory"])
    except redis.RedisError:
        return None


def as_text(result: Result) -> str:
    """The tables as they are printed."""
    return "\n".join([*_views(result), "", *_costs(result), "", *_cluster(result), ""])


def as_json(result: Result) -> dict[str, Any]:
    """The same for programs."""
    elapsed = result.after.at - result.before.at
    return {
        "users": result.plan.users,
        "seconds": result.plan.seconds,
        "views": {name: _figures(figures) for name, figures in _named(result).items()},
        "load_before": result.before.load,
        "load_after": result.after.load,
        "machine_busy": _busy(result),
        "roles": {
            role: {"pss_bytes": cost.pss_bytes, "cpu": _cpu_share(result, role, elapsed)} for role, cost in result.after.costs.items()
        },
        "redis_bytes": result.redis_bytes,
        "rows": result.rows,
        "gcs_calls_per_s": {name: count / elapsed for name, count in _calls(result).items()},
    }


def _named(result: Result) -> dict[str, Figures]:
    """Every view, and all fragments (without searches and /healthz) together."""
    together = Figures()
    for name, figures in result.load.figures.items():
        if name not in (SEARCH, HEALTH):
            together.latencies_s += figures.latencies_s
            together.statuses += figures.statuses
            together.bytes += figures.bytes
    return {**result.load.figures, "all fragments": together, "(this client's own lag)": result.load.client_lag}


def _figures(figures: Figures) -> dict[str, Any]:
    values = {f"p{share}_ms": figures.percentile_ms(share / 100) for share in (50, 95, 99)}
    return {
        "requests": figures.count,
        **{name: None if math.isnan(value) else round(value, 2) for name, value in values.items()},
        "not_modified": round(figures.not_modified, 4),
        "bytes": figures.bytes,
        "errors": figures.errors,
    }


def _views(result: Result) -> list[str]:
    lines = [f"{'view':<24}{'requests':>9}{'304':>6}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'kB each':>9}  errors"]
    for name, one in _named(result).items():
        percentiles = "".join(f"{one.percentile_ms(share):>9.1f}" for share in (0.5, 0.95, 0.99))
        size = one.bytes / one.count / 1000 if one.count else 0.0
        errors = " ".join(f"{number}×{status or 'no answer'}" for status, number in sorted(one.errors.items()))
        lines.append(f"{name:<24}{one.count:>9}{one.not_modified:>6.0%}{percentiles}{size:>9.1f}  {errors}")
    return lines


def _costs(result: Result) -> list[str]:
    elapsed = result.after.at - result.before.at
    lines = [f"{'process':<24}{'PSS MB':>9}{'CPU of a core':>15}"]
    for role, cost in result.after.costs.items():
        lines.append(f"{role:<24}{cost.pss_bytes / 1e6:>9.1f}{_cpu_share(result, role, elapsed):>15.1%}")
    ours = sum(cost.pss_bytes for role, cost in result.after.costs.items() if not role.startswith("("))
    lines.append(f"{'all of Raydeck':<24}{ours / 1e6:>9.1f}")
    lines.append(f"load average: {result.before.load} before, {result.after.load} after; all cores {_busy(result):.0%} busy meanwhile")
    return lines


def _cluster(result: Result) -> list[str]:
    lines = []
    if result.redis_bytes is not None:
        line = f"Redis data {result.redis_bytes / 1e6:.1f} MB"
        actors = result.rows.get("actors")
        lines.append(line + (f", at most {result.redis_bytes / actors:.0f} B an actor (all else counted in)" if actors else ""))
    calls = _calls(result)
    if calls:
        elapsed = result.after.at - result.before.at
        lines.append("calls to the GCS a second: " + ", ".join(f"{name} {count / elapsed:.2f}" for name, count in sorted(calls.items())))
    return lines


def _cpu_share(result: Result, role: str, elapsed_s: float) -> float:
    before = result.before.costs.get(role)
    return (result.after.costs[role].cpu_s - (before.cpu_s if before else 0.0)) / elapsed_s


def _busy(result: Result) -> float:
    busy, total = (after - before for before, after in zip(result.before.cpu, result.after.cpu, strict=True))
    return busy / total if total else 0.0


def _calls(result: Result) -> dict[str, int]:
    return {name: count - result.before.calls.get(name, 0) for name, count in result.after.calls.items()}
