"""What a writer remembers of the rows that it writes again and again, so that Redis is not asked for what is known."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

RECENT = 8_000
"""Rows: 10 MB of tasks. Most are written again within seconds, or never."""
BITS_A_ROW = 12
HASHES = 4
"""Of a hundred rows that are not there, one is looked for all the same."""
FEWEST = 100_000


class Recent:
    """The rows of one resource that were written last: field -> (bytes, row). Least used go first."""

    def __init__(self, most: int = RECENT) -> None:
        self._most = most
        self._kept: OrderedDict[bytes, tuple[bytes, Any]] = OrderedDict()

    def get(self, name: bytes) -> tuple[bytes, Any] | None:
        return self._kept.get(name)

    def put(self, name: bytes, blob: bytes, row: Any) -> None:
        self._kept[name] = blob, row
        self._kept.move_to_end(name)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def drop(self, names: Iterable[bytes]) -> None:
        for name in names:
            self._kept.pop(name, None)

    def clear(self) -> None:
        self._kept.clear()


class Seen:
    """Which ids may have been noted: a Bloom filter. "No" is certain, "yes" is not."""

    def __init__(self, expected: int) -> None:
        bits = max(expected, FEWEST) * BITS_A_ROW
        self._mask = (1 << bits.bit_length()) - 1
        self._bits = bytearray((self._mask + 1) // 8)

    def note(self, item: str) -> bool:
        """Notes an id; whether it may have been noted before."""
        one = hash(item)
        other = one >> 32 | 1
        known = True
        for turn in range(HASHES):
            at = (one + turn * other) & self._mask
            bit = 1 << (at & 7)
            if not self._bits[at >> 3] & bit:
                known = False
                self._bits[at >> 3] |= bit
        return known
