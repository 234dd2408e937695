"""A line of a log as it may be shown: text is text, colours are classes, and nothing in it does anything.

Pure. What is not UTF-8, and control characters, become marks that say which byte it was. Of ECMA-48's sequences only colours and
weights (SGR) are kept; others are left out, or shown as they are in the raw view.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

COLOURS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
WEIGHTS = {1: "bold", 2: "faint", 3: "italic", 4: "underline", 7: "reverse", 9: "struck"}
ENDED_BY = {22: {"bold", "faint"}, 23: {"italic"}, 24: {"underline"}, 27: {"reverse"}, 29: {"struck"}}
MAX_SPANS = 2_000
"""Of one line: a line of nothing but colour changes is shown without the rest of them."""

SEQUENCE = re.compile(
    r"\x1b\[(?P<sgr>[0-9;:]{0,64})m"  # colours and weights
    r"|\x1b\[[0-?]{0,64}[ -/]{0,8}[@-~]"  # other control sequences: moving the cursor, erasing
    r"|\x1b[\]PX^_][^\x07\x1b\x9c]{0,4096}(?:\x07|\x1b\\|\x9c)"  # strings: titles, links
    r"|\x1b[ -/]{0,8}[0-~]"  # two-character ones
)
SPECIAL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\udc80-\udcff]")
"""Control characters except the tab, those that change the direction of text, and bytes that are no UTF-8 (surrogateescape)."""


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a line that looks one way. `look` are names of classes; a mark stands for a character that is not shown."""

    text: str
    look: tuple[str, ...] = ()
    is_mark: bool = False
    is_found: bool = False  # it is (a part of) what was searched

    def looks_as(self, other: Span) -> bool:
        return (self.look, self.is_mark, self.is_found) == (other.look, other.is_mark, other.is_found)


@dataclass
class _Look:
    """The state that colour sequences change. It ends with the line: a window may begin anywhere."""

    colour: str | None = None
    behind: str | None = None
    weights: set[str] = field(default_factory=set)

    def classes(self) -> tuple[str, ...]:
        named = [f"fg-{self.colour}"] if self.colour else []
        named += [f"bg-{self.behind}"] if self.behind else []
        return (*named, *sorted(self.weights))

    def change(self, codes: list[int]) -> None:
        numbers = iter(codes)
        for code in numbers:
            if code == 0:
                self.colour, self.behind, self.weights = None, None, set()
            elif code in WEIGHTS:
                self.weights.add(WEIGHTS[code])
            elif code in ENDED_BY:
                self.weights -= ENDED_BY[code]
            elif code in (38, 48):
                chosen = _of_many(numbers)
                if code == 38:
                    self.colour = chosen
                else:
                    self.behind = chosen
            else:
                self._simple(code)

    def _simple(self, code: int) -> None:
        if 30 <= code <= 37 or 90 <= code <= 97:
            self.colour = COLOURS[code % 10]
        elif 40 <= code <= 47 or 100 <= code <= 107:
            self.behind = COLOURS[code % 10]
        elif code == 39:
            self.colour = None
        elif code == 49:
            self.behind = None


Placed = Iterator[tuple[int, Span]]
"""Spans, each with the place of its first character in the text."""


def spans(line: bytes, *, raw: bool = False, found: Sequence[tuple[int, int]] = ()) -> list[Span]:
    """What is shown of a line without its newline. `found` says which bytes of it match a search, in order: (first, after the last).

    A carriage return begins the line anew, as on a terminal, so that a progress bar is its last state; `raw` shows all of it, with
    marks for carriage returns and escape sequences.
    """
    text = line.decode("utf-8", "surrogateescape")
    first, after = (0, len(text)) if raw else last_state(text)
    placed = _marked(text, first, after, ()) if raw else _coloured(text, first, after)
    places = [(_characters(line, start), _characters(line, end)) for start, end in found if start < end]
    return _bounded(_with_found(placed, places) if places else (span for _, span in placed))


def last_state(text: str) -> tuple[int, int]:
    """Where that begins and ends which stands on a terminal's line after all carriage returns. One at the end changes nothing (CR LF)."""
    after = len(text.rstrip("\r"))
    return text.rfind("\r", 0, after) + 1, after


def plain(line: bytes) -> str:
    """The text alone, as it is searched and copied: without colours, marks as U+FFFD."""
    return "".join("\ufffd" if span.is_mark else span.text for span in spans(line))


def _characters(line: bytes, count: int) -> int:
    """How many characters the first `count` bytes are."""
    return len(line[:count].decode("utf-8", "surrogateescape"))


def _with_found(placed: Placed, places: list[tuple[int, int]]) -> Iterator[Span]:
    """Spans cut where what was searched begins and ends; places are in order."""
    number = 0
    for first, span in placed:
        at, after = first, first + (1 if span.is_mark else len(span.text))
        while at < after:
            while number < len(places) and places[number][1] <= at:
                number += 1
            start, end = places[number] if number < len(places) else (after, after)
            is_found = start <= at
            cut = min(after, end if is_found else start)
            yield Span(span.text if span.is_mark else span.text[at - first : cut - first], span.look, span.is_mark, is_found)
            at = cut


def _coloured(text: str, at: int, until: int) -> Placed:
    look = _Look()
    for found in SEQUENCE.finditer(text, at, until):
        yield from _marked(text, at, found.start(), look.classes())
        at = found.end()
        if found["sgr"] is not None:
            look.change([int(code) if code.isdigit() and len(code) < 4 else 0 for code in re.split("[;:]", found["sgr"])])
    yield from _marked(text, at, until, look.classes())


def _marked(text: str, at: int, until: int, look: tuple[str, ...]) -> Placed:
    for found in SPECIAL.finditer(text, at, until):
        if found.start() > at:
            yield at, Span(text[at : found.start()], look)
        yield found.start(), Span(_name(found[0]), look, True)
        at = found.end()
    if at < until:
        yield at, Span(text[at:until], look)


def _bounded(found: Iterator[Span]) -> list[Span]:
    kept: list[Span] = []
    for span in found:
        if kept and len(kept[-1].text) < 4096 and kept[-1].looks_as(span):
            kept[-1] = Span(kept[-1].text + span.text, span.look, span.is_mark, span.is_found)
        elif len(kept) < MAX_SPANS:
            kept.append(span)
        elif kept[-1].looks_as(Span("")):
            kept[-1] = Span(kept[-1].text + span.text)
        else:
            kept.append(Span(span.text))
    return kept


def _name(character: str) -> str:
    """`\\x1b` for a control character or a stray byte, `U+202E` for one that changes the direction of text."""
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:
        return f"\\x{number - 0xDC00:02x}"
    return f"\\x{number:02x}" if number < 0x100 else f"U+{number:04X}"


def _of_many(numbers: Iterator[int]) -> str | None:
    """The nearest of the eight colours to one of 256 (5;n) or of all (2;r;g;b)."""
    kind = next(numbers, None)
    if kind == 5:
        number = next(numbers, 0)
        if number < 16:
            return COLOURS[number % 8]
        if number >= 232:
            return "white" if number >= 244 else "black"
        number = min(number, 231) - 16
        return _nearest(number // 36 * 51, number // 6 % 6 * 51, number % 6 * 51)
    if kind == 2:
        return _nearest(next(numbers, 0), next(numbers, 0), next(numbers, 0))
    return None


def _nearest(red: int, green: int, blue: int) -> str:
    return COLOURS[(red > 127) + 2 * (green > 127) + 4 * (blue > 127)]
