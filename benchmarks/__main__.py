"""`python -m benchmarks [name] [options]`: run one measurement; without a name, page latency."""

from __future__ import annotations

import sys
from collections.abc import Callable

from benchmarks import beside, gcs_cost, idle, live, logs, official, pages, profiling, tasks, timeline

BENCHMARKS: dict[str, Callable[[list[str]], int]] = {
    "pages": pages.main,
    "live": live.main,
    "gcs_cost": gcs_cost.main,
    "idle": idle.main,
    "beside": beside.main,
    "timeline": timeline.main,
    "tasks": tasks.main,
    "official": official.main,
    "logs": logs.main,
    "profiling": profiling.main,
}


def main(arguments: list[str]) -> int:
    """The first word picks the benchmark, the rest are its options. Returns the exit code."""
    if arguments and not arguments[0].startswith("-"):
        name, *rest = arguments
        if name not in BENCHMARKS:
            sys.stderr.write(f"There is no benchmark {name}. There are: {', '.join(BENCHMARKS)}.\n")
            return 2
        return BENCHMARKS[name](rest)
    return pages.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
