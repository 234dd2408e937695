"""`python -m tests.simulated_ray`: a simulated cluster as a process of its own, until SIGTERM."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from tests.simulated_ray.server import SimulatedRay

PARENT_CHECK_S = 0.5


def main(arguments: list[str] | None = None) -> int:
    """Start, write the ready file, wait. Returns the exit code."""
    options = _options(arguments)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    parent = os.getppid()
    token = options.token_file.read_text().strip() if options.token_file else None
    with SimulatedRay(token=token, **_given(options)) as cluster:
        if options.changes:
            cluster.changes_per_second(options.changes)
        if options.ready_file:
            _write_ready_file(options.ready_file, cluster.address)
        sys.stdout.write(f"simulated Ray GCS on {cluster.address}\n")
        sys.stdout.flush()
        while not stopped.wait(PARENT_CHECK_S):
            if options.with_parent and os.getppid() != parent:
                break
    if options.ready_file:
        options.ready_file.unlink(missing_ok=True)
    return 0


POPULATION = {
    "nodes": 1,
    "dead_nodes": 0,
    "jobs": 20,
    "submissions": 10,
    "live_actors": 0,
    "dead_actors": 0,
    "idle_workers": 0,
    "dead_workers": 0,
    "placement_groups": 10,
    "tasks": 0,
}


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulated_ray", description=__doc__)
    for name, default in POPULATION.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default, metavar="N", help=f"default {default}")
    parser.add_argument("--changes", type=float, default=0.0, metavar="N", help="changes a second, default none")
    parser.add_argument("--port", type=int, default=0, help="0 picks one (default)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-dead-actors", type=int, default=100_000, metavar="N", help="above it the oldest dead go, default 100000")
    parser.add_argument("--max-tasks", type=int, default=100_000, metavar="N", help="above it the oldest finished go, default 100000")
    parser.add_argument("--ray-version", help="what CheckAlive says; default: the installed one")
    parser.add_argument("--token-file", type=Path, help="ask every caller for the token in this file")
    parser.add_argument("--ready-file", type=Path, help="JSON with address and pid, written once it listens")
    parser.add_argument("--with-parent", action="store_true", help="end when the parent process does")
    return parser.parse_args(arguments)


def _given(options: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(options, name) for name in (*POPULATION, "port", "seed", "max_dead_actors", "max_tasks", "ray_version")}


def _write_ready_file(path: Path, address: str) -> None:
    """Whole or not at all, for its owner alone."""
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    partial.touch(0o600, exist_ok=False)
    partial.write_text(json.dumps({"address": address, "pid": os.getpid()}))
    partial.rename(path)


if __name__ == "__main__":
    sys.exit(main())
