"""Actors of the demo, as plain classes: `residents.py` makes Ray actors of them."""

from __future__ import annotations

import asyncio
import os
import time

from workers.demo.workload.colours import say, say_traceback


class Catalogue:
    """Detached and asynchronous: serves several calls at once."""

    def __init__(self) -> None:
        self.items: dict[str, int] = {}
        say("INFO", "catalogue is open")

    async def put(self, item: str) -> int:
        await asyncio.sleep(0.05)
        self.items[item] = self.items.get(item, 0) + 1
        if len(self.items) > 500:
            self.items.pop(next(iter(self.items)))
        return self.items[item]

    async def wait_for_news(self, seconds: float) -> int:
        """A long call, so that one is always running."""
        await asyncio.sleep(seconds)
        return len(self.items)

    def __repr__(self) -> str:
        return "Catalogue(warehouse)"


class Camera:
    """Threaded, on the node that has the camera; remembers frames in the object store."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.frames = 0

    def frame(self, size: int) -> bytes:
        time.sleep(0.02)
        self.frames += 1
        if self.frames % 40 == 0:
            say("WARNING", f"{self.place}: frame {self.frames} came late")
        return os.urandom(1024) * (size // 1024)

    def __repr__(self) -> str:
        return f"Camera({self.place})"


class Flaky:
    """Falls over when told to, and is restarted by Ray each time."""

    def __init__(self, slow_start_s: float) -> None:
        time.sleep(slow_start_s)  # long enough to be seen RESTARTING
        say("INFO", f"flaky is up as process {os.getpid()}")

    def work(self) -> int:
        return os.getpid()

    def fall_over(self) -> None:
        say("ERROR", "flaky falls over")
        os._exit(13)


class Passing:
    """Lives for a moment and dies in one of several ways."""

    def __init__(self, fail: bool = False) -> None:
        if fail:
            say("ERROR", "cannot open the model file")
            raise FileNotFoundError("/models/missing-model.bin")

    def ready(self) -> bool:
        return True

    def leave(self) -> None:
        import ray

        ray.actor.exit_actor()

    def stumble(self) -> None:
        try:
            raise ValueError("invalid literal for a measurement: 'n/a'")
        except ValueError:
            say_traceback("a measurement could not be read")
            raise
