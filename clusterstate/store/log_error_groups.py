"""Errors in log files by fingerprint: how often, when, whose, where; one SQLite file for a session, beside its kept logs.

Written by the keeper of the head alone (workers/log_error_keeper.py), read by the probes of the same machine. It also remembers how far
each file was looked at, so that nothing is counted twice.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from clusterstate import paths
from clusterstate.log_errors import FoundError, Tail
from clusterstate.masking import mask_text

FILE_NAME = "errors.sqlite"
MOST_GROUPS = 5_000
MOST_PLACES = 50
MOST_OWNERS = 1_000
MOST_HOSTS = 10_000
MOST_FILES = 100_000
MOST_TITLE = 300

SCHEMA = """
CREATE TABLE IF NOT EXISTS groups (
    fingerprint TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    exception TEXT NOT NULL,
    title TEXT NOT NULL,
    sample BLOB NOT NULL,
    count INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    first_owner TEXT NOT NULL,
    last_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS groups_by_last ON groups (last_ms);
CREATE TABLE IF NOT EXISTS counters (
    fingerprint TEXT NOT NULL,
    of TEXT NOT NULL,
    key TEXT NOT NULL,
    count INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    PRIMARY KEY (fingerprint, of, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS counters_by_key ON counters (of, key);
CREATE TABLE IF NOT EXISTS places (
    fingerprint TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    host TEXT NOT NULL,
    inode TEXT NOT NULL,
    name BLOB NOT NULL,
    offset INTEGER NOT NULL,
    owner TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS places_by_time ON places (fingerprint, at_ms);
CREATE TABLE IF NOT EXISTS nodes (node_id TEXT PRIMARY KEY, host TEXT NOT NULL, seen_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
    host TEXT NOT NULL,
    inode TEXT NOT NULL,
    name BLOB NOT NULL,
    head_start INTEGER NOT NULL,
    head BLOB NOT NULL,
    start INTEGER NOT NULL,
    tail BLOB NOT NULL,
    is_late INTEGER NOT NULL,
    is_pending INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    PRIMARY KEY (host, inode)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS files_by_time ON files (modified_ms);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""

OWNER, HOST = "owner", "host"


@dataclass(frozen=True, slots=True)
class LookedAt:
    """How far a file was looked at, and by what another file with its inode is told."""

    host: str
    inode: str
    name: bytes
    head_start: int
    head: bytes  # what stands at `head_start`
    tail: Tail
    modified_ms: int


@dataclass(frozen=True, slots=True)
class Seen:
    """An error that was found."""

    error: FoundError
    at_ms: int
    owner: str
    host: str
    inode: str
    name: bytes


class ErrorGroupsWriter:
    """The groups of one session, by the one process that writes them."""

    def __init__(self, folder: Path) -> None:
        for one in (folder.parent.parent, folder.parent, folder):
            paths.make_private_dir(one)
        self.path = folder / FILE_NAME
        self._database = sqlite3.connect(self.path, isolation_level=None)
        try:
            self.path.chmod(0o600)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.executescript(SCHEMA)
        except (sqlite3.Error, OSError):
            self._database.close()
            raise

    def close(self) -> None:
        self._database.close()

    def file(self, host: str, inode: str) -> LookedAt | None:
        """How far a file was looked at; None if it never was."""
        return next(iter(self._files("WHERE host = ? AND inode = ?", host, inode)), None)

    def pending(self) -> list[LookedAt]:
        """Files with an error that was not decided."""
        return self._files("WHERE is_pending LIMIT 1000")

    def write(
        self, files: Iterable[LookedAt], seen: Iterable[Seen], nodes: Iterable[tuple[str, str]], passed_over: int, now_ms: int
    ) -> None:
        """All of it, or on an error nothing."""
        with self._database:
            self._database.execute("BEGIN")
            self._put_files(files)
            rows = [(node_id, host, now_ms) for node_id, host in nodes]
            self._database.executemany("INSERT OR REPLACE INTO nodes VALUES (?, ?, ?)", rows)
            by_fingerprint: dict[str, list[Seen]] = {}
            for one in seen:
                by_fingerprint.setdefault(one.error.fingerprint, []).append(one)
            for fingerprint, of_it in by_fingerprint.items():
                self._add(fingerprint, of_it)
            self._forget_beyond()
            if passed_over:
                self._count("passed_over", passed_over)
            self._database.execute("INSERT OR REPLACE INTO facts VALUES ('looked_at_ms', ?)", (now_ms,))

    def _files(self, where: str, *values: str) -> list[LookedAt]:
        columns = "host, inode, name, head_start, head, start, tail, is_late, is_pending, modified_ms"
        return [
            LookedAt(host, inode, name, head_start, head, Tail(start, tail, bool(is_late), bool(is_pending)), modified_ms)
            for host, inode, name, head_start, head, start, tail, is_late, is_pending, modified_ms in self._database.execute(
                f"SELECT {columns} FROM files {where}",  # noqa: S608 - our own words
                values,
            )
        ]

    def _put_files(self, files: Iterable[LookedAt]) -> None:
        rows = [
            (
                *(one.host, one.inode, one.name, one.head_start, one.head),
                *(one.tail.start, one.tail.content, one.tail.is_late, one.tail.is_pending, one.modified_ms),
            )
            for one in files
        ]
        self._database.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def _add(self, fingerprint: str, seen: list[Seen]) -> None:
        first, last = min(seen, key=lambda one: one.at_ms), max(seen, key=lambda one: one.at_ms)
        raised = self._database.execute(
            "UPDATE groups SET count = count + ?, last_ms = max(last_ms, ?) WHERE fingerprint = ?", (len(seen), last.at_ms, fingerprint)
        )
        if not raised.rowcount:
            error = first.error
            sample = zlib.compress(mask_text(error.sample).encode("utf-8", "replace"))
            title = mask_text(error.message or error.exception)[:MOST_TITLE]
            values = (fingerprint, error.kind, error.exception, title, sample, len(seen), first.at_ms, first.owner, last.at_ms)
            self._database.execute("INSERT INTO groups VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
        else:
            self._database.execute(
                "UPDATE groups SET first_ms = ?, first_owner = ? WHERE fingerprint = ? AND first_ms > ?",
                (first.at_ms, first.owner, fingerprint, first.at_ms),
            )
        self._add_counters(fingerprint, OWNER, [(one.owner, one.at_ms) for one in seen], MOST_OWNERS)
        self._add_counters(fingerprint, HOST, [(one.host, one.at_ms) for one in seen], MOST_HOSTS)
        self._add_places(fingerprint, seen)

    def _add_counters(self, fingerprint: str, of: str, seen: list[tuple[str, int]], most: int) -> None:
        times: dict[str, list[int]] = {}
        for key, at_ms in seen:
            times.setdefault(key, []).append(at_ms)
        rows = [(fingerprint, of, key, len(when), min(when), max(when)) for key, when in times.items()]
        self._database.executemany(
            "INSERT INTO counters VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count,"
            " first_ms = min(first_ms, excluded.first_ms), last_ms = max(last_ms, excluded.last_ms)",
            rows,
        )
        self._database.execute(
            "DELETE FROM counters WHERE fingerprint = ?1 AND of = ?2 AND key IN (SELECT key FROM counters"
            " WHERE fingerprint = ?1 AND of = ?2 ORDER BY last_ms DESC LIMIT -1 OFFSET ?3)",
            (fingerprint, of, most),
        )

    def _add_places(self, fingerprint: str, seen: list[Seen]) -> None:
        newest = sorted(seen, key=lambda one: one.at_ms)[-MOST_PLACES:]
        rows = [(fingerprint, one.at_ms, one.host, one.inode, one.name, one.error.offset, one.owner) for one in newest]
        self._database.executemany("INSERT INTO places VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        self._database.execute(
            "DELETE FROM places WHERE rowid IN (SELECT rowid FROM places WHERE fingerprint = ? ORDER BY at_ms DESC, rowid DESC"
            " LIMIT -1 OFFSET ?)",
            (fingerprint, MOST_PLACES),
        )

    def _forget_beyond(self) -> None:
        """The groups that were seen longest ago, and the files that were written to longest ago."""
        beyond = "SELECT fingerprint FROM groups ORDER BY last_ms DESC, fingerprint LIMIT -1 OFFSET ?"
        gone = self._database.execute(beyond, (MOST_GROUPS,)).fetchall()
        for table in ("groups", "counters", "places"):
            self._database.executemany(f"DELETE FROM {table} WHERE fingerprint = ?", gone)  # noqa: S608 - our own words
        if gone:
            self._count("gone", len(gone))
        if self._database.execute("SELECT count(*) FROM files").fetchone()[0] > MOST_FILES:
            self._database.execute("DELETE FROM files WHERE modified_ms <= (SELECT modified_ms FROM files ORDER BY modified_ms LIMIT 1)")

    def _count(self, name: str, more: int) -> None:
        self._database.execute("INSERT INTO facts VALUES (?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value", (name, more))


def delete(folder: Path) -> None:
    """Deletes the groups of a session, whose folder this is."""
    path = folder / FILE_NAME
    for one in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        with suppress(OSError):
            one.unlink(missing_ok=True)
