"""The tables of a session's SQLite index, and the values in them as the model has them.

A row's primary key, `row_hash`, is a 63-bit hash of its id: the same on every web host, a nine-byte tie-breaker in every
index, and a look-up by id without an index of its own. Two of a million ids collide with a chance of 1 in 20 million.
Rows of a resource with a `sequence` have that number for a key: they lie in order, packed densely, and new ones touch few pages.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import sqlite3
from collections.abc import Callable, Sequence
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from clusterstate.model import NodeSample
from clusterstate.resources import RESOURCES, Resource
from clusterstate.store import derived
from clusterstate.store.encoding import pack_id, unpack_id

SCHEMA_VERSION = 7
"""Counts up when a table changes shape. `upgrade` writes an older file anew."""
SCALARS = {str: "TEXT", int: "INTEGER", float: "REAL", bool: "INTEGER"}

_HEX = re.compile("[0-9a-f]+")
_LONGEST_ID = 32  # bytes, and more than any has

COMMITS = "*"
"""Among the versions: counts every transaction, whatever it changed."""


@dataclasses.dataclass(frozen=True)
class Column:
    """A field of a row class as the index keeps it."""

    name: str
    sql_type: str
    decode: Callable[[Any], Any] | None  # None: as stored
    default: Any = None  # as stored, in rows written before there was such a field
    is_packed: bool = False  # hex digits as bytes
    is_interned: bool = False  # the number of a word

    @property
    def is_plain(self) -> bool:
        """Whether it is kept as the model has it."""
        return self.decode in (None, bool) and not self.is_interned

    def sql(self, table: str) -> str:
        """An expression for what `decode` takes."""
        return f"(SELECT word FROM words WHERE words.n = {table}.{self.name})" if self.is_interned else f"{table}.{self.name}"  # noqa: S608 - declared names

    def equals(self, table: str) -> str:
        """The condition that it has the value bound as `bind` gives it. An index serves it."""
        return f"{table}.{self.name} = (SELECT n FROM words WHERE word = ?)" if self.is_interned else f"{table}.{self.name} = ?"  # noqa: S608 - declared names

    def range_of(self, text: str) -> tuple[Any, Any]:
        """(from, to) so that the values which start with this text are from <= value < to. Not for interned ones."""
        if self.is_packed:
            return _packed_range(text)
        return text, text + "\U0010ffff"

    def bind(self, value: Any) -> Any:
        """A value to compare with."""
        return pack_id(value) if self.is_packed else value


@cache
def columns_of(of: Any) -> tuple[Column, ...]:
    """The columns of a resource, or of a row class alone, in field order. What is not a single value is kept as JSON."""
    if not isinstance(of, Resource):
        hints = get_type_hints(of)
        return tuple(_column(f, hints[f.name]) for f in dataclasses.fields(of))
    return tuple(_compact(of, column) for column in columns_of(of.row))


def column_of(resource: Resource, name: str) -> Column | None:
    """A resource's own column; None when it has none of that name."""
    return _by_name(resource).get(name)


@cache
def _by_name(resource: Resource) -> dict[str, Column]:
    return {column.name: column for column in columns_of(resource)}


def _packed_range(text: str) -> tuple[bytes, bytes]:
    """For hex digits that may be an odd number; nothing is between the two for any other text."""
    if not _HEX.fullmatch(text):
        return b"", b""
    low, high = text + "0" * (len(text) % 2), text + "f" * (len(text) % 2)
    return bytes.fromhex(low), bytes.fromhex(high) + b"\xff" * _LONGEST_ID


def _compact(resource: Resource, column: Column) -> Column:
    if column.name in resource.interned:
        return dataclasses.replace(column, sql_type="INTEGER", is_interned=True)
    if column.name in resource.packed:
        return dataclasses.replace(column, sql_type="BLOB", decode=unpack_id, is_packed=True)
    return column


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
    """The hash of a row's id: 63 bits."""
    return int.from_bytes(hashlib.blake2b(row_id.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 1


def key_of(row_id: str, sequence: int | None) -> int:
    """The primary key of a row."""
    return sequence or row_hash(row_id)


def row_place(resource: Resource, row_id: str) -> tuple[str, tuple[Any, ...]]:
    """The condition that finds the row with this id, and what is bound in it."""
    if resource.place is None:
        return "row_hash = ?", (row_hash(row_id),)
    told = [(column, value) for name, value in resource.place(row_id).items() if (column := column_of(resource, name))]
    terms = " AND ".join(column.equals(resource.name) for column, _ in told)
    return terms, tuple(column.bind(value) for column, value in told)


def decode_value(column: Column, value: Any) -> Any:
    """A stored value as the model has it."""
    return value if column.decode is None or value is None else column.decode(value)


def decode_row(resource: Resource, values: Sequence[Any]) -> Any:
    """A row of the model from its columns in field order."""
    return resource.row(*(decode_value(column, value) for column, value in zip(columns_of(resource), values, strict=True)))


def selected(resource: Resource) -> str:
    """The columns that `decode_row` takes, for a SELECT from the resource's table."""
    return ", ".join(column.sql(resource.name) for column in columns_of(resource))


def sort_of(resource: Resource, listed: str) -> tuple[str, str]:
    """(name, what it is on) of the SQLite index for a declared sort or filter."""
    return f"{resource.name}_{re.sub('[^a-z_]+', '_', listed)}", f"{resource.name}({listed})"


def create(db: sqlite3.Connection) -> None:
    """Everything that is not there yet. Raises sqlite3.DatabaseError for a file of a newer Raydeck, or of an older one (`upgrade`)."""
    db.execute("CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")
    version = noted(db, "schema")
    if version is not None and int(version) != SCHEMA_VERSION:
        raise sqlite3.DatabaseError(f"the index has schema {version}, this Raydeck knows {SCHEMA_VERSION}")
    db.execute("CREATE TABLE IF NOT EXISTS versions(resource TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID")
    db.execute("CREATE TABLE IF NOT EXISTS fresh(name TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID")
    db.execute("CREATE TABLE IF NOT EXISTS words(n INTEGER PRIMARY KEY, word TEXT NOT NULL UNIQUE)")
    for resource in RESOURCES:
        _create_table(db, resource.name, resource, key="row_hash INTEGER PRIMARY KEY")
        db.execute("INSERT OR IGNORE INTO versions(resource, n) VALUES(?, 0)", (resource.name,))
        derived.create(db, resource)
    _create_table(db, "samples", NodeSample)
    db.execute("CREATE INDEX IF NOT EXISTS samples_at ON samples(at)")
    db.execute("CREATE INDEX IF NOT EXISTS samples_of_node ON samples(node_id, at)")
    db.executemany("INSERT OR IGNORE INTO versions(resource, n) VALUES(?, 0)", [("samples",), (COMMITS,)])
    note(db, "schema", str(SCHEMA_VERSION))


def note(db: sqlite3.Connection, name: str, value: str) -> None:
    """Keeps a word about the index itself."""
    db.execute("INSERT INTO meta(name, value) VALUES(?, ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value", (name, value))


def noted(db: sqlite3.Connection, name: str) -> str | None:
    found = db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return None if found is None else str(found[0])


def _create_table(db: sqlite3.Connection, table: str, of: Any, key: str = "") -> None:
    columns = columns_of(of)
    listed = ", ".join([*([key] if key else []), *(f"{column.name} {column.sql_type}" for column in columns)])
    db.execute(f"CREATE TABLE IF NOT EXISTS {table}({listed})")
