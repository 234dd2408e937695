"""Asking a node and waiting for its answer: the web app's side of probes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import redis

from clusterstate.settings import Settings
from clusterstate.store import keys, log_shipping, queues
from clusterstate.store.connection import store_errors
from clusterstate.store.log_shipping import Keeper
from clusterstate.store.queues import Answer, QueueFull
from clusterstate.store.signing import master_key

FIRST_LOOK_S = 0.008
LOOK_EVERY_S = 0.05
"""At most, between two looks for the answer: they grow from the first."""


class Unanswered(Exception):
    """The node did not answer; the message says why, in a sentence for the asker."""


class NodeQuestions:
    """Puts probes to nodes. Methods raise StoreUnavailable when Redis is away; they wait by sleeping, which gevent turns into waiting."""

    def __init__(self, settings: Settings, redis_connect: Callable[[], redis.Redis]) -> None:
        self._connect = redis_connect
        self._master_key = master_key(settings.state_dir)
        self._client: redis.Redis | None = None
        self._lock = threading.Lock()

    def start(self, probe: Any, cluster: str, host: str) -> str:
        """Puts a question to the node worker of `host` (see clusterstate.hosts); returns its id. Raises Unanswered."""
        client = self._redis()
        with store_errors():
            if not queues.is_answered(client, type(probe).queue, cluster, host):
                raise Unanswered(f"Nobody answers on {host}: its {type(probe).queue} worker does not run.")
            try:
                return queues.ask(client, self._master_key, probe, cluster, host, time.time())
            except QueueFull as why:
                raise Unanswered(str(why)) from None

    def is_answered(self, kind: str, cluster: str, host: str) -> bool:
        """Whether the quick or the long worker of a host runs."""
        with store_errors():
            return queues.is_answered(self._redis(), kind, cluster, host)

    def keeper(self, cluster: str) -> Keeper | None:
        """Who keeps the log files of nodes that are gone; None if that is not known."""
        with store_errors():
            return log_shipping.keeper(self._redis(), cluster)

    def answer(self, probe_id: str) -> Answer | None:
        """What is known of a question that was put; None if it is forgotten."""
        with store_errors():
            return queues.answer(self._redis(), probe_id, time.time())

    def parts(self, probe_id: str, first: int = 0, last: int = -1) -> list[bytes]:
        """What was told of the answer so far, JSON."""
        with store_errors():
            return queues.parts_of(self._redis(), probe_id, first, last)

    def cancel(self, probe_id: str) -> None:
        """Nobody waits for the answer any more."""
        with store_errors():
            queues.cancel(self._redis(), probe_id)

    def remember(self, ask_id: str, what: bytes) -> None:
        """Keeps, for as long as answers are kept, what one question of a person became."""
        with store_errors():
            self._redis().set(keys.asked_together(ask_id), what, ex=queues.ANSWER_KEPT_S)

    def remembered(self, ask_id: str) -> bytes | None:
        """What `remember` kept; None if that is forgotten."""
        with store_errors():
            found = self._redis().get(keys.asked_together(ask_id))
        return found if isinstance(found, bytes) else None

    def ask(self, probe: Any, cluster: str, host: str, within_s: float) -> Any:
        """The value that the node worker of `host` answers. Raises Unanswered."""
        return self._value(self.start(probe, cluster, host), time.monotonic() + within_s, within_s)

    def ask_each(self, probes: Mapping[str, tuple[str, Any]], cluster: str, within_s: float) -> dict[str, Any]:
        """The values that hosts answer, all asked at once; an Unanswered stands for one that is not there. `probes`: by name."""
        found: dict[str, Any] = {}
        started: dict[str, str] = {}
        for name, (host, probe) in probes.items():
            try:
                started[name] = self.start(probe, cluster, host)
            except Unanswered as why:
                found[name] = why
        give_up = time.monotonic() + within_s
        for name, probe_id in started.items():
            try:
                found[name] = self._value(probe_id, give_up, within_s)
            except Unanswered as why:
                found[name] = why
        return found

    def _value(self, probe_id: str, give_up: float, within_s: float) -> Any:
        client = self._redis()
        with store_errors():
            found = self._wait(client, probe_id, give_up)
            if found is not None and found.is_final:
                queues.forget(client, probe_id)
        if found is None:
            raise Unanswered("The question was forgotten: Redis came back without it.")
        if found.state == queues.DONE:
            return found.value
        raise Unanswered(found.problem or f"The node did not answer within {within_s:.0f} s: its quick worker is busy, stopped or away.")

    def _wait(self, client: redis.Redis, probe_id: str, give_up: float) -> Answer | None:
        pause_s = FIRST_LOOK_S
        while True:
            found = queues.answer(client, probe_id, time.time())
            if found is None or found.is_final:
                return found
            if time.monotonic() > give_up:
                queues.cancel(client, probe_id)
                return found
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.3, LOOK_EVERY_S)

    def _redis(self) -> redis.Redis:
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client
