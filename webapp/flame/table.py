"""Functions and modules with what ended in them and what went through them: a stack counts once, however often it recurs. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from clusterstate.stacks import Frame, Samples
from webapp.flame.asking import FUNCTIONS, AskedFlame
from webapp.flame.drawing import LONGEST_NAME, place_of
from webapp.flame.labels import Label, key_of_function, label_of, label_of_module, look_of
from webapp.flame.links import Links, To
from webapp.flame.searching import wanted
from webapp.flame.tree import stacks_of
from webapp.flame.units import part, short, word
from webapp.formatting import shortened

MOST_SHOWN = 200
DEFAULT_SORT = "-own"

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Counted:
    """A function, or a module."""

    label: Label
    own: int  # what ended there
    total: int  # what went through there


@dataclass(frozen=True)
class Tally:
    """All of a profile's, and how much there is."""

    rows: tuple[Counted, ...]
    total: int


def functions(samples: Samples, thread: str = "", *, lines: bool = False) -> Tally:
    """Every function (or line of one)."""
    return _tally(samples, thread, lambda frame: label_of(frame, lines=lines), lambda label, _: label)


def modules(samples: Samples, thread: str = "") -> Tally:
    """Every package, or module where there is none."""

    def name(frame: Frame) -> str:
        return label_of_module(frame).name

    return _tally(samples, thread, name, lambda _, frame: label_of_module(frame))


def _tally(samples: Samples, thread: str, name: Callable[[Frame], Name], label: Callable[[Name, Frame], Label]) -> Tally:
    names: dict[Name, int] = {}
    labels: list[Label] = []
    numbers: list[int] = []
    for frame in samples.frames:
        named = name(frame)
        if named not in names:
            names[named] = len(names)
            labels.append(label(named, frame))
        numbers.append(names[named])
    own: Counter[int] = Counter()
    through: Counter[int] = Counter()
    whole = 0
    for stack in stacks_of(samples, thread):
        whole += stack.count
        if stack.frames:
            own[numbers[stack.frames[-1]]] += stack.count
            for number in {numbers[place] for place in stack.frames}:
                through[number] += stack.count
    rows = tuple(Counted(labels[number], own[number], total) for number, total in through.items())
    return Tally(rows, whole)


def ordered(rows: Sequence[Counted], sort: str) -> list[Counted]:
    """By own, total, name or file; with - before it the other way round. Equal ones stand by name."""
    by: dict[str, Callable[[Counted], object]] = {
        "own": lambda row: row.own,
        "total": lambda row: row.total,
        "name": lambda row: row.label.name.casefold(),
        "file": lambda row: (row.label.file, row.label.line),
    }
    key = by.get(sort.removeprefix("-"), by["own"])
    found = sorted(rows, key=lambda row: row.label)
    return sorted(found, key=key, reverse=sort.startswith("-"))  # type: ignore[arg-type]  # each compares with its like


@dataclass(frozen=True)
class Head:
    """A column that can be sorted by."""

    label: str
    href: str
    direction: str  # ascending, descending or empty
    is_numeric: bool


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    name: str
    place: str
    look: str
    own: str
    own_share: str
    own_percent: float
    total: str
    total_share: str
    total_percent: float
    href: str  # callers and callees; of a module: its frames, found


@dataclass(frozen=True)
class TablePage:
    """All that profiles/_functions.html may use."""

    asked: AskedFlame
    links: Links
    what: str  # functions or modules
    unit: str
    heads: tuple[Head, ...]
    rows: tuple[Row, ...]
    matching: int
    count: int


def table_page(samples: Samples, asked: AskedFlame, to: To) -> TablePage:
    """The table of functions, or of modules."""
    links = Links(to, asked)
    is_functions = asked.view == FUNCTIONS
    tally = functions(samples, asked.thread, lines=asked.lines) if is_functions else modules(samples, asked.thread)
    what = wanted(asked.q)
    found = [row for row in tally.rows if what is None or what.matches(row.label)]
    sort = asked.sort if asked.sort.removeprefix("-") in ("own", "total", "name", "file") else DEFAULT_SORT
    rows = [_row(row, tally.total, samples.unit, links, is_functions=is_functions) for row in ordered(found, sort)[:MOST_SHOWN]]
    heads = [
        head(links, sort, "name", "Function" if is_functions else "Module", is_numeric=False),
        head(links, sort, "own", "Self", is_numeric=True),
        head(links, sort, "total", "Total", is_numeric=True),
        *([head(links, sort, "file", "File", is_numeric=False)] if is_functions else []),
    ]
    return TablePage(asked, links, asked.view, word(2, samples.unit), tuple(heads), tuple(rows), len(found), len(tally.rows))


def head(links: Links, sort: str, key: str, label: str, *, is_numeric: bool) -> Head:
    """A column's head: a click sorts by it, another the other way round."""
    first, other = (f"-{key}", key) if is_numeric else (key, f"-{key}")
    direction = "descending" if sort == f"-{key}" else "ascending" if sort == key else ""
    return Head(label, links.but(sort=other if sort == first else first), direction, is_numeric)


def _row(row: Counted, whole: int, unit: str, links: Links, *, is_functions: bool) -> Row:
    label = row.label
    return Row(
        name=shortened(label.name, LONGEST_NAME) or "(no name)",
        place=place_of(label) if is_functions else label.file,
        look=look_of(label),
        own=short(row.own, unit),
        own_share=part(row.own, whole),
        own_percent=100 * row.own / whole if whole else 0.0,
        total=short(row.total, unit),
        total_share=part(row.total, whole),
        total_percent=100 * row.total / whole if whole else 0.0,
        href=links.sandwich(key_of_function(label)) if is_functions else links.search(label.name[:100]),
    )
