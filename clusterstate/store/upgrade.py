"""Index files of an older Raydeck, written anew as this one reads them."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from clusterstate.model import NodeSample
from clusterstate.resources import RESOURCES, Resource
from clusterstate.store.index import Index
from clusterstate.store.row_ids import row_id
from clusterstate.store.schema import SCHEMA_VERSION, Column, columns_of, decode_value, noted

COMPACT_FROM = 6
"""Since this schema ids are packed and words interned."""
KEPT = ("meta", "fresh", "versions")
"""What the index notes of itself."""


def bring_up_to_date(path: Path) -> None:
    """Replaces a file of an older Raydeck by one with the same rows; fields that it lacks have their defaults.

    A sealed file stays sealed, with its age. Raises sqlite3.Error, OSError.
    """
    if not path.exists():
        return
    with closing(sqlite3.connect(path)) as old:
        version = int(noted(old, "schema") or SCHEMA_VERSION) if _tables(old) else SCHEMA_VERSION
        if version >= SCHEMA_VERSION:
            return
        newer = path.with_suffix(".new")
        newer.unlink(missing_ok=True)
        with closing(Index(newer, in_bulk=True)) as index:
            _copy(old, version, index)
        is_sealed = noted(old, "sealed") == "1"
    if is_sealed:
        newer.chmod(0o400)
        os.utime(newer, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))  # its retention goes on
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    newer.replace(path)


def _copy(old: sqlite3.Connection, version: int, index: Index) -> None:
    there = _tables(old)
    index.begin()
    for resource in RESOURCES:
        if resource.name in there:
            columns = columns_of(resource if version >= COMPACT_FROM else resource.row)
            index.put(resource, ((row_id(resource, row), _values(row)) for row in _rows(old, resource, columns)))
    fields = columns_of(NodeSample)
    index.put_samples([NodeSample(*values) for values in _read(old, "samples", fields, NodeSample)], oldest=0)
    index.commit()
    index.make_sorts()
    index.take_notes({table: old.execute(f"SELECT * FROM {table}").fetchall() for table in KEPT})  # noqa: S608 - names of this module


def _rows(old: sqlite3.Connection, resource: Resource, columns: tuple[Column, ...]) -> Iterator[Any]:
    return (resource.row(*values) for values in _read(old, resource.name, columns, resource.row))


def _read(old: sqlite3.Connection, table: str, columns: tuple[Column, ...], row_class: Any) -> Iterator[list[Any]]:
    """Values in field order."""
    there = {str(name) for _, name, *_ in old.execute(f"PRAGMA table_info({table})")}
    listed = ", ".join(column.sql(table) if column.name in there else _quoted(old, column.default) for column in columns)
    for values in old.execute(f"SELECT {listed} FROM {table}"):  # noqa: S608 - declared names
        yield [decode_value(column, value) for column, value in zip(columns, values, strict=True)]


def _values(row: Any) -> list[Any]:
    return [getattr(row, field.name) for field in dataclasses.fields(row)]


def _quoted(db: sqlite3.Connection, value: Any) -> str:
    return str(db.execute("SELECT quote(?)", (value,)).fetchone()[0])


def _tables(db: sqlite3.Connection) -> set[str]:
    return {str(name) for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
