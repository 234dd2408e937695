"""Which clusters and sessions can be read here, and readers for them. SQLite alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from clusterstate.model import ClusterMetadata, RoleCost
from clusterstate.query import NotFound
from clusterstate.resources import ACTORS, JOBS, NODES
from clusterstate.store.fleet_index import is_plain_name, known_sessions, session_file
from clusterstate.store.reader import Freshness, SessionReader
from clusterstate.store.sqlite_reading import IndexMissing, ask


@dataclass(frozen=True)
class SessionSummary:
    cluster: str
    session: str
    is_current: bool
    metadata: ClusterMetadata | None


@dataclass(frozen=True)
class ClusterSummary:
    """A cluster as the fleet page shows it. Counts are None while its index is not there yet."""

    name: str
    session: str
    metadata: ClusterMetadata | None = None
    freshness: Freshness | None = None
    gcs_reachable: bool | None = None
    nodes: dict[str, int] | None = None  # state → count
    jobs: dict[str, int] | None = None  # status → count
    actors: dict[str, int] | None = None  # state → count


class Fleet:
    """The reading side of a host's index folder."""

    def __init__(self, index_dir: Path, *, stale_after_s: float = 5.0, deadline_ms: int = 250) -> None:
        self._index_dir = index_dir
        self._stale_after_s = stale_after_s
        self._deadline_ms = deadline_ms

    def names(self) -> list[str]:
        """Clusters that were ever seen, by name."""
        return [name for name, _ in self._current()]

    def reader(self, cluster: str, session: str | None = None) -> SessionReader:
        """A reader of the current session, or of a past one. Raises NotFound."""
        current = dict(self._current())
        if cluster not in current:
            allowed = ", ".join(sorted(current)[:20]) or "none yet"
            raise NotFound(f"There is no cluster {cluster[:64]!r}. Clusters: {allowed}.")
        wanted = current[cluster] if session is None else session
        if not is_plain_name(wanted) or (session is not None and session not in known_sessions(self._index_dir, cluster)):
            raise NotFound(f"Cluster {cluster} has no session {wanted[:128]!r}.")
        path = session_file(self._index_dir, cluster, wanted)
        return SessionReader(path, cluster, wanted, stale_after_s=self._stale_after_s, deadline_ms=self._deadline_ms)

    def sessions(self, cluster: str) -> list[SessionSummary]:
        """Sessions of a cluster that can be read, newest first."""
        current = dict(self._current()).get(cluster)
        found = known_sessions(self._index_dir, cluster) if is_plain_name(cluster) else []
        return [SessionSummary(cluster, name, name == current, self._metadata(cluster, name)) for name in found]

    def session_names(self, cluster: str) -> tuple[str | None, list[str]]:
        """The current session of a cluster, and the others that can be read, newest first. Opens none of them."""
        current = dict(self._current()).get(cluster)
        found = known_sessions(self._index_dir, cluster) if is_plain_name(cluster) else []
        return current, [name for name in found if name != current]

    def clusters(self, now: float) -> list[ClusterSummary]:
        """All clusters with what can be said of them at a glance."""
        return [self._summary(name, session, now) for name, session in self._current()]

    def costs(self) -> list[RoleCost]:
        """What Raydeck's own processes cost, as last reported."""
        found = self._ask("SELECT cost FROM costs ORDER BY name")
        return [msgspec.json.decode(text, type=RoleCost) for (text,) in found]

    def written_at(self) -> float | None:
        """When the projector last wrote here, Unix seconds."""
        found = self._ask("SELECT value FROM meta WHERE name = 'written_at'")
        return float(found[0][0]) if found else None

    def _summary(self, name: str, session: str, now: float) -> ClusterSummary:
        reader = self.reader(name)
        try:
            report = reader.collector()
            return ClusterSummary(
                name,
                session,
                reader.metadata(),
                reader.freshness(NODES.name, now=now),
                None if report is None else report.gcs_reachable,
                reader.group(NODES, "state"),
                reader.group(JOBS, "status"),
                reader.group(ACTORS, "state"),
            )
        except IndexMissing:
            return ClusterSummary(name, session)

    def _metadata(self, cluster: str, session: str) -> ClusterMetadata | None:
        try:
            return self.reader(cluster, session).metadata()
        except IndexMissing:
            return None

    def _current(self) -> list[tuple[str, str]]:
        return [(str(name), str(session)) for name, session in self._ask("SELECT name, session FROM clusters ORDER BY name")]

    def _ask(self, sql: str) -> list[tuple[str, ...]]:
        try:
            return ask(self._index_dir / "fleet.db", sql)
        except IndexMissing:
            return []
