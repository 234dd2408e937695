"""A Ray driver that makes tasks as fast as the machine lets it: one JSON command a line in, one JSON answer a line out.

Run as a program of its own, in the environment of the cluster. It has an actor on each node.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

AT_ONCE = 10_000
"""Calls that are under way together."""


@ray.remote(num_cpus=0)
class Called:
    def call(self, number: int) -> int:
        return number


@ray.remote(num_cpus=0)  # type: ignore[untyped-decorator]
def held(folder: str) -> None:
    """Says that it runs by one file and waits for another."""
    Path(folder, "running").touch()
    while not Path(folder, "go").exists():
        time.sleep(0.005)


class Driver:
    def __init__(self) -> None:
        self.held: dict[str, tuple[Path, Any]] = {}
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

    def hold(self, name: str) -> dict[str, Any]:
        """A task of that name, once it runs."""
        folder = Path(tempfile.mkdtemp(prefix="rdh"))
        self.held[name] = folder, held.options(name=name).remote(str(folder))
        while not (folder / "running").exists():
            time.sleep(0.005)
        return {"at": time.time()}

    def let_go(self, name: str) -> dict[str, Any]:
        """It ends."""
        folder, reference = self.held.pop(name)
        (folder / "go").touch()
        ray.get(reference)
        answer = {"at": time.time()}
        shutil.rmtree(folder)
        return answer

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
