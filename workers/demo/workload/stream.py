"""The driver of a job that always runs: a steady stream of small tasks, some of which fail."""

from __future__ import annotations

import itertools
import random
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

import ray

from workers.demo.workload import tasks
from workers.demo.workload.colours import say, say_traceback
from workers.demo.workload.joining import joined_as_submitted

TICK_S = 1.0
LIFETIME_S = 6 * 3600.0  # then the job has succeeded, and the next one begins
KEPT_RESULTS = 20
VANISH_EVERY = 300  # ticks; each costs the start of a worker process


def run(lifetime_s: float = LIFETIME_S) -> None:
    with joined_as_submitted(), tempfile.TemporaryDirectory(prefix="demo-") as folder:
        stream = Stream(Path(folder))
        say("INFO", "measuring begins")
        ends_at = time.monotonic() + lifetime_s
        for tick in itertools.count():
            if time.monotonic() > ends_at:
                break
            stream.tick(tick)
            time.sleep(TICK_S)
        say("INFO", "measuring is done")


class Stream:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results: deque[Any] = deque(maxlen=KEPT_RESULTS)
        self.pending: deque[Any] = deque(maxlen=50)
        self.resize = ray.remote(tasks.resize).options(num_cpus=1)  # one at a time, so that one process does for all
        self.never = ray.remote(tasks.measure).options(name="measure_with_laser", resources={"laser": 1}).remote(99)

    def tick(self, tick: int) -> None:
        for _ in range(3):
            self.results.append(self.resize.remote(random.randrange(1_000, 800_000)))
        if tick % 4 == 1:
            self.pending.append(ray.remote(tasks.summarise).options(num_cpus=0.1).remote(3))
        if tick % 10 == 3:
            tries_file = str(self.folder / f"tries-{tick}")
            self.pending.append(ray.remote(tasks.unreliable).options(max_retries=3, retry_exceptions=True, num_cpus=0.1).remote(tries_file))
        if tick % 10 == 7:
            self._run_broken(tick)
        if tick % VANISH_EVERY == 20:
            self.pending.append(ray.remote(tasks.vanishing).options(max_retries=0, num_cpus=0.1).remote())
        if tick % 30 == 29:
            say("INFO", f"{tick + 1} rounds, {len(self.results)} pictures kept")

    def _run_broken(self, tick: int) -> None:
        try:
            ray.get(ray.remote(tasks.broken).options(num_cpus=0.1, max_retries=0).remote(tick), timeout=10)
        except (tasks.SensorError, ray.exceptions.GetTimeoutError):
            if tick % 60 == 7:
                say_traceback("a calibration failed")


if __name__ == "__main__":
    run()
