"""What Raydeck and Ray's own dashboard take on one head at the same time, when nothing happens: memory and CPU.

`python -m benchmarks beside --seconds 20`. A real Ray of the default install with its dashboard and agent (made by
`make test-versions`), and a whole Raydeck beside it. Nobody looks at either.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks import machine
from benchmarks.in_place import DEFAULT_INSTALL
from benchmarks.instance import raydeck_up
from tests.workers.real_ray_cluster import RealRay, real_ray

SETTLE_S = 20.0
OFFICIAL = {"dashboard/dashboard.py": "official head", "ray-dashboard-": "official head", "dashboard/agent.py": "official agent"}
"""What stands in the command lines of Ray's dashboard: its head, the head's module processes, each node's agent."""


def main(arguments: list[str]) -> int:
    """Run it and print. Returns 0, or 2 when there is no default install of Ray; figures decide nothing here."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks beside", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long is measured, default 20, at most 120")
    parser.add_argument("--python", type=Path, default=DEFAULT_INSTALL, help="of an environment with ray[default] of this release")
    options = parser.parse_args(arguments)
    if not options.python.exists():
        sys.stderr.write(f"There is no {options.python}: `make test-versions` makes it, or name another with --python.\n")
        return 2
    with real_ray(python=options.python, dashboard=True, nodes=1) as ray, raydeck_up(ray.address) as ready:
        time.sleep(SETTLE_S)
        theirs = official_processes(ray)
        seconds = min(options.seconds, 120.0)
        before = {**machine.costs(theirs), **machine.costs(ready["pids"])}
        time.sleep(seconds)
        ours, official = machine.costs(ready["pids"]), machine.costs(theirs)
    sys.stdout.write(f"idle for {seconds:.0f} s, load {machine.load_average()}\n")
    for title, found in (("Raydeck", ours), ("official", official)):
        for role, cost in found.items():
            _tell(role, cost.pss_bytes, (cost.cpu_s - before[role].cpu_s) / seconds)
        _tell(f"{title} together", sum(cost.pss_bytes for cost in found.values()), _cpu(found, before) / seconds)
    ratio = sum(cost.pss_bytes for cost in ours.values()) / max(1, sum(cost.pss_bytes for cost in official.values()))
    sys.stdout.write(f"Raydeck's memory is {ratio:.2f} of the official head and agent's\n")
    return 0


def official_processes(ray: RealRay) -> dict[str, int]:
    """The processes of the cluster's own dashboard and agent, each a role of its own: `official head 1234`."""
    found: dict[str, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environ = (folder / "environ").read_bytes()
        except OSError:
            continue  # gone
        role = next((role for mark, role in OFFICIAL.items() if mark in command), None)
        if role is not None and str(ray.folder).encode() in environ:
            found[f"{role} {folder.name}"] = int(folder.name)
    return found


def _cpu(found: dict[str, machine.Cost], before: dict[str, machine.Cost]) -> float:
    return sum(cost.cpu_s - before[role].cpu_s for role, cost in found.items())


def _tell(what: str, pss_bytes: int, share: float) -> None:
    sys.stdout.write(f"  {what:24} {pss_bytes / 1e6:6.1f} MB PSS {share:7.1%} of a core\n")
