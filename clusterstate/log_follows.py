"""Following log files: the web app's side."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import redis

from clusterstate.settings import Settings
from clusterstate.store import follows
from clusterstate.store.connection import store_errors
from clusterstate.store.follows import Followed, Told, TooMany
from clusterstate.store.signing import master_key

__all__ = ["Followed", "LogFollows", "Told", "TooMany"]


class LogFollows:
    """Asks nodes to read on in files and hands over what they tell. Methods raise StoreUnavailable when Redis is away."""

    def __init__(self, settings: Settings, redis_connect: Callable[[], redis.Redis]) -> None:
        self._connect = redis_connect
        self._master_key = master_key(settings.state_dir)
        self._client: redis.Redis | None = None
        self._lock = threading.Lock()

    def subscribe(self, cluster: str, host: str, file: Followed) -> None:
        """For the next seconds: again every few, while somebody looks on. Raises TooMany."""
        with store_errors():
            follows.subscribe(self._redis(), self._master_key, cluster, host, file, time.time())

    def is_alive(self, cluster: str, host: str) -> bool:
        """Whether the host's log role runs."""
        with store_errors():
            return follows.is_alive(self._redis(), cluster, host)

    def told_since(self, cluster: str, host: str, file: Followed, after: str | None) -> list[Told]:
        """What was told of a file since the entry `after`; all that is kept if that is None."""
        with store_errors():
            return follows.told_since(self._redis(), cluster, host, file, after)

    def _redis(self) -> redis.Redis:
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client
