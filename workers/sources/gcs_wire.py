"""Walking a big protobuf reply record by record, so that neither 100,000 parsed rows nor one bad row matter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from google.protobuf.message import Message

from workers.sources.gcs_stubs import parse_or_none

VARINT, LENGTH_DELIMITED = 0, 2
FIXED = {1: 8, 5: 4}  # wire type -> bytes


class BadRecord(ValueError):
    """The bytes are no protobuf message."""


def records(raw: bytes, number: int) -> Iterator[bytes]:
    """The bytes of every length-delimited field `number` of the message `raw`, in order."""
    for start, end in spans(raw, number):
        yield raw[start:end]


def spans(raw: bytes, number: int) -> Iterator[tuple[int, int]]:
    """Where those bytes are."""
    for field, wire, start, end in _fields(raw):
        if field == number and wire == LENGTH_DELIMITED:
            yield start, end


def number_in(raw: bytes, number: int) -> int:
    """The last value of varint field `number` of a message, 0 when it has none: for messages that cannot be parsed whole."""
    found = 0
    for field, wire, start, _ in _fields(raw):
        if field == number and wire == VARINT:
            found, _ = _varint(raw, start)
    return found


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
        self._next = set()
        return rows.where(self._is_new, self._forget)

    def commit(self) -> None:
        self._seen = self._next

    def _forget(self, record: bytes) -> None:
        self._next.discard(hash(record))

    def _is_new(self, record: bytes) -> bool:
        mark = hash(record)
        self._next.add(mark)
        return mark not in self._seen


def _fields(raw: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(field number, wire type, start, end of its content) of each field of a message."""
    at, size = 0, len(raw)
    while at < size:
        tag, start = _varint(raw, at)
        wire = tag & 7
        if wire == LENGTH_DELIMITED:
            length, start = _varint(raw, start)
            at = start + length
        elif wire == VARINT:
            _, at = _varint(raw, start)
        elif wire in FIXED:
            at = start + FIXED[wire]
        else:
            raise BadRecord(f"wire type {wire}")
        if at > size:
            raise BadRecord("a field is longer than its message")
        yield tag >> 3, wire, start, at


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(raw) or shift > 63:
            raise BadRecord("a number has no end")
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
