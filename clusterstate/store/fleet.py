"""What is shared by all clusters: which there are, and what Raydeck's own processes cost."""

from __future__ import annotations

from typing import Any

import msgspec
import redis

from clusterstate.model import RoleCost
from clusterstate.store import keys

COST_FORGOTTEN_AFTER_S = 60.0


def record_cost(client: redis.Redis, cost: RoleCost) -> None:
    """Keeps the newest figures of one process."""
    client.hset(keys.costs(), _field(cost), msgspec.json.encode(cost))


def costs(client: redis.Redis) -> list[RoleCost]:
    """The newest figures of every process that reported."""
    return [msgspec.json.decode(value, type=RoleCost) for value in client.hgetall(keys.costs()).values()]


def forget_cost(client: redis.Redis, cost: RoleCost) -> None:
    """Removes the figures of a process that has ended."""
    client.hdel(keys.costs(), _field(cost))


def forget_old_costs(client: redis.Redis, now: float) -> None:
    """Removes processes that have not reported for a minute."""
    for cost in costs(client):
        if now - cost.collected_at > COST_FORGOTTEN_AFTER_S:
            client.hdel(keys.costs(), _field(cost))


def _field(cost: RoleCost) -> str:
    return keys.cost_field(cost.role, cost.host, cost.pid)


def current_sessions(client: redis.Redis) -> dict[str, str]:
    """Cluster name → the session its collector writes now."""
    reply: Any = client.hgetall(keys.clusters())
    return {name.decode(): session.decode() for name, session in reply.items()}
