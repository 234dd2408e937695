"""Beside the keeper of logs: finds errors in what nodes send, and groups them (clusterstate/store/log_error_groups.py).

What goes wrong here never keeps a log file from being kept: it is said, and errors are missed.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from clusterstate.log_errors import FoundError, Tail, find
from clusterstate.log_names import DRIVER, Named, named
from clusterstate.log_times import time_of
from clusterstate.store import log_error_groups
from clusterstate.store.kept_logs import BadPiece, Piece
from clusterstate.store.log_error_groups import ErrorGroupsWriter, LookedAt, Seen
from clusterstate.store.log_shipping import Shipped

log = logging.getLogger("raydeck.log_errors")

SETTLED_AFTER_S = 3.0
"""A traceback that ends what was sent of a file waits so long for more of it."""
SAYS_IT_LOOKS_EVERY_S = 30.0
MOST_OPEN = 8
MOST_FILES = 20_000
HEAD_BYTES = 1024
DAY_MS = 24 * 3600 * 1000


@dataclass
class _Session:
    """The groups of a session while they are written."""

    writer: ErrorGroupsWriter
    files: dict[tuple[str, str], LookedAt] = field(default_factory=dict)
    pending: dict[tuple[str, str], float] = field(default_factory=dict)  # since when
    changed: set[tuple[str, str]] = field(default_factory=set)
    seen: list[Seen] = field(default_factory=list)
    nodes: set[tuple[str, str]] = field(default_factory=set)
    known_nodes: set[tuple[str, str]] = field(default_factory=set)
    passed_over: int = 0
    said_at: float = 0.0


class LogErrorKeeper:
    """All sessions of a cluster. Methods raise nothing of SQLite's."""

    def __init__(self) -> None:
        self._sessions: dict[Path, _Session] = {}

    def look(self, kept_at: Path, node_ids: tuple[str, ...], shipped: Shipped) -> None:
        """At what is new of a file, whose host's log files are kept there. It is written with `write`."""
        try:
            session = self._session(kept_at.parent)
            host = kept_at.stem
            new = {(node_id, host) for node_id in node_ids} - session.known_nodes
            session.nodes |= new
            session.known_nodes |= new
            self._look(session, host, shipped)
        except (sqlite3.Error, OSError) as error:
            self._give_up(kept_at.parent, error)
        except BadPiece:
            return  # the keeper said so

    def write(self, now: float) -> None:
        """What was found since the last time."""
        for folder, session in list(self._sessions.items()):
            if not (session.changed or session.seen or session.nodes) and now < session.said_at + SAYS_IT_LOOKS_EVERY_S:
                continue
            try:
                files = [session.files[key] for key in session.changed if key in session.files]
                session.writer.write(files, session.seen, session.nodes, session.passed_over, int(time.time() * 1000))
            except (sqlite3.Error, OSError) as error:
                self._give_up(folder, error)
                continue
            session.changed, session.seen, session.nodes, session.passed_over = set(), [], set(), 0
            session.said_at = now
            for key in [*session.files][: max(0, len(session.files) - MOST_FILES)]:
                if key not in session.pending:
                    del session.files[key]

    def settle(self, now: float, *, everything: bool = False) -> None:
        """Errors at the end of a file that were not followed by more are as they are."""
        for session in self._sessions.values():
            for key in [key for key, since in session.pending.items() if everything or now - since >= SETTLED_AFTER_S]:
                del session.pending[key]
                if key in session.files:
                    self._find(session, session.files[key], b"", is_end=True)
        self.write(now)

    def close(self) -> None:
        """Writes what is left."""
        self.settle(time.monotonic(), everything=True)
        for session in self._sessions.values():
            session.writer.close()
        self._sessions.clear()

    def _look(self, session: _Session, host: str, shipped: Shipped) -> None:
        key = (host, shipped.file)
        known = session.files.pop(key, None) or session.writer.file(*key)
        if not shipped.length:
            if known is not None:
                session.files[key] = replace(known, name=shipped.name)
                session.changed.add(key)
            return
        content = Piece(shipped.file, shipped.name, shipped.start, shipped.length, shipped.modified_ms, shipped.body).content()
        is_other = known is not None and shipped.begins and not _is_same(known, shipped.start, content)
        if known is not None and known.tail.is_pending and (is_other or shipped.start > known.tail.end):
            known = self._find(session, known, b"", is_end=True)  # nothing of it follows any more
        if known is None or is_other:
            known = LookedAt(host, shipped.file, shipped.name, shipped.start, content[:HEAD_BYTES], _begun_at(shipped.start), 0)
        elif shipped.start > known.tail.end:
            known = replace(known, tail=_begun_at(shipped.start))
        head = known.head
        if shipped.start == known.head_start + len(head) and len(head) < HEAD_BYTES:
            head += content[: HEAD_BYTES - len(head)]
        known = replace(known, name=shipped.name, head=head, modified_ms=shipped.modified_ms)
        new = content[known.tail.end - shipped.start :]
        if new:
            self._find(session, known, new)
        else:
            session.files[key] = known

    def _find(self, session: _Session, known: LookedAt, content: bytes, *, is_end: bool = False) -> LookedAt:
        found, tail = find(known.tail, content, is_end=is_end)
        key = (known.host, known.inode)
        known = session.files[key] = replace(known, tail=replace(tail, is_cut=False))
        session.changed.add(key)
        session.passed_over += tail.is_cut
        if tail.is_pending:
            session.pending[key] = time.monotonic()
        else:
            session.pending.pop(key, None)
        if not found:
            return known
        told = named(known.name.decode("utf-8", "replace"))
        owner, now_ms = _owner(told), int(time.time() * 1000)
        session.seen += [
            Seen(error, _when(error, known.modified_ms, now_ms), owner, known.host, known.inode, known.name)
            for error in found
            if not (error.is_copy and told.group == DRIVER)
        ]
        return known

    def _session(self, folder: Path) -> _Session:
        session = self._sessions.pop(folder, None)
        if session is not None and not session.writer.path.exists():
            session.writer.close()  # it went with the logs that were kept of the session
            session = None
        if session is None:
            while len(self._sessions) >= MOST_OPEN:
                self._close_oldest()
            session = _Session(ErrorGroupsWriter(folder))
            for one in session.writer.pending():
                session.files[one.host, one.inode] = one
                session.pending[one.host, one.inode] = time.monotonic()
        self._sessions[folder] = session
        return session

    def _close_oldest(self) -> None:
        self.write(time.monotonic())
        if self._sessions:
            self._sessions.pop(next(iter(self._sessions))).writer.close()

    def _give_up(self, folder: Path, error: Exception) -> None:
        """Goes on from what was written; what is damaged is begun anew."""
        log.error("Errors in log files cannot be grouped in %s now: %s", folder, error)
        session = self._sessions.pop(folder, None)
        if session is not None:
            session.writer.close()
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            log_error_groups.delete(folder)


def _begun_at(start: int) -> Tail:
    """A file of which what stands before is not known: its first line may be the end of one."""
    return Tail(start, is_late=start > 0)


def _is_same(known: LookedAt, start: int, content: bytes) -> bool:
    """Whether a file that is sent from its beginning was sent before: what the head knew of it was lost."""
    return start == known.head_start and content[: len(known.head)] == known.head[: len(content)] and len(known.head) > 0


def _owner(told: Named) -> str:
    """Whose file it is, as closely as its name says."""
    if told.job_id:
        return f"job:{told.job_id}"
    if told.submission_id:
        return f"submission:{told.submission_id[:128]}"
    return f"worker:{told.worker_id}" if told.worker_id else ""


def _when(error: FoundError, modified_ms: int, now_ms: int) -> int:
    """When its line says, unless that is far from when the file was written; else then."""
    written_ms = modified_ms if 0 < modified_ms <= now_ms + DAY_MS else now_ms
    said = time_of(error.first_line, time.gmtime(written_ms / 1000).tm_year)
    return said if said is not None and written_ms - 30 * DAY_MS <= said <= written_ms + DAY_MS else written_ms
