"""Which cluster answers at an address: its session, its version, whether it wants a token."""

from __future__ import annotations

from dataclasses import dataclass, replace

from clusterstate.model import ClusterMetadata
from workers.sources import pubsub
from workers.sources.gcs import GcsClient, GcsError, GcsRefused
from workers.sources.gcs_decode_status import metadata_of

CONNECT_LIMIT_S = 2.0


@dataclass(frozen=True)
class Identity:
    """Who answered, and why it is only polled (None: it is followed live)."""

    metadata: ClusterMetadata
    only_polled: str | None


async def identify(client: GcsClient, cluster: str, has_token: bool) -> Identity:
    """Asks a GCS who it is. Raises GcsUnreachable, GcsRefused, or GcsError when it is not ready yet."""
    alive = await client.check_alive(timeout_s=CONNECT_LIMIT_S)
    session = await client.kv_get("session", "session_name")
    if not session:
        raise GcsError(f"The GCS at {client.address} has no session yet: the cluster is starting.")
    record = await client.kv_get("cluster", "CLUSTER_METADATA")
    metadata = metadata_of(cluster, session.decode("utf-8", "backslashreplace"), client.address, record)
    metadata = replace(
        metadata,
        cluster_id=await client.cluster_id(),
        ray_version=alive.ray_version or metadata.ray_version,
        token_auth=has_token and await _wants_token(client),
    )
    return Identity(metadata, pubsub.why_not(alive.ray_version or None))


async def _wants_token(client: GcsClient) -> bool:
    try:
        await client.check_alive(with_token=False, timeout_s=CONNECT_LIMIT_S)
    except GcsRefused:
        return True
    return False
