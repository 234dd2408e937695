"""A Ray driver whose tasks and actors are there to be looked into: one JSON command a line in, one JSON answer a line out."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import ray


def spin_for(seconds: float) -> int:
    turns, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        sum(range(20_000))
        turns += 1
    return turns


@ray.remote(num_cpus=0)  # type: ignore[untyped-decorator]  # Ray is not seen by the type checker
def step(seconds: float) -> int:
    return spin_for(seconds)


@ray.remote(num_cpus=0)
class Looked:
    def __init__(self) -> None:
        self.kept: list[bytes] = []

    def me(self) -> dict[str, Any]:
        return {"pid": os.getpid(), "node_id": ray.get_runtime_context().get_node_id()}

    def spin(self, seconds: float) -> int:
        return spin_for(seconds)

    def grow(self, seconds: float) -> int:
        """Holds on to a megabyte every few ms."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.kept.append(bytes(1 << 20))
            time.sleep(0.02)
        return len(self.kept)


class Driver:
    def __init__(self) -> None:
        self.actors: dict[str, Any] = {}
        self.asked: list[Any] = []

    def me(self) -> dict[str, Any]:
        return {"pid": os.getpid(), "node_id": ray.get_runtime_context().get_node_id()}

    def actor(self, name: str) -> dict[str, Any]:
        self.actors[name] = Looked.remote()  # type: ignore[attr-defined]
        found: dict[str, Any] = ray.get(self.actors[name].me.remote())
        return found

    def actors_of(self, count: int, node_ids: list[str]) -> dict[str, Any]:
        """So many of them, in turns on these nodes."""
        strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        where = [strategy(node_id=node_ids[number % len(node_ids)], soft=False) for number in range(count)]
        made = [Looked.options(scheduling_strategy=one).remote() for one in where]  # type: ignore[attr-defined]
        self.actors |= {str(number): actor for number, actor in enumerate(made)}
        return {"found": ray.get([actor.me.remote() for actor in made])}

    def start(self, name: str, method: str, seconds: float) -> dict[str, Any]:
        """An actor's method, not waited for."""
        self.asked.append(getattr(self.actors[name], method).remote(seconds))
        return {"at": time.time()}

    def task(self, seconds: float) -> dict[str, Any]:
        self.asked.append(step.remote(seconds))
        return {"at": time.time()}

    def done(self) -> dict[str, Any]:
        """Waits for all that was started."""
        asked, self.asked = self.asked, []
        return {"answers": ray.get(asked)}


def say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer, default=str) + "\n")
    sys.stdout.flush()


def main() -> None:
    ray.init(namespace="profiled", logging_level="ERROR", log_to_driver=False)
    driver = Driver()
    say({"connected": True})
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        say(getattr(driver, command)(*arguments))


if __name__ == "__main__":
    main()
