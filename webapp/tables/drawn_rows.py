"""Rows as they were drawn, kept while nothing in them changes: where three of a hundred rows differ, three are drawn."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from flask import request
from markupsafe import Markup

from webapp.htmx import headers_of
from webapp.preferences import preferences, url_theme
from webapp.scope import current_scope
from webapp.tables.column import Column
from webapp.tables.drawing import ColumnView

MAX_CHARACTERS = 8_000_000
"""Of all rows kept: 4,000 of 2 kB."""
RUNNING = frozenset({"uptime", "task_duration"})
"""The kinds of cell that the browser lets tick from absolute times: in a fragment their text is written anew before it is seen."""

_encode = msgspec.json.Encoder().encode


class DrawnRows:
    """What a row says → its HTML. Least used go first."""

    def __init__(self, max_characters: int = MAX_CHARACTERS) -> None:
        self._max_characters = max_characters
        self._kept: OrderedDict[bytes, Markup] = OrderedDict()
        self._lock = threading.Lock()
        self.characters = 0

    def get(self, key: bytes, draw: Callable[[], Markup]) -> Markup:
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found
        found = draw()
        with self._lock:
            if key not in self._kept:
                self._kept[key] = found
                self.characters += len(found)
            while self.characters > self._max_characters:
                _, gone = self._kept.popitem(last=False)
                self.characters -= len(gone)
        return found


def drawer(kept: DrawnRows) -> Callable[..., Callable[[dict[str, Any]], Markup]]:
    """For templates: `drawn(columns, macro)` is a function of a row that gives what macro(row, columns) gives."""

    def drawn(columns: Sequence[Column | ColumnView], macro: Callable[..., Markup]) -> Callable[[dict[str, Any]], Markup]:
        seen_as = _encode(_seen_as(columns))
        running = _running(columns)

        def one(row: dict[str, Any]) -> Markup:
            said = {**row, **running} if running and row.get("end_time_ms") is None else row
            key = hashlib.blake2b(seen_as + _encode(said), digest_size=16).digest()
            return kept.get(key, lambda: macro(row, columns))

        return one

    return drawn


def _seen_as(columns: Sequence[Column | ColumnView]) -> list[Any]:
    """What a row's HTML depends on besides the row."""
    scope = current_scope()
    place = [request.script_root, scope.cluster, scope.session] if scope else [request.script_root]
    return [*place, preferences().time_zone, url_theme(), [(column.key, column.cell, column.label, column.numeric) for column in columns]]


def _running(columns: Sequence[Column | ColumnView]) -> dict[str, None]:
    """Values of a running row that need not be compared."""
    return {column.key: None for column in columns if column.cell in RUNNING} if headers_of(request).is_partial else {}
