"""Tasks of the demo, as plain functions: `stream.py` makes Ray tasks of them."""

from __future__ import annotations

import os
import random
import time

from workers.demo.workload.colours import progress, say, say_traceback


class SensorError(RuntimeError):
    """What a failing task raises."""


def resize(size: int) -> bytes:
    """A small task with a result in the object store."""
    time.sleep(random.uniform(0.05, 0.2))
    return bytes(size)


def measure(sensor: int) -> float:
    value = random.gauss(20.0, 3.0)
    if sensor == 0:
        say("INFO", f"sensor {sensor}: {value:.1f} °C")
    time.sleep(0.1)
    return value


def unreliable(tries_file: str) -> int:
    """Fails the first two times, then succeeds: three attempts of one task."""
    tries = _count(tries_file)
    if tries < 3:
        raise SensorError(f"no answer from the sensor (try {tries})")
    os.unlink(tries_file)
    return tries


def broken(sensor: int) -> float:
    """Always fails, with a cause."""
    try:
        return 1.0 / (sensor - sensor)
    except ZeroDivisionError as error:
        say_traceback(f"sensor {sensor} cannot be calibrated")
        raise SensorError(f"calibration of sensor {sensor} failed") from error


def vanishing() -> None:
    """Takes its worker process down with it."""
    say("ERROR", "out of file handles, giving up")
    os._exit(7)


def summarise(sensors: int) -> float:
    """A task that starts tasks of its own and waits for them."""
    import ray

    remote = ray.remote(measure).options(num_cpus=0.3, resources={"camera": 0.1})  # on the other node
    values = [ray.get(remote.remote(sensor)) for sensor in range(sensors)]  # one by one: each at once is a process of 43 MB
    for done in range(sensors + 1):
        progress(done, sensors)
    return float(sum(values) / len(values))


def _count(path: str) -> int:
    with open(path, "a+") as file:
        file.write("x")
        return file.tell()
