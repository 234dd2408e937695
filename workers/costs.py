"""What Raydeck itself costs: memory and CPU of each role with all it started."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence

import redis

from clusterstate.model import RoleCost
from clusterstate.store import fleet
from clusterstate.store.connection import UNREACHABLE
from workers.processes import ProcessStat, Started, all_stats, pss_bytes, read_stat


class CostMeter:
    """Measures roles between two calls and records it. A few ms of CPU each time."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._cpu_s: dict[int, float] = {}  # pid -> CPU seconds at the last look
        self._at = time.monotonic()
        self._recorded: list[RoleCost] = []

    def record(self, client: redis.Redis, roles: Sequence[tuple[str, Started | None, str, int]], now: float) -> None:
        """Records (name, process, state, restarts) of each role, with the supervisor's own. Redis away: nothing."""
        costs = self.measure(roles, now)
        try:
            for old in self._recorded:
                if all((old.role, old.pid) != (cost.role, cost.pid) for cost in costs):
                    fleet.forget_cost(client, old)
            for cost in costs:
                fleet.record_cost(client, cost)
            fleet.forget_old_costs(client, now)
            self._recorded = costs
        except UNREACHABLE:
            return

    def forget(self, client: redis.Redis) -> None:
        """These roles no longer cost anything."""
        try:
            for cost in self._recorded:
                fleet.forget_cost(client, cost)
        except UNREACHABLE:
            return

    def measure(self, roles: Sequence[tuple[str, Started | None, str, int]], now: float) -> list[RoleCost]:
        """The cost of each role: all processes of the session it leads."""
        stats = all_stats()
        seconds, self._at = max(0.001, time.monotonic() - self._at), time.monotonic()
        before, self._cpu_s = self._cpu_s, {}
        costs = [
            self._cost(name, started.pid, [s for s in stats if s.sid == started.pid], before, seconds, now, state, restarts)
            for name, started, state, restarts in roles
            if started is not None
        ]
        own = read_stat(os.getpid())
        if own is not None:
            costs.append(self._cost("supervisor", own.pid, [own], before, seconds, now, "RUNNING", 0))
        return costs

    def _cost(
        self,
        role: str,
        pid: int,
        members: Iterable[ProcessStat],
        before: dict[int, float],
        seconds: float,
        now: float,
        state: str,
        restarts: int,
    ) -> RoleCost:
        used, memory, known = 0.0, 0, False
        for stat in members:
            self._cpu_s[stat.pid] = stat.cpu_s
            if stat.pid in before:
                used += max(0.0, stat.cpu_s - before[stat.pid])
                known = True
            memory += pss_bytes(stat.pid) or 0
        percent = round(100 * used / seconds, 2) if known else None
        return RoleCost(role, self._host, pid, now, pss_bytes=memory or None, cpu_percent=percent, state=state, restarts=restarts)
