"""Standing in the official dashboard's place: Ray's agents and clients find us where they look for the dashboard.

The address stands in the GCS's KV store, where Ray's own dashboard writes it once at its start (Ray 2.53 to 2.60, also with
`--include-dashboard=false`). Agents remember what they read until a connection to it fails.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from clusterstate import ingest
from clusterstate.settings import host_and_port
from workers.sources.gcs import GcsError

if TYPE_CHECKING:
    from workers.collectors.cluster_watch import Watch

log = logging.getLogger("raydeck.cluster")

NAMESPACE = "dashboard"
KEYS = ("dashboard", "webui:url")
"""What agents post to and clients ask; and what a driver prints as the dashboard's address."""
AGAIN_EVERY_S = 10.0
EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - these are what we look for, not bind to


class InPlace:
    """Writes the address again whenever another stands there; hands back what stood there before."""

    def __init__(self, watch: Watch, gcs_address: str, has_token: bool) -> None:
        settings, cluster = watch.settings, watch.store.cluster
        at = reachable(settings.cluster_listen, gcs_address)
        secret = ingest.secret_of(settings.state_dir, cluster)
        self._watch = watch
        self._ours = {"dashboard": ingest.dashboard_address(at, cluster, secret, has_token), "webui:url": at}
        self._before: dict[str, bytes | None] = {}

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._register()
            await asyncio.sleep(AGAIN_EVERY_S)

    async def hand_back(self) -> None:
        """Puts back what stood there, unless somebody else has written meanwhile. The GCS may be gone: then nothing is to do."""
        gcs = self._watch.gcs
        try:
            for key, before in self._before.items():
                if await gcs.kv_get(NAMESPACE, key) != self._ours[key].encode():
                    continue
                if before is None:
                    await gcs.kv_delete(NAMESPACE, key)
                else:
                    await gcs.kv_put(NAMESPACE, key, before)
        except GcsError as problem:
            log.warning("the dashboard's address could not be handed back: %s", problem)

    async def _register(self) -> None:
        for key in KEYS:
            ours = self._ours[key].encode()
            found = await self._watch.gcs.kv_get(NAMESPACE, key)
            if found != ours:
                self._before[key] = found
                await self._watch.gcs.kv_put(NAMESPACE, key, ours)
            else:
                self._before.setdefault(key, None)  # ours of an earlier run


def reachable(listening: str, gcs_address: str) -> str:
    """HOST:PORT where the cluster finds what listens: the head's own address where it listens everywhere."""
    host, port = host_and_port(listening) or ("127.0.0.1", 0)
    if host in EVERYWHERE:
        host = (host_and_port(gcs_address) or ("127.0.0.1", 0))[0]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
