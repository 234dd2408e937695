"""Log files that outlive their node: the newest part of each, compressed, within a budget; one SQLite file for a host and session.

A file is known by its inode and birth, so that it stays itself when it is rotated. What is kept of it is one run of bytes, its end:
old bytes go first, of the file that takes most, so that small logs stay whole beside noisy ones. Written by the keeper of the head
alone (workers/log_keeper.py), read by the probes of the same machine (workers/sources/log_places.py).
"""

from __future__ import annotations

import re
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from clusterstate import paths
from clusterstate.store.kept_space import SUFFIX, files_of

MOST_OF_A_FILE = 32 << 20
"""Bytes of one file before compression: it is unpacked as a whole to be read."""
MOST_FILES = 20_000
"""Of a host and session."""
MOST_NAME_BYTES = 4096
MOST_NAMELESS = 64
"""Files whose name another one has now: the new names of both may be under way."""
NAMELESS = b"\0"
"""How their names begin, as no file's name does."""
FOLDER_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}\Z")
BUSY_S = 0.5
"""That `settle` waits for readers: nothing else of a writer does."""
ROW_BYTES = 100
"""What SQLite takes about a chunk or a file besides."""
NODE_ID = re.compile(r"[0-9a-f]{56}\Z")

SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    inode TEXT PRIMARY KEY,
    name BLOB NOT NULL UNIQUE,
    first INTEGER NOT NULL,
    end INTEGER NOT NULL,
    lines INTEGER,
    modified_ms INTEGER NOT NULL,
    stored INTEGER NOT NULL,
    begins_line INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_stored ON files (stored);
