"""The projector: keeps this host's SQLite indexes in step with Redis. One process a web host."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from clusterstate import paths
from clusterstate.settings import Settings
from clusterstate.store import fleet, kept_space
from clusterstate.store.connection import UNREACHABLE, connect
from clusterstate.store.fleet_index import FleetIndex, is_plain_name, is_sealed, sealed_sessions, session_file, unsealed_sessions
from clusterstate.store.projection import ENTRIES_AT_ONCE, Projection, has_ended
from clusterstate.store.upgrade import bring_up_to_date

log = logging.getLogger(__name__)

BLOCK_MS = 500
BETWEEN_COMMITS_S = 0.4
"""Steady changes become at most two or three versions a second, so that what is drawn once serves several people."""
LOOK_AROUND_S = 1.0
TUNE_S = 120.0
RETRY_S = 0.5
DAY_S = 86_400.0
LAST_READS = 100
"""Round trips at most for what is left in the streams of a session that has ended."""


def run_projector(settings: Settings, should_stop: Callable[[], bool]) -> None:
    """Runs until told to stop. Redis being away only delays it."""
    projector = Projector(connect(settings), settings)
    while not should_stop():
        try:
            projector.step(time.time())
        except UNREACHABLE as error:
            log.warning("Redis is away: %s", error)
            time.sleep(RETRY_S)
    projector.close()


class Projector:
    """All sessions of all clusters that this host shows."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._redis = client
        self._settings = settings
        self._index_dir = paths.index_dir(settings.state_dir)
        self._index_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._fleet = FleetIndex(self._index_dir / "fleet.db")
        self._open: dict[tuple[str, str], Projection] = {}
        for path in _sealed_files(self._index_dir):
            _bring_up_to_date(path)
        self._looked_at = 0.0
        self._tuned_at = time.time()

    def close(self) -> None:
        for projection in self._open.values():
            projection.close()
        self._fleet.close()

    def step(self, now: float) -> None:
        """Waits for changes for at most half a second and puts them into the indexes."""
        if now - self._looked_at >= LOOK_AROUND_S:
            self._look_around(now)
            self._looked_at = now
        if not self._open:
            time.sleep(RETRY_S)
            return
        started = time.monotonic()
        unsorted = [projection for projection in self._open.values() if not projection.is_sorted]
        changed = self._follow_streams(now, block_ms=None if unsorted else BLOCK_MS)
        for projection in unsorted:
            projection.sort_on()
        if changed and not unsorted:
            time.sleep(max(0.0, BETWEEN_COMMITS_S - (time.monotonic() - started)))
        if now - self._tuned_at > TUNE_S:
            self._tuned_at = now
            for projection in self._open.values():
                projection.tune()

    def _follow_streams(self, now: float, block_ms: int | None) -> bool:
        """True when changes came and there are no more. Waits for some, unless `block_ms` is None."""
        moments = {key: projection.read_freshness() for key, projection in self._open.items()}  # before what they are true of
        wanted: Any = {key: last for projection in self._open.values() for key, last in projection.streams.items()}
        reply: Any = self._redis.xread(wanted, count=ENTRIES_AT_ONCE, block=block_ms)
        entries: dict[bytes, Any] = dict(reply)
        changed = False
        for key, projection in self._open.items():
            changes, samples = (entries.get(stream, []) for stream in projection.streams)
            changed |= projection.apply(changes, samples, now)
            if len(changes) < ENTRIES_AT_ONCE:
                projection.say_fresh(moments[key])
        return changed and all(len(some) < ENTRIES_AT_ONCE for some in entries.values())

    def _look_around(self, now: float) -> None:
        current = self._current()
        for cluster, session in {*current.items(), *unsealed_sessions(self._index_dir)}:
            if (cluster, session) not in self._open:
                self._open_again(cluster, session)
        for key, projection in list(self._open.items()):
            projection.catch_up()
            if projection.has_ended() or current.get(key[0], key[1]) != key[1]:
                self._end(key, projection, now)
        self._fleet.write(current, fleet.costs(self._redis), now)
        self._remove_old(now)

    def _current(self) -> dict[str, str]:
        """Sessions by cluster. A name that cannot be a file's is passed over, not every cluster's end."""
        found = fleet.current_sessions(self._redis)
        odd = [name for name, session in found.items() if not (is_plain_name(name) and is_plain_name(session))]
        for name in odd:
            log.warning("passed over a cluster or session whose name cannot be a file's: %r %r", name, found[name])
        return {name: session for name, session in found.items() if name not in odd}

    def _open_again(self, cluster: str, session: str) -> None:
        """Follows a session, new or left by an earlier projector. A sealed one only if it lives again."""
        path = session_file(self._index_dir, cluster, session)
        if is_sealed(path):
            if has_ended(self._redis, cluster, session) is not False:
                return
            path.unlink()
        self._open[cluster, session] = self._begin(cluster, session)

    def _begin(self, cluster: str, session: str) -> Projection:
        path = session_file(self._index_dir, cluster, session)
        projection = Projection(self._redis, path, cluster, session, self._settings.history_minutes * 60)
        projection.catch_up()
        return projection

    def _end(self, key: tuple[str, str], projection: Projection, now: float) -> None:
        """Takes in what is left of the streams, then seals."""
        for _ in range(LAST_READS):
            streams: Any = projection.streams
            reply: Any = self._redis.xread(streams, count=ENTRIES_AT_ONCE * 10)
            entries: dict[bytes, Any] = dict(reply)
            changes, samples = (entries.get(stream, []) for stream in streams)
            projection.apply(changes, samples, now)
            if not entries:
                break
        projection.follow_freshness()
        projection.seal(now)
        del self._open[key]
        log.info("sealed %s %s", *key)

    def _remove_old(self, now: float) -> None:
        oldest = now - self._settings.session_retention_days * DAY_S
        for cluster, session in sealed_sessions(self._index_dir):
            path = session_file(self._index_dir, cluster, session)
            if path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)
                kept_space.delete_session(self._settings.state_dir, cluster, session)
                log.info("removed %s: over the retention", path.name)


def _bring_up_to_date(path: Path) -> None:
    try:
        bring_up_to_date(path)
    except (sqlite3.Error, OSError) as error:
        log.warning("the ended session %s stays as it was written: %s", path.name, error)


def _sealed_files(index_dir: Path) -> list[Path]:
    return [session_file(index_dir, cluster, session) for cluster, session in sealed_sessions(index_dir)]
