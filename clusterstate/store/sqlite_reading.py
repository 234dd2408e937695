"""Read-only SQLite connections: one per thread and file, reopened when the file was replaced, with a deadline per question."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CONNECTIONS_PER_THREAD = 8
STEPS_BETWEEN_LOOKS = 40_000
"""SQLite instructions between two looks at the clock: about 1 ms. Each look needs Python's lock, which may take that long to get."""

SWAP_LOOKS, SWAP_LOOK_S = 10, 0.02
"""How often and at what distance to look again for an index that is being replaced."""

THREADS_KEPT = 64

_opened: OrderedDict[int, OrderedDict[Path, tuple[int, sqlite3.Connection]]] = OrderedDict()
"""By the system's thread id. Under gevent `threading.local` is one for each greenlet, which is one for each browser's connection."""


class DeadlinePassed(Exception):
    """A question took longer than it may."""


class IndexMissing(Exception):
    """There is no such index file (yet)."""


def inode_of(path: Path) -> int:
    """Which file is at `path` now, or was, if this thread still has it open: what was deleted answers until another takes its place.

    A moment without one, while a new index takes an old one's place, is waited for. Raises IndexMissing.
    """
    for _ in range(SWAP_LOOKS):
        try:
            return path.stat().st_ino
        except FileNotFoundError:
            opened = _opened.get(threading.get_native_id())
            if opened is not None and path in opened:
                return opened[path][0]
            if not path.with_suffix(".new").exists():
                break
            time.sleep(SWAP_LOOK_S)
    raise IndexMissing(str(path))


def connection(path: Path) -> sqlite3.Connection:
    """This thread's connection to the file that is at `path` now. Raises IndexMissing."""
    opened = _opened.get(thread := threading.get_native_id())
    if opened is None:
        opened = _opened[thread] = OrderedDict()
        while len(_opened) > THREADS_KEPT:
            _opened.popitem(last=False)  # of threads that are gone, mostly: their connections close when nobody holds them
    inode = inode_of(path)
    known = opened.get(path)
    if known is not None and known[0] == inode:
        opened.move_to_end(path)
        return known[1]
    if known is not None:
        known[1].close()
    try:
        db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=1.0)
    except sqlite3.OperationalError:
        raise IndexMissing(str(path)) from None
    db.execute("PRAGMA query_only=1")
    opened[path] = (inode, db)
    while len(opened) > CONNECTIONS_PER_THREAD:
        opened.popitem(last=False)[1][1].close()
    return db


def ask(path: Path, sql: str, values: Sequence[Any] = (), deadline: float | None = None, most: int | None = None) -> list[tuple[Any, ...]]:
    """All rows of one statement, or those that `most` characters of text are reached with: at least one if there is any.

    Raises DeadlinePassed when `deadline` (time.monotonic) comes first.
    """
    db = connection(path)
    if deadline is None:
        return _rows(db.execute(sql, values), most)
    db.set_progress_handler(lambda: time.monotonic() > deadline, STEPS_BETWEEN_LOOKS)
    try:
        return _rows(db.execute(sql, values), most)
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            raise DeadlinePassed(sql) from None
        raise
    finally:
        db.set_progress_handler(None, 0)


def characters(row: Sequence[Any]) -> int:
    """Of the texts in a row."""
    return sum(len(value) for value in row if type(value) is str)


def _rows(cursor: sqlite3.Cursor, most: int | None) -> list[tuple[Any, ...]]:
    if most is None:
        return cursor.fetchall()
    rows: list[tuple[Any, ...]] = []
    for row in cursor:
        rows.append(row)
        most -= characters(row)
        if most <= 0:
            break
    cursor.close()
    return rows
