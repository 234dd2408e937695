"""What a profile's URL says of how it is shown, and the same for links."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from clusterstate.query import BadQuery
from webapp.flame.searching import LONGEST
from webapp.flame.tree import BY_PROCESS, BY_THREAD, Shape

FLAME, FUNCTIONS, MODULES, SANDWICH = "flame", "functions", "modules", "sandwich"
VIEWS = (FLAME, FUNCTIONS, MODULES, SANDWICH)
SORTS = ("own", "total", "name", "file", "change")
_KEY = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class AskedFlame:
    """A checked question. What is not said is as it is here."""

    view: str = FLAME
    at: str = ""  # the key of the frame that has the whole width; empty: the root
    q: str = ""
    by: str = ""  # thread or process: that is the first level
    thread: str = ""  # the key of the only thread
    lines: bool = False
    modules: bool = False  # functions of a module are one box
    inverted: bool = False
    upwards: bool = False  # the root at the bottom, as flames are
    function: str = ""  # the key of the function of a sandwich
    sort: str = ""  # of a table; with - before it the greatest first
    own: bool = False  # without Ray's own functions
    first: bool = False  # of a comparison: widths are those of the first

    @property
    def shape(self) -> Shape:
        return Shape(self.lines and not self.modules, self.by, self.inverted, self.thread, self.modules)

    def arguments(self, **other: Any) -> dict[str, Any]:
        """For a URL, without what is so anyhow."""
        values = {**asdict(self), **other}
        values["view"] = None if values["view"] == FLAME else values["view"]
        return {name: 1 if value is True else value or None for name, value in values.items()}


def parse(args: Mapping[str, str], also: Collection[str] = ()) -> AskedFlame:
    """Reads a query string; `also` names arguments that the page reads itself. Raises BadQuery."""
    known = AskedFlame.__dataclass_fields__
    for name in args:
        if name not in known and name not in also and name != "theme":
            raise BadQuery(f"{name[:32]!r} is not known here; known are {', '.join([*known, *also])}.")
    q = args.get("q", "")
    if len(q) > LONGEST:
        raise BadQuery(f"q has {len(q)} characters; it may have {LONGEST}.")
    return AskedFlame(
        view=_one_of(args, "view", VIEWS) or FLAME,
        at=_key(args, "at"),
        q=q.strip(),
        by=_one_of(args, "by", (BY_THREAD, BY_PROCESS)),
        thread=_key(args, "thread"),
        function=_key(args, "function"),
        sort=_one_of(args, "sort", (*SORTS, *(f"-{sort}" for sort in SORTS))),
        **{name: _flag(args, name) for name in ("lines", "modules", "inverted", "upwards", "own", "first")},
    )


def _one_of(args: Mapping[str, str], name: str, allowed: Collection[str]) -> str:
    value = args.get(name, "")
    if value and value not in allowed:
        raise BadQuery(f"{name} is {value[:32]!r}; it must be one of {', '.join(allowed)}.")
    return value


def _key(args: Mapping[str, str], name: str) -> str:
    value = args.get(name, "")
    if value and not _KEY.fullmatch(value):
        raise BadQuery(f"{name} is {value[:32]!r}; it takes 16 of the digits 0 to f, as the links of a profile have them.")
    return value


def _flag(args: Mapping[str, str], name: str) -> bool:
    value = args.get(name, "0") or "0"
    if value not in {"0", "1"}:
        raise BadQuery(f"{name} is {value[:32]!r}; it must be 0 or 1.")
    return value == "1"
