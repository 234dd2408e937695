"""Rows of a timeline as shapes: every number, class and text that the template puts into SVG is made here. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from clusterstate.store.timeline import Cell, Match, Span, Window
from clusterstate.task_states import has_ended, segment_of
from webapp.formatting import duration, moment, number, shortened
from webapp.timeline.asking import SHORTEST_MS
from webapp.timeline.colours import look
from webapp.timeline.lanes import Piece, bundles, lay, level
from webapp.timeline.window import percent

LANE_PX, GAP_PX = 18, 4
LABELLED_FROM = 0.03
"""Share of the width from which a bar bears its name."""
NARROWEST = 0.12
"""Percent of the width: what is shorter is still seen."""
LOST_WIDTH = "7"
"""Pixels: a mark at the start of what ended nobody knows when."""
CROWD_COLUMNS = 120
"""Columns in which tasks beyond the last lane are counted."""


@dataclass(frozen=True)
class Bar:
    """An attempt."""

    x: str
    width: str
    y: int
    look: str
    span: Span
    title: str
    label: str | None
    wait_x: str | None  # where it began to wait, if that is shown


@dataclass(frozen=True)
class Block:
    """Tasks that are too many or too short to be drawn one by one. `window` is its time, to look closer."""

    x: str
    width: str
    y: int
    look: str
    title: str
    window: Window
    has_failed: bool  # a task in it


@dataclass(frozen=True)
class Drawn:
    """The track of one row. Heights are pixels."""

    height: int
    bars: tuple[Bar, ...]
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Pen:
    """How things are drawn in one picture."""

    window: Window
    now_ms: int
    columns: int  # of the window, in which short tasks are counted; 0: every task is a bar
    colour: str
    shows_waits: bool
    zone: str
    most: int  # tasks of the fullest block
    failed: frozenset[tuple[int | None, int]] = frozenset()  # (worker, column) in which a task failed
    found: frozenset[int] | None = None  # keys of the tasks that were looked for; None: nothing is looked for
    found_in: frozenset[tuple[int | None, int]] = frozenset()  # and (worker, column) of them
    searched: frozenset[int | None] = frozenset()  # numbers of the workers all of whose tasks were looked at

    @property
    def step_ms(self) -> int:
        """Of a column."""
        return -(-self.window.span_ms // self.columns) if self.columns else 0

    def column_of(self, at_ms: int) -> int:
        return (at_ms - self.window.from_ms) // self.step_ms

    def places(self, matches: Iterable[Match]) -> frozenset[tuple[int | None, int]]:
        """Where these tasks are counted."""
        return (
            frozenset((one.worker, self.column_of(max(one.start_ms, self.window.from_ms))) for one in matches)
            if self.columns
            else frozenset()
        )

    def _sought(self, worker: int | None, *, is_found: bool) -> str:
        """The class of what was, or was not, looked for. Nothing is said of workers that were not looked at."""
        if self.found is None:
            return ""
        return " found" if is_found else " dim" if worker in self.searched else ""

    def draw(self, spans: list[Span], cells: list[Cell]) -> Drawn:
        """The track of one worker, or of several together."""
        tolerance = self.step_ms or self.window.span_ms // 500
        pieces: list[Piece[Span | Cell]] = [Piece(max(span.start_ms, self.window.from_ms), self._end(span), span) for span in spans]
        pieces += [Piece(*self._time_of(cell.column), cell) for cell in cells]
        laid = lay(pieces, tolerance)
        bars, blocks = [], []
        for piece, lane in laid.pieces:
            y = GAP_PX // 2 + lane * (LANE_PX + GAP_PX)
            if isinstance(piece.what, Span):
                bars.append(self._bar(piece.what, piece.end_ms, y))
            else:
                blocks.append(self._block(piece.what, y))
        lanes = laid.lanes
        if laid.left_over:
            blocks += self._crowd(laid.left_over, GAP_PX // 2 + lanes * (LANE_PX + GAP_PX))
            lanes += 1
        return Drawn(max(1, lanes) * (LANE_PX + GAP_PX), tuple(bars), tuple(blocks))

    def together(self, cells: list[Cell]) -> tuple[Pen, list[Cell]]:
        """Cells of several workers as those of one, which is called None, and the pen for it."""
        counts: Counter[int] = Counter()
        for cell in cells:
            counts[cell.column] += cell.tasks
        names: dict[int, set[str | None]] = {}
        for cell in cells:
            names.setdefault(cell.column, set()).add(cell.name)
        workers = {cell.worker for cell in cells}
        failed, found = (
            frozenset((None, column) for worker, column in places if worker in workers) for places in (self.failed, self.found_in)
        )
        searched: frozenset[int | None] = frozenset({None} if workers <= self.searched else ())
        pen = replace(self, failed=failed, found_in=found, searched=searched, most=max(counts.values(), default=1))
        return pen, [
            Cell(None, column, count, next(iter(names[column])) if len(names[column]) == 1 else None)
            for column, count in sorted(counts.items())
        ]

    def label(self, item: Span | Cell) -> str | None:
        """What the colour of a bar or block stands for: a name, or the segment of a state."""
        if self.colour == "name":
            return item.name
        if isinstance(item, Span):
            return segment_of(item.state)
        return "finished"

    def _end(self, span: Span) -> int:
        """Of what is drawn: a start alone where nobody knows the end."""
        end = span.end_ms
        if end is None:
            end = span.start_ms if has_ended(span.state) else self.now_ms
        return min(max(end, span.start_ms), self.window.to_ms)

    def _bar(self, span: Span, end_ms: float, y: int) -> Bar:
        start = max(span.start_ms, self.window.from_ms)
        share = max(0.0, end_ms - start) / self.window.span_ms
        is_lost = span.end_ms is None and has_ended(span.state)
        classes = ["bar", look(self.label(span), self.colour, has_failed=span.state == "FAILED")]
        if is_lost:
            classes.append("end-unknown")
        elif span.end_ms is None:
            classes.append("runs")
        waits = self.shows_waits and span.creation_ms is not None and span.creation_ms < span.start_ms
        return Bar(
            x=percent(start, self.window),
            width=LOST_WIDTH if is_lost else f"{max(100 * share, NARROWEST):.3f}%",
            y=y,
            look=" ".join(classes) + self._sought(span.worker, is_found=self.found is not None and span.key in self.found),
            span=span,
            title=self._title(span, is_lost=is_lost),
            label=shortened(span.name, 60) if span.name and share >= LABELLED_FROM else None,
            wait_x=percent(max(span.creation_ms or 0, self.window.from_ms), self.window) if waits else None,
        )

    def _title(self, span: Span, *, is_lost: bool) -> str:
        lasted = "nobody reported its end" if is_lost else duration((self.now_ms if span.end_ms is None else span.end_ms) - span.start_ms)
        parts = [
            shortened(span.name or "unnamed", 100),
            shortened(span.state, 40) + (f" ({shortened(span.error_type, 60)})" if span.error_type else ""),
            lasted + (" so far" if span.end_ms is None and not is_lost else ""),
            f"started {moment(span.start_ms, self.zone)}",
        ]
        if span.attempt_number:
            parts.insert(1, f"attempt {span.attempt_number}")
        if self.shows_waits and span.creation_ms is not None:
            parts.append(f"waited {duration(span.start_ms - span.creation_ms)}")
        return ", ".join(parts)

    def _block(self, cell: Cell, y: int) -> Block:
        start, end = self._time_of(cell.column)
        place = (cell.worker, cell.column)
        has_failed = place in self.failed
        classes = f"{look(self.label(cell), self.colour, has_failed=False)} block level-{level(cell.tasks, self.most)}"
        classes += self._sought(cell.worker, is_found=place in self.found_in)
        tasks = "1 task" if cell.tasks == 1 else f"{number(cell.tasks)} tasks"
        title = f"{tasks} started here" + (", some failed" if has_failed else "") + f", {moment(start, self.zone)}: look closer"
        return self._block_at(Window(start, end), y, classes, title, has_failed=has_failed)

    def _crowd(self, pieces: list[Piece[Span | Cell]], y: int) -> list[Block]:
        """Tasks that found no lane, counted."""
        step = max(1, -(-self.window.span_ms // CROWD_COLUMNS))
        found = []
        for column, items in sorted(bundles(pieces, step, self.window.from_ms).items()):
            count = sum(item.tasks if isinstance(item, Cell) else 1 for item in items)
            start = self.window.from_ms + column * step
            title = f"{number(count)} more at the same time, {moment(start, self.zone)}: look closer"
            found.append(self._block_at(Window(start, start + step), y, "crowd block level-4", title))
        return found

    def _block_at(self, time: Window, y: int, classes: str, title: str, *, has_failed: bool = False) -> Block:
        width = f"{100 * (min(time.to_ms, self.window.to_ms) - time.from_ms) / self.window.span_ms:.3f}%"
        closer = Window(time.from_ms, max(time.to_ms, time.from_ms + SHORTEST_MS))
        return Block(percent(time.from_ms, self.window), width, y, classes, title, closer, has_failed)

    def _time_of(self, column: int) -> tuple[int, int]:
        start = self.window.from_ms + column * self.step_ms
        return start, start + self.step_ms


def without(cells: list[Cell], spans: list[Span], column_of: Callable[[int], int], from_ms: int) -> list[Cell]:
    """Cells without the tasks that are drawn as bars: they were counted, too."""
    drawn = Counter((span.worker, column_of(span.start_ms)) for span in spans if span.start_ms >= from_ms)
    left = (cell._replace(tasks=cell.tasks - drawn[cell.worker, cell.column]) for cell in cells)
    return [cell for cell in left if cell.tasks > 0]
