"""A Ray driver that does as it is told and says what Ray itself knows: one JSON command a line in, one JSON answer a line out.

Run as a program of its own, in the environment of the cluster, with any of the supported Ray releases.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import ray
from ray._private import state as ray_state
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group

RESTARTED_WITHIN_S = 60.0


@ray.remote(num_cpus=0)
class Told:
    def ready(self) -> int:
        return os.getpid()

    def leave(self) -> None:
        os._exit(3)


class Driver:
    def __init__(self) -> None:
        self.actors: dict[str, Any] = {}
        self.groups: dict[str, PlacementGroup] = {}

    def actor(self, name: str, max_restarts: int = 0) -> dict[str, Any]:
        """Asks for a named actor; does not wait for it."""
        self.actors[name] = Told.options(name=name, max_restarts=max_restarts).remote()  # type: ignore[attr-defined]
        return {"actor_id": self.actors[name]._actor_id.hex(), "at": time.time()}

    def wait(self, name: str) -> dict[str, Any]:
        """Until the actor answers, also when it is just being started again."""
        give_up = time.monotonic() + RESTARTED_WITHIN_S
        while True:
            try:
                pid = ray.get(self.actors[name].ready.remote())
                return {"pid": pid, "at": time.time()}
            except ray.exceptions.RayActorError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.05)

    def kill(self, name: str) -> dict[str, Any]:
        ray.kill(self.actors[name])  # kept: else Ray may call it out of scope instead of killed
        return {"at": time.time()}

    def leave(self, name: str) -> dict[str, Any]:
        """The actor's process ends; Ray starts it again if it may."""
        self.actors[name].leave.remote()
        return {"at": time.time()}

    def group(self, name: str, bundles: list[dict[str, float]], strategy: str) -> dict[str, Any]:
        self.groups[name] = placement_group(bundles, strategy=strategy, name=name)
        return {"placement_group_id": self.groups[name].id.hex(), "at": time.time()}

    def remove_group(self, name: str) -> dict[str, Any]:
        remove_placement_group(self.groups.pop(name))
        return {"at": time.time()}

    def me(self) -> dict[str, Any]:
        context = ray.get_runtime_context()
        return {
            "job_id": context.get_job_id(),
            "worker_id": context.get_worker_id(),
            "node_id": context.get_node_id(),
            "pid": os.getpid(),
            "ray_version": ray.__version__,
            "session_name": ray_state.state.get_session_name() if hasattr(ray_state.state, "get_session_name") else None,
        }

    def state(self) -> dict[str, Any]:
        """What Ray's own GlobalStateAccessor says."""
        return {
            "nodes": ray_state.state.node_table(),
            "jobs": ray_state.state.job_table(),
            "actors": list(ray_state.actors().values()),
            "placement_groups": list(placement_group_table().values()),
            "workers": ray_state.state.workers(),
            "total_resources": ray.cluster_resources(),
        }


def say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer, default=str) + "\n")
    sys.stdout.flush()


def main() -> None:
    ray.init(namespace="told", logging_level="ERROR", log_to_driver=False)
    driver = Driver()
    say({"connected": True})
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        answer = getattr(driver, command)(*arguments)
        say(answer)


if __name__ == "__main__":
    main()
