"""The list of kept profiles: which of them are wanted, in which order, and their rows for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from clusterstate.query import BadQuery
from webapp.parts import parts
from webapp.profiling.asking import NUMBER, kind_called
from webapp.profiling.kinds import BY_NAME
from webapp.profiling.standing import Listed, ProfileStanding, listed
from webapp.scope import Scope, href

MOST_READ = 2_000
"""Of the newest: what is looked through for a list."""
MOST_SHOWN, SHOWN = 1_000, 200
LONGEST = 200
ORDERS: dict[str, Callable[[Listed], Any]] = {
    "when": lambda one: one.profile.asked_at,
    "kind": lambda one: (one.profile.kind, one.profile.asked_at),
    "about": lambda one: (one.profile.about.casefold(), one.profile.asked_at),
    "who": lambda one: (one.profile.who, one.profile.asked_at),
    "state": lambda one: (one.state, one.profile.asked_at),
}
COLUMNS = (
    "profile_id", "kind", "state", "about", "of", "options", "asked_by", "asked_at", "samples", "unit", "processes", "left_out",
    "session", "url",
)  # fmt: skip


@dataclass(frozen=True)
class AskedList:
    """What the URL asks for."""

    q: str = ""  # a part of what it is of, of who asked or of the id
    kind: str = ""
    sort: str = "-when"
    limit: int = SHOWN

    def order(self, key: str) -> str | None:
        """For aria-sort."""
        return {key: "ascending", f"-{key}": "descending"}.get(self.sort)

    def by(self, key: str) -> str:
        """The list in that order; the other way round if it is so already."""
        return self.href(sort=f"-{key}" if self.sort == key else key)

    def href(self, **other: Any) -> str:
        values = {name: value for name, value in {**asdict(self), **other}.items() if value != AskedList.__dataclass_fields__[name].default}
        return href("profiles", **values)

    @property
    def is_filtered(self) -> bool:
        return bool(self.q or self.kind)


@dataclass(frozen=True)
class Found:
    """Those that are wanted."""

    shown: tuple[Listed, ...]
    matching: int  # of those that were looked through
    kept: int  # of the cluster in all
    is_whole: bool  # all that are kept were looked through


def parse(args: Mapping[str, str]) -> AskedList:
    """Reads a query string. Raises BadQuery, which names what is allowed."""
    asked = AskedList(args.get("q", "").strip(), args.get("kind", ""), args.get("sort") or "-when", _limit(args.get("limit", "")))
    if len(asked.q) > LONGEST:
        raise BadQuery(f"q has {len(asked.q)} characters; {LONGEST} are read.")
    if asked.kind:
        kind_called(asked.kind)
    if asked.sort.removeprefix("-") not in ORDERS:
        raise BadQuery(f"sort is {asked.sort[:32]!r}; it must be one of {', '.join(ORDERS)}, with - before it for the last first.")
    return asked


def find(scope: Scope, asked: AskedList) -> Found:
    """Of the newest that are kept, those of the session too where it is a past one."""
    read = parts().profiles.newest(scope.cluster, MOST_READ)
    kept = parts().profiles.count(scope.cluster)
    wanted = [one for one in read if (not scope.is_past or one.session == scope.session) and (not asked.kind or one.kind == asked.kind)]
    if asked.q:
        text = asked.q.casefold()
        wanted = [one for one in wanted if any(text in value.casefold() for value in (one.about, one.who, one.profile_id))]
    key = asked.sort.removeprefix("-")
    if key != "state":  # known from what was read alone: only those that are shown are asked about
        wanted.sort(key=lambda one: ORDERS[key](Listed(one, "", None)), reverse=asked.sort.startswith("-"))
        found = [listed(parts().profiles, one) for one in wanted[: asked.limit]]
    else:
        found = sorted((listed(parts().profiles, one) for one in wanted), key=ORDERS[key], reverse=asked.sort.startswith("-"))
    return Found(tuple(found[: asked.limit]), len(wanted), kept, len(read) >= kept)


def row_of(standing: ProfileStanding | Listed) -> dict[str, Any]:
    """A profile for programs, by the names of COLUMNS."""
    profile = standing.profile
    return {
        "profile_id": profile.profile_id,
        "kind": profile.kind,
        "state": standing.state,
        "about": profile.about,
        "of": profile.of,
        "options": profile.options,
        "asked_by": profile.who,
        "asked_at": profile.asked_at,
        "samples": standing.samples,
        "unit": BY_NAME[profile.kind].unit if standing.samples is not None and profile.kind in BY_NAME else None,
        "processes": len(profile.targets),
        "left_out": profile.left_out,
        "session": profile.session,
        "url": href("profile", profile_id=profile.profile_id),
    }


def _limit(text: str) -> int:
    if not text:
        return SHOWN
    if not NUMBER.fullmatch(text) or not 1 <= int(text) <= MOST_SHOWN:
        raise BadQuery(f"limit is {text[:32]!r}; it must be a whole number from 1 to {MOST_SHOWN}.")
    return int(text)
