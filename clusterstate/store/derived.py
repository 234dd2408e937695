"""What the index keeps of a large resource besides its rows: counts of a few columns, and the texts that words are looked for in.

Counting 100,000 rows takes 5 to 10 ms, looking for a word in whole rows 100 ms and more; both would be asked anew with
each change. They are kept true in the transaction that changes the rows.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from operator import itemgetter
from typing import Any

from clusterstate.resources import Resource
from clusterstate.store import durations, lineage

LINE = "\n"
"""Between the searched texts of a row: no word has it."""

Change = tuple[int, Mapping[str, Any] | None, Mapping[str, Any] | None]
"""(row hash, columns before, columns after) of a row, those that `reads` names; None: there was or is none."""


def counts_table(resource: Resource, columns: Set[str]) -> str | None:
    """The smallest table that can tell how many rows have which values in these columns. It has a column for each, and `n`."""
    return next((table for table, counted in _counts_tables(resource) if columns <= set(counted)), None)


def texts_table(resource: Resource) -> str:
    """row_hash; text: the searched columns in ASCII lower case; and the first counted columns."""
    return f"{resource.name}_texts"


def beside_texts(resource: Resource) -> tuple[str, ...]:
    """The columns that stand in the table of texts as well, to narrow a search."""
    return resource.counted[0] if resource.counted else ()


def create(db: sqlite3.Connection, resource: Resource) -> None:
    """The empty tables. They are filled once the rows are there."""
    for table, counted in _counts_tables(resource):
        db.execute(f"CREATE TABLE IF NOT EXISTS {table}({', '.join(counted)}, n INTEGER NOT NULL)")
        db.execute(f"CREATE INDEX IF NOT EXISTS {table}_by_value ON {table}({', '.join(counted)})")
    if resource.has_lineage:
        lineage.create(db)
        durations.create(db)
    if resource.searched:
        listed = "".join(f", {name} TEXT" for name in beside_texts(resource))
        db.execute(f"CREATE TABLE IF NOT EXISTS {texts_table(resource)}(row_hash INTEGER PRIMARY KEY, text TEXT{listed})")


def is_wanted(resource: Resource) -> bool:
    return bool(resource.counted or resource.searched)


def is_filled(db: sqlite3.Connection, resource: Resource) -> bool:
    """Whether the tables are true of the rows that are there."""
    return db.execute("SELECT 1 FROM meta WHERE name = ?", (_filled(resource),)).fetchone() is not None


def count(db: sqlite3.Connection, resource: Resource) -> int:
    """How many rows are counted; 0 where none are."""
    if not resource.counted:
        return 0
    return int(db.execute(f"SELECT coalesce(sum(n), 0) FROM {resource.name}_counts").fetchone()[0])  # noqa: S608 - a declared name


def reads(resource: Resource) -> tuple[str, ...]:
    """Columns that `follow` is told."""
    told = (
        *(name for listed in resource.counted for name in listed),
        *resource.searched,
        *((*lineage.READS, *durations.READS) if resource.has_lineage else ()),
    )
    return tuple(dict.fromkeys(told))


def fill(db: sqlite3.Connection, resource: Resource) -> None:
    """Fills the tables from the rows that are there. From now on every change is to be told to `follow`."""
    name = resource.name
    for table, counted in _counts_tables(resource):
        listed = ", ".join(counted)
        db.execute(f"INSERT INTO {table} SELECT {listed}, count(*) FROM {name} GROUP BY {listed}")  # noqa: S608 - declared names
    if resource.searched:
        text = f" || '{LINE}' || ".join(f"coalesce({column}, '')" for column in resource.searched)
        listed = ", ".join(("row_hash", f"lower({text})", *beside_texts(resource)))
        db.execute(f"INSERT INTO {texts_table(resource)} SELECT {listed} FROM {name}")  # noqa: S608 - declared names
    if resource.has_lineage:
        lineage.fill(db)
        durations.fill(db)
    db.execute("INSERT INTO meta(name, value) VALUES(?, '1')", (_filled(resource),))


def follow(db: sqlite3.Connection, resource: Resource, changes: Iterable[Change]) -> None:
    """Brings the tables along with these changes of rows."""
    listed = list(changes)
    for table, counted in _counts_tables(resource):
        _count(db, table, counted, listed)
    if resource.searched:
        _search(db, resource, listed)
    if resource.has_lineage:
        lineage.follow(db, listed)
        durations.follow(db, listed)


def _count(db: sqlite3.Connection, table: str, counted: tuple[str, ...], changes: list[Change]) -> None:
    deltas: Counter[tuple[Any, ...]] = Counter()
    counted_of = itemgetter(*counted) if len(counted) > 1 else lambda row: (row[counted[0]],)
    for _, before, after in changes:
        old = None if before is None else counted_of(before)
        new = None if after is None else counted_of(after)
        if old != new:
            if old is not None:
                deltas[old] -= 1
            if new is not None:
                deltas[new] += 1
    same = " AND ".join(f"{name} IS ?" for name in counted)
    marks = ", ".join("?" * (len(counted) + 1))
    for values, delta in deltas.items():
        if delta and not db.execute(f"UPDATE {table} SET n = n + ? WHERE {same}", (delta, *values)).rowcount:  # noqa: S608 - declared names
            db.execute(f"INSERT INTO {table} VALUES({marks})", (*values, delta))
        if delta < 0:
            db.execute(f"DELETE FROM {table} WHERE {same} AND n <= 0", values)  # noqa: S608 - declared names


def _search(db: sqlite3.Connection, resource: Resource, changes: list[Change]) -> None:
    table, beside = texts_table(resource), beside_texts(resource)
    told = (*resource.searched, *beside)
    marks = ", ".join("?" * len(beside))
    put = f"INSERT OR REPLACE INTO {table} VALUES(?, lower(?){', ' + marks if marks else ''})"
    for key, before, after in changes:
        if after is None:
            db.execute(f"DELETE FROM {table} WHERE row_hash = ?", (key,))  # noqa: S608 - declared names
        elif before is None or any(before[name] != after[name] for name in told):
            text = LINE.join(str(after[name] or "") for name in resource.searched)
            db.execute(put, (key, text, *(after[name] for name in beside)))


def _counts_tables(resource: Resource) -> list[tuple[str, tuple[str, ...]]]:
    return [(f"{resource.name}_counts{number or ''}", columns) for number, columns in enumerate(resource.counted)]


def _filled(resource: Resource) -> str:
    return f"derived:{resource.name}"
