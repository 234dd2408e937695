"""Published messages on their way from the GCS to the store: received at once, written in batches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from workers.sources.gcs import GcsError
from workers.sources.pubsub import Published

MAX_WAITING = 100_000
"""Messages held while a snapshot or Redis takes its time: about 60 MB. Beyond it everything is asked anew."""
BATCH = 5000


class Overrun(GcsError):
    """More was published than could be written."""


class Inbox:
    """Waits by kind, in order."""

    def __init__(self) -> None:
        self._waiting: list[Published] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, messages: Iterable[Published]) -> None:
        self._waiting.extend(messages)
        if len(self._waiting) > MAX_WAITING:
            self._waiting.clear()
            raise Overrun("The cluster publishes faster than Raydeck can write: everything is read anew.")

    def drop(self) -> None:
        """What was received before a snapshot is asked for is in the snapshot."""
        self._waiting.clear()

    def take(self) -> dict[str, list[tuple[str, Any]]]:
        """The next batch by kind, as (key id, message) in order."""
        batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
        by_kind: dict[str, list[tuple[str, Any]]] = {}
        for published in batch:
            by_kind.setdefault(published.kind, []).append((published.key_id, published.message))
        return by_kind
