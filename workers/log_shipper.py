"""Sends the log files of this host to the head, which keeps them for when the node is gone: piece by piece, as they grow.

A file is known by its inode and birth: a renamed one is sent on under its new name, a new one of the same name from its beginning. How
far the head keeps it is looked up there: after a restart to go on, else to send again what was lost on its way. Bounded: so many bytes
a second, so many pieces that wait, and nothing while the head is away.
"""

from __future__ import annotations

import logging
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import redis

from clusterstate.log_names import named
from clusterstate.settings import Settings
from clusterstate.store import log_shipping
from clusterstate.store.kept_logs import MOST_OF_A_FILE
from clusterstate.store.log_shipping import PIECE_BYTES, TAIL_BYTES, Known, Shipped
from clusterstate.store.writer import current_session
from workers.sources.beneath import Refused, folder_of, regular_file
from workers.sources.file_birth import file_key
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
AGAIN_AFTER_S = 20.0
"""What was taken by the head and is not kept after so long was lost: it is sent again, each time after twice as long."""
MOST_DOUBLINGS = 8
WAITS_FOR_IT_S = 600.0
"""After its raylets' end a folder of which not all is known to be kept is let go."""


@dataclass
class Sent:
    """How far a file was sent, and how much of that is known to be kept."""

    file: str  # which one it is: workers/sources/file_birth.py
    name: bytes
    end: int = 0
    tail: bytes = b""  # the last bytes that were sent: a file that was cut and grew again has others there
    begins: bool = True  # what is sent next does not follow what was sent before
    kept: int = 0
    kept_tail: bytes = b""
    kept_name: bytes = b""
    sent_at: float = 0.0
    tries: int = 0  # to send again what was lost
    seen: tuple[int, int] = (-1, -1)  # size and time when it was looked into, if there is nothing to send until they change

    def begin_anew(self) -> None:
        """What stands in it is not what was sent."""
        self.end, self.tail, self.begins, self.kept, self.kept_tail = 0, b"", True, 0, b""

    def go_back(self, now: float) -> None:
        """To where it is kept, and as what."""
        self.end, self.tail, self.begins, self.name = self.kept, self.kept_tail, not self.kept, self.kept_name or self.name
        self.tries, self.sent_at, self.seen = min(self.tries + 1, MOST_DOUBLINGS), now, (-1, -1)

    def learn(self, known: Known) -> None:
        """The head keeps so much of it. What it said of more than was sent is of what stood in it before."""
        if self.kept <= known.end <= self.end:
            if self.kept < known.end:
                self.tries = 0
            self.kept, self.kept_tail, self.kept_name = known.end, known.tail, known.name

    @property
    def is_kept(self) -> bool:
        return not self.end or (self.kept >= self.end and self.kept_name == self.name)


