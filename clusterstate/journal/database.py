"""The journal's file: one SQLite database that several processes write, one transaction at a time."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from clusterstate.journal.schema import APPLICATION_ID, MIGRATIONS

BUSY_TIMEOUT_S = 10.0
MAX_IDLE_CONNECTIONS = 4


class JournalUnavailable(Exception):
    """The journal cannot be read or written (disk full, locked for too long, damaged): nothing may be promised."""


class JournalTooNew(JournalUnavailable):
    """The file was written by a newer Raydeck."""


class Database:
    """Connections to the file. Safe from several threads and processes, and across a fork."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._idle: deque[sqlite3.Connection] = deque()
        self._inherited: list[deque[sqlite3.Connection]] = []
        self._pid = os.getpid()
        _create_private_file(path)
        try:
            with self._connection() as connection:
                _migrate(connection)
        except BaseException:
            self.close()
            raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One snapshot for all reads within."""
        with self._connection() as connection, _transaction(connection, "BEGIN"):
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: on the disk (fsync) when the block is left, or nothing of it."""
        with self._connection() as connection, _transaction(connection, "BEGIN IMMEDIATE"):
            yield connection

    def copy_to(self, target: Path) -> None:
        """A consistent copy while others write (SQLite's online backup)."""
        with self._connection() as connection, contextlib.closing(sqlite3.connect(target)) as copy:
            connection.backup(copy)

    def close(self) -> None:
        idle = self._own_idle()
        while idle:
            idle.pop().close()

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        idle = self._own_idle()
        try:
            connection = idle.pop() if idle else None
        except IndexError:  # another thread took the last one in between
            connection = None
        try:
            connection = connection or _connect(self.path)
            yield connection
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise  # the caller's matter, or our bug
        except sqlite3.DatabaseError as error:
            raise JournalUnavailable(f"The journal {self.path} cannot be used: {error}.") from error
        finally:
            if connection is not None:
                self._put_back(connection)

    def _put_back(self, connection: sqlite3.Connection) -> None:
        idle = self._own_idle()
        if connection.in_transaction or len(idle) >= MAX_IDLE_CONNECTIONS:
            connection.close()
        else:
            idle.append(connection)

    def _own_idle(self) -> deque[sqlite3.Connection]:
        """SQLite connections must not cross a fork, nor be closed in the child: there they are kept aside."""
        if self._pid != os.getpid():
            self._inherited.append(self._idle)
            self._idle, self._pid = deque(), os.getpid()
        return self._idle


def _create_private_file(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalUnavailable(f"The journal {path} cannot be opened: {error.strerror}.") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise JournalUnavailable(f"The journal {path} must be a file of the user who runs Raydeck.")
        os.fchmod(descriptor, 0o600)  # SQLite gives -wal and -shm the same mode
    finally:
        os.close(descriptor)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    try:
        _use_wal(connection)
        connection.execute("PRAGMA synchronous=FULL")  # in WAL mode: the log is synced at every commit
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA trusted_schema=OFF")
    except BaseException:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    """Two processes that switch a new file at once: SQLite answers one 'locked' without waiting, so we wait."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            if connection.execute("PRAGMA journal_mode=WAL").fetchone()[0] == "wal":
                return
            raise JournalUnavailable("The journal's file system cannot hold a SQLite write-ahead log.")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to the newest schema, each step whole or not at all."""
    with _transaction(connection, "BEGIN IMMEDIATE"):
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            known = len(MIGRATIONS)
            raise JournalTooNew(f"The journal has schema {version}, this Raydeck knows {known}: use the newer one that wrote it.")
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        if version < len(MIGRATIONS):
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={len(MIGRATIONS)}")
