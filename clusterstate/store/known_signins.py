"""Which sign-ins were good a moment ago, kept on this host: with Redis away they go on reading for a while."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from clusterstate.store.signins import SignIn

GRACE_S = 900.0
"""How long after it was last seen in Redis a sign-in may go on reading."""
NOTED_EACH_S = 30.0
REMEMBERED = 10_000

_SCHEMA = """CREATE TABLE IF NOT EXISTS known (
    digest TEXT PRIMARY KEY, user TEXT NOT NULL, auth_epoch INTEGER NOT NULL, created_at REAL NOT NULL, seen_at REAL NOT NULL
) STRICT"""


class KnownSignIns:
    """Shared by the gunicorn workers of one host through a small disposable SQLite file.

    Holds digests only. Written each 30 s a sign-in, read only when Redis is away. Without a writable file it
    remembers for its own process alone.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._noted: OrderedDict[str, tuple[SignIn, float, float]] = OrderedDict()  # digest → sign-in, seen, written

    def note(self, digest: str, sign_in: SignIn, now: float) -> None:
        """Redis has just confirmed this sign-in."""
        known = self._noted.get(digest)
        written = known[2] if known else 0.0
        if now - written >= NOTED_EACH_S:
            written = now
            with contextlib.suppress(sqlite3.Error, OSError), self._open() as connection:
                connection.execute(
                    "INSERT OR REPLACE INTO known VALUES (?, ?, ?, ?, ?)",
                    (digest, sign_in.user, sign_in.auth_epoch, sign_in.created_at, now),
                )
                connection.execute("DELETE FROM known WHERE seen_at < ?", (now - GRACE_S,))
        self._noted[digest] = (sign_in, now, written)
        self._noted.move_to_end(digest)
        if len(self._noted) > REMEMBERED:
            self._noted.popitem(last=False)

    def forget(self, digest: str) -> None:
        """The sign-in has ended."""
        self._noted.pop(digest, None)
        with contextlib.suppress(sqlite3.Error, OSError), self._open() as connection:
            connection.execute("DELETE FROM known WHERE digest = ?", (digest,))

    def recall(self, digest: str, now: float) -> SignIn | None:
        """The sign-in, if Redis confirmed it to any process of this host within the last 15 minutes."""
        try:
            found = self._read(digest)
        except (sqlite3.Error, OSError):
            found = self._noted[digest][:2] if digest in self._noted else None
        return found[0] if found is not None and 0 <= now - found[1] <= GRACE_S else None

    def _read(self, digest: str) -> tuple[SignIn, float] | None:
        """What the shared file says; it is the one that knows of sign-outs at other processes."""
        with self._open() as connection:
            row = connection.execute("SELECT user, auth_epoch, created_at, seen_at FROM known WHERE digest = ?", (digest,)).fetchone()
        return (SignIn(row[0], row[1], row[2]), row[3]) if row else None

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection for one statement: rare enough not to be kept, and so safe across forks and threads."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=0.2, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=OFF")
            connection.execute(_SCHEMA)
            yield connection
        finally:
            connection.close()
