"""Walking a big protobuf reply record by record, so that neither 100,000 parsed rows nor one bad row matter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from google.protobuf.message import Message

from workers.sources.gcs_stubs import parse_or_none
from workers.sources.wire import Walk


class BadRecord(ValueError):
    """The bytes are no protobuf message."""


def records(raw: bytes, number: int) -> Iterator[bytes]:
    """The bytes of every length-delimited field `number` of the message `raw`, in order."""
    for start, end in spans(raw, number):
        yield raw[start:end]


def spans(raw: bytes, number: int) -> Iterator[tuple[int, int]]:
    """Where those bytes are. Raises BadRecord where the message breaks off."""
    walk = Walk(raw)
    for field, start, end in walk:
        if field == number:
            yield start, end
    _check(walk)


def number_in(raw: bytes, number: int) -> int:
    """The last value of varint field `number` of a message, 0 when it has none: for messages that cannot be parsed whole."""
    walk = Walk(raw)
    for _ in walk:
        pass
    _check(walk)
    return walk.numbers.get(number, 0)


def _check(walk: Walk) -> None:
    if not walk.is_whole:
        raise BadRecord("the message breaks off, or is none")


def field_number(message: type[Message], name: str) -> int:
    """The number of a field by its name, from the installed release's descriptor."""
    return int(message.DESCRIPTOR.fields_by_name[name].number)


class Rows:
    """The rows of one list reply, parsed one at a time. A row that cannot be parsed is counted and left out.

    A name that is not UTF-8 would otherwise make the whole reply unreadable.
    """

    def __init__(self, raw: bytes, reply: type[Message], name: str, row: type[Message]) -> None:
        self.raw = raw
        self.unreadable = 0
        self._number = field_number(reply, name)
        self._row = row

    def __iter__(self) -> Iterator[Any]:
        return self.where(lambda _: True)

    def by(self, name: str) -> Iterator[Any]:
        """The rows in the order of a number field, holding no more than their places. (Parsing twice is cheaper than walking.)"""
        places = []
        for start, end in spans(self.raw, self._number):
            row = parse_or_none(self._row, self.raw[start:end])
            places.append((getattr(row, name, 0), start, end))
        places.sort()
        return self._parsed((self.raw[start:end] for _, start, end in places), None)

    def where(self, wanted: Callable[[bytes], bool], failed: Callable[[bytes], None] | None = None) -> Iterator[Any]:
        """The rows whose bytes are wanted; `failed` hears of those that cannot be parsed."""
        return self._parsed((record for record in records(self.raw, self._number) if wanted(record)), failed)

    def _parsed(self, some: Iterable[bytes], failed: Callable[[bytes], None] | None) -> Iterator[Any]:
        self.unreadable = 0
        for record in some:
            row = parse_or_none(self._row, record)
            if row is None:
                self.unreadable += 1
                if failed is not None:
                    failed(record)
            else:
                yield row


class Unchanged:
    """Remembers the rows of the last reply by a hash of their bytes, so that rows that did not change are not parsed again.

    The GCS may order a row's maps anew each time: such a row only costs its parsing. What was remembered holds after
    `commit`, so that a row whose writing failed comes up again.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._next: set[int] = set()

    def changed(self, rows: Rows) -> Iterator[Any]:
        self.begin()
        return rows.where(self.is_new, self.forget)

    def begin(self) -> None:
        """A reply's rows are looked at from here on."""
        self._next = set()

    def commit(self) -> None:
        self._seen = self._next

    def forget(self, record: bytes) -> None:
        """This row could not be read: it counts as new the next time."""
        self._next.discard(hash(record))

    def is_new(self, record: bytes) -> bool:
        mark = hash(record)
        self._next.add(mark)
        return mark not in self._seen
