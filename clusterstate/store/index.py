"""The SQLite index of one session: how rows get in, and what it notes of itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from clusterstate.model import NodeSample
from clusterstate.resources import RESOURCES, Resource
from clusterstate.store import derived, schema
from clusterstate.store.row_writer import RowWriter, Words
from clusterstate.store.schema import COMMITS, columns_of

FOLLOWING = ("journal_mode=WAL", "synchronous=OFF", "journal_size_limit=33554432", "cache_size=-32768", "wal_autocheckpoint=4000")
"""Disposable: rebuilt from Redis when torn. The cache is taken as it is used: a small cluster's index takes little of it."""
IN_BULK = ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", "cache_size=-32768", "temp_store=MEMORY")


class Index:
    """The writing side. One process writes, any number read."""

    def __init__(self, path: Path, *, in_bulk: bool = False) -> None:
        """Opens or creates. Raises sqlite3.DatabaseError when it is torn, or of another Raydeck (`upgrade` mends an older one).

        `in_bulk`: a new file that nobody reads yet. It takes rows several times as fast, and is torn by any failure.
        """
        self.path = path
        self._db = sqlite3.connect(path, isolation_level=None)
        try:
            for pragma in IN_BULK if in_bulk else FOLLOWING:
                self._db.execute(f"PRAGMA {pragma}")
            self.begin()  # one transaction: each definition on its own would cost a write of the schema
            schema.create(self._db)
            self.commit()
        except BaseException:
            self._db.close()
            raise
        self._words = Words(self._db)
        self._writers = {resource: RowWriter(self._db, resource, self._words) for resource in RESOURCES}

    def close(self) -> None:
        self._db.close()

    def begin(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self._db.execute("UPDATE versions SET n = n + 1 WHERE resource = ?", (COMMITS,))
        self._db.execute("COMMIT")

    def rollback(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        self._words.forget()

    def note(self, name: str, value: str) -> None:
        """Keeps a word about the index itself."""
        schema.note(self._db, name, value)

    def noted(self, name: str) -> str | None:
        return schema.noted(self._db, name)

    def put(self, resource: Resource, rows: Iterable[tuple[str, list[Any]]]) -> int:
        """Inserts or updates (id, values in field order) pairs; returns how many."""
        return self._writers[resource].put(rows)

    def delete(self, resource: Resource, ids: Iterable[str]) -> None:
        self._writers[resource].delete(ids)

    def bump(self, names: Iterable[str]) -> None:
        """Counts up the version of each resource."""
        self._db.executemany("UPDATE versions SET n = n + 1 WHERE resource = ?", [(name,) for name in names])

    def put_samples(self, samples: Sequence[NodeSample], oldest: float) -> None:
        """Appends samples and gives up those before `oldest`."""
        names = [column.name for column in columns_of(NodeSample)]
        sql = f"INSERT INTO samples({', '.join(names)}) VALUES({', '.join('?' * len(names))})"
        self._db.executemany(sql, [tuple(getattr(sample, name) for name in names) for sample in samples])
        self._db.execute("DELETE FROM samples WHERE at < ?", (oldest,))

    def take_notes(self, tables: dict[str, list[tuple[Any, ...]]]) -> None:
        """What another index noted of itself, but for its schema and what it derived."""
        self.begin()
        for table, rows in tables.items():
            told = [row for row in rows if row[0] != "schema" and not str(row[0]).startswith("derived:")]
            self._db.executemany(f"INSERT OR REPLACE INTO {table} VALUES(?, ?)", told)
        self.commit()

    def versions(self) -> dict[str, int]:
        """The version of each resource."""
        return {str(name): int(n) for name, n in self._db.execute("SELECT resource, n FROM versions")}

    def raise_versions(self, past: dict[str, int]) -> None:
        """Beyond those of a file that this one replaces: the same number must never stand for other rows."""
        rows = [(n + 1, name) for name, n in past.items()]
        self._db.executemany("UPDATE versions SET n = n + ? WHERE resource = ?", rows)

    def set_fresh(self, before: dict[str, float], moments: dict[str, float]) -> None:
        """Replaces what is known about freshness; `before` is what was set last, empty when that is not known."""
        if before:
            self._db.executemany("DELETE FROM fresh WHERE name = ?", [(name,) for name in before.keys() - moments.keys()])
        else:
            self._db.execute("DELETE FROM fresh")
        self._db.executemany("INSERT OR REPLACE INTO fresh(name, at) VALUES(?, ?)", list(moments.items() - before.items()))

    def large_rows(self) -> int:
        """How many rows there are of the large resources, as they are counted anyway."""
        return sum(derived.count(self._db, resource) for resource in RESOURCES)

    def keep_derived(self) -> None:
        """Fills the counts and texts beside the rows, unless that is done, and keeps them true from now on."""
        for writer in self._writers.values():
            writer.derive()

    def make_sorts(self) -> None:
        """Creates the indexes that are missing and whatever else lists are read from."""
        self.begin()
        self.keep_derived()
        for name, on in self._missing_sorts():
            self._db.execute(f"CREATE INDEX {name} ON {on}")
        self.commit()

    def make_a_sort(self) -> bool:
        """One of the missing indexes; False when none is missing. 0.1 s at 100,000 rows, so that changes need not wait for all of them."""
        missing = self._missing_sorts()
        if missing:
            name, on = missing[0]
            self._db.execute(f"CREATE INDEX {name} ON {on}")
        return bool(missing)

    def _missing_sorts(self) -> list[tuple[str, str]]:
        """(name, what it is on) of each index that is declared and not there."""
        there = {str(name) for (name,) in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
        declared = [schema.sort_of(resource, listed) for resource in RESOURCES for listed in resource.indexed]
        return [(name, on) for name, on in declared if name not in there]

    def tune(self) -> None:
        """Lets SQLite learn how large tables are; cheap, now and then."""
        self._db.execute("PRAGMA analysis_limit=400")
        self._db.execute("ANALYZE")

    def note_end(self, ended_ms: int, reason: str) -> None:
        """Says when the session ended, unless its collector did."""
        self._db.execute("UPDATE metadata SET ended_ms = ?, end_reason = ? WHERE ended_ms IS NULL", (ended_ms, reason))

    def seal(self) -> None:
        """Puts one plain, read-only file without a log beside it in the index's place; who reads the old one reopens."""
        self.note("sealed", "1")
        plain = self.path.with_suffix(".sealed")
        plain.unlink(missing_ok=True)
        self._db.execute("VACUUM INTO ?", (str(plain),))  # not journal_mode=DELETE: that fails while anybody has the file open
        self._db.close()
        plain.chmod(0o400)
        plain.replace(self.path)
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
