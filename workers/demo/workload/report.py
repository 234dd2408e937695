"""Entry point of submitted jobs that end: well, badly, or when they are stopped."""

from __future__ import annotations

import argparse
import os
import sys
import time

import ray

from workers.demo.workload import tasks
from workers.demo.workload.colours import progress, say
from workers.demo.workload.joining import joined_as_submitted


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("nightly", "import", "clean-up"))
    return {"nightly": nightly, "import": failing_import, "clean-up": endless_clean_up}[parser.parse_args().kind]()


def nightly() -> int:
    """With tasks of its own; succeeds."""
    say("INFO", f"report for region {os.environ.get('REPORT_REGION', 'everywhere')}")
    with joined_as_submitted():
        measure = ray.remote(tasks.measure).options(num_cpus=0.3)
        values = ray.get([measure.remote(sensor) for sensor in range(4)])
    say("INFO", f"mean temperature {sum(values) / len(values):.1f} °C")
    return 0


def failing_import() -> int:
    """Without a driver: fails before it joins the cluster."""
    for done in range(0, 101, 20):
        progress(done, 100)
        time.sleep(0.1)
    prices = ["12.50", "12,75"]
    return int(sum(float(price) for price in prices))


def endless_clean_up() -> int:
    """Until it is stopped."""
    say("WARNING", "cleaning up, this can take hours")
    while True:
        time.sleep(60)


if __name__ == "__main__":
    sys.exit(main())
