"""Windows of time: which one a question means, the ones beside it, and the moments that are marked in it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from clusterstate.store.timeline import Window
from webapp.timeline.asking import LATEST_MS, LONGEST_MS, SHORTEST_MS, Asked

MOST_TICKS = 8
PIXELS = 500
"""A following window moves on in steps of this part of it: nobody sees less."""
LABELLED = (0.02, 0.97)
"""Where in the window a label of the axis has room."""
MARGIN = 50
"""A fitted window has this part of it free at its end."""
SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
STEPS = (
    *(factor * size for size in (1, 10, 100) for factor in (1, 2, 5)),
    *(factor * SECOND for factor in (1, 2, 5, 10, 15, 30)),
    *(factor * MINUTE for factor in (1, 2, 5, 10, 15, 30)),
    *(factor * HOUR for factor in (1, 2, 3, 6, 12)),
    *(factor * DAY for factor in (1, 2, 7, 14, 28, 91, 182, 365, 730)),
)
PRESETS = (("1 min", MINUTE), ("5 min", 5 * MINUTE), ("15 min", 15 * MINUTE), ("1 h", HOUR), ("6 h", 6 * HOUR))


@dataclass(frozen=True)
class Tick:
    """A marked moment. `x` is percent of the window's width."""

    at_ms: int
    x: str
    is_labelled: bool  # not so near the end that its label would be cut
    detail: str  # how much of the time its label needs: day, minute, second, millisecond


def window_of(asked: Asked, extent: Window | None, now_ms: int, *, runs: bool) -> Window:
    """The window that is asked for. `extent` is all that is known, `runs` says that it goes on now."""
    if asked.from_ms is not None and asked.to_ms is not None:
        return Window(asked.from_ms, asked.to_ms)
    if asked.span_ms is not None:
        end = rounded_up(now_ms, asked.span_ms)
        return Window(max(0, end - asked.span_ms), end)
    if asked.from_ms is not None:
        end = max(rounded_up(now_ms, now_ms - asked.from_ms), asked.from_ms + SECOND)
        return Window(asked.from_ms, end)
    if extent is None:
        return Window(now_ms - MINUTE, now_ms)
    span = max(extent.span_ms, now_ms - extent.from_ms if runs else 0, 100)
    end = max(rounded_up(now_ms, span), extent.to_ms) if runs else extent.to_ms + span // MARGIN
    return Window(extent.from_ms, max(end, extent.from_ms + SHORTEST_MS))


def rounded_up(now_ms: int, span_ms: int) -> int:
    """The moment at which a window of this length that follows now ends: a poll within the same step sees the same one."""
    step = max(SECOND, span_ms // PIXELS)
    return -(-now_ms // step) * step


def zoomed(window: Window, factor: float) -> Window:
    """The same middle, `factor` times as long, as far as that is allowed."""
    span = int(min(max(window.span_ms * factor, SHORTEST_MS), LONGEST_MS))
    return _placed((window.from_ms + window.to_ms - span) // 2, span)


def moved(window: Window, part: float) -> Window:
    """As long, later by this part of it."""
    return _placed(window.from_ms + int(window.span_ms * part), window.span_ms)


def _placed(start: int, span: int) -> Window:
    start = min(max(0, start), LATEST_MS - span)
    return Window(start, start + span)


def ticks(window: Window) -> list[Tick]:
    """Round moments within the window, MOST_TICKS at most."""
    step = next((step for step in STEPS if window.span_ms / step <= MOST_TICKS), STEPS[-1])
    detail = "day" if step >= DAY else "minute" if step >= MINUTE else "second" if step >= SECOND else "millisecond"
    first = -(-window.from_ms // step) * step
    moments = range(first, window.to_ms, step)[: MOST_TICKS + 1]
    return [Tick(at, percent(at, window), LABELLED[0] < (at - window.from_ms) / window.span_ms < LABELLED[1], detail) for at in moments]


def percent(at_ms: float, window: Window) -> str:
    """Where a moment stands in the window's width, for SVG."""
    return f"{100 * (at_ms - window.from_ms) / window.span_ms:.3f}%"
