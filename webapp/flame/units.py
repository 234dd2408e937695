"""Counts of a profile as people read them. Pure."""

from __future__ import annotations

from clusterstate.stacks import ALLOCATIONS, BYTES
from webapp.formatting import UNKNOWN, bytes_text, number


def amount(count: int, unit: str) -> str:
    """With its unit: 1 sample, 3.00 MiB."""
    return bytes_text(count) if unit == BYTES else f"{number(count)} {word(count, unit)}"


def word(count: int, unit: str) -> str:
    if unit == BYTES:
        return "bytes"
    one = "allocation" if unit == ALLOCATIONS else "sample"
    return one if count == 1 else f"{one}s"


def short(count: int, unit: str) -> str:
    """Without the word where the head of a column says it."""
    return bytes_text(count) if unit == BYTES else number(count)


def part(count: float, whole: float) -> str:
    """Percent with a digit after the point; what is there is never 0, what is not all never 100."""
    if whole <= 0:
        return UNKNOWN
    value = 100 * count / whole
    if 0 < value < 0.05:
        return "<\u202f0.1\u202f%"
    if 99.95 <= value < 100:
        return ">\u202f99.9\u202f%"
    return f"{value:.1f}\u202f%"


def points(before: float, after: float) -> str:
    """The change of a share, in percent points, with its sign: also where no colour is seen."""
    change = 100 * (after - before)
    if abs(change) < 0.05:
        return "±0.0\u202fpp"
    return f"{'+' if change > 0 else '−'}{abs(change):.1f}\u202fpp"
