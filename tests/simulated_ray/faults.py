"""What can go wrong with a GCS, and how often it was asked: counted and applied before each call is answered."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

import grpc

INVALID_TOKEN = "InvalidAuthToken: Authentication token is missing or incorrect"  # Ray's words
STEP_S = 0.1  # how soon a waiting call notices that it was given up


class Faults:
    """Calls are named by method (`GetAllActorInfo`), by service (`ActorInfoGcsService`) or both (`ActorInfoGcsService/GetAllActorInfo`)."""

    def __init__(self, token: str | None = None) -> None:
        self.token = token
        self.calls: Counter[str] = Counter()  # by method
        self.sent_bytes: Counter[str] = Counter()  # by method, of replies
        self._refused: dict[str, grpc.StatusCode] = {}
        self._delays: dict[str, float] = {}
        self._stalled_until = 0.0
        self._lock = threading.Lock()

    def refuse(self, name: str, code: str = "UNIMPLEMENTED") -> None:
        """Answer with that gRPC status from now on."""
        with self._lock:
            self._refused[name] = grpc.StatusCode[code]

    def delay(self, name: str, seconds: float) -> None:
        """Answer so much later from now on; 0 ends it."""
        with self._lock:
            self._delays[name] = seconds

    def allow(self, name: str) -> None:
        """End refusals and delays of that name."""
        with self._lock:
            self._refused.pop(name, None)
            self._delays.pop(name, None)

    def stall(self, seconds: float) -> None:
        """Answer no call for so long: connections stay, nothing comes. Running long polls are not answered either."""
        with self._lock:
            self._stalled_until = time.monotonic() + seconds

    def count(self, method: str, size: int) -> None:
        with self._lock:
            self.sent_bytes[method] += size

    def before(self, service: str, method: str, context: grpc.ServicerContext) -> None:
        """Count the call, check its token, refuse or hold it. Aborts the call where it must."""
        with self._lock:
            self.calls[method] += 1
        if self.token is not None and dict(context.invocation_metadata()).get("authorization") != f"Bearer {self.token}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, INVALID_TOKEN)
        names = (f"{service}/{method}", service, method)
        with self._lock:
            code = next((self._refused[name] for name in names if name in self._refused), None)
            delay = next((self._delays[name] for name in names if name in self._delays), 0.0)
        if code is not None:
            context.abort(code, "")
        self.hold(context.is_active, delay)

    def hold(self, is_active: Callable[[], bool], seconds: float = 0.0) -> None:
        """Wait for `seconds`, then until no stall is on; shorter if the caller gives up."""
        until = time.monotonic() + seconds
        while is_active():
            left = max(until, self._stalled_until) - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, STEP_S))
