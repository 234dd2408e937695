"""Who may push task events, and where they go. The secret is one of a cluster: every worker of it can read it, and it opens
nothing but appending to that cluster's spool. What is pushed is a claim."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from urllib.parse import quote

import redis

from clusterstate import paths
from clusterstate.store import keys
from clusterstate.store.connection import store_errors

SECRET_BYTES = 32
USER = "raydeck"
"""The name beside the secret in a URL. Any is taken."""

EVENTS_PATH, QUERY_PATH = "/api/task_events", "/api/task_events/query"
"""Ray's own, at the dashboard's address: what agents post to, and what `ray timeline` and `ray list tasks` ask (2.60)."""


def secret_of(state_dir: Path, cluster: str) -> str:
    """The ingest secret of a cluster, made when it is first asked for. Raises OSError."""
    path = paths.ingest_secret_file(state_dir, cluster)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return path.read_text(encoding="ascii").strip()
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(SECRET_BYTES))
    return path.read_text(encoding="ascii").strip()


def posting_url(address: str, cluster: str, secret: str) -> str:
    """Where JSON events are posted: a value for RAY_DASHBOARD_AGGREGATOR_AGENT_EVENTS_EXPORT_ADDR."""
    return f"http://{USER}:{secret}@{address}/ingest/{quote(cluster)}"


def dashboard_address(address: str, cluster: str, secret: str, has_token: bool) -> str:
    """What stands in the GCS as the dashboard's address. Clients put http:// before it and their path behind it.

    With token authentication they send Ray's token; without it they send nothing, so the secret is in the path.
    """
    return f"{address}/r/{quote(cluster)}" + ("" if has_token else f"/k/{secret}")


def asks_for_token(client: redis.Redis, cluster: str) -> bool:
    """Whether clients of the cluster must send its token. Raises StoreUnavailable."""
    with store_errors():
        return bool(client.exists(keys.ray_token(cluster)))


def note_ray_token(client: redis.Redis, cluster: str, token: str | None) -> None:
    """Lets receivers know the cluster's own token when they are shown it, not what it is."""
    if token is None:
        client.delete(keys.ray_token(cluster))
    else:
        client.set(keys.ray_token(cluster), digest_of(token))


def is_ray_token(client: redis.Redis, cluster: str, given: str) -> bool:
    """Whether this is the cluster's own token. Raises StoreUnavailable."""
    with store_errors():
        known = client.get(keys.ray_token(cluster))
    return isinstance(known, bytes) and hmac.compare_digest(known, digest_of(given))


def digest_of(token: str) -> bytes:
    return hashlib.sha256(b"raydeck ray token\0" + token.encode("utf-8", "surrogatepass")).hexdigest().encode()
