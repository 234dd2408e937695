"""Two profiles beside each other: counts as shares of each whole, what grew and what shrank, in a tree and in a table. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from clusterstate.query import BadQuery
from clusterstate.stacks import Samples
from webapp.flame.asking import AskedFlame
from webapp.flame.drawing import Drawing, Pen, change_look, place_of
from webapp.flame.labels import Label
from webapp.flame.links import Links, To
from webapp.flame.searching import found_labels, wanted
from webapp.flame.showing import Crumb, Key, crumbs_of
from webapp.flame.table import Head, functions, head
from webapp.flame.tree import Growing, Shape, Tree, plant
from webapp.flame.units import amount, part, points
from webapp.formatting import shortened

MOST_SHOWN = 100
DEFAULT_SORT = "-change"
KEYS = (
    Key("▲ more than before", "grown-2"),
    Key("much more, or new", "grown-3"),
    Key("= about as much", "same"),
    Key("▼ less than before", "shrunk-2"),
    Key("much less, or gone", "shrunk-3"),
)
NOT_HERE = "That frame is not in the profile whose widths are shown: all is shown."


@dataclass(frozen=True)
class Change:
    """A function in both: shares of each whole."""

    label: Label
    own_before: float
    own: float
    total_before: float
    total: float

    @property
    def own_change(self) -> float:
        return self.own - self.own_before

    @property
    def total_change(self) -> float:
        return self.total - self.total_before


@dataclass(frozen=True)
class ChangeRow:
    """A line of the table."""

    name: str
    place: str
    look: str
    own_before: str
    own: str
    own_change: str
    total_before: str
    total: str
    total_change: str
    href: str


@dataclass(frozen=True)
class DifferencePage:
    """All that profiles/_difference.html may use."""

    asked: AskedFlame
    links: Links
    first: str  # how much it is
    second: str
    is_empty: bool  # one of them
    drawing: Drawing
    crumbs: tuple[Crumb, ...]
    left_out: int
    shown: str
    missing: str | None  # which part of the other profile stands in frames that these widths do not show
    keys: tuple[Key, ...]
    heads: tuple[Head, ...]
    rows: tuple[ChangeRow, ...]
    matching: int
    note: str | None


def compare(first: Samples, second: Samples, shape: Shape) -> Tree:
    """One tree of both."""
    growing = Growing()
    plant(growing, first, shape, is_first=True)
    plant(growing, second, shape)
    return growing.tree(compares=True)


def changes(first: Samples, second: Samples, *, lines: bool = False) -> list[Change]:
    """Every function of either."""
    before, after = (functions(samples, lines=lines) for samples in (first, second))
    earlier, later = ({row.label: row for row in tally.rows} for tally in (before, after))
    whole_before, whole = before.total or 1, after.total or 1

    def change(label: Label) -> Change:
        old, new = earlier.get(label), later.get(label)
        return Change(
            label,
            old.own / whole_before if old else 0.0,
            new.own / whole if new else 0.0,
            old.total / whole_before if old else 0.0,
            new.total / whole if new else 0.0,
        )

    return [change(label) for label in dict.fromkeys([*earlier, *later])]


def difference_page(first: Samples, second: Samples, asked: AskedFlame, to: To) -> DifferencePage:
    """The second profile as against the first. Raises BadQuery where they count different things."""
    if first.unit != second.unit:
        raise BadQuery(f"These profiles cannot be compared: one counts {first.unit[:32]}, the other {second.unit[:32]}.")
    tree = compare(first, second, Shape(asked.lines, inverted=asked.inverted, modules=asked.modules))
    links = Links(to, asked)
    weights, others = (tree.total_before, tree.total) if asked.first else (tree.total, tree.total_before)
    found = tree.find(asked.at)
    node = found if found is not None and weights[found] else 0
    what = wanted(asked.q)
    labels = found_labels(tree, what) if what else None
    pen = Pen(tree, first.unit, node, asked.upwards, labels, asked.first, lambda other: links.zoom(tree.key(other)))
    crumbs, left_out = crumbs_of(tree, node, links)
    rows = [row for row in changes(first, second, lines=asked.lines) if what is None or what.matches(row.label)]
    sort = asked.sort if asked.sort.removeprefix("-") in _BY else DEFAULT_SORT
    return DifferencePage(
        asked=asked,
        links=links,
        first=amount(tree.total_before[0], first.unit),
        second=amount(tree.total[0], first.unit),
        is_empty=not tree.total_before[0] or not tree.total[0],
        drawing=pen.draw(),
        crumbs=crumbs,
        left_out=left_out,
        shown=part(weights[node], weights[0]),
        missing=_missing(tree, weights, others),
        keys=KEYS,
        heads=_heads(links, sort),
        rows=tuple(_row(row, links) for row in ordered(rows, sort)[:MOST_SHOWN]),
        matching=len(rows),
        note=NOT_HERE if node != (found if found is not None else -1) else None,
    )


_BY: dict[str, Callable[[Change], float]] = {
    "change": lambda row: abs(row.own_change),
    "own": lambda row: row.own_change,
    "total": lambda row: row.total_change,
}


def ordered(rows: list[Change], sort: str) -> list[Change]:
    """By the size of the change of what ended in a function, or by one of the changes; with - before it the greatest first."""
    found = sorted(rows, key=lambda row: (-abs(row.total_change), row.label))
    return sorted(found, key=_BY.get(sort.removeprefix("-"), _BY["change"]), reverse=sort.startswith("-"))


def _missing(tree: Tree, weights: list[int], others: list[int]) -> str | None:
    """How much of the other profile these widths do not show."""
    gone = sum(others[node] for node in range(1, len(tree)) if not weights[node] and weights[tree.parent[node]])
    return part(gone, others[0]) if gone else None


def _heads(links: Links, sort: str) -> tuple[Head, ...]:
    own, total = (
        head(links, sort, key, label, is_numeric=True) for key, label in (("own", "Change of self"), ("total", "Change of total"))
    )
    return own, total


def _row(row: Change, links: Links) -> ChangeRow:
    return ChangeRow(
        name=shortened(row.label.name, 300) or "(no name)",
        place=place_of(row.label),
        look=change_look(row.own_before, row.own),
        own_before=part(row.own_before, 1),
        own=part(row.own, 1),
        own_change=points(row.own_before, row.own),
        total_before=part(row.total_before, 1),
        total=part(row.total, 1),
        total_change=points(row.total_before, row.total),
        href=links.but(q=f"{row.label.name}*{row.label.file}"[:200], at=""),
    )
