"""What of a window is drawn: tasks one by one if they are few, else the long ones, and the others counted by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from clusterstate.query import Condition
from clusterstate.store.timeline import Cell, Span, Timeline, Track
from webapp.timeline.asking import Asked
from webapp.timeline.drawing import Pen, without
from webapp.timeline.rows import Page

SHAPES = 2000
"""Bars, and again as many blocks, that a page has at most."""
COLUMNS = (60, 240)
"""Fewest and most columns of blocks in a row."""
MOST_FOUND = 20_000
MOST_FAILED = 50_000


@dataclass(frozen=True)
class Search:
    """How many tasks of the window were found, on all its workers."""

    found: int
    is_exact: bool  # False: there may be more, it took too long


@dataclass(frozen=True)
class Reading:
    """The tasks of one page of rows, and the pen that draws them."""

    pen: Pen
    spans: list[Span]
    cells: list[Cell]
    is_cut: bool = False  # the last rows took too long
    has_all_bars: bool = True  # every task that is long enough for one is a bar
    has_all_failures: bool = True  # every block in which a task failed is marked
    search: Search | None = None

    def labels(self) -> list[str | None]:
        """What is drawn, by what its colour stands for: a name, or a segment of states. Bars and blocks count alike."""
        return [*map(self.pen.label, self.spans), *map(self.pen.label, self.cells)]


def read(
    timeline: Timeline, asked: Asked, tracks: Sequence[Track], page: Page, counts: Mapping[int | None, int], failed: int, pen: Pen
) -> Reading:
    """`tracks` are all workers of the window, `counts` how many tasks started on each, `failed` how many failed in the whole session.

    Raises DeadlinePassed.
    """
    opened = [track for unit in page.units if not unit.is_closed for track in unit.tracks]
    closed = [track for unit in page.units if unit.is_closed for track in unit.tracks]
    is_few = not closed and sum(counts.get(track.number, 0) for track in opened) <= SHAPES
    spans = timeline.spans(opened, pen.window, 0, SHAPES) if is_few else None
    if spans is not None and not spans.is_cut:
        reading = Reading(pen, spans.rows, [])
    else:
        fewest, most = COLUMNS
        pen = replace(pen, columns=min(most, max(fewest, SHAPES // max(1, len(page.units)))))
        reading = _counted(timeline, opened, closed, counts, failed, pen)
    return _searched(timeline, asked, tracks, page, reading) if asked.where else reading


def _counted(
    timeline: Timeline, opened: list[Track], closed: list[Track], counts: Mapping[int | None, int], failed: int, pen: Pen
) -> Reading:
    both = [*opened, *closed]
    long = timeline.spans(opened, pen.window, pen.step_ms, SHAPES)
    spans: list[Span] = long.rows
    found = timeline.cells(both, pen.window, pen.columns, named=pen.colour == "name")
    cells = without(found.rows, spans, pen.column_of, pen.window.from_ms)
    if failed <= sum(counts.get(track.number, 0) for track in both) and not any(track.only for track in both):
        failures, is_cut = timeline.failures(pen.window, MOST_FAILED)
        are_all = not is_cut
    else:
        failures, searched = timeline.matching(both, pen.window, (Condition("state", "is", "FAILED"),), MOST_FAILED)
        are_all = len(searched) == len(both)
    drawn = {span.key for span in spans}
    failed_in = pen.places(match for match in failures if match.key not in drawn)
    pen = replace(pen, most=max((cell.tasks for cell in cells), default=1), failed=failed_in)
    return Reading(pen, spans, cells, found.is_cut, not long.is_cut, are_all)


def _searched(timeline: Timeline, asked: Asked, tracks: Sequence[Track], page: Page, reading: Reading) -> Reading:
    """Looks at the workers of the page first."""
    here = {track.number for unit in page.units for track in unit.tracks}
    ordered = sorted(tracks, key=lambda track: track.number not in here)
    rows, searched = timeline.matching(ordered, reading.pen.window, asked.where, MOST_FOUND)
    keys = frozenset(match.key for match in rows)
    pen = replace(reading.pen, found=keys, found_in=reading.pen.places(rows), searched=searched)
    return replace(reading, pen=pen, search=Search(len(keys), is_exact=len(searched) == len(tracks)))
