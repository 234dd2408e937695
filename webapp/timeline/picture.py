"""A timeline, loaded: what is asked of the index, in which order, and the page object that comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clusterstate.model import Actor, Node, Worker
from clusterstate.query import AnyOf, Condition
from clusterstate.resources import ACTORS, NODES, WORKERS
from clusterstate.store.reader import SessionReader
from clusterstate.store.sqlite_reading import DeadlinePassed
from clusterstate.store.timeline import Cell, Span, Timeline, Track, Window
from clusterstate.task_states import is_pending
from webapp.formatting import number as number_text
from webapp.tables.tasks import TASKS
from webapp.timeline.asking import ALL, Asked
from webapp.timeline.colours import Key, legend
from webapp.timeline.drawing import Drawn, Pen
from webapp.timeline.reading import Reading, Search, read
from webapp.timeline.rows import Page, Unit, page_of
from webapp.timeline.window import PRESETS, Tick, moved, percent, ticks, window_of, zoomed

STRIP_COLUMNS = 120
STRIP_LOOKS = 60_000
"""Looks at the index that the strip of a few workers may cost: one for each of them and column."""
SKEW_MS = 3_600_000
"""A node's clock may be so far behind that tasks start before their session."""


@dataclass(frozen=True)
class Column:
    """Of the strip above: all that there is, with how much started when."""

    x: str
    y: str
    width: str
    height: str
    href: str
    title: str


@dataclass(frozen=True)
class Strip:
    """The whole range. `x` and `width` are where the window lies in it, if it does; `columns` is None where counting took too long."""

    whole: Window
    columns: tuple[Column, ...] | None
    x: str | None
    width: str | None


@dataclass(frozen=True)
class Row:
    """A worker or a closed node. `is_first` is the first row of its node on this page, which is named above it then."""

    key: str
    node_id: str | None
    node: Node | None
    track: Track | None  # None: a closed node
    worker: Worker | None
    actor: Actor | None
    started: int
    workers: int
    is_first: bool
    drawn: Drawn


@dataclass(frozen=True)
class TimelinePage:
    """All that timeline/_timeline.html may use."""

    asked: Asked
    window: Window
    whole: Window | None  # None: no task has started
    ticks: tuple[Tick, ...]
    strip: Strip | None
    rows: tuple[Row, ...]
    page: Page
    workers: int
    started: int
    search: Search | None
    keys: tuple[Key, ...]
    more_keys: int
    is_cut: bool  # some are not drawn: it took too long
    has_all_bars: bool  # False: long tasks of the last rows are not, or only counted where they started
    has_all_failures: bool
    waiting: int  # tasks that have not started
    columns: int  # 0: every task is a bar
    polls: bool
    links: dict[str, str]
    presets: tuple[tuple[str, str, bool], ...]


@dataclass(frozen=True)
class Whose:
    """Which workers are looked at. None: all."""

    condition: Condition | AnyOf | None = None
    is_nobody: bool = False  # there is no such worker yet


def load(reader: SessionReader, asked: Asked, whose: Whose, now_ms: int, zone: str, *, is_past: bool) -> TimelinePage:
    """The page. Costs some tens of milliseconds at a million tasks. Raises DeadlinePassed."""
    metadata = reader.metadata()
    began = metadata.started_ms if metadata is not None else None
    bounds = Window(max(1, began - SKEW_MS) if began else 1, now_ms + SKEW_MS)
    timeline = Timeline(reader.path, bounds)
    all_tracks = [] if whose.is_nobody else None if whose.condition is None else timeline.tracks(bounds, whose.condition)
    whole = timeline.extent(all_tracks)
    runs = not is_past and whole is not None and timeline.runs(all_tracks)
    window = window_of(asked, whole, now_ms, runs=runs)
    tracks = [] if whole is None else timeline.tracks(window, whose.condition)
    nodes = {node.node_id: node for node in reader.all(NODES)} if tracks else {}
    page = page_of(tracks, nodes, asked.closed, asked.page)
    counts, states = timeline.counts(tracks, window), _states(reader)
    pen = Pen(window, now_ms, 0, asked.colour, asked.shows_waits, zone, 1)
    reading = read(timeline, asked, tracks, page, counts, states.get("FAILED", 0), pen)
    keys, more_keys = legend(reading.labels(), asked.colour)
    return TimelinePage(
        asked=asked,
        window=window,
        whole=whole,
        ticks=tuple(ticks(window)),
        strip=None if whole is None else _strip(timeline, asked, whole, window, all_tracks),
        rows=tuple(_rows(reader, page, nodes, counts, reading)),
        page=page,
        workers=len(tracks),
        started=sum(counts.values()),
        search=reading.search,
        keys=tuple(keys),
        more_keys=more_keys,
        is_cut=reading.is_cut,
        has_all_bars=reading.has_all_bars,
        has_all_failures=reading.has_all_failures,
        waiting=sum(n for state, n in states.items() if is_pending(state)) if all_tracks is None else 0,
        columns=reading.pen.columns,
        polls=asked.follows and not is_past,
        links=_links(asked, window, is_past=is_past),
        presets=tuple((label, asked.following(span), asked.span_ms == span) for label, span in PRESETS),
    )


