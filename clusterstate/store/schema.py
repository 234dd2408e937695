"""The tables of a session's SQLite index, and the values in them as the model has them.

A row's primary key is a 63-bit hash of its id: the same on every web host, a nine-byte tie-breaker in every index,
and a look-up by id without an index of its own. Two of a million ids collide with a chance of 1 in 20 million.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from clusterstate.model import NodeSample
from clusterstate.resources import RESOURCES
from clusterstate.store import derived

SCHEMA_VERSION = 5
"""Counts up when a table changes shape. An older file gets the columns that it lacks, with their defaults."""
SCALARS = {str: "TEXT", int: "INTEGER", float: "REAL", bool: "INTEGER"}

COMMITS = "*"
"""Among the versions: counts every transaction, whatever it changed."""


@dataclasses.dataclass(frozen=True)
class Column:
    """A field of a row class as the index keeps it."""

    name: str
    sql_type: str
    decode: Callable[[Any], Any] | None  # None: as stored
    default: Any = None  # as stored, in rows written before there was such a field


@cache
def columns_of(row_class: Any) -> tuple[Column, ...]:
    """The columns of a row class, in field order. What is not a single value is kept as JSON."""
    hints = get_type_hints(row_class)
    return tuple(_column(f, hints[f.name]) for f in dataclasses.fields(row_class))


def _column(of: dataclasses.Field[Any], hint: Any) -> Column:
    alternatives = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    kinds = [kind for kind in alternatives if kind is not type(None)]
    kind = kinds[0] if len(kinds) == 1 else None
    if kind not in SCALARS:
        decoder = msgspec.json.Decoder(hint)
        return Column(of.name, "TEXT", decoder.decode, _default(of))
    return Column(of.name, SCALARS[kind], bool if kind is bool else None, _default(of))


def _default(of: dataclasses.Field[Any]) -> Any:
    if of.default_factory is not dataclasses.MISSING:
        return msgspec.json.encode(of.default_factory()).decode()
    return None if of.default is dataclasses.MISSING else of.default


def row_hash(row_id: str) -> int:
    """The primary key of a row."""
    return int.from_bytes(hashlib.blake2b(row_id.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 1


def decode_value(column: Column, value: Any) -> Any:
    """A stored value as the model has it."""
    return value if column.decode is None or value is None else column.decode(value)


def decode_row(row_class: Any, values: Sequence[Any]) -> Any:
    """A row of the model from its columns in field order."""
    return row_class(*(decode_value(column, value) for column, value in zip(columns_of(row_class), values, strict=True)))


def create(db: sqlite3.Connection) -> None:
    """Everything that is not there yet. Raises sqlite3.DatabaseError for a file of a newer Raydeck."""
    db.execute("CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")
    version = noted(db, "schema")
    if version is not None and int(version) > SCHEMA_VERSION:
        raise sqlite3.DatabaseError(f"the index has schema {version}, this Raydeck knows {SCHEMA_VERSION}")
    db.execute("CREATE TABLE IF NOT EXISTS versions(resource TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID")
    db.execute("CREATE TABLE IF NOT EXISTS fresh(name TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID")
    is_older = version is not None and int(version) < SCHEMA_VERSION
    for resource in RESOURCES:
        if is_older:
            derived.drop(db, resource)
        _create_table(db, resource.name, resource.row, key="row_hash INTEGER PRIMARY KEY")
        db.execute("INSERT OR IGNORE INTO versions(resource, n) VALUES(?, 0)", (resource.name,))
        derived.create(db, resource)
    _create_table(db, "samples", NodeSample)
    db.execute("CREATE INDEX IF NOT EXISTS samples_at ON samples(at)")
    db.execute("CREATE INDEX IF NOT EXISTS samples_of_node ON samples(node_id, at)")
    db.executemany("INSERT OR IGNORE INTO versions(resource, n) VALUES(?, 0)", [("samples",), (COMMITS,)])
    note(db, "schema", str(SCHEMA_VERSION))


def bring_up_to_date(sealed: Path) -> None:
    """Gives a sealed file of an older Raydeck what it lacks, so that today's pages can read it. Raises sqlite3.Error, OSError."""
    with closing(sqlite3.connect(f"{sealed.as_uri()}?mode=ro", uri=True)) as db:
        if noted(db, "schema") == str(SCHEMA_VERSION):
            return
    newer = sealed.with_suffix(".new")
    newer.unlink(missing_ok=True)
    with closing(sqlite3.connect(f"{sealed.as_uri()}?mode=ro", uri=True)) as db:
        db.execute("VACUUM INTO ?", (str(newer),))
    with closing(sqlite3.connect(newer, isolation_level=None)) as db:
        db.execute("BEGIN")
        create(db)
        for resource in RESOURCES:
            if derived.is_new(db, resource):
                derived.fill(db, resource)
        db.execute("COMMIT")
    newer.chmod(0o400)
    os.utime(newer, ns=(sealed.stat().st_atime_ns, sealed.stat().st_mtime_ns))  # its retention goes on
    newer.replace(sealed)


def note(db: sqlite3.Connection, name: str, value: str) -> None:
    """Keeps a word about the index itself."""
    db.execute("INSERT INTO meta(name, value) VALUES(?, ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value", (name, value))


def noted(db: sqlite3.Connection, name: str) -> str | None:
    found = db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return None if found is None else str(found[0])


def _create_table(db: sqlite3.Connection, table: str, row_class: Any, key: str = "") -> None:
    columns = columns_of(row_class)
    listed = ", ".join([*([key] if key else []), *(f"{column.name} {column.sql_type}" for column in columns)])
    db.execute(f"CREATE TABLE IF NOT EXISTS {table}({listed})")
    there = {name for _, name, *_ in db.execute(f"PRAGMA table_info({table})")}
    for column in columns:
        if column.name not in there:
            [default] = db.execute("SELECT quote(?)", (column.default,)).fetchone()
            db.execute(f"ALTER TABLE {table} ADD COLUMN {column.name} {column.sql_type} DEFAULT {default}")
