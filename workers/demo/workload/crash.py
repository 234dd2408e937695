"""A driver that crashes: its job ends without having said goodbye."""

from __future__ import annotations

import os
import time

import ray

from workers.demo.workload import tasks
from workers.demo.workload.colours import say_traceback
from workers.demo.workload.joining import joined


def run() -> None:
    with joined("crashing-driver", purpose="shows a driver that crashes"):
        ray.get(ray.remote(tasks.measure).options(num_cpus=0.1).remote(0), timeout=30)
        time.sleep(3)
        try:
            raise MemoryError("cannot allocate 64.0 GiB for the result")
        except MemoryError:
            say_traceback("the driver gives up")
            os._exit(139)


if __name__ == "__main__":
    run()