@dataclass
class SentFolder:
    """A log folder and what of it was sent. It is remembered beyond its raylets' end, for what they said last."""

    session: str
    node_ids: tuple[str, ...]
    known: dict[str, Known]  # of an earlier role
    files: dict[str, Sent] = field(default_factory=dict)  # by inode
    left_out: int = 0
    is_whole: bool = False  # nothing was left after the last look
    ended: float | None = None  # monotonic: since when none of its raylets runs

    @property
    def unsure(self) -> dict[str, Sent]:
        """Of which not all that was sent is known to be kept, by which file it is."""
        return {sent.file: sent for sent in self.files.values() if not sent.is_kept}

    def is_over(self, now: float) -> bool:
        """Whether nothing is to be expected of it any more."""
        since = -1.0 if self.ended is None else now - self.ended
        return self.is_whole and since >= LAST_WORDS_S and (since >= WAITS_FOR_IT_S or not self.unsure)


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
    _listing_s: float = 0.0  # that the last look took, without sending

    def step(self, now: float) -> None:
        """A look at every log folder, if it is due. `now` is of the monotonic clock."""
        if not self.settings.kept_logs_kb_s or now < self._next:
            return
        a_second = self.settings.kept_logs_kb_s * 1024
        self._left = min(self._left + (now - self._last) * a_second, a_second * MOST_AT_ONCE_S)
        self._last = now
        self._find_folders(now)
        self._send_again(now)
        self._send_all(now)
        self._next = now + (EVERY_S if self._is_behind else max(EVERY_S, self._listing_s / SHARE))

    def finish(self) -> None:
        """The role ends, perhaps with its node: what is still to be sent goes now, as far as time allows."""
        give_up = time.monotonic() + LAST_LOOK_S
        while self.settings.kept_logs_kb_s and (now := time.monotonic()) < give_up:
            self._left = max(self._left, 1 << 20)
            self._find_folders(now)
            self._send_all(now, give_up)
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
            elif folder.is_over(now):
                del self._folders[path]

    def _remembered(self, path: Path, session: str, node_ids: tuple[str, ...]) -> SentFolder:
        known = log_shipping.known(self.redis, self.cluster, self.host, session)
        folder = self._folders[path] = SentFolder(session, node_ids, known)
        return folder

    def _send_again(self, now: float) -> None:
        """Goes back to what is kept of those files of which something was lost: by Redis, or by a keeper that died with it."""
        for folder in self._folders.values():
            unsure = folder.unsure
            if not unsure:
                continue
            for file, known in log_shipping.known(self.redis, self.cluster, self.host, folder.session, list(unsure)).items():
                sent = unsure[file]
                sent.learn(known)
                if known.misses and not sent.is_kept and now - sent.sent_at >= EVERY_S * 2**sent.tries:
                    sent.go_back(now)
            lost = [sent for sent in unsure.values() if not sent.is_kept and now - sent.sent_at >= AGAIN_AFTER_S * 2**sent.tries]
            if lost and log_shipping.is_taken(self.redis, self.cluster, self.host):
                for sent in lost:
                    sent.go_back(now)

    def _send_all(self, now: float, give_up: float | None = None) -> None:
        self._listing_s = 0.0
        for path, folder in self._folders.items():
            try:
                with folder_of(path) as descriptor:
                    folder.is_whole = self._send_folder(descriptor, folder, now, give_up)
            except Refused:
                folder.is_whole = True  # it was removed: nothing is left to be sent

    def _send_folder(self, descriptor: int, folder: SentFolder, now: float, give_up: float | None) -> bool:
        """Whether nothing is left to send."""
        began = time.monotonic()
        entries = self._entries(descriptor, folder)
        self._listing_s += time.monotonic() - began
        for entry in _renamed_first(entries):
            if _is_unseen(folder, entry):
                self._look_into(descriptor, folder, entry, now)
        behind = [entry for entry in entries if _is_unseen(folder, entry) and entry.inode in folder.files]
        behind.sort(key=lambda entry: entry.size - folder.files[entry.inode].end)  # small ones are not to wait for a noisy one
        for entry in behind:
            sent = folder.files[entry.inode]
            for content in self._pieces(descriptor, sent, entry):
                if self._left <= 0 or (give_up is not None and time.monotonic() > give_up) or not self._has_room():
                    return False
                self._left -= len(content)
                self._send(folder, sent, entry, content)
                sent.sent_at = now
            if sent.end >= entry.size:
                sent.seen = (entry.size, entry.modified_ms)
        return not any(_is_unseen(folder, entry) for entry in entries)

    def _has_room(self) -> bool:
        return log_shipping.has_room(self.redis, self.cluster, self.host)

    def _entries(self, descriptor: int, folder: SentFolder) -> list[Entry]:
        listing = list_folder(descriptor)
        if listing.left_out and not folder.left_out:
            log.warning("%s has %d files more than are looked at: they are not kept.", folder.session, listing.left_out)
        folder.left_out = listing.left_out
        entries = _one_name_each([entry for entry in listing.entries if not entry.name.startswith(NOT_KEPT)], folder)
        there = {entry.inode for entry in entries}
        for inode in [inode for inode in folder.files if inode not in there]:
            del folder.files[inode]
        return entries

    def _look_into(self, descriptor: int, folder: SentFolder, entry: Entry, now: float) -> None:
        """Which file it is, and whether what was sent of it stands in it. A new name is told at once."""
        name = os.fsencode(entry.name)
        sent = folder.files.get(entry.inode)
        try:
            with regular_file(descriptor, entry.name) as file:
                if inode_of(os.fstat(file)) != entry.inode:
                    return  # it was rotated meanwhile: the next look finds it
                key = file_key(file)
                if sent is None or sent.file != key:
                    sent = folder.files[entry.inode] = _sent_before(folder.known.get(key), key, name)
                if entry.size < sent.end or os.pread(file, len(sent.tail), sent.end - len(sent.tail)) != sent.tail:
                    sent.begin_anew()
        except Refused:
            sent = folder.files.setdefault(entry.inode, Sent(entry.inode, name))
            sent.name, sent.seen = name, (entry.size, entry.modified_ms)
            return
        if sent.name != name:
            if sent.end and not self._has_room():
                return  # the next look tells it
            sent.name = name
            if sent.end:
                log_shipping.send(self.redis, self.key, self.cluster, self.host, self._told(folder, sent, entry, b""))
                sent.sent_at = now
        if entry.size == sent.end:
            sent.seen = (entry.size, entry.modified_ms)

    def _pieces(self, descriptor: int, sent: Sent, entry: Entry) -> Iterator[bytes]:
        """What a file has beyond what was sent, up to its size when it was listed."""
        with suppress(Refused), regular_file(descriptor, entry.name) as file:
            if inode_of(os.fstat(file)) != entry.inode:
                return
            if entry.size - sent.end > MOST_OF_A_FILE:
                sent.end, sent.begins = entry.size - MOST_OF_A_FILE, True
            while sent.end < entry.size and (content := os.pread(file, min(PIECE_BYTES, entry.size - sent.end), sent.end)):
                yield content

    def _send(self, folder: SentFolder, sent: Sent, entry: Entry, content: bytes) -> None:
        log_shipping.send(self.redis, self.key, self.cluster, self.host, self._told(folder, sent, entry, content))
        sent.end, sent.begins = sent.end + len(content), False
        sent.tail = (sent.tail + content)[-TAIL_BYTES:]

    def _told(self, folder: SentFolder, sent: Sent, entry: Entry, content: bytes) -> Shipped:
        return Shipped(
            session=folder.session,
            node_ids=folder.node_ids,
            file=sent.file,
            name=sent.name,
            start=sent.end,
            length=len(content),
            modified_ms=entry.modified_ms,
            body=zlib.compress(content, COMPRESSION) if content else b"",
            kept=sent.kept,
            left_out=folder.left_out,
            begins=sent.begins and bool(content),
        )


def _sent_before(known: Known | None, file: str, name: bytes) -> Sent:
    """A file that is seen for the first time, of which an earlier role may have sent a part."""
    if known is None:
        return Sent(file, name)
    return Sent(file, known.name, known.end, known.tail, begins=False, kept=known.end, kept_tail=known.tail, kept_name=known.name)


def _is_unseen(folder: SentFolder, entry: Entry) -> bool:
    """Whether a file may have something that was not sent, if only its name."""
    sent = folder.files.get(entry.inode)
    return sent is None or sent.seen != (entry.size, entry.modified_ms) or sent.name != os.fsencode(entry.name)


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
