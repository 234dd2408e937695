"""The small SQLite file that lists clusters, their sessions and what Raydeck costs; and where session files lie."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

import msgspec

from clusterstate.model import RoleCost
from clusterstate.store import keys

TABLES = (
    "CREATE TABLE IF NOT EXISTS clusters(name TEXT PRIMARY KEY, session TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS costs(name TEXT PRIMARY KEY, cost TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID",
)


def session_file(index_dir: Path, cluster: str, session: str) -> Path:
    """The index of one session. Names come from a cluster: what is not a plain name is refused."""
    for name in (cluster, session):
        if not is_plain_name(name):
            raise ValueError(f"{name!r} cannot be a file name")
    return index_dir / cluster / f"{session}.db"


def is_plain_name(name: str) -> bool:
    """Letters, digits, dash, underscore and dot, not starting with a dot, at most 128."""
    return 0 < len(name) <= 128 and not name.startswith(".") and all(c.isascii() and (c.isalnum() or c in "-_.") for c in name)


def known_sessions(index_dir: Path, cluster: str) -> list[str]:
    """Sessions of a cluster that this host has a file of, newest first."""
    folder = index_dir / cluster
    found = [(path.stat().st_mtime, path.stem) for path in folder.glob("*.db")] if folder.is_dir() else []
    return [name for _, name in sorted(found, reverse=True)]


def known_clusters(index_dir: Path) -> list[str]:
    """Clusters that this host has a folder of."""
    return sorted(path.name for path in index_dir.iterdir() if path.is_dir()) if index_dir.is_dir() else []


def is_sealed(path: Path) -> bool:
    """Whether this is the file of a session that has ended: it is read-only."""
    return path.exists() and not path.stat().st_mode & 0o200


def sealed_sessions(index_dir: Path) -> Iterable[tuple[str, str]]:
    """(cluster, session) of the sessions that have ended."""
    return [(cluster, session) for cluster, session in _sessions(index_dir) if is_sealed(session_file(index_dir, cluster, session))]


def unsealed_sessions(index_dir: Path) -> Iterable[tuple[str, str]]:
    """(cluster, session) of the sessions that go on, or ended while no projector looked."""
    return [(cluster, session) for cluster, session in _sessions(index_dir) if not is_sealed(session_file(index_dir, cluster, session))]


def _sessions(index_dir: Path) -> Iterable[tuple[str, str]]:
    return [(cluster, session) for cluster in known_clusters(index_dir) for session in known_sessions(index_dir, cluster)]


class FleetIndex:
    """The writing side; a file that cannot be used is made anew."""

    def __init__(self, path: Path) -> None:
        try:
            self._db = self._create(path)
        except sqlite3.DatabaseError:
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            self._db = self._create(path)

    def write(self, sessions: dict[str, str], costs: Iterable[RoleCost], now: float) -> None:
        """Replaces what is known. Clusters are added, never forgotten: their past sessions can still be read."""
        encode = msgspec.json.encode
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany("INSERT OR REPLACE INTO clusters(name, session) VALUES(?, ?)", list(sessions.items()))
        self._db.execute("DELETE FROM costs")
        self._db.executemany("INSERT OR REPLACE INTO costs(name, cost) VALUES(?, ?)", [(_name(c), encode(c).decode()) for c in costs])
        self._db.execute("INSERT OR REPLACE INTO meta(name, value) VALUES('written_at', ?)", (repr(now),))
        self._db.execute("COMMIT")

    def close(self) -> None:
        self._db.close()

    @staticmethod
    def _create(path: Path) -> sqlite3.Connection:
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=OFF")
        for table in TABLES:
            db.execute(table)
        return db


def _name(cost: RoleCost) -> str:
    return keys.cost_field(cost.role, cost.host, cost.pid)
