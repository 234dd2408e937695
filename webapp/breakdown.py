"""A job's tasks grouped by name and nested below who called them: which branches are open is in the URL."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from flask import request

from clusterstate.query import BadQuery, NotFound
from clusterstate.store.durations import Durations
from clusterstate.store.lineage_reading import KEY, Branch, Level, Lineage
from clusterstate.store.reader import SessionReader
from clusterstate.store.sqlite_reading import DeadlinePassed
from webapp.preferences import url_theme

MOST_OPEN = 60
DEEPEST = 12
"""Levels that are shown within one page. Below, a page starts at the branch."""
ABOVE_SHOWN = 8


@dataclass(frozen=True)
class Opened:
    """A branch, what is below it if it is open, and the links that open, close and start at it."""

    branch: Branch
    level: LevelView | None
    toggle_href: str | None  # None: nothing is below it
    start_href: str | None  # a page that starts here


@dataclass(frozen=True)
class LevelView:
    """One level. `level` says what is not among its branches."""

    branches: tuple[Opened, ...]
    level: Level


@dataclass(frozen=True)
class Breakdown:
    """All that jobs/_breakdown.html may use."""

    start: Branch | None  # where the page starts; None: at the driver
    above: tuple[tuple[str, str], ...]  # (words, link) of what is above it, the driver first
    top: LevelView
    lost: LevelView
    hide_finished: bool
    hide_href: str
    durations: list[Durations] | None  # None: that takes too long


def breakdown(reader: SessionReader, job_id: str) -> Breakdown:
    """As the URL asks for it, without durations where these take too long. Raises BadQuery, NotFound, DeadlinePassed."""
    asked = _Asked.of_request()
    lineage = reader.lineage(job_id, hide_finished=asked.hide_finished)
    start = None
    if asked.start is not None:
        start = lineage.branch(asked.start)
        if start is None:
            raise NotFound(f"Nothing is known below {asked.start[1:49]} in this job.")
    top = lineage.top() if asked.start is None else lineage.below(asked.start)
    return Breakdown(
        start,
        _above(lineage, asked),
        _view(lineage, top, asked, 1),
        _view(lineage, lineage.lost() if asked.start is None else Level((), 0), asked, 1),
        asked.hide_finished,
        asked.href(hide=None if asked.hide_finished else "finished"),
        _durations(reader, job_id),
    )


def _durations(reader: SessionReader, job_id: str) -> list[Durations] | None:
    try:
        return reader.durations(job_id)
    except DeadlinePassed:
        return None


@dataclass(frozen=True)
class _Asked:
    opened: tuple[str, ...]
    start: str | None
    hide_finished: bool

    @staticmethod
    def of_request() -> _Asked:
        opened = tuple(dict.fromkeys(key for key in request.args.get("open", "").split(",") if key))
        start, hide = request.args.get("start") or None, request.args.get("hide") or None
        if len(opened) > MOST_OPEN or not all(KEY.fullmatch(key) for key in (*opened, *([start] if start else []))):
            raise BadQuery(f"open and start take what the page's own links carry, and open at most {MOST_OPEN} of them.")
        if hide not in (None, "finished"):
            raise BadQuery("hide takes finished.")
        return _Asked(opened, start, hide is not None)

    def href(self, **changes: object) -> str:
        """This page with another choice."""
        given: dict[str, object] = {
            "tab": "breakdown",
            "start": self.start,
            "open": ",".join(self.opened) or None,
            "hide": "finished" if self.hide_finished else None,
            "theme": url_theme(),
        }
        return "?" + urlencode({name: value for name, value in {**given, **changes}.items() if value is not None})

    def toggled(self, key: str) -> str:
        if key in self.opened:
            left = [one for one in self.opened if one != key]
        else:
            left = [*self.opened, key][-MOST_OPEN:]
        return self.href(open=",".join(left) or None)


def _view(lineage: Lineage, level: Level, asked: _Asked, depth: int) -> LevelView:
    branches = []
    for branch in level.branches:
        is_open = branch.can_open and branch.key in asked.opened and depth < DEEPEST
        below = _view(lineage, lineage.below(branch.key), asked, depth + 1) if is_open else None
        toggle = asked.toggled(branch.key) if branch.can_open and depth < DEEPEST else None
        start = asked.href(start=branch.key, open=None) if branch.can_open and branch.kind != "GROUP" else None
        branches.append(Opened(branch, below, toggle, start))
    return LevelView(tuple(branches), level)


def _above(lineage: Lineage, asked: _Asked) -> tuple[tuple[str, str], ...]:
    if asked.start is None:
        return ()
    found: list[tuple[str, str]] = []
    key = lineage.above(asked.start)
    while key is not None and len(found) < ABOVE_SHOWN:
        branch = lineage.branch(key)
        found.append((branch.name or key[1:17] if branch else key[1:17], asked.href(start=key, open=None)))
        key = lineage.above(key)
    if key is not None:
        found.append(("…", asked.href(start=key, open=None)))
    return (("Driver", asked.href(start=None, open=None)), *reversed(found))
