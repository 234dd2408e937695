"""What is written to a log file while somebody looks on, as lines to be added to a page. Says what it could not show, and why it ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from clusterstate.log_follows import Followed, LogFollows, Told, TooMany
from clusterstate.log_levels import level_of
from clusterstate.node_questions import Unanswered
from clusterstate.store.connection import StoreUnavailable
from clusterstate.store.follows import BACK, ENDED, GONE, ROTATED, STARTED, TRUNCATED, WRITTEN
from webapp.logs.lines import Line, drawn
from webapp.logs.reading import LogSource

LOOK_EVERY_S = 0.2
OPEN_AFTER_S = 0.6
"""A line whose end has not come by then is shown as it is so far."""
RENEW_EVERY_S = 5.0
CHECK_EVERY_S = 2.0
ALIVE_EVERY_S = 15.0
"""A word to the browser and to proxies between, that the connection lives."""
LASTS_S = 120.0
"""Of one connection: the browser comes again then, and whether it may is looked at anew."""
BEGIN_WITHIN_S = 6.0
SILENT_AFTER_S = 10.0
MOST_PIECE = 32 * 1024
MOST_CAUGHT_UP = 1 << 20
"""Bytes between what the page shows and where following begins; more are not shown, and that is said."""


@dataclass(frozen=True)
class Place:
    """Where the page stands in a file: all before byte `at` is shown."""

    inode: str
    at: int
    number: int | None  # of the line that begins there; None: not known


@dataclass(frozen=True)
class Event:
    """For the page: lines to add, or a mark between them; the last one says why it ended."""

    lines: tuple[Line, ...] = ()
    mark: str | None = None
    is_new_file: bool = False  # addresses of lines before this mark are of another file
    is_end: bool = False
    is_alive: bool = False  # nothing but a word that the connection lives
    place: Place | None = None


@dataclass
class Assembler:
    """Lines of the pieces that come."""

    raw: bool
    inode: str
    at: int  # of the first byte of what is pending
    number: int | None
    _pending: bytes = b""
    _starts: bool = True
    _told_open: int = 0  # bytes of the pending line that were shown already

    @property
    def end(self) -> int:
        """The byte after all that came."""
        return self.at + len(self._pending)

    @property
    def place(self) -> Place:
        return Place(self.inode, self.at, self.number if self._starts else None)

    def add(self, content: bytes) -> Iterator[Line]:
        """Lines that are whole now; of an endless one its pieces."""
        self._pending += content
        while (newline := self._pending.find(b"\n")) >= 0 or len(self._pending) > MOST_PIECE:
            if not 0 <= newline <= MOST_PIECE:
                yield self._line(self._pending[:MOST_PIECE], goes_on=True)
                self._take(MOST_PIECE, ends=False)
                continue
            yield self._line(self._pending[:newline], goes_on=False)
            self._take(newline + 1, ends=True)

    def open_line(self) -> Line | None:
        """The line that has not ended, if there is more of it than was shown."""
        if not self._pending or len(self._pending) == self._told_open:
            return None
        self._told_open = len(self._pending)
        return self._line(self._pending, goes_on=False)

    def jump(self, at: int, inode: str, number: int | None) -> Iterator[Line]:
        """Goes on elsewhere. What was pending is a line without an end."""
        if self._pending and len(self._pending) != self._told_open:
            yield self._line(self._pending, goes_on=False)
        self.at, self.inode, self.number, self._pending, self._starts, self._told_open = at, inode, number, b"", True, 0

    def _take(self, count: int, *, ends: bool) -> None:
        self.at += count
        self._pending = self._pending[count:]
        self._told_open = 0
        self._starts = ends
        if ends and self.number is not None:
            self.number += 1

    def _line(self, text: bytes, *, goes_on: bool) -> Line:
        number = self.number if self._starts else None
        return drawn(Line(self.at, number, [], level_of(text) if self._starts else None, goes_on), text, raw=self.raw)


@dataclass
class Following:
    """One person looks on. `events` runs for as long as that; `why_lost` says why the node is gone, if it is."""

    follows: LogFollows
    source: LogSource
    file_id: str
    place: Place
    raw: bool
    why_lost: Callable[[], str | None]
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _lines: Assembler = field(init=False)
    _after: str | None = None
    _renewed: float = 0.0
    _checked: float = 0.0
    _heard: float = 0.0  # of the node

    def __post_init__(self) -> None:
        self._lines = Assembler(self.raw, self.place.inode, self.place.at, self.place.number)

    @property
    def _file(self) -> Followed:
        return Followed(self.source.node_id, self.file_id)

    def events(self) -> Iterator[Event]:
        """What happens, until it ends; the last event says why."""
        try:
            yield from self._events()
        except TooMany as why:
            yield Event(mark=str(why), is_end=True)
        except StoreUnavailable:
            yield Event(mark="Redis cannot be reached now: following goes on when it is back.", is_end=True)

    def _events(self) -> Iterator[Event]:
        began = self.clock()
        self._subscribe()
        first = self._first_told(began)
        if first is None:
            yield Event(mark=self.why_lost() or "The node's log role does not answer: is `raydeck node` running there?", is_end=True)
            return
        yield from self._catch_up(first)
        self._renewed = self._checked = self._heard = wrote = self.clock()
        while (now := self.clock()) - began < LASTS_S:
            told = self.follows.told_since(self.source.cluster, self.source.host, self._file, self._after)
            for one in told:
                yield from self._event(one)
                if one.kind == ENDED:
                    return
            if told:
                self._heard = wrote = now
                continue
            if now - wrote > OPEN_AFTER_S and (line := self._lines.open_line()) is not None:
                yield Event((line,), place=self._lines.place)
            elif now - wrote > ALIVE_EVERY_S:
                wrote = now
                yield Event(is_alive=True)
            if (why := self._why_ended(now)) is not None:
                yield Event(mark=why, is_end=True)
                return
            self.sleep(LOOK_EVERY_S)

    def _why_ended(self, now: float) -> str | None:
        """Why nothing comes any more; None while it may. Renews the subscription."""
        if now - self._renewed > RENEW_EVERY_S:
            self._subscribe()
            self._renewed = now
        if now - self._checked < CHECK_EVERY_S:
            return None
        self._checked = now
        if self.follows.is_alive(self.source.cluster, self.source.host):
            self._heard = now
        return self.why_lost() or ("The node's log role does not answer any more." if now - self._heard > SILENT_AFTER_S else None)

    def _subscribe(self) -> None:
        self.follows.subscribe(self.source.cluster, self.source.host, self._file)

    def _first_told(self, began: float) -> list[Told] | None:
        while self.clock() - began < BEGIN_WITHIN_S:
            told = self.follows.told_since(self.source.cluster, self.source.host, self._file, None)
            if told:
                return told
            self.sleep(LOOK_EVERY_S / 4)
        return None

    def _catch_up(self, told: list[Told]) -> Iterator[Event]:
        """From what the page shows to what is told now. `told` is all that is kept, perhaps since long before."""
        place = self.place
        since = next(
            (number for number, one in enumerate(told) if one.inode == place.inode and one.offset + len(one.content) >= place.at), None
        )
        if since is None:
            yield Event(mark="The file was rotated since this page was made: what came between is not shown.", is_new_file=True)
            since = len(told) - 1
            first = told[since]
            list(self._lines.jump(0, first.inode, 1))
        first = told[since]
        if first.offset > self._lines.end:
            yield from self._read_between(first.offset, first.inode)
        for one in told[since:]:
            yield from self._event(one)

    def _read_between(self, until: int, inode: str) -> Iterator[Event]:
        missing = until - self._lines.end
        if missing > MOST_CAUGHT_UP:
            yield from self._gap(until - MOST_CAUGHT_UP, inode, missing - MOST_CAUGHT_UP)
        try:
            while self._lines.end < until:
                content = self.source.read(self.file_id, self._lines.end, until - self._lines.end, inode).bytes()
                if not content:
                    break
                if lines := tuple(self._lines.add(content)):
                    yield Event(lines, place=self._lines.place)
        except Unanswered:
            yield from self._gap(until, inode, until - self._lines.end)

    def _gap(self, until: int, inode: str, count: int) -> Iterator[Event]:
        lines = tuple(self._lines.jump(until, inode, None))
        yield Event(lines, mark=f"{count:,} bytes are not shown here.", place=self._lines.place)

    def _event(self, one: Told) -> Iterator[Event]:
        self._after = one.entry_id
        if one.kind == WRITTEN:
            yield from self._written(one)
        elif one.kind == ROTATED:
            lines = tuple(self._lines.jump(0, one.inode, 1))
            said = "The file was rotated: a new one begins." + (" Lines may be missing here." if one.has_gap else "")
            yield Event(lines, mark=said, is_new_file=True, place=self._lines.place)
        elif one.kind == TRUNCATED:
            lines = tuple(self._lines.jump(0, one.inode, 1))
            said = "The file was cut and is written from its beginning: lines may be missing here."
            yield Event(lines, mark=said, is_new_file=True, place=self._lines.place)
        elif one.kind == GONE:
            yield Event(mark="There is no file of this name any more. It is looked for on.")
        elif one.kind == BACK:
            yield Event(mark="The file is there again.")
        elif one.kind == ENDED:
            yield Event(mark=one.reason or "The node does not follow this file any more.", is_end=True)
        elif one.kind == STARTED and one.inode != self._lines.inode:
            lines = tuple(self._lines.jump(one.offset, one.inode, None))
            yield Event(lines, mark="Another file has this name now.", is_new_file=True, place=self._lines.place)

    def _written(self, one: Told) -> Iterator[Event]:
        if one.inode != self._lines.inode:
            return  # of before a rotation that the page knows of
        known = self._lines.end - one.offset
        if known < 0:
            yield from self._gap(one.offset, one.inode, -known)
            known = 0
        lines = tuple(self._lines.add(one.content[known:]))
        if lines:
            yield Event(lines, place=self._lines.place)
