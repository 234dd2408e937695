"""What overlaps within a worker's row is drawn in lanes, one below the other. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")
MOST_LANES = 8


class Piece(NamedTuple, Generic[T]):
    """Something from a moment to another, Unix ms."""

    start_ms: float
    end_ms: float
    what: T


@dataclass(frozen=True)
class Laid(Generic[T]):
    """Pieces with the lane of each, how many lanes there are, and the pieces that found no lane."""

    pieces: list[tuple[Piece[T], int]]
    lanes: int
    left_over: list[Piece[T]]


def lay(pieces: Iterable[Piece[T]], tolerance_ms: float, most: int = MOST_LANES) -> Laid[T]:
    """Each piece goes to the first lane that is free at its start.

    Ends are their owner's word, which often comes some milliseconds after the worker began its next task: a lane counts as free
    that much earlier, if what is in it can be seen.
    """
    lanes: list[Piece[T]] = []  # the last piece of each
    laid: list[tuple[Piece[T], int]] = []
    left_over: list[Piece[T]] = []
    for piece in sorted(pieces, key=lambda piece: (piece.start_ms, piece.end_ms)):
        lane = next((number for number, last in enumerate(lanes) if _is_free(last, piece, tolerance_ms)), len(lanes))
        if lane >= most:
            left_over.append(piece)
            continue
        if lane == len(lanes):
            lanes.append(piece)
        else:
            lanes[lane] = piece if piece.end_ms >= lanes[lane].end_ms else lanes[lane]._replace(start_ms=piece.start_ms)
        laid.append((piece, lane))
    return Laid(laid, len(lanes), left_over)


def _is_free(last: Piece[T], piece: Piece[T], tolerance_ms: float) -> bool:
    if last.end_ms <= piece.start_ms:
        return last.start_ms < piece.start_ms or last.end_ms > last.start_ms
    return last.end_ms - piece.start_ms <= tolerance_ms <= piece.start_ms - last.start_ms


def bundles(pieces: Sequence[Piece[T]], step_ms: float, start_ms: float) -> dict[int, list[T]]:
    """What is in each column of so many milliseconds, by where it starts."""
    found: dict[int, list[T]] = {}
    for piece in pieces:
        found.setdefault(int((max(piece.start_ms, start_ms) - start_ms) // step_ms), []).append(piece.what)
    return found


def level(count: int, most: int) -> int:
    """How full a block is, from 1 to 4, by orders of magnitude below the fullest one."""
    return next((4 - below for below in range(3) if count * 4 ** (below + 1) > most), 1)
