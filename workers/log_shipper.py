"""Sends the log files of this host to the head, which keeps them for when the node is gone: piece by piece, as they grow.

A file is known by its inode: a renamed one is sent on under its new name, a new one of the same name from its beginning. What was sent
is looked up at the head after a restart. Bounded: so many bytes a second, so many pieces that wait, and nothing while the head is away.
"""

from __future__ import annotations

import logging
import os
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import redis

from clusterstate.log_names import named
from clusterstate.settings import Settings
from clusterstate.store import log_shipping
from clusterstate.store.kept_logs import MOST_OF_A_FILE
from clusterstate.store.log_shipping import PIECE_BYTES, Shipped
from clusterstate.store.writer import current_session
from workers.sources.beneath import Refused, folder_of, regular_file
from workers.sources.log_folders import log_folders
from workers.sources.log_listing import Entry, inode_of, list_folder

log = logging.getLogger("raydeck.log_shipper")

EVERY_S = 3.0
SHARE = 0.01
"""Of a core, for looking through the folder: a large one is looked through more seldom."""
LAST_LOOK_S = 2.0
"""At the end of the role, for what is still to be sent."""
LAST_WORDS_S = 10.0
"""After its raylets' end a folder is looked at for so long: their workers may outlive them by some seconds."""
MOST_AT_ONCE_S = 10.0
"""What was not used of the budget in so many seconds may be used at once."""
NOT_KEPT = ("export_events/", "profiles/", "nsight/", "rocprof_sys/")
COMPRESSION = 4
TAIL_BYTES = 64


@dataclass
class Sent:
    """How far a file was sent."""

    end: int
    name: bytes
    begins: bool = False  # the next piece is the first of it
    tail: bytes = b""  # the last bytes that were sent, by which another file with the same inode is told
    refused: tuple[int, int] = (-1, -1)  # size and time when it could not be opened


@dataclass
class SentFolder:
    """A log folder and what of it was sent. It is remembered beyond its raylets' end, for what they said last."""

    session: str
    node_ids: tuple[str, ...]
    files: dict[str, Sent] = field(default_factory=dict)  # by inode
    is_whole: bool = False  # nothing was left after the last look
    ended: float | None = None  # monotonic: since when none of its raylets runs


