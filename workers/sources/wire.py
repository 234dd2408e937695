"""Walking a message that may be cut short or made up: what can be read of it is read, and nothing is raised."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor

VARINT, FIXED_64, LENGTH_DELIMITED, FIXED_32 = 0, 1, 2, 5
_MAX_SHIFT = 63


class Walk:
    """The length-delimited fields of a message, in order. Afterwards `numbers` holds its varints and `is_whole` whether it ended well."""

    def __init__(self, raw: bytes, start: int = 0, end: int | None = None, *, with_cut: bool = False, most: int | None = None) -> None:
        """`with_cut`: a field that is longer than the message is given too, as far as it goes. `most`: fields that are walked at most."""
        self._raw = raw
        self._most = most
        self._with_cut = with_cut
        self._start = start
        self._end = len(raw) if end is None else end
        self.numbers: dict[int, int] = {}  # field number -> the last value
        self.is_whole = False

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """(field number, start, end)."""
        raw, at, end = self._raw, self._start, self._end
        self.is_whole = False
        left = -1 if self._most is None else self._most
        while at < end and left != 0:
            left -= 1
            tag, at = _varint(raw, at, end)
            wire, number = tag & 7, tag >> 3
            if at < 0 or number == 0:
                return
            if wire == LENGTH_DELIMITED:
                length, at = _varint(raw, at, end)
                if at < 0:
                    return
                if at + length <= end or self._with_cut:
                    yield number, at, min(at + length, end)
                at += length
            elif wire == VARINT:
                value, at = _varint(raw, at, end)
                if at < 0:
                    return
                self.numbers[number] = value
            elif wire in (FIXED_32, FIXED_64):
                at += 4 if wire == FIXED_32 else 8
            else:
                return
        self.is_whole = at == end


def holds_at_most(raw: bytes, start: int, end: int, described: Descriptor, most: int) -> bool:
    """Whether a message holds at most so many fields with a length, those of the messages in it too: each costs memory of its own."""
    left, inside = most, [(start, end, described)]
    while inside:
        at, to, its = inside.pop()
        for number, begin, stop in Walk(raw, at, to, most=left + 1):
            left -= 1
            if left < 0:
                return False
            field = its.fields_by_number.get(number)
            if field is not None and field.message_type is not None:
                inside.append((begin, stop, field.message_type))
    return True


def _varint(raw: bytes, at: int, end: int) -> tuple[int, int]:
    """(value, what follows it); (0, -1) when there is no end to it."""
    value = shift = 0
    while at < end and shift <= _MAX_SHIFT:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    return 0, -1
