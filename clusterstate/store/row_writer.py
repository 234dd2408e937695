"""How rows get into a table of the index: only what changed is written, and what is derived from them comes along."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from itertools import compress, islice
from operator import ne
from typing import Any

import msgspec

from clusterstate.resources import Resource
from clusterstate.store import derived
from clusterstate.store.derived import Change
from clusterstate.store.encoding import pack_id, unpack_id
from clusterstate.store.schema import Column, columns_of, key_of, row_place, sort_of

AT_ONCE = 1000
FOLLOWED_AT_ONCE = 20_000
"""Changes that derived tables follow in one go: what they all touch is written once."""
WORDS_KEPT = 100_000
"""Interned words whose numbers are remembered: 10 MB at most."""

_json_encode = msgspec.json.Encoder().encode


class Words:
    """The numbers of interned words. What is forgotten is looked up again."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._known: dict[str | bytes, int] = {}

    def number(self, word: str | bytes) -> int:
        """That of this word, or of the id that these bytes are; a new one if it has none."""
        found = self._known.get(word)
        if found is None:
            text = unpack_id(word)
            self._db.execute("INSERT OR IGNORE INTO words(word) VALUES(?)", (text,))
            found = int(self._db.execute("SELECT n FROM words WHERE word = ?", (text,)).fetchone()[0])
            if len(self._known) >= WORDS_KEPT:
                self._known.clear()
            self._known[word] = found
        return found

    def forget(self) -> None:
        """Those of a transaction that was taken back are not there."""
        self._known.clear()


class RowWriter:
    """Writes the rows of one resource, within a transaction. `derives`: what is derived from the rows is there and comes along."""

    def __init__(self, db: sqlite3.Connection, resource: Resource, words: Words) -> None:
        self.derives = derived.is_filled(db, resource)
        self._db = db
        self._resource = resource
        self._words = words
        self._last: int | None = None  # the greatest key among rows in sequence, once it was looked up
        self._columns = columns_of(resource)
        self._names = tuple(column.name for column in self._columns)
        self._reads = [(name, self._names.index(name)) for name in derived.reads(resource)]
        self._sequence = None if resource.sequence is None else self._names.index(resource.sequence)
        self._keeps = [(place, keep) for place, column in enumerate(self._columns) if (keep := self._how(column)) is not None]
        marks = ", ".join("?" * (len(self._names) + 1))
        self._insert = f"INSERT OR REPLACE INTO {resource.name}(row_hash, {', '.join(self._names)}) VALUES({marks})"
        self._select = f"SELECT {', '.join(self._names)} FROM {resource.name} WHERE row_hash = ?"  # noqa: S608 - declared names

    def derive(self) -> None:
        """Fills what is derived from the rows, unless that is done."""
        if not self.derives and derived.is_wanted(self._resource):
            if self._resource.place is not None:
                name, on = sort_of(self._resource, next(iter(self._resource.place(""))))
                self._db.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {on}")  # rows are looked up by their ids
            derived.fill(self._db, self._resource)
            self.derives = True

    def put(self, rows: Iterable[tuple[str, list[Any]]]) -> int:
        """Inserts or updates (id, values in field order) pairs; ids in the values as text or as bytes. Returns how many there were."""
        if not self.derives and derived.is_wanted(self._resource):
            return self._db.executemany(self._insert, (self._bound(*row) for row in rows)).rowcount
        total = 0
        iterator = iter(rows)
        changes: list[Change] = []
        while some := list(islice(iterator, AT_ONCE)):
            total += len(some)
            changes += self._put({bound[0]: tuple(bound[1:]) for bound in (self._bound(*row) for row in some)})
            if len(changes) >= FOLLOWED_AT_ONCE:
                self._follow(changes)
                changes = []
        self._follow(changes)
        return total

    def delete(self, ids: Iterable[str]) -> None:
        """Removes the rows of these ids."""
        iterator = iter(ids)
        while some := list(islice(iterator, AT_ONCE)):
            keys = [key for item in some if (key := self._key_of_id(item)) is not None]
            self._follow([(key, self._told(before), None) for key, before in self._before(keys).items()])
            self._db.executemany(f"DELETE FROM {self._resource.name} WHERE row_hash = ?", [(key,) for key in keys])  # noqa: S608 - declared names

    def _put(self, rows: dict[int, tuple[Any, ...]]) -> list[Change]:
        before = self._before([key for key in rows if not self._is_beyond(key)])
        new = [(key, *values) for key, values in rows.items() if key not in before]
        self._db.executemany(self._insert, new)
        if new and self._last is not None:
            self._last = max(self._last, *(row[0] for row in new))
        updates: dict[tuple[int, ...], list[tuple[Any, ...]]] = {}
        every_place = range(len(self._names))
        for key, old in before.items():
            values = rows[key]
            places = tuple(compress(every_place, map(ne, values, old)))
            if places:
                updates.setdefault(places, []).append((*(values[place] for place in places), key))
        for places, bound in updates.items():  # SQLite writes the entries of an index whenever its column is set at all
            listed = ", ".join(f"{self._names[place]} = ?" for place in places)
            self._db.executemany(f"UPDATE {self._resource.name} SET {listed} WHERE row_hash = ?", bound)  # noqa: S608 - declared names
        changes: list[Change] = []
        for key, values in rows.items():
            told_before, told = self._told(before.get(key)), self._told(values)
            if told_before != told:
                changes.append((key, told_before, told))
        return changes

    def _is_beyond(self, key: int) -> bool:
        """Whether no row can have this key: numbers in sequence only go up."""
        if self._sequence is None:
            return False
        if self._last is None:
            self._last = int(self._db.execute(f"SELECT coalesce(max(row_hash), 0) FROM {self._resource.name}").fetchone()[0])  # noqa: S608 - a declared name
        return key > self._last

    def _before(self, keys: Iterable[int]) -> dict[int, tuple[Any, ...]]:
        ask, found = self._db.execute, {}
        for key in keys:
            row = ask(self._select, (key,)).fetchone()
            if row is not None:
                found[key] = row
        return found

    def _follow(self, changes: list[Change]) -> None:
        if self.derives and changes:
            derived.follow(self._db, self._resource, changes)

    def _told(self, values: tuple[Any, ...] | None) -> dict[str, Any] | None:
        return None if values is None else {name: values[place] for name, place in self._reads}

    def _key_of_id(self, row_id: str) -> int | None:
        where, values = row_place(self._resource, row_id)
        found = self._db.execute(f"SELECT row_hash FROM {self._resource.name} WHERE {where}", values).fetchone()  # noqa: S608 - declared names
        return None if found is None else int(found[0])

    def _bound(self, row_id: str, values: list[Any]) -> list[Any]:
        """As bound in a statement: the key, then the values as the columns keep them."""
        sequence = None if self._sequence is None else values[self._sequence]
        bound = [key_of(row_id, sequence), *values]
        for place, keep in self._keeps:
            value = values[place]
            if value is not None:
                bound[place + 1] = keep(value)
        return bound

    def _how(self, column: Column) -> Callable[[Any], Any] | None:
        """How a column keeps a value; None: as it comes."""
        if column.is_interned:
            return self._words.number
        if column.is_packed:
            return pack_id
        if column.is_plain:
            return unpack_id if column.name.endswith("_id") else None
        return lambda value: _json_encode(value).decode()
