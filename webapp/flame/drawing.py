"""A call tree as boxes: every number, class and text that SVG is made of. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush

from webapp.flame.labels import FRAME, Label, look_of, short_file
from webapp.flame.tree import Tree
from webapp.flame.units import amount, part, points
from webapp.formatting import shortened

ROW_PX = 20
MOST_BOXES = 3_000
MOST_ROWS = 250
"""Below the frame that is shown."""
MOST_ABOVE = 8
"""Rows of frames that lead to the one that is shown; the others stand in the path above the picture."""
NARROWEST = 0.001
"""Share of the shown width: what is narrower is counted, not drawn."""
LABELLED_FROM, PLACED_FROM = 0.012, 0.14
"""From which share of the width a box bears its name, and from which its file as well."""
FRAMED_FROM = 0.004
"""From here on there is room for a gap to the next box."""
LONGEST_NAME, LONGEST_FILE = 300, 300
LEVELS = ((0.1, 0), (0.35, 1), (0.7, 2))


@dataclass(frozen=True)
class Box:
    """A frame. `x` and `width` are shares of the picture's width."""

    node: int
    href: str
    x: float
    width: float
    y: int
    look: str
    name: str
    place: str  # file, and line where there is one
    title: str
    has_name: bool
    has_place: bool

    @property
    def x_percent(self) -> str:
        return f"{100 * self.x:.4f}%"

    @property
    def width_percent(self) -> str:
        return f"{100 * self.width:.4f}%"


@dataclass(frozen=True)
class Drawing:
    """All boxes of a picture."""

    at: int  # the node that has the whole width
    boxes: tuple[Box, ...]
    height: int
    hidden: int  # frames below the shown one that are too narrow, too many or too deep
    is_deep: bool  # some are too deep
    above: int  # frames above it that are not drawn
    labels: tuple[int, ...]  # numbers of the labels that are drawn, the widest first


@dataclass(frozen=True)
class Pen:
    """How a tree is drawn."""

    tree: Tree
    unit: str
    at: int = 0  # the node that has the whole width
    is_flame: bool = False  # the root at the bottom
    found: frozenset[int] | None = None  # labels that are looked for; None: nothing is
    by_first: bool = False  # of a comparison: widths are those of the first
    link: Callable[[int], str] | None = None  # of a node
    whole: int | None = None  # what is all, where the tree holds only a part of it
    draws_above: bool = True

    @property
    def weights(self) -> list[int]:
        return self.tree.total_before if self.by_first else self.tree.total

    def draw(self) -> Drawing:
        """The frames above the shown one at full width, then it and what is below, each row the callees of the one before."""
        path = self.tree.path(self.at)[:-1] if self.draws_above else []
        left_out = max(0, len(path) - MOST_ABOVE)
        above = path[left_out:]
        placed = self._placed(len(above))
        height = (1 + max((row for _, row, _ in placed), default=len(above))) * ROW_PX
        y_of = self._upwards(height) if self.is_flame else _downwards
        boxes = [self._box(node, 0.0, 1.0, y_of(row), " above") for row, node in enumerate(above)]
        boxes += [self._box(node, x, self._share(node), y_of(row), "") for node, row, x in placed]
        hidden = self.tree.size[self.at] - len(placed)
        is_deep = any(row - len(above) == MOST_ROWS and node in self.tree.children for node, row, _ in placed)
        labels = dict.fromkeys(self.tree.label[node] for node, _, _ in placed)
        return Drawing(self.at, tuple(boxes), height, hidden, is_deep, left_out, tuple(labels))

    def _placed(self, first_row: int) -> list[tuple[int, int, float]]:
        """(node, row, x) of the widest frames: a frame is always wider than those below it, so that no row has a hole above it."""
        tree, weights = self.tree, self.weights
        whole = weights[self.at]
        if whole <= 0:
            return []
        found: list[tuple[int, int, float]] = []
        waiting = [(-whole, self.at, first_row, 0.0)]
        while waiting and len(found) < MOST_BOXES:
            _, node, row, x = heappop(waiting)
            found.append((node, row, x))
            if row - first_row >= MOST_ROWS:
                continue
            for child in tree.ordered(node, weights):
                share = weights[child] / whole
                if share < NARROWEST:
                    break
                heappush(waiting, (-weights[child], child, row + 1, x))
                x += share
        return found

    def _share(self, node: int) -> float:
        return self.weights[node] / self.weights[self.at]

    def _upwards(self, height: int) -> Callable[[int], int]:
        return lambda row: height - (row + 1) * ROW_PX

    def _box(self, node: int, x: float, width: float, y: int, more: str) -> Box:
        tree = self.tree
        number = tree.label[node]
        label = tree.labels[number]
        name, place = shortened(label.name, LONGEST_NAME) or "(no name)", place_of(label, tree.lines.get(number, 0))
        look = self._look(node, label) + more + ("" if width >= FRAMED_FROM else " thin")
        if self.found is not None:
            look += " found" if number in self.found else " dim"
        if tree.before is not None:
            name = f"{sign(self._shares(node))} {name}"
        whole_place = place_of(label, tree.lines.get(number, 0), is_whole=True)
        title = "\n".join(filter(None, (name, whole_place, self._counts(node))))
        href = self.link(node) if self.link is not None else ""
        has_name, has_place = width >= LABELLED_FROM, bool(place) and width >= PLACED_FROM
        return Box(node, href, x, width, y, look, name, place, title, has_name, has_place)

    def _look(self, node: int, label: Label) -> str:
        return look_of(label) if self.tree.before is None else change_look(*self._shares(node))

    def _shares(self, node: int) -> tuple[float, float]:
        """Of the node in the first and in the second whole."""
        first, second = self.tree.total_before, self.tree.total
        return (first[node] / first[0] if first[0] else 0.0), (second[node] / second[0] if second[0] else 0.0)

    def _counts(self, node: int) -> str:
        tree, weights = self.tree, self.weights
        if tree.before is not None:
            before, after = self._shares(node)
            return (
                f"{points(before, after)}: from {part(before, 1)} ({amount(tree.total_before[node], self.unit)}) "
                f"to {part(after, 1)} ({amount(tree.total[node], self.unit)})"
            )
        whole = weights[0] if self.whole is None else self.whole
        counts = f"{amount(weights[node], self.unit)}, {part(weights[node], whole)} of all"
        if self.at and weights[node] <= weights[self.at]:
            counts += f", {part(weights[node], weights[self.at])} of what is shown"
        return counts + (f"; {amount(tree.own[node], self.unit)} in itself" if tree.own[node] else "")


def place_of(label: Label, line: int = 0, *, is_whole: bool = False) -> str:
    """file:line, as far as they are known: the end of the path that tells which file it is, or the whole path."""
    if label.kind != FRAME or not label.file:
        return ""
    line = label.line or line
    file = label.file if is_whole else short_file(label.file)
    return shortened(file, LONGEST_FILE) + (f":{line}" if line else "")


def change_look(before: float, after: float) -> str:
    """The class of a share that has changed."""
    most = max(before, after)
    change = (after - before) / most if most else 0.0
    level = next((level for below, level in LEVELS if abs(change) < below), 3)
    if not level or abs(after - before) < 0.0005:
        return "same"
    return f"{'grown' if change > 0 else 'shrunk'}-{level}"


def sign(shares: tuple[float, float]) -> str:
    look = change_look(*shares)
    return "▲" if look.startswith("grown") else "▼" if look.startswith("shrunk") else "="


def _downwards(row: int) -> int:
    return row * ROW_PX
