"""Moments of a status's history, as the index has them. They never change: what was read once is kept."""

from __future__ import annotations

from pathlib import Path

from clusterstate.model import StatusMoment
from clusterstate.resources import STATUS_HISTORY
from clusterstate.status_history import Change, Figures, changes_of, figures_of
from clusterstate.store.schema import decode_row, selected
from clusterstate.store.sqlite_reading import ask

FILES_KEPT = 8
NAMES_AT_ONCE = 500

_figures: dict[Path, dict[str, Figures]] = {}
_changes: dict[Path, tuple[list[str], list[Change]]] = {}


def figures_since(path: Path, at: float) -> list[Figures]:
    """Of the moment that was true at `at` (Unix seconds) and of all after it, in order. Raises IndexMissing."""
    since = f"{int(at * 1000):015d}"
    before = "(SELECT max(moment) FROM status_history WHERE moment <= ?)"
    names = _names(path, f"WHERE moment >= coalesce({before}, ?) ORDER BY moment", since, since)
    known = _figures.get(path, {})
    found = {name: known[name] for name in names if name in known}
    found |= {row.moment: figures_of(row) for row in _rows(path, [name for name in names if name not in found])}
    _figures[path] = found
    while len(_figures) > FILES_KEPT:
        _figures.pop(next(iter(_figures)), None)
    return [found[name] for name in names if name in found]


def last_changes(path: Path, most: int) -> list[Change]:
    """What changed with the last events, the newest first. Raises IndexMissing."""
    names = _names(path, "WHERE is_event = 1 ORDER BY moment DESC LIMIT ?", most + 1)[::-1]
    known = _changes.get(path)
    if known is None or known[0] != names:
        known = _changes[path] = names, changes_of(_rows(path, names))[:most]
        while len(_changes) > FILES_KEPT:
            _changes.pop(next(iter(_changes)), None)
    return known[1]


def _names(path: Path, how: str, *values: object) -> list[str]:
    return [str(name) for (name,) in ask(path, f"SELECT moment FROM status_history {how}", values)]  # noqa: S608 - written above


def _rows(path: Path, names: list[str]) -> list[StatusMoment]:
    found: list[StatusMoment] = []
    for start in range(0, len(names), NAMES_AT_ONCE):
        some = names[start : start + NAMES_AT_ONCE]
        sql = f"SELECT {selected(STATUS_HISTORY)} FROM status_history WHERE moment IN ({', '.join('?' * len(some))}) ORDER BY moment"  # noqa: S608 - declared names
        found += [decode_row(STATUS_HISTORY, row) for row in ask(path, sql, some)]
    return found
