"""Every Redis key: its name, who writes it and how long it lives. No other module spells a key."""

from __future__ import annotations

import binascii
from functools import lru_cache

ROOT = b"rd"
"""First part of every key, so that other programs may share the database."""

QUEUES = "rd:rq"
"""Before all keys of RQ, so that it shares a database with others, and with another program's RQ."""
CHANGES_MAXLEN = 20_000
"""Entries kept in a session's change stream; an index that is further behind is rebuilt."""
CHANGED_IDS_KEPT = 300_000
"""Ids in the newest entries of one writer that are kept, 9 MB: of big entries there are fewer."""
SAMPLES_MAXLEN = 120_000
"""Entries kept in a session's samples stream: 300 nodes, one each 5 s, half an hour."""
ENDED_SESSION_EXPIRES_S = 3600
"""Keys of an ended session stay this long, so that every web host can seal its own copy."""
HEARTBEAT_MS = 6000
"""A loop that has not beaten for this long is dead."""


def _key(*parts: str | bytes) -> bytes:
    return b":".join([ROOT, *(part.encode() if isinstance(part, str) else part for part in parts)])


def clusters() -> bytes:
    """Hash: cluster name → current session. By the cluster collector, for ever."""
    return _key("clusters")


def costs() -> bytes:
    """Hash: role@host:pid → what that process costs. By each supervisor; stale fields are removed by it."""
    return _key("costs")


def cost_field(role: str, host: str, pid: int) -> str:
    """Name of one process among the costs."""
    return f"{role}@{host}:{pid}"


def session(cluster: str, session_name: str, *rest: str | bytes) -> bytes:
    """A key of one session of one cluster. By that cluster's collectors, until an hour after the session ends."""
    return _key("c", cluster, session_name, *rest)


@lru_cache(32_768)
def rows(cluster: str, session_name: str, resource: str, bucket: int) -> bytes:
    """Hash: row id → msgpack row."""
    return session(cluster, session_name, "rows", resource, f"{bucket:x}")


def changes(cluster: str, session_name: str) -> bytes:
    """Stream of changed ids: {r: resource, u: updated ids, d: forgotten ids}."""
    return session(cluster, session_name, "changes")


def samples(cluster: str, session_name: str) -> bytes:
    """Stream of node samples, msgpack."""
    return session(cluster, session_name, "samples")


def fresh(cluster: str, session_name: str) -> bytes:
    """Hash: resource, or node:<node_id> → Unix seconds at which it was last known right."""
    return session(cluster, session_name, "fresh")


def epoch(cluster: str, session_name: str) -> bytes:
    """A random word for this copy of the session's data; another word means the data was lost and written anew."""
    return session(cluster, session_name, "epoch")


def tick(cluster: str, session_name: str) -> bytes:
    """Counts up by one with each confirmation of the cluster collector; a step back betrays a restored backup."""
    return session(cluster, session_name, "tick")


def dead(cluster: str, session_name: str, resource: str) -> bytes:
    """List of ids of dead rows in the order of death."""
    return session(cluster, session_name, "dead", resource)


def counters(cluster: str, session_name: str) -> bytes:
    """Hash: evicted:<resource> → number of dead rows given up for the limit; until:<resource> → the latest end among them,
    Unix ms; sequence:<resource> → the last number reserved. By the cluster collector."""
    return session(cluster, session_name, "counters")


def task_questions(cluster: str) -> bytes:
    """List of what Ray's clients ask about tasks, msgpack. By receivers; expires."""
    return _key("taskq", cluster)


def ray_token(cluster: str) -> bytes:
    """A digest of the cluster's own token. By the cluster collector, for ever; absent where the cluster asks for none."""
    return _key("raytoken", cluster)


def stood_before(cluster: str) -> bytes:
    """What stood where Raydeck wrote its address into the cluster's KV store, msgpack. By the cluster collector, until it is
    handed back."""
    return _key("stood", cluster)


def lease(name: str) -> bytes:
    """The `value` of the Lease of who may run the loop `name`. By the loop's keeper; expires with its time to live."""
    return _key("lease", name)


def fence(name: str) -> bytes:
    """Counts the leases given for `name`: the fencing token. For ever."""
    return _key("fence", name)


