"""What Raydeck takes when nothing happens: memory and CPU by role, and its calls to the GCS without and with viewers.

`python -m benchmarks idle --seconds 20`. The cluster is simulated: one node, a few jobs and actors, no change.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from typing import Any

from benchmarks import machine
from benchmarks.instance import raydeck_up
from benchmarks.load import Load, Plan
from benchmarks.pages import Site, find_views
from tests.simulated_ray import RemoteRay

SETTLE_S = 10.0


def main(arguments: list[str]) -> int:
    """Run it and print. Returns 0; figures decide nothing here."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks idle", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each of the two phases, default 20, at most 120")
    parser.add_argument("--users", type=int, default=20, help="viewers in the second phase, default 20")
    options = parser.parse_args(arguments)
    seconds, users = min(options.seconds, 120.0), max(1, min(options.users, 200))
    rows: Any = {"nodes": 1, "jobs": 5, "submissions": 2, "live_actors": 20, "dead_actors": 20, "placement_groups": 4}
    with RemoteRay(**rows) as ray, raydeck_up(ray.address) as ready:
        time.sleep(SETTLE_S)
        _tell("nobody looks", ray, ready, lambda: time.sleep(seconds))
        site = Site(ready["url"], ready["admin_token"], ready["cluster"])
        views = asyncio.run(find_views(site))
        load = Load(Plan(site.url, site.token, views, (), users, seconds, 0.0, 0.0))
        _tell(f"{users} viewers", ray, ready, lambda: asyncio.run(load.run()))
    return 0


def _tell(title: str, ray: RemoteRay, ready: dict[str, Any], run: Any) -> None:
    calls, before, began = dict(ray.figures()["calls"]), machine.costs(ready["pids"]), time.monotonic()
    run()
    elapsed, after = time.monotonic() - began, machine.costs(ready["pids"])
    made = {name: (count - calls.get(name, 0)) / elapsed for name, count in ray.figures()["calls"].items()}
    sys.stdout.write(f"{title}, {elapsed:.0f} s, load {machine.load_average()}\n")
    for role, cost in after.items():
        sys.stdout.write(f"  {role:12} {cost.pss_bytes / 1e6:6.1f} MB PSS {(cost.cpu_s - before[role].cpu_s) / elapsed:7.1%} of a core\n")
    cpu = sum(cost.cpu_s - before[role].cpu_s for role, cost in after.items()) / elapsed
    sys.stdout.write(f"  {'together':12} {sum(cost.pss_bytes for cost in after.values()) / 1e6:6.1f} MB PSS {cpu:7.1%} of a core\n")
    told = ", ".join(f"{name} {rate:.2f}" for name, rate in sorted(made.items()) if rate >= 0.005)
    sys.stdout.write(f"  {sum(made.values()):.2f} calls to the GCS a second: {told}\n")
    sys.stdout.flush()
