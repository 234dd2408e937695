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
ONE_AT_A_TIME = 1.0  # CPUs of a small task: the head node has room for one, so that one worker process does for all
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
        self.results: list[Any] = []
        self.pending: deque[Any] = deque(maxlen=20)
        self.summary: Any = None
        self.resize = ray.remote(tasks.resize).options(num_cpus=ONE_AT_A_TIME)
        self.never = ray.remote(tasks.measure).options(name="measure_with_laser", resources={"laser": 1}).remote(99)

    def tick(self, tick: int) -> None:
        for _ in range(3 if is_done(self.results[-1:]) else 0):
            self.results.append(self.resize.remote(random.randrange(1_000, 800_000)))
        self.results = self.results[-KEPT_RESULTS:]
        if tick % 4 == 1 and is_done([self.summary]):
            self.summary = ray.remote(tasks.summarise).options(num_cpus=0, resources={"ssd": 1}).remote(3)
        if tick % 10 == 3:
            tries_file = str(self.folder / f"tries-{tick}")
            self.pending.append(
                ray.remote(tasks.unreliable).options(max_retries=3, retry_exceptions=True, num_cpus=ONE_AT_A_TIME).remote(tries_file)
            )
        if tick % 10 == 7:
            self._run_broken(tick)
        if tick % VANISH_EVERY == 20:
            self.pending.append(ray.remote(tasks.vanishing).options(max_retries=0, num_cpus=ONE_AT_A_TIME).remote())
        if tick % 30 == 29:
            say("INFO", f"{tick + 1} rounds, {len(self.results)} pictures kept")

    def _run_broken(self, tick: int) -> None:
        try:
            ray.get(ray.remote(tasks.broken).options(num_cpus=ONE_AT_A_TIME, max_retries=0).remote(tick), timeout=10)
        except (tasks.SensorError, ray.exceptions.RayError):
            if tick % 60 == 7:
                say_traceback("a calibration failed")


def is_done(refs: list[Any]) -> bool:
    """On a slow machine nothing piles up, which would also mean more worker processes."""
    return len(ray.wait(refs, timeout=0)[0]) == len(refs) if refs and refs[0] is not None else True


if __name__ == "__main__":
    run()