def _rows(reader: SessionReader, page: Page, nodes: dict[str, Node], counts: dict[int | None, int], reading: Reading) -> list[Row]:
    spans: dict[int | None, list[Span]] = {}
    cells: dict[int | None, list[Cell]] = {}
    for span in reading.spans:
        spans.setdefault(span.worker, []).append(span)
    for cell in reading.cells:
        cells.setdefault(cell.worker, []).append(cell)
    rows: list[Row] = []
    for unit in page.units:
        numbers = [track.number for track in unit.tracks]
        of_unit = [cell for number in numbers for cell in cells.get(number, ())]
        pen = reading.pen
        if unit.is_closed:
            pen, of_unit = pen.together(of_unit)
        drawn = pen.draw([span for number in numbers for span in spans.get(number, ())], of_unit)
        rows.append(_row(reader, unit, page, nodes, sum(counts.get(number, 0) for number in numbers), drawn, rows[-1] if rows else None))
    return rows


def _row(reader: SessionReader, unit: Unit, page: Page, nodes: dict[str, Node], started: int, drawn: Drawn, before: Row | None) -> Row:
    track = None if unit.is_closed else unit.tracks[0]
    worker_id = track.worker_id if track else None
    actors = reader.find(ACTORS, "worker_id", worker_id, 1) if worker_id else []
    return Row(
        key=f"node-{unit.node_id or ''}" if track is None else f"worker-{worker_id or ''}",
        node_id=unit.node_id,
        node=nodes.get(unit.node_id or ""),
        track=track,
        worker=reader.get(WORKERS, worker_id) if worker_id else None,
        actor=actors[0] if actors else None,
        started=started,
        workers=page.workers[unit.node_id],
        is_first=before is None or before.node_id != unit.node_id,
        drawn=drawn,
    )


def _strip(timeline: Timeline, asked: Asked, whole: Window, window: Window, tracks: Sequence[Track] | None) -> Strip:
    shown = Window(min(whole.from_ms, window.from_ms), max(whole.to_ms, window.to_ms)) if asked.is_fitted else whole
    number = STRIP_COLUMNS if tracks is None else max(30, min(STRIP_COLUMNS, STRIP_LOOKS // max(1, len(tracks))))
    counts = timeline.starts(shown, number, tracks)
    step = -(-shown.span_ms // number)
    columns = None if counts is None else _columns(asked, shown, step, counts)
    start, end = max(window.from_ms, shown.from_ms), min(window.to_ms, shown.to_ms)
    if start >= end:
        return Strip(shown, columns, None, None)
    return Strip(shown, columns, percent(start, shown), f"{max(0.3, 100 * (end - start) / shown.span_ms):.3f}%")


def _columns(asked: Asked, shown: Window, step: int, counts: list[int]) -> tuple[Column, ...]:
    most = max(counts) or 1
    width = f"{100 * step / shown.span_ms:.3f}%"
    found = []
    for number, count in enumerate(counts):
        if count:
            time = Window(shown.from_ms + number * step, shown.from_ms + (number + 1) * step)
            height = max(8.0, 100 * count / most)
            x, y = percent(time.from_ms, shown), f"{100 - height:.1f}%"
            found.append(Column(x, y, width, f"{height:.1f}%", asked.at(zoomed(time, 1)), f"{number_text(count)} started"))
    return tuple(found)


def _states(reader: SessionReader) -> dict[str, int]:
    """How many tasks of the session are in each state; empty where that takes too long."""
    try:
        return {str(state): count for state, count in reader.counts(TASKS.view, "state").items()}
    except DeadlinePassed:
        return {}


def _links(asked: Asked, window: Window, *, is_past: bool) -> dict[str, str]:
    """Where the buttons lead. A window that follows stays with now when its length changes."""
    span = asked.span_ms
    longer, shorter = zoomed(window, 2), zoomed(window, 0.5)
    follows = span is not None and not is_past
    return {
        "in": asked.following(shorter.span_ms) if follows else asked.at(shorter),
        "out": asked.following(longer.span_ms) if follows else asked.at(longer),
        "earlier": asked.at(moved(window, -0.5)),
        "later": asked.at(moved(window, 0.5)),
        "fit": asked.following(None),
        "follow": asked.following(window.span_ms),
        "by_name": asked.href(colour=None, page=asked.page),
        "by_state": asked.href(colour="state", page=asked.page),
        "waits": asked.href(show=None if asked.shows_waits else "waits", page=asked.page),
        "close_all": asked.href(closed=() if ALL in asked.closed else (ALL,)),
        "without_filter": asked.href(job_id=None, node_id=None, worker_id=None, actor_id=None),
        "without_search": asked.href(q=None, name=None),
    }
