"""The cluster collector's way to Redis: one thread writes, so that the loop that listens to Ray never waits for a disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from clusterstate.model import ClusterMetadata
from clusterstate.resources import METADATA, Resource
from clusterstate.store.connection import UNREACHABLE
from clusterstate.store.row_ids import SINGLE_ROW_ID
from clusterstate.store.writer import LeaseLost, SessionWriter, current_session

if TYPE_CHECKING:
    import redis

    from clusterstate.store.leases import Lease

T = TypeVar("T")


class StoreAway(Exception):
    """Redis cannot be written now (or our lease has to be renewed first): nothing is lost, everything is told again later."""


class Store:
    """Runs what it is given with the session's writer, in order, in a thread of its own."""

    def __init__(self, client: redis.Redis, cluster: str, lease: Lease | None) -> None:
        self.cluster = cluster
        self.writer: SessionWriter | None = None
        self._redis = client
        self._lease = lease
        self._is_closing = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")

    def close(self) -> None:
        """Stops: a batch that is being written is finished, the rest is not begun."""
        self._is_closing = True
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def run(self, what: Callable[[SessionWriter], T]) -> T:
        """`what` with the writer. Raises StoreAway when Redis is away."""
        writer = self.writer
        if writer is None:
            raise StoreAway("No session is known yet.")
        return await self._in_thread(lambda: what(writer))

    async def open(self, metadata: ClusterMetadata, now: float) -> None:
        """Makes this session the cluster's current one, and ends the one before. Again after a loss of Redis' data."""

        def start() -> SessionWriter:
            if self.writer is not None and self.writer.session == metadata.session:
                self.writer.begin(metadata)  # knows whether what it wrote was lost
                return self.writer
            before = current_session(self._redis, self.cluster)
            if before is not None and before != metadata.session:
                reason = f"A new session, {metadata.session}, runs at {metadata.gcs_address}."
                SessionWriter(self._redis, self.cluster, before, self._lease).end(now, reason)
            writer = SessionWriter(self._redis, self.cluster, metadata.session, self._lease)
            writer.begin(metadata)
            return writer

        self.writer = await self._in_thread(start)

    async def reopen_last(self) -> ClusterMetadata | None:
        """The session that was watched last, to say of it that it cannot be reached. None: there is none, or it has ended."""

        def last() -> tuple[SessionWriter, ClusterMetadata] | None:
            session = current_session(self._redis, self.cluster)
            if session is None:
                return None
            writer = SessionWriter(self._redis, self.cluster, session, self._lease)
            [metadata] = writer.get(METADATA, [SINGLE_ROW_ID])
            return None if metadata is None or metadata.ended_ms is not None else (writer, metadata)

        found = await self._in_thread(last)
        if found is None:
            return None
        self.writer = found[0]
        return found[1]

    async def record(self, resource: Resource, rows: Iterable[Any], now: float) -> int:
        """Rows to keep. They may be decoded while they are written: `rows` is walked in the store's thread."""
        return await self.run(lambda writer: writer.record(resource, self._until_closing(rows), now))

    async def is_known(self) -> bool:
        return await self.run(lambda writer: writer.is_known())

    def _until_closing(self, rows: Iterable[T]) -> Iterator[T]:
        for row in rows:
            if self._is_closing:
                raise StoreAway("Raydeck is stopping.")
            yield row

    async def _in_thread(self, what: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, what)
        except UNREACHABLE as problem:
            raise StoreAway(f"Redis cannot be written: {type(problem).__name__}.") from None
        except LeaseLost as problem:
            # After a flush the lease is gone until the next beat renews it; when another has it, the beat says so.
            raise StoreAway(str(problem)) from None
