"""Reaching Redis: the one place that opens a connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis import exceptions
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from clusterstate import paths
from clusterstate.settings import Settings

UNREACHABLE = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.BusyLoadingError,
    exceptions.ReadOnlyError,
    exceptions.OutOfMemoryError,
)
"""What Redis raises when it is away, starting, full or a read-only copy: temporary, try again."""


class StoreUnavailable(Exception):
    """Redis cannot be reached or cannot write now."""


def redis_url(settings: Settings) -> str:
    """Where Redis is: the given address, else the private server's socket."""
    return settings.redis_url or f"unix://{paths.redis_socket(settings.state_dir)}"


def connect(settings: Settings, *, timeout_s: float = 5.0) -> redis.Redis:
    """A client that answers in bytes. Nothing is sent yet.

    Raises BadFolder when the private server's folder is somebody else's: who made it could answer in Redis's place.
    """
    if not settings.redis_url:
        folder = paths.redis_socket(settings.state_dir).parent
        if folder.exists():
            paths.check_private_dir(folder)
    return redis.Redis.from_url(
        redis_url(settings),
        socket_timeout=timeout_s,
        socket_connect_timeout=min(timeout_s, 2.0),
        retry=Retry(ExponentialBackoff(cap=0.2, base=0.02), 2),
    )


@contextmanager
def store_errors() -> Iterator[None]:
    """Turns Redis being away into StoreUnavailable."""
    try:
        yield
    except UNREACHABLE as error:
        raise StoreUnavailable(f"Redis cannot be used now: {type(error).__name__}.") from error
