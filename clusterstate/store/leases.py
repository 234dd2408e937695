"""Who may run a loop: a lease in Redis with a fencing token that grows with each acquisition.

WATCH and MULTI only: no script of ours runs inside Redis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis
from redis.exceptions import WatchError

from clusterstate.store import keys

RACES = 8
"""Tries when another client touches the lease between WATCH and EXEC."""


@dataclass(frozen=True)
class Lease:
    """The right to run the loop `name`. A write that carries an older token than the newest is refused."""

    name: str
    holder: str
    token: int

    @property
    def value(self) -> bytes:
        """What the key holds."""
        return f"{self.token}:{self.holder}".encode()

    def is_of_worker(self, host: str, pid: int) -> bool:
        """Whether a job of this worker holds it."""
        return self.holder.startswith(_worker(host, pid))


def holder(host: str, pid: int, job_id: str) -> str:
    """Who holds a lease: a job of the worker with process `pid` on `host`, whichever host left it in the queue."""
    return _worker(host, pid) + job_id


def _worker(host: str, pid: int) -> str:
    return f"{host}/{pid}/"


def acquire(client: redis.Redis, name: str, holder: str, ttl_s: float) -> Lease | None:
    """The lease, with a token greater than all before; None while another holds it."""

    def take(pipe: Any) -> Lease | None:
        if pipe.get(keys.lease(name)) is not None:
            return None
        lease = Lease(name, holder, _fence(pipe, name) + 1)
        pipe.multi()
        _write(pipe, lease, ttl_s)
        return lease

    return _watched(client, name, take)


def renew(client: redis.Redis, lease: Lease, ttl_s: float) -> bool:
    """Whether the lease is still held; if so its time starts anew.

    One that ran out (or was lost with Redis' data) and that nobody took since is taken back with the same token.
    """

    def hold(pipe: Any) -> Lease | None:
        held = pipe.get(keys.lease(lease.name))
        free = held is None and _fence(pipe, lease.name) <= lease.token
        if held != lease.value and not free:
            return None
        pipe.multi()
        _write(pipe, lease, ttl_s)
        return lease

    return _watched(client, lease.name, hold) is not None


def release(client: redis.Redis, lease: Lease) -> None:
    """Lets go of the lease and of its loop's heartbeat, if it is still this one."""

    def drop(pipe: Any) -> Lease | None:
        if pipe.get(keys.lease(lease.name)) != lease.value:
            return None
        pipe.multi()
        pipe.delete(keys.lease(lease.name), keys.heartbeat(lease.name))
        return lease

    _watched(client, lease.name, drop)


def release_of_worker(client: redis.Redis, name: str, host: str, pid: int) -> None:
    """Frees the lease `name` if it is held by a worker that is known to be dead."""
    lease = current(client, name)
    if lease is not None and lease.is_of_worker(host, pid):
        release(client, lease)


def current(client: redis.Redis, name: str) -> Lease | None:
    """Who holds the lease now."""
    value = client.get(keys.lease(name))
    if not isinstance(value, bytes):
        return None
    token, _, holder = value.decode(errors="replace").partition(":")
    return Lease(name, holder, int(token)) if token.isdigit() else None


def _fence(pipe: Any, name: str) -> int:
    return int(pipe.get(keys.fence(name)) or 0)


def _write(pipe: Any, lease: Lease, ttl_s: float) -> None:
    pipe.set(keys.fence(lease.name), lease.token)
    pipe.set(keys.lease(lease.name), lease.value, px=int(ttl_s * 1000))


def _watched(client: redis.Redis, name: str, change: Any) -> Lease | None:
    """Runs `change` between WATCH and EXEC; None when it declines or the key was touched again and again."""
    pipe: Any
    for _ in range(RACES):
        with client.pipeline(transaction=True) as pipe:
            pipe.watch(keys.lease(name), keys.fence(name))
            lease: Lease | None = change(pipe)
            if lease is None:
                return None
            try:
                pipe.execute()
            except WatchError:
                continue
            return lease
    return None
