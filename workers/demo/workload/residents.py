"""What stays: actors in every state and placement groups in every state."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from workers.demo.workload import tasks
from workers.demo.workload.actors import Camera, Catalogue, Flaky, Passing
from workers.demo.workload.colours import say

TICK_S = 1.0
FALL_EVERY = 60  # ticks; each fall costs the start of a worker process, about 0.7 s of CPU
PASS_EVERY = 50
FIRST_PASS_EVERY = 8
REMOVE_EVERY = 300
PATIENCE_S = 60.0  # for one answer of the cluster, on a machine that is busy with other things
SLOW_START_S = 4.0


async def stay() -> None:
    """For ever. What waits for the cluster waits in a thread."""
    groups = await asyncio.to_thread(make_groups)
    residents = await asyncio.to_thread(Residents, groups["pair"])
    for tick in itertools.count():
        try:
            await asyncio.to_thread(residents.tick, tick)
        except ray.exceptions.RayError as error:  # an answer too late, or an actor gone: the next round goes on
            say("WARNING", f"round {tick}: {type(error).__name__}")
        await asyncio.sleep(TICK_S)


def make_groups() -> dict[str, PlacementGroup]:
    """Placed, waiting for what is taken, and asking for what nobody has."""
    pair = placement_group([{"CPU": 0.2}, {"CPU": 0.2, "ssd": 1}], strategy="PACK", name="pair")
    ray.get(pair.ready(), timeout=5 * PATIENCE_S)
    licences = placement_group([{"licence": 2}], strategy="PACK", name="all licences")
    return {
        "pair": pair,
        "spread": placement_group([{"CPU": 0.1}, {"CPU": 0.1}], strategy="STRICT_SPREAD", name="one on each node"),
        "licences": licences,
        "waiting": placement_group([{"licence": 1}], strategy="PACK", name="waits for a licence"),
        "impossible": placement_group([{"CPU": 64}] * 2, strategy="SPREAD", name="more CPUs than there are"),
    }


def remove_one_group() -> None:
    group = placement_group([{"CPU": 0.1}], name="short-lived")
    ray.get(group.ready(), timeout=PATIENCE_S)
    remove_placement_group(group)


class Residents:
    """The actors, and what is asked of them each second."""

    def __init__(self, pair: PlacementGroup) -> None:
        self.catalogue = make_catalogue()
        in_pair = PlacementGroupSchedulingStrategy(placement_group=pair, placement_group_bundle_index=1)
        self.camera = (
            ray.remote(Camera)
            .options(name="camera-1", max_concurrency=4, resources={"camera": 1}, num_cpus=0.1, memory=50_000_000)
            .remote("north gate")
        )
        self.flaky = (
            ray.remote(Flaky).options(name="flaky", max_restarts=-1, num_cpus=0.1, scheduling_strategy=in_pair).remote(SLOW_START_S)
        )
        self.waiting = make_actors_that_wait()
        self.passing: Any = None
        self.passed = 0
        self.frames: list[Any] = []
        self.news: Any = None

    def tick(self, tick: int) -> None:
        self.catalogue.put.remote(f"item-{random.randrange(900)}")
        self._look_at_news()
        if tick % 2 == 0:
            self.frames.append(self.camera.frame.remote(random.randrange(200_000, 1_500_000)))
            self.frames = self.frames[-12:]
        if tick % FALL_EVERY == 12:
            self.flaky.fall_over.remote()
        self._let_one_pass(tick)
        if tick % REMOVE_EVERY == 5:
            remove_one_group()

    def _let_one_pass(self, tick: int) -> None:
        """Each way to die soon after the start, then one after another."""
        soon = 6 <= tick < 6 + FIRST_PASS_EVERY * len(WAYS_TO_DIE)
        if (tick - 6) % (FIRST_PASS_EVERY if soon else PASS_EVERY) == 0 and tick >= 6:
            self.passed += 1
            self.passing = WAYS_TO_DIE[(self.passed - 1) % len(WAYS_TO_DIE)]()

    def _look_at_news(self) -> None:
        if self.news is None or ray.wait([self.news], timeout=0)[0]:
            self.news = self.catalogue.wait_for_news.remote(20.0)


def make_catalogue() -> Any:
    """Detached: outlives this driver, and is found again by its next run."""
    options = {"name": "catalogue", "lifetime": "detached", "get_if_exists": True, "max_restarts": 3, "max_concurrency": 16, "num_cpus": 0}
    return ray.remote(Catalogue).options(**options).remote()


def make_actors_that_wait() -> list[Any]:
    """For resources that no node has, and for an argument that never comes. Neither takes a process."""
    never = ray.remote(tasks.measure).options(name="measure_everything", num_cpus=64).remote(1)
    return [
        ray.remote(Passing).options(name="needs-accelerator", resources={"accelerator_card": 1}).remote(),
        ray.remote(Passing).options(name="needs-argument", num_cpus=0.1).remote(never),
    ]


def killed() -> Any:
    actor = ray.remote(Passing).options(name=None, num_cpus=0).remote()
    ray.get(actor.ready.remote(), timeout=PATIENCE_S)
    ray.kill(actor)
    return None


def leaving() -> Any:
    actor = ray.remote(Passing).options(num_cpus=0).remote()
    actor.leave.remote()
    return actor


def failing_to_start() -> Any:
    return ray.remote(Passing).options(num_cpus=0).remote(True)


def going_out_of_scope() -> Any:
    actor = ray.remote(Passing).options(num_cpus=0).remote()
    try:
        ray.get(actor.stumble.remote(), timeout=PATIENCE_S)
    except ValueError:
        say("WARNING", "a passing actor stumbled")
    return None


def dying_after_its_last_restart() -> Any:
    actor = ray.remote(Flaky).options(max_restarts=1, num_cpus=0).remote(0.0)
    for _ in range(2):
        actor.fall_over.options(max_task_retries=0).remote()
    return actor


WAYS_TO_DIE: tuple[Callable[[], Any], ...] = (killed, failing_to_start, going_out_of_scope, leaving, dying_after_its_last_restart)
