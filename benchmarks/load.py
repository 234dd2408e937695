"""An open-loop load: users who poll at fixed times whether or not the last answer was quick, and what each answer took.

Latency counts from when a request was due, so a server that falls behind cannot hide it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.http_client import Answer, Connection
from benchmarks.polling import Poll

SEARCH = "search (cold)"
HEALTH = "/healthz"
HEALTH_EVERY_S = 0.25
POLL_EVERY_S = 1.0


@dataclass
class Figures:
    """What one view's requests took."""

    latencies_s: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)  # 0: no answer
    bytes: int = 0

    def add(self, latency_s: float, answer: Answer | None) -> None:
        self.latencies_s.append(latency_s)
        self.statuses[answer.status if answer else 0] += 1
        self.bytes += answer.size if answer else 0

    def percentile_ms(self, share: float) -> float:
        """The latency below which that share of the answers is; nan without any."""
        if not self.latencies_s:
            return float("nan")
        ordered = sorted(self.latencies_s)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    @property
    def count(self) -> int:
        return len(self.latencies_s)

    @property
    def not_modified(self) -> float:
        """Share of answers that said: nothing changed."""
        return self.statuses[304] / self.count if self.count else 0.0

    @property
    def errors(self) -> dict[int, int]:
        return {status: number for status, number in self.statuses.items() if status not in (200, 304)}


@dataclass(frozen=True)
class Plan:
    """Who asks what for how long."""

    url: str
    token: str
    views: Sequence[tuple[str, Poll]]  # name, what it polls
    search_paths: Sequence[str]  # each is asked once: so each is cold
    users: int = 100
    seconds: float = 60.0
    warm_up_s: float = 5.0
    search_share: float = 0.05


class Load:
    """Runs a plan. `figures` is by view and holds what came after the warm-up."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.figures: dict[str, Figures] = {name: Figures() for name, _ in plan.views} | {SEARCH: Figures(), HEALTH: Figures()}
        self.client_lag = Figures()  # how late this process itself was
        self._random = random.Random(7)
        self._searches = iter(plan.search_paths)
        self._counted_from = 0.0

    async def run(self) -> None:
        """All users at once, their polls spread over the second, until the time is up."""
        begin = time.monotonic() + 0.2
        self._counted_from = begin + self.plan.warm_up_s
        end = self._counted_from + self.plan.seconds
        users = [self._user(number, begin + POLL_EVERY_S * number / self.plan.users, end) for number in range(self.plan.users)]
        await asyncio.gather(*users, self._health(begin, end))

    async def _user(self, number: int, due: float, end: float) -> None:
        """One open tab: one poll a second of its page, now and then a search."""
        name, poll = self.plan.views[number % len(self.plan.views)]
        connection = Connection(self.plan.url)
        tag = poll.tag
        while due < end:
            await self._until(due)
            path = self._next_search() if self._random.random() < self.plan.search_share else None
            headers = self._headers(poll.target, None if path else tag)
            answer = await self._timed(SEARCH if path else name, connection, path or poll.path, headers, due)
            if answer is not None and not path:
                tag = answer.headers.get("hx-ptag", tag)
            due += POLL_EVERY_S
        connection.close()

    async def _health(self, due: float, end: float) -> None:
        connection = Connection(self.plan.url)
        while due < end:
            await self._until(due)
            await self._timed(HEALTH, connection, "/healthz", {}, due)
            due += HEALTH_EVERY_S
        connection.close()

    async def _until(self, due: float) -> None:
        """Sleep until then; being late by ourselves is measured, as it would count against the server."""
        left = due - time.monotonic()
        if left > 0:
            await asyncio.sleep(left)
            if due >= self._counted_from:
                self.client_lag.latencies_s.append(max(0.0, time.monotonic() - due))

    async def _timed(self, name: str, connection: Connection, path: str, headers: dict[str, str], due: float) -> Answer | None:
        try:
            answer: Answer | None = await connection.get(path, headers)
        except (OSError, EOFError, ValueError, asyncio.TimeoutError):
            answer = None
        if due >= self._counted_from:
            self.figures[name].add(time.monotonic() - due, answer)
        return answer

    def _headers(self, target: str | None, tag: str | None) -> dict[str, str]:
        """What htmx sends with a poll, and who we are."""
        headers = {
            "Authorization": f"Bearer {self.plan.token}",
            "HX-Request": "true",
            "HX-Request-Type": "partial",
            "Accept": "text/html",
            "Accept-Encoding": "gzip",
        }
        if target:
            headers["HX-Target"] = target
        if tag:
            headers["HX-PTag"] = tag
        return headers

    def _next_search(self) -> str | None:
        return next(self._searches, None)
