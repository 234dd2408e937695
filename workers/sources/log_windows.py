"""Lines of a log file by where they stand in it: a window of bytes at a time, in both directions, of files of any size.

A line ends with a newline. What is longer than a piece may be is given in pieces, cut between characters; so a file of one line of
gigabytes is read like any other. Nothing is decoded here: a log may hold any bytes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

WINDOW_BYTES = 256 * 1024
MAX_PIECE_BYTES = 32 * 1024
MAX_LINES = 1_000
COUNT_AT_ONCE_BYTES = 4 << 20
MOST_TIME_WINDOWS = 8
"""Windows without any time that are looked through for one."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A line, or a part of a long one."""

    offset: int  # of its first byte in the file
    text: bytes  # without the newline
    starts: bool = True  # it is the beginning of a line
    ends: bool = True  # a newline follows

    @property
    def after(self) -> int:
        """Where the next piece begins."""
        return self.offset + len(self.text) + self.ends


@dataclass(frozen=True)
class Window:
    """Pieces that follow each other without a gap, from byte `start` to before byte `end` of a file of `size` bytes."""

    pieces: tuple[Piece, ...]
    start: int
    end: int
    size: int


def size_of(file: int) -> int:
    return os.fstat(file).st_size


def forward(file: int, at: int, max_lines: int = MAX_LINES, window_bytes: int = WINDOW_BYTES) -> Window:
    """From the line (or piece) that holds byte `at` on."""
    size = size_of(file)
    start = start_of_line(file, max(0, min(at, size)))
    block = os.pread(file, window_bytes, start)
    pieces = list(_pieces(block, start, _starts_line(file, start)))
    if len(pieces) > 1 and not pieces[-1].ends and start + len(block) < size:
        pieces.pop()  # its end is in the next window
    return _window(pieces[:max_lines], start, size)


def backward(file: int, until: int | None = None, max_lines: int = MAX_LINES, window_bytes: int = WINDOW_BYTES) -> Window:
    """The last lines before byte `until`; before the end of the file when that is None."""
    size = size_of(file)
    end = size if until is None else max(0, min(until, size))
    start = max(0, end - window_bytes)
    block = os.pread(file, end - start, start)
    if start > 0:
        cut = block.find(b"\n") + 1
        if 0 < cut < len(block) and cut <= MAX_PIECE_BYTES:
            start, block = start + cut, block[cut:]
        else:
            shift = _between_characters(block, 0)
            start, block = start + shift, block[shift:]
    pieces = list(_pieces(block, start, _starts_line(file, start)))[-max_lines:]
    return _window(pieces, end, size)


def count_lines(file: int, until: int, budget_s: float) -> int | None:
    """Newlines before byte `until`; None if that takes longer than the budget, or would as far as the first blocks tell."""
    began = time.monotonic()
    counted = at = 0
    while at < until:
        block = os.pread(file, min(COUNT_AT_ONCE_BYTES, until - at), at)
        if not block:
            break
        counted += block.count(b"\n")
        at += len(block)
        took = time.monotonic() - began
        if at < until and (took > budget_s or (took > budget_s / 8 and took * until / at > budget_s)):
            return None
    return counted


def offset_of_time(file: int, at_ms: int, time_of: Callable[[bytes], int | None]) -> int | None:
    """Where the first line stands that says it was written at `at_ms` or later; None where no line (that was looked at) does.

    Halves the file until a window is left, as if times only grew: where they go back, a place near by is found.
    """
    low, high = 0, size_of(file)
    while high - low > WINDOW_BYTES:
        middle = (low + high) // 2
        found = _first_timed(file, middle, high, time_of)
        if found is None or found[1] >= at_ms:
            high = middle
        else:
            low = found[0]
    at = low
    for _ in range(MOST_TIME_WINDOWS):
        window = forward(file, at)
        for piece in window.pieces:
            told = time_of(piece.text) if piece.starts else None
            if told is not None and told >= at_ms:
                return piece.offset
        if window.end >= window.size or window.end <= at:
            return None
        at = window.end
    return None


def _first_timed(file: int, at: int, until: int, time_of: Callable[[bytes], int | None]) -> tuple[int, int] | None:
    """(offset, time) of the first line from byte `at` on that says a time, within some windows."""
    for _ in range(MOST_TIME_WINDOWS):
        window = forward(file, at)
        for piece in window.pieces:
            told = time_of(piece.text) if piece.starts else None
            if told is not None:
                return piece.offset, told
        if window.end >= until or window.end <= at:
            return None
        at = window.end
    return None


def _window(pieces: list[Piece], nowhere: int, size: int) -> Window:
    if not pieces:
        return Window((), nowhere, nowhere, size)
    return Window(tuple(pieces), pieces[0].offset, pieces[-1].after, size)


def _pieces(block: bytes, offset: int, starts: bool) -> Iterator[Piece]:
    at = 0
    while at < len(block):
        newline = block.find(b"\n", at, at + MAX_PIECE_BYTES + 1)
        if newline >= 0:
            yield Piece(offset + at, block[at:newline], starts, True)
            at, starts = newline + 1, True
            continue
        cut = min(at + MAX_PIECE_BYTES, len(block))
        if cut < len(block):
            cut = max(at + 1, cut - _back_to_character(block, cut))
        yield Piece(offset + at, block[at:cut], starts, False)
        at, starts = cut, False


def _starts_line(file: int, at: int) -> bool:
    return at == 0 or os.pread(file, 1, at - 1) == b"\n"


def start_of_line(file: int, at: int) -> int:
    """The beginning of the line that holds byte `at`; where that is far, `at` itself, between characters."""
    first = max(0, at - MAX_PIECE_BYTES)
    before = os.pread(file, at - first, first)
    newline = before.rfind(b"\n")
    if newline >= 0:
        return first + newline + 1
    if first == 0:
        return 0
    around = os.pread(file, 4, at)
    return at + _between_characters(around, 0)


def _between_characters(block: bytes, at: int) -> int:
    """Bytes at `at` that belong to a UTF-8 character which began before: three at most."""
    count = 0
    while count < 3 and at + count < len(block) and block[at + count] & 0xC0 == 0x80:
        count += 1
    return count


def _back_to_character(block: bytes, cut: int) -> int:
    """How far to go back from `cut` so that no UTF-8 character is cut in two: three at most; 0 if these are no such bytes."""
    for back in range(4):
        if cut - back < 0:
            return 0
        if block[cut - back] & 0xC0 != 0x80:
            return back
    return 0
