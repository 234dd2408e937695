"""What is polled, how often, and how each resource is known: the collector's own word on its sources."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from clusterstate.model import SourceReport
from workers.sources.gcs import GcsClient, GcsError, GcsRefused, GcsTimeout, GcsUnimplemented, GcsUnreachable, Traffic

GCS_SHARE = 0.005
"""How much of the GCS's time one poll may take: a call of 14 ms is made each 2.8 s. Four polls stay below 2 %."""
COSTS_KEPT = 10
GROWTH = 1.5
"""An interval grows by so much at once: one slow answer is a busy machine, ten of them are a big table."""
SILENCE_LIMIT_S = 10.0
"""So long timed-out calls are put up with: a busy GCS answers late, and asking everything anew would not help it."""


@dataclass
class Poll:
    """One question that is asked again and again."""

    resource: str
    ask: Callable[[], Awaitable[None]]
    every_s: float
    calls: tuple[str, ...]  # the GCS calls whose time counts as its cost
    share: float = GCS_SHARE
    growth: float = GROWTH  # without end for an answer that may be a hundred times as big the next time
    remembered: int = COSTS_KEPT  # costs of which the least counts
    part: Callable[[], float] = lambda: 1.0  # of the share, now
    problem: str | None = None
    interval_s: float = 0.0  # in force now
    costs: deque[float] = field(default_factory=deque)

    def stretched_s(self, took_s: float, way_s: float) -> float:
        """The interval after answers that took so long, of which `way_s` was not the GCS's work.

        The least of the last few counts, and the interval grows step by step: latency is no cost while a machine is busy.
        """
        self.costs.append(max(0.0, took_s - way_s))
        while len(self.costs) > self.remembered:
            self.costs.popleft()
        return max(self.every_s, min(min(self.costs) / (self.share * self.part()), max(self.interval_s, self.every_s) * self.growth))

    async def run(self, client: GcsClient, first_after_s: float) -> None:
        """Asks until the connection is lost (raises GcsUnreachable, GcsRefused) or the call turns out not to exist."""
        await asyncio.sleep(first_after_s)
        while True:
            started = time.monotonic()
            spent, made = self._spent(client.traffic)
            try:
                await self.ask()
                self.problem = None
            except GcsUnimplemented as problem:
                self.problem = str(problem)
                return
            except GcsTimeout as problem:
                self.problem = str(problem)
                if client.last_answer_at is None or time.monotonic() - client.last_answer_at > SILENCE_LIMIT_S:
                    raise
            except (GcsUnreachable, GcsRefused):
                raise
            except GcsError as problem:
                self.problem = str(problem)
            spent_now, made_now = self._spent(client.traffic)
            self.interval_s = self.stretched_s(spent_now - spent, client.traffic.way_s() * (made_now - made))
            await asyncio.sleep(max(0.0, started + self.interval_s - time.monotonic()))

    def _spent(self, traffic: Traffic) -> tuple[float, int]:
        """Seconds and number of the calls that count as its cost."""
        return sum(traffic.seconds[call] for call in self.calls), sum(traffic.made[call] for call in self.calls)


class Sources:
    """When each resource was last known right, and what is wrong with it."""

    def __init__(self) -> None:
        self.as_of: dict[str, float] = {}
        self.problems: dict[str, str] = {}
        self._confirmed: dict[str, float] = {}

    def right(self, resource: str, as_of: float) -> None:
        """The resource was complete and true at that moment, Unix seconds."""
        self.as_of[resource] = max(as_of, self.as_of.get(resource, 0.0))

    def unreadable(self, resource: str, count: int) -> None:
        """Rows that could not be decoded were left out."""
        if count:
            self.problems[resource] = f"{count} rows of {resource} cannot be read and are not shown."
        else:
            self.problems.pop(resource, None)

    def to_confirm(self) -> dict[str, float]:
        """What is known better than last time, and as of when."""
        news = {name: at for name, at in self.as_of.items() if at > self._confirmed.get(name, 0.0)}
        self._confirmed.update(news)
        return news

    def reports(self, polls: Iterable[Poll], followed: Iterable[str], pushed: Iterable[str] = ()) -> list[SourceReport]:
        asked = {poll.resource: poll for poll in reversed(list(polls))}  # of two for one resource the first counts
        live, told = set(followed), set(pushed)
        reports = []
        for name in sorted(live | asked.keys()):
            poll = asked.get(name)
            word = "pubsub+poll" if poll and name in live else "pubsub" if name in live else "push+poll" if name in told else "poll"
            problem = (poll.problem if poll else None) or self.problems.get(name)
            reports.append(SourceReport(name, word, round(poll.interval_s, 2) if poll else None, self.as_of.get(name), problem))
        return reports


class Touched:
    """Which ids were published while a question was under way: its answer may be older than what was published."""

    def __init__(self) -> None:
        self._open: list[set[str]] = []

    def note(self, item: str) -> None:
        for ids in self._open:
            ids.add(item)

    @contextmanager
    def watched(self) -> Iterator[set[str]]:
        ids: set[str] = set()
        self._open.append(ids)
        try:
            yield ids
        finally:
            self._open.remove(ids)
