"""What stood in the cluster's own key-value store before we wrote our address there: kept until it is handed back, however often
we are killed and come again meanwhile."""

from __future__ import annotations

import hashlib

import msgspec
import redis

from clusterstate.store import keys


class StoodBefore(msgspec.Struct):
    """Of one session of a cluster; by the cluster's key."""

    session: str
    before: dict[str, bytes | None] = {}  # None: nothing stood there
    ours: dict[str, str] = {}  # digest of what we wrote

    def is_ours(self, key: str, found: bytes | None) -> bool:
        """Whether we wrote that, maybe in an earlier run."""
        return found is not None and self.ours.get(key) == _digest(found)

    def note(self, key: str, found: bytes | None, ours: bytes) -> None:
        """Before `ours` is written in the place of what was found."""
        if not self.is_ours(key, found):
            self.before[key] = found
        self.ours[key] = _digest(ours)


def read(client: redis.Redis, cluster: str, session: str) -> StoodBefore:
    """What is noted of this session."""
    stored = client.get(keys.stood_before(cluster))
    if isinstance(stored, bytes):
        try:
            found = msgspec.msgpack.decode(stored, type=StoodBefore)
        except msgspec.MsgspecError:
            return StoodBefore(session)
        if found.session == session:
            return found
    return StoodBefore(session)


def write(client: redis.Redis, cluster: str, stood: StoodBefore) -> None:
    client.set(keys.stood_before(cluster), msgspec.msgpack.encode(stood))


def forget(client: redis.Redis, cluster: str) -> None:
    client.delete(keys.stood_before(cluster))


def _digest(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()
