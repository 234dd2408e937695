"""Standing in the official dashboard's place: Ray's agents and clients find us where they look for the dashboard.

The address stands in the GCS's KV store, where Ray's own dashboard writes it once at its start (Ray 2.53 to 2.60, also with
`--include-dashboard=false`). Agents remember what they read until a connection to it fails.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from clusterstate import ingest
from clusterstate.settings import EVERYWHERE, host_and_port
from clusterstate.store import stood_before
from clusterstate.store.connection import UNREACHABLE
from clusterstate.store.stood_before import StoodBefore
from workers.collectors.cluster_store import StoreAway
from workers.sources.gcs import GcsError

if TYPE_CHECKING:
    import redis

    from workers.collectors.cluster_watch import Watch

T = TypeVar("T")

log = logging.getLogger("raydeck.cluster")

NAMESPACE = "dashboard"
AGAIN_EVERY_S = 10.0


class InPlace:
    """Writes the address again whenever another stands there; hands back what stood there before."""

    def __init__(self, watch: Watch, client: redis.Redis, gcs_address: str, has_token: bool) -> None:
        settings, cluster = watch.settings, watch.store.cluster
        at = reachable(settings.cluster_listen, gcs_address)
        secret = ingest.secret_of(settings.state_dir, cluster)
        self._watch = watch
        self._redis = client
        # What agents post to and clients ask; and what a driver prints as the dashboard's address.
        self._ours = {"dashboard": ingest.dashboard_address(at, cluster, secret, has_token).encode(), "webui:url": at.encode()}
        self._stood: StoodBefore | None = None

    async def run(self) -> None:
        """For ever. Raises GcsError, StoreAway."""
        while True:
            await self._register()
            await asyncio.sleep(AGAIN_EVERY_S)

    async def hand_back(self) -> None:
        """Puts back what stood there, unless somebody else has written meanwhile. The GCS may be gone: then nothing is to do."""
        gcs, stood = self._watch.gcs, self._stood
        if stood is None:
            return
        try:
            for key, ours in self._ours.items():
                if await gcs.kv_get(NAMESPACE, key) != ours:
                    continue
                before = stood.before.get(key)
                if before is None:
                    await gcs.kv_delete(NAMESPACE, key)
                else:
                    await gcs.kv_put(NAMESPACE, key, before)
            await self._in_redis(stood_before.forget)
        except (GcsError, StoreAway) as problem:
            log.warning("the dashboard's address could not be handed back: %s", problem)

    async def _register(self) -> None:
        if self._stood is None:
            self._stood = await self._in_redis(lambda client, cluster: stood_before.read(client, cluster, self._watch.session))
        stood = self._stood
        for key, ours in self._ours.items():
            found = await self._watch.gcs.kv_get(NAMESPACE, key)
            if found != ours:
                stood.note(key, found, ours)
                await self._in_redis(lambda client, cluster: stood_before.write(client, cluster, stood))
                await self._watch.gcs.kv_put(NAMESPACE, key, ours)

    async def _in_redis(self, what: Callable[[redis.Redis, str], T]) -> T:
        try:
            return await asyncio.to_thread(what, self._redis, self._watch.store.cluster)
        except UNREACHABLE as problem:
            raise StoreAway(f"Redis cannot be used now: {type(problem).__name__}.") from None


def reachable(listening: str, gcs_address: str) -> str:
    """HOST:PORT where the cluster finds what listens: the head's own address where it listens everywhere."""
    host, port = host_and_port(listening) or ("127.0.0.1", 0)
    if host in EVERYWHERE:
        host = (host_and_port(gcs_address) or ("127.0.0.1", 0))[0]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