CREATE TABLE IF NOT EXISTS chunks (
    inode TEXT NOT NULL,
    start INTEGER NOT NULL,
    length INTEGER NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (inode, start)
);
CREATE TABLE IF NOT EXISTS nodes (node_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS left_out (why TEXT PRIMARY KEY, files INTEGER NOT NULL) WITHOUT ROWID;
"""


class BadPiece(ValueError):
    """What came is no piece of a log file; the message says why."""


@dataclass(frozen=True)
class KeptFile:
    """What is kept of a file: its bytes from `first` to before `end`."""

    inode: str  # and birth: which file it is, whatever its name
    name: bytes  # its path beneath the log folder, as it was last
    first: int
    end: int
    lines_before: int | None  # newlines before `first`; None: not known
    modified_ms: int
    stored: int  # bytes on disk, about
    begins_line: bool  # byte `first` is known to begin a line


@dataclass(frozen=True)
class Piece:
    """Bytes of a file that follow each other. `body` is zlib's."""

    inode: str
    name: bytes
    start: int
    length: int
    modified_ms: int
    body: bytes

    def content(self) -> bytes:
        """The bytes. Raises BadPiece."""
        return _unpacked(self.body, self.length)


def host_file(state_dir: Path, cluster: str, session: str, host: str) -> Path:
    """Where what is kept of a host's session lies. Raises BadPiece for names that are none."""
    for name in (cluster, session, host):
        if not FOLDER_NAME.match(name):
            raise BadPiece(f"{name[:64]!r} is no name of a cluster, session or host.")
    return paths.kept_logs_dir(state_dir) / cluster / session / (host + SUFFIX)


def of_node(state_dir: Path, cluster: str, node_id: str) -> Path | None:
    """The file with what is kept of a node's logs; None if nothing is."""
    if not FOLDER_NAME.match(cluster) or not NODE_ID.match(node_id):
        return None
    return next((path for path, _ in _nodes(state_dir, cluster, "WHERE node_id = ?", node_id)), None)


def owners(state_dir: Path, cluster: str) -> dict[str, Path]:
    """Node id to the file with what is kept of its host, of all sessions of a cluster."""
    return {node_id: path for path, node_id in _nodes(state_dir, cluster)}


def _nodes(state_dir: Path, cluster: str, where: str = "", *values: str) -> Iterator[tuple[Path, str]]:
    """(file, node id), what was written last first. Files that cannot be read are passed over."""
    for path in reversed(files_of(state_dir, cluster)):
        with suppress(sqlite3.Error), closing(_read_only(path)) as database:
            for (node_id,) in database.execute(f"SELECT node_id FROM nodes {where}", values):  # noqa: S608 - our own words
                yield path, node_id


class KeptLogsWriter:
    """What is kept of one host in one session, by the one process that writes it."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        for folder in (path.parent.parent.parent, path.parent.parent, path.parent):
            paths.make_private_dir(folder)
        self._most_bytes = most_bytes
        self._left_out = -1  # not known yet
        self._database = sqlite3.connect(path, isolation_level=None, timeout=BUSY_S)
        path.chmod(0o600)
        self._database.execute("PRAGMA auto_vacuum = INCREMENTAL")  # what is given up makes the file smaller: `shrink_to`
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.executescript(SCHEMA)
        if "begins_line" not in [column[1] for column in self._database.execute("PRAGMA table_info(files)")]:
            self._database.execute("ALTER TABLE files ADD COLUMN begins_line INTEGER NOT NULL DEFAULT 0")
        self.stored = int(self._database.execute("SELECT coalesce(sum(stored), 0) FROM files").fetchone()[0])

    def close(self) -> None:
        self._database.close()

    def begin(self) -> None:
        self._database.execute("BEGIN")

    def commit(self) -> None:
        self._database.execute("COMMIT")

    def of_nodes(self, node_ids: tuple[str, ...]) -> None:
        """The folder is of these nodes, the raylets of that host. Raises BadPiece."""
        if not all(NODE_ID.match(node_id) for node_id in node_ids):
            raise BadPiece("An id of a node has 56 hexadecimal digits.")
        self._database.executemany("INSERT OR IGNORE INTO nodes VALUES (?)", [(node_id,) for node_id in node_ids])

    def leaves_out(self, files: int) -> None:
        """So many files of the folder are not sent, because there are too many."""
        if files == self._left_out:
            return
        self._left_out = files
        self._database.execute("INSERT OR REPLACE INTO left_out VALUES ('not sent', ?)", (files,))

    def add(self, piece: Piece) -> KeptFile:
        """Keeps a piece. What was kept of the file goes unless the piece follows it; bytes that are known are not kept twice.

        Raises BadPiece.
        """
        content = piece.content()
        if not _is_name(piece.name) or piece.start < 0 or not piece.inode:
            raise BadPiece("It names no file.")
        found = self.file(piece.inode)
        if found is not None and piece.start + piece.length <= found.end and piece.start >= found.first:
            return self._renamed(found, piece.name)
        if found is None or not found.first <= piece.start <= found.end:
            self.forget(piece.inode)
            self._make_room()
            lines = 0 if piece.start == 0 else None
            found = KeptFile(piece.inode, piece.name, piece.start, piece.start, lines, piece.modified_ms, ROW_BYTES, piece.start == 0)
            self.stored += found.stored
            self._put(found)
        found = self._renamed(found, piece.name)
        known = found.end - piece.start
        body = zlib.compress(content[known:], 6) if known else piece.body
        self._database.execute("INSERT INTO chunks VALUES (?, ?, ?, ?)", (piece.inode, found.end, piece.length - known, body))
        taken = len(body) + ROW_BYTES
        self.stored += taken
        end, stored = piece.start + piece.length, found.stored + taken
        grown = replace(found, end=end, modified_ms=piece.modified_ms, stored=stored)
        self._put(grown)
        self._shrink(piece.inode)
        return self.file(piece.inode) or grown

    def file(self, inode: str) -> KeptFile | None:
        """What is kept of a file."""
        return next(_files(self._database, "WHERE inode = ?", (inode,)), None)

    def tail(self, inode: str, length: int) -> bytes:
        """The last bytes of a file, at most so many. Raises BadPiece if what is kept is damaged."""
        newest = "SELECT body, length FROM chunks WHERE inode = ? ORDER BY start DESC LIMIT 1"
        chunk = self._database.execute(newest, (inode,)).fetchone()
        return _unpacked(*chunk)[-length:] if chunk else b""

    def rename(self, inode: str, name: bytes) -> None:
        """The file has another name now; what had that name has none until it is told, as by rename(2) it may never be."""
        found = self.file(inode)
        if found is not None and _is_name(name):
            self._renamed(found, name)

    def files(self) -> list[KeptFile]:
        """All that are kept and have a name."""
        return _named(self._database)

    def _renamed(self, found: KeptFile, name: bytes) -> KeptFile:
        if found.name == name:
            return found
        renamed = replace(found, name=name)
        self._put(renamed)
        return renamed

    def _make_room(self) -> None:
        """For one more file: the one that was written to longest ago goes."""
        if self._database.execute("SELECT count(*) FROM files").fetchone()[0] >= MOST_FILES:
            self._database.execute("INSERT INTO left_out VALUES ('given up', 1) ON CONFLICT DO UPDATE SET files = files + 1")
            self.forget(self._database.execute("SELECT inode FROM files ORDER BY modified_ms LIMIT 1").fetchone()[0])

    def _put(self, file: KeptFile) -> None:
        other = self._database.execute("SELECT inode FROM files WHERE name = ? AND inode != ?", (file.name, file.inode)).fetchone()
        if other is not None:
            self._database.execute("UPDATE files SET name = ? WHERE inode = ?", (NAMELESS + other[0].encode(), other[0]))
            self._forget_nameless(MOST_NAMELESS)
        values = (file.inode, file.name, file.first, file.end, file.lines_before, file.modified_ms, file.stored, file.begins_line)
        self._database.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def _forget_nameless(self, but: int) -> None:
        """Those that were written to longest ago, until so many are left."""
        found = self._database.execute("SELECT inode FROM files WHERE name < x'01' ORDER BY modified_ms DESC LIMIT -1 OFFSET ?", (but,))
        for (inode,) in found.fetchall():
            self.forget(inode)

    def forget(self, inode: str) -> None:
        """Keeps nothing of a file any more."""
        found = self.file(inode)
        if found is not None:
            self._database.execute("DELETE FROM chunks WHERE inode = ?", (inode,))
            self._database.execute("DELETE FROM files WHERE inode = ?", (inode,))
            self.stored -= found.stored

    def shrink_to(self, bytes_stored: int) -> None:
        """Gives up oldest chunks of the files that take most, and their place on the disk."""
        self.begin()
        self._give_up_beyond(bytes_stored)
        self.commit()
        self._database.executescript("PRAGMA incremental_vacuum")
        self.settle()

    def settle(self) -> None:
        """What was written goes to its place, so that the file is as large as what it holds."""
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _shrink(self, inode: str) -> None:
        """Gives up oldest chunks: of the file that grew beyond what is kept of one, then of those that take most."""
        while (found := self.file(inode)) is not None and found.end - found.first > MOST_OF_A_FILE:
            self._give_up_oldest(found)
        self._give_up_beyond(self._most_bytes)

    def _give_up_beyond(self, bytes_stored: int) -> None:
        if self.stored > bytes_stored:
            self._forget_nameless(0)
        while self.stored > bytes_stored:
            largest = self._database.execute("SELECT inode FROM files ORDER BY stored DESC LIMIT 1").fetchone()
            found = self.file(largest[0]) if largest else None
            if found is None or not found.stored:
                return
            self._give_up_oldest(found)

    def _give_up_oldest(self, file: KeptFile) -> None:
        oldest = "SELECT rowid, length, body FROM chunks WHERE inode = ? ORDER BY start LIMIT 1"
        chunk = self._database.execute(oldest, (file.inode,)).fetchone()
        if chunk is None:
            self.forget(file.inode)
            return
        row_id, length, body = chunk
        content, lines = b"", None
        with suppress(BadPiece):  # what is damaged can go, too
            content = _unpacked(body, length)
            lines = None if file.lines_before is None else file.lines_before + content.count(b"\n")
        self._database.execute("DELETE FROM chunks WHERE rowid = ?", (row_id,))
        freed = len(body) + ROW_BYTES
        self.stored -= freed
        begins_line = content.endswith(b"\n")
        self._put(replace(file, first=file.first + length, lines_before=lines, stored=file.stored - freed, begins_line=begins_line))


class KeptLogsReader:
    """What is kept of one host, for reading. Use as a context."""

    def __init__(self, path: Path) -> None:
        self._database = _read_only(path)
        self._database.execute("BEGIN")  # all that is read is of one moment, whatever is written meanwhile

    def __enter__(self) -> KeptLogsReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def files(self) -> list[KeptFile]:
        """All that are kept and have a name, in any order."""
        return _named(self._database)

    def left_out(self) -> int:
        """How many more files there were, of which nothing is kept because there were too many."""
        return int(self._database.execute("SELECT coalesce(sum(files), 0) FROM left_out").fetchone()[0])

    def chunks(self, inode: str) -> Iterator[bytes]:
        """The bytes of a file from `first` on."""
        for body, length in self._database.execute("SELECT body, length FROM chunks WHERE inode = ? ORDER BY start", (inode,)):
            yield _unpacked(body, length)


def _is_name(name: bytes) -> bool:
    return 0 < len(name) <= MOST_NAME_BYTES and not name.startswith(NAMELESS)


def _named(database: sqlite3.Connection) -> list[KeptFile]:
    return list(_files(database, "WHERE name >= x'01'"))


def _files(database: sqlite3.Connection, where: str = "", values: tuple[object, ...] = ()) -> Iterator[KeptFile]:
    columns = "inode, name, first, end, lines, modified_ms, stored, begins_line"
    for row in database.execute(f"SELECT {columns} FROM files {where}", values):  # noqa: S608 - our own words
        file = KeptFile(*row)
        yield replace(file, begins_line=bool(file.begins_line))


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=2.0, check_same_thread=False)


def _unpacked(body: bytes, length: int) -> bytes:
    """Raises BadPiece unless it is exactly so long: nothing is unpacked without a limit."""
    unpacking = zlib.decompressobj()
    try:
        content = unpacking.decompress(body, length + 1)
    except zlib.error as error:
        raise BadPiece(f"It cannot be unpacked: {error}.") from None
    if len(content) != length or not unpacking.eof:
        raise BadPiece("It is not as long as it says.")
    return content
