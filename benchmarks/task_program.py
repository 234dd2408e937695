"""A Ray driver that makes tasks as fast as the machine lets it: one JSON command a line in, one JSON answer a line out.

Run as a program of its own, in the environment of the cluster. It has an actor on each node.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

AT_ONCE = 10_000
"""Calls that are under way together."""


@ray.remote(num_cpus=0)
class Called:
    def call(self, number: int) -> int:
        return number


class Driver:
    def __init__(self) -> None:
        places = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in ray.nodes() if node["Alive"]]
        self.actors: list[Any] = [Called.options(scheduling_strategy=place).remote() for place in places]  # type: ignore[attr-defined]
        self.made = len(self.actors)
        self._call(len(self.actors))

    def calls(self, count: int) -> dict[str, Any]:
        """So many calls, all awaited."""
        began = time.monotonic()
        for first in range(0, count, AT_ONCE):
            self._call(min(AT_ONCE, count - first))
        return {"seconds": time.monotonic() - began, "made": self.made}

    def trickle(self, seconds: float, a_second: float) -> dict[str, Any]:
        """A few calls now and then, so that pages change."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._call(1)
            time.sleep(1 / a_second)
        return {"made": self.made}

    def _call(self, count: int) -> None:
        ray.get([self.actors[number % len(self.actors)].call.remote(number) for number in range(count)])
        self.made += count


def say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    ray.init(namespace="bench", logging_level="ERROR", log_to_driver=False)
    driver = Driver()
    say({"made": driver.made})
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        say(getattr(driver, command)(*arguments))


if __name__ == "__main__":
    main()