def heartbeat(name: str) -> bytes:
    """Present while the loop `name` beats. Expires after HEARTBEAT_MS."""
    return _key("hb", name)


def sign_in(digest: str) -> bytes:
    """JSON of one sign-in, by the SHA-256 of its id. By the web app; expires with the sign-in."""
    return _key("signin", digest)


def sign_in_tries(kind: str, who: str) -> bytes:
    """Counts wrong sign-ins of an account or peer. By the web app; one minute."""
    return _key("tries", kind, who)


def answer(probe_id: str) -> bytes:
    """The answer to a probe, JSON. By the node worker; expires."""
    return _key("answer", probe_id)


def answer_parts(probe_id: str) -> bytes:
    """List: parts of the answer to a probe that tells what it has so far, JSON. By the node worker; expires."""
    return _key("answer", probe_id, "parts")


def asked_together(ask_id: str) -> bytes:
    """The probes that one question of a person became, JSON. By the web app; expires."""
    return _key("asked", ask_id)


def profile(cluster: str, profile_id: str) -> bytes:
    """A profile that was asked for, JSON. By the web app, until it is removed or too old."""
    return _key("profile", cluster, profile_id)


def profiles(cluster: str) -> bytes:
    """Sorted set: profile id → when it was asked for. By the web app."""
    return _key("profiles", cluster)


def profiling(cluster: str, host: str) -> bytes:
    """Hash: probe id → [until when, pids]: profiles that are made on a host. By the web app; minutes."""
    return _key("profiling", cluster, host)


def follows(cluster: str, host: str) -> bytes:
    """Hash: node id/file id → [until when, signature]: log files that somebody follows. By the web app; a minute."""
    return _key("follows", cluster, host)


def follow_wake(cluster: str, host: str) -> bytes:
    """List: something new is followed on that host. By the web app; seconds."""
    return _key("follows", cluster, host, "wake")


def followed(cluster: str, host: str, name: str) -> bytes:
    """Stream of what is written to a followed log file: see clusterstate.store.follows. By that host's log role; half a minute."""
    return _key("followed", cluster, host, name)


def follower(cluster: str, host: str) -> bytes:
    """Present while that host's log role runs. By it; seconds."""
    return _key("follower", cluster, host)


def shipped(cluster: str, host: str | bytes) -> bytes:
    """List: pieces of a host's log files for the head to keep, see clusterstate.store.log_shipping. By its log role; an hour."""
    return _key("shipped", cluster, host)


def shippers(cluster: str) -> bytes:
    """Set: hosts that have such pieces waiting. By log roles, and by the head's keeper, which takes from them in turn; an hour."""
    return _key("shippers", cluster)


def shipped_known(cluster: str, session_name: str, host: str) -> bytes:
    """Hash: file → how far the head keeps that log file of a host. By the head's keeper; a day."""
    return _key("shipped", cluster, session_name, host)


def keeper(cluster: str) -> bytes:
    """Where the cluster's log files are kept, msgpack. By the head's keeper, every few seconds; a day."""
    return _key("keeper", cluster)


def canceled(probe_id: str) -> bytes:
    """Present when the asker no longer wants a probe's answer. By the web app; expires with the probe."""
    return _key("canceled", probe_id)


def stopped(probe_id: str) -> bytes:
    """Present when a probe is to end now and answer with what it has. By the web app; expires with the probe."""
    return _key("stopped", probe_id)


def attended(queue: str) -> bytes:
    """Present while a worker works off this queue. By that worker, every few seconds; seconds."""
    return _key("attended", queue)


def started(job_id: str) -> bytes:
    """Present once a piece of work was started: it is never started again. By its worker; outlives the work's signature."""
    return _key("started", job_id)


def operations_worker(cluster: str) -> bytes:
    """Present while the worker that does a cluster's operations lives: what it is, JSON. By that worker; seconds."""
    return _key("operations", cluster)


def refused() -> bytes:
    """List of the newest work that workers refused, JSON. By workers; the newest hundred, a week."""
    return _key("refused")


def bucket_of(row_id: bytes, buckets: int) -> int:
    """Which of a resource's hashes holds a row."""
    return binascii.crc32(row_id) % buckets
