"""What a timeline's URL says: which window of time, whose tasks, how they are drawn; and the links that say it with a change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from clusterstate.query import AnyOf, BadQuery, Condition
from clusterstate.store.timeline import Window
from webapp.tables.tasks import TASKS

FILTERS = ("job_id", "node_id", "worker_id", "actor_id")
"""Whose tasks: one of them at most."""
ARGUMENTS = ("from", "to", "span", *FILTERS, "q", "name", "colour", "show", "closed", "page")
COLOURS = ("name", "state")
SHORTEST_MS, LONGEST_MS = 10, 10 * 366 * 86_400_000
LATEST_MS = 2**53
ALL = "all"
MOST_CLOSED = 50
LONGEST = 2000


@dataclass(frozen=True)
class Asked:
    """A checked question. Without `to_ms` the window ends now, and goes on with it."""

    given: dict[str, str]  # as it stands in the URL, `closed` apart
    closed: tuple[str, ...]  # ids of nodes whose workers are not shown, or ALL
    from_ms: int | None
    to_ms: int | None
    span_ms: int | None
    page: int
    where: tuple[Condition | AnyOf, ...]  # what is looked for

    @property
    def colour(self) -> str:
        return self.given.get("colour", COLOURS[0])

    @property
    def shows_waits(self) -> bool:
        return self.given.get("show") == "waits"

    @property
    def filter(self) -> tuple[str, str] | None:
        """Whose tasks are shown: (job_id, ...) and the value; None: all."""
        return next(((name, self.given[name]) for name in FILTERS if name in self.given), None)

    @property
    def follows(self) -> bool:
        """Whether the window's end moves on by itself."""
        return self.to_ms is None

    @property
    def is_fitted(self) -> bool:
        """Whether the window is all there is."""
        return self.from_ms is None and self.span_ms is None

    def href(self, **changes: Any) -> str:
        """This question with some arguments changed, as a relative link; None removes one. Pages start anew unless one is given."""
        arguments: dict[str, Any] = {**self.given, "closed": self.closed, "page": None, **changes}
        pairs = [(name, str(text)) for name, value in arguments.items() for text in _texts(value)]
        return "?" + urlencode(pairs)

    def at(self, window: Window) -> str:
        """A link to another window."""
        return self.href(**{"from": window.from_ms, "to": window.to_ms, "span": None})

    def following(self, span_ms: int | None) -> str:
        """A link to the window of so long that ends now; None: to all there is."""
        return self.href(**{"from": None, "to": None, "span": span_ms})

    def toggled(self, node_id: str) -> str:
        """A link that opens or closes a node. Where all are closed, an open one is shown alone."""
        if ALL in self.closed:
            return self.href(closed=(), **{**dict.fromkeys(FILTERS), "node_id": node_id})
        closed = [other for other in self.closed if other != node_id] if node_id in self.closed else [*self.closed, node_id]
        return self.href(closed=closed[-MOST_CLOSED:])

    @property
    def carried(self) -> list[tuple[str, str]]:
        """What the form of the search must carry along."""
        pairs = [(name, value) for name, value in self.given.items() if name not in ("q", "name", "page", "colour", "show")]
        return [*pairs, *(("closed", node) for node in self.closed)]


def read(args: Any) -> Asked:
    """Reads a query string (a MultiDict). Raises BadQuery that says what is allowed."""
    lists: Mapping[str, list[str]] = args.to_dict(flat=False)
    given: dict[str, str] = {}
    for name, texts in lists.items():
        if name == "closed":
            continue
        if name not in (*ARGUMENTS, "theme"):
            raise BadQuery(f"The timeline has no argument {name[:64]!r}. Allowed are: {', '.join(ARGUMENTS)}.")
        filled = [text for text in texts if text]
        if len(filled) > 1 or any(len(text) > LONGEST for text in filled):
            raise BadQuery(f"{name} may be given once, with {LONGEST} characters at most.")
        if filled:
            given[name] = filled[0]
    if len(named := [name for name in FILTERS if name in given]) > 1:
        raise BadQuery(f"The timeline takes one of {', '.join(FILTERS)} at a time, not {' and '.join(named)}.")
    _one_of(given, "colour", COLOURS)
    _one_of(given, "show", ("waits",))
    closed = tuple(text for text in lists.get("closed", []) if text)
    if len(closed) > MOST_CLOSED or any(len(text) > LONGEST for text in closed):
        raise BadQuery(f"closed takes {MOST_CLOSED} node ids at most, or {ALL} for all nodes.")
    start, end, span = (_number(given, name) for name in ("from", "to", "span"))
    _check(start, end, span)
    page = _number(given, "page", "a whole number from 1 on") or 1
    looked_for = {name: given[name] for name in ("q", "name") if name in given}
    return Asked(given, closed, start, end, span, page, TASKS.query(looked_for).where)


def _check(start: int | None, end: int | None, span: int | None) -> None:
    if span is not None and (start is not None or end is not None):
        raise BadQuery("span is for a window that ends now: from and to are not given beside it.")
    if end is not None and start is None:
        raise BadQuery("to needs from beside it: both are Unix milliseconds, from before to. Without to the window ends now.")
    length = span if span is not None else end - start if start is not None and end is not None else None
    if length is not None and not SHORTEST_MS <= length <= LONGEST_MS:
        raise BadQuery(f"from must be before to, and the window from {SHORTEST_MS} ms to ten years long; this one is {length} ms.")


def _number(given: Mapping[str, str], name: str, takes: str = f"Unix milliseconds: a whole number from 0 to {LATEST_MS}") -> int | None:
    text = given.get(name)
    if text is None:
        return None
    if name == "span":
        takes = f"milliseconds: a whole number from {SHORTEST_MS} to {LONGEST_MS}"
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and int(text) <= LATEST_MS):
        raise BadQuery(f"{name} is {text[:32]!r}; it takes {takes}.")
    return int(text)


def _one_of(given: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> None:
    if name in given and given[name] not in allowed:
        raise BadQuery(f"{name} is {given[name][:32]!r}; it must be {' or '.join(allowed)}.")


def _texts(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (tuple, list)) else [value]
