"""Colours as classes of the style sheet: by state, or by name, where the same name has the same colour everywhere. Pure."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

HUES = 12
MOST_NAMED = 12


@dataclass(frozen=True)
class Key:
    """An entry of the legend."""

    label: str
    look: str


def hue(name: str | None) -> str:
    """The class of a name's colour."""
    return "hue-none" if not name else f"hue-{zlib.crc32(name.encode('utf-8', 'surrogatepass')) % HUES}"


def look(label: str | None, colour: str, *, has_failed: bool) -> str:
    """The classes of a bar or block: that of its name, with a mark of failure, or that of its segment of states, as in a progress bar."""
    if colour == "state":
        return (label or "unknown").replace("_", "-")
    return hue(label) + (" has-failed" if has_failed else "")


def legend(labels: Iterable[str | None], colour: str) -> tuple[list[Key], int]:
    """What the colours of these names (or segments of states) mean, the most frequent first, and how many more names there are."""
    named = [label for label, _ in Counter(labels).most_common() if label]
    if colour == "state":
        return [Key(segment.replace("_", " "), look(segment, colour, has_failed=False)) for segment in named], 0
    return [Key(name, hue(name)) for name in named[:MOST_NAMED]], max(0, len(named) - MOST_NAMED)
