"""What the index keeps of a large resource besides its rows: counts of a few columns, and the texts that words are looked for in.

Counting 100,000 rows takes 5 to 10 ms, looking for a word in whole rows 100 ms and more; both would be asked anew with
each change. SQLite's triggers keep these tables true in the transaction that changes the row.
"""

from __future__ import annotations

import sqlite3

from clusterstate.resources import Resource

LINE = "char(10)"
"""Between the searched texts of a row: no word has it."""


def counts_table(resource: Resource) -> str:
    """Its columns are the counted ones and `n`, the number of rows that have these values."""
    return f"{resource.name}_counts"


def texts_table(resource: Resource) -> str:
    """row_hash; text: the searched columns in ASCII lower case; and the counted columns."""
    return f"{resource.name}_texts"


def create(db: sqlite3.Connection, resource: Resource) -> None:
    """The empty tables. They are filled once the rows are there."""
    if resource.counted:
        table = counts_table(resource)
        db.execute(f"CREATE TABLE IF NOT EXISTS {table}({', '.join(resource.counted)}, n INTEGER NOT NULL)")
        db.execute(f"CREATE INDEX IF NOT EXISTS {table}_by_value ON {table}({', '.join(resource.counted)})")
    if resource.searched:
        listed = "".join(f", {name} TEXT" for name in resource.counted)
        db.execute(f"CREATE TABLE IF NOT EXISTS {texts_table(resource)}(row_hash INTEGER PRIMARY KEY, text TEXT{listed})")


def drop(db: sqlite3.Connection, resource: Resource) -> None:
    """Takes away the tables of an older Raydeck, which may have counted and searched other columns."""
    for event in ("added", "removed", "changed"):
        db.execute(f"DROP TRIGGER IF EXISTS {resource.name}_{event}")
    for table in (counts_table(resource), texts_table(resource)):
        db.execute(f"DROP TABLE IF EXISTS {table}")


def is_new(db: sqlite3.Connection, resource: Resource) -> bool:
    """Whether nothing keeps the tables true yet."""
    if not resource.counted and not resource.searched:
        return False
    return db.execute("SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?", (resource.name,)).fetchone() is None


def fill(db: sqlite3.Connection, resource: Resource) -> None:
    """Fills the tables from the rows that are there and keeps them true from now on."""
    name = resource.name
    if resource.counted:
        listed = ", ".join(resource.counted)
        db.execute(f"INSERT INTO {counts_table(resource)} SELECT {listed}, count(*) FROM {name} GROUP BY {listed}")  # noqa: S608 - declared names
    if resource.searched:
        db.execute(f"INSERT INTO {texts_table(resource)} SELECT {_texts_of(resource, name)} FROM {name}")  # noqa: S608 - declared names
    added, removed = _added(resource), _removed(resource)
    watched = (*resource.counted, *resource.searched)
    differs = " OR ".join(f"OLD.{column} IS NOT NEW.{column}" for column in watched)
    db.execute(f"CREATE TRIGGER {name}_added AFTER INSERT ON {name} BEGIN {added} END")
    db.execute(f"CREATE TRIGGER {name}_removed AFTER DELETE ON {name} BEGIN {removed} END")
    db.execute(f"CREATE TRIGGER {name}_changed AFTER UPDATE ON {name} WHEN {differs} BEGIN {removed} {added} END")


def _added(resource: Resource) -> str:
    statements = []
    if resource.counted:
        table, same = counts_table(resource), _same(resource, "NEW")
        values = ", ".join(f"NEW.{column}" for column in resource.counted)
        statements += [
            f"UPDATE {table} SET n = n + 1 WHERE {same};",  # noqa: S608 - declared names
            f"INSERT INTO {table} SELECT {values}, 1 WHERE changes() = 0;",
        ]
    if resource.searched:
        statements.append(f"INSERT OR REPLACE INTO {texts_table(resource)} SELECT {_texts_of(resource, 'NEW')};")
    return " ".join(statements)


def _removed(resource: Resource) -> str:
    statements = []
    if resource.counted:
        table, same = counts_table(resource), _same(resource, "OLD")
        statements += [
            f"UPDATE {table} SET n = n - 1 WHERE {same};",  # noqa: S608 - declared names
            f"DELETE FROM {table} WHERE {same} AND n <= 0;",  # noqa: S608 - declared names
        ]
    if resource.searched:
        statements.append(f"DELETE FROM {texts_table(resource)} WHERE row_hash = OLD.row_hash;")  # noqa: S608 - declared names
    return " ".join(statements)


def _same(resource: Resource, row: str) -> str:
    return " AND ".join(f"{column} IS {row}.{column}" for column in resource.counted)


def _texts_of(resource: Resource, row: str) -> str:
    text = f" || {LINE} || ".join(f"coalesce({row}.{column}, '')" for column in resource.searched)
    return ", ".join((f"{row}.row_hash", f"lower({text})", *(f"{row}.{column}" for column in resource.counted)))