@dataclass
class LogShipper:
    """Sends on. `step` is called often and does something when that is due. Raises what Redis being away raises."""

    redis: redis.Redis
    key: bytes
    cluster: str
    host: str
    settings: Settings
    _folders: dict[Path, SentFolder] = field(default_factory=dict)
    _next: float = 0.0
    _last: float = 0.0
    _left: float = 0.0  # bytes that may be sent now

    def step(self, now: float) -> None:
        """A look at every log folder, if it is due. `now` is of the monotonic clock."""
        if not self.settings.kept_logs_kb_s or now < self._next:
            return
        a_second = self.settings.kept_logs_kb_s * 1024
        self._left = min(self._left + (now - self._last) * a_second, a_second * MOST_AT_ONCE_S)
        self._last = now
        self._find_folders(now)
        self._send_all()
        self._next = now + max(EVERY_S, (time.monotonic() - now) / SHARE if not self._is_behind else EVERY_S)

    def finish(self) -> None:
        """The role ends, perhaps with its node: what is still to be sent goes now, as far as time allows."""
        give_up = time.monotonic() + LAST_LOOK_S
        while self.settings.kept_logs_kb_s and time.monotonic() < give_up:
            self._left = max(self._left, 1 << 20)
            self._find_folders(time.monotonic())
            self._send_all(give_up)
            if not self._is_behind:
                return
            time.sleep(0.05)

    @property
    def _is_behind(self) -> bool:
        return not all(folder.is_whole for folder in self._folders.values())

    def _find_folders(self, now: float) -> None:
        session = current_session(self.redis, self.cluster)
        running = log_folders(session) if session is not None else {}
        for path, node_ids in running.items():
            folder = self._folders.get(path) or self._remembered(path, str(session), node_ids)
            folder.node_ids = tuple(dict.fromkeys((*folder.node_ids, *node_ids)))
        for path, folder in list(self._folders.items()):
            if path in running:
                folder.ended = None
            elif folder.ended is None:
                folder.ended = now
            elif folder.is_whole and now - folder.ended >= LAST_WORDS_S:
                del self._folders[path]

    def _remembered(self, path: Path, session: str, node_ids: tuple[str, ...]) -> SentFolder:
        known = log_shipping.known(self.redis, self.cluster, self.host, session)
        files = {inode: Sent(one.end, one.name) for inode, one in known.items()}
        folder = self._folders[path] = SentFolder(session, node_ids, files)
        return folder

    def _send_all(self, give_up: float | None = None) -> None:
        for path, folder in self._folders.items():
            try:
                with folder_of(path) as descriptor:
                    folder.is_whole = self._send_folder(descriptor, folder, give_up)
            except Refused:
                folder.is_whole = True  # it was removed: nothing is left to be sent

    def _send_folder(self, descriptor: int, folder: SentFolder, give_up: float | None) -> bool:
        """Whether nothing is left to send."""
        entries = [entry for entry in list_folder(descriptor).entries if not entry.name.startswith(NOT_KEPT)]
        entries = _one_name_each(entries, folder)
        there = {entry.inode for entry in entries}
        for inode in [inode for inode in folder.files if inode not in there]:
            del folder.files[inode]
        behind = [entry for entry in _renamed_first(entries) if self._wants(folder, entry)]
        behind.sort(key=lambda entry: entry.size - folder.files[entry.inode].end)  # small ones are not to wait for a noisy one
        is_whole = True
        for entry in behind:
            for shipped in self._pieces(descriptor, folder, entry):
                if self._left <= 0 or (give_up is not None and time.monotonic() > give_up) or not self._has_room():
                    return False
                self._left -= shipped.length
                log_shipping.send(self.redis, self.key, self.cluster, self.host, shipped)
                folder.files[entry.inode].end, folder.files[entry.inode].begins = shipped.start + shipped.length, False
            sent = folder.files[entry.inode]
            is_whole = is_whole and (sent.end >= entry.size or sent.refused == (entry.size, entry.modified_ms))
        return is_whole

    def _has_room(self) -> bool:
        return log_shipping.has_room(self.redis, self.cluster)

    def _wants(self, folder: SentFolder, entry: Entry) -> bool:
        """Whether there is something to send of a file. A new name is told at once."""
        sent = folder.files.get(entry.inode)
        name = os.fsencode(entry.name)
        if sent is None:
            sent = folder.files[entry.inode] = Sent(max(0, entry.size - MOST_OF_A_FILE), name, begins=True)
        elif sent.name != name:
            log_shipping.send(self.redis, self.key, self.cluster, self.host, self._told(folder, entry, 0, b""))
            sent.name = name
        if entry.size < sent.end:  # it was cut
            sent.end, sent.begins, sent.tail = 0, True, b""
        return entry.size > sent.end and sent.refused != (entry.size, entry.modified_ms)

    def _pieces(self, descriptor: int, folder: SentFolder, entry: Entry) -> Iterator[Shipped]:
        """What a file has beyond what was sent, up to its size when it was listed."""
        try:
            with regular_file(descriptor, entry.name) as file:
                if inode_of(os.fstat(file)) != entry.inode:
                    return  # it was rotated meanwhile: the next look finds it
                sent = folder.files[entry.inode]
                if os.pread(file, len(sent.tail), sent.end - len(sent.tail)) != sent.tail:
                    sent.end, sent.begins, sent.tail = 0, True, b""
                at = max(sent.end, entry.size - MOST_OF_A_FILE)
                while at < entry.size and (content := os.pread(file, min(PIECE_BYTES, entry.size - at), at)):
                    yield self._told(folder, entry, at, content)
                    at += len(content)
                    sent.tail = (sent.tail + content)[-TAIL_BYTES:]
        except Refused:
            folder.files[entry.inode].refused = (entry.size, entry.modified_ms)

    def _told(self, folder: SentFolder, entry: Entry, start: int, content: bytes) -> Shipped:
        return Shipped(
            session=folder.session,
            node_ids=folder.node_ids,
            inode=entry.inode,
            name=os.fsencode(entry.name),
            start=start,
            length=len(content),
            modified_ms=entry.modified_ms,
            body=zlib.compress(content, COMPRESSION) if content else b"",
            begins=folder.files[entry.inode].begins and bool(content),
        )


def _one_name_each(entries: list[Entry], folder: SentFolder) -> list[Entry]:
    """A file with several names (links) by one of them: the one it was sent by."""
    found: dict[str, Entry] = {}
    for entry in entries:
        sent = folder.files.get(entry.inode)
        if entry.inode not in found or (sent is not None and sent.name == os.fsencode(entry.name)):
            found[entry.inode] = entry
    return list(found.values())


def _renamed_first(entries: list[Entry]) -> list[Entry]:
    """Names of rotated files, the oldest first: each renaming frees the name for the next."""
    return sorted(entries, key=lambda entry: (-named(entry.name).rotation, entry.name))
