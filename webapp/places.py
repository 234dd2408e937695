"""The other clusters and sessions that a page of one leads to: the same list there, or their overview."""

from __future__ import annotations

from dataclasses import dataclass

from flask import request

from webapp.navigation import list_of
from webapp.parts import parts
from webapp.scope import Scope, current_scope, href

CLUSTERS_SHOWN = SESSIONS_SHOWN = 8


@dataclass(frozen=True)
class Place:
    """A cluster or session to go to."""

    label: str
    href: str
    is_current: bool


@dataclass(frozen=True)
class Places:
    """All that shared/_switch.html may use."""

    clusters: tuple[Place, ...]
    sessions: tuple[Place, ...]  # the current one first, then the newest
    more_sessions: int


def places() -> Places:
    """Where a scoped page's header leads. Reads the list of clusters and a folder, no session's file."""
    scope = current_scope()
    if scope is None:
        raise LookupError("This page is not about a cluster.")
    fleet, endpoint = parts().fleet, list_of(request.endpoint)
    current, past = fleet.session_names(scope.cluster)
    names = fleet.names()
    shown = list(dict.fromkeys((*past[:SESSIONS_SHOWN], *([scope.session] if scope.session in past else []))))
    return Places(
        tuple(_cluster(name, endpoint, scope) for name in _around(names, scope.cluster)),
        (
            Place("Current session", href(endpoint, cluster=scope.cluster, session=None), scope.session in (None, current)),
            *(Place(name, href(endpoint, cluster=scope.cluster, session=name), name == scope.session) for name in shown),
        ),
        len(past) - len(shown),
    )


def _cluster(name: str, endpoint: str, scope: Scope) -> Place:
    is_current = name == scope.cluster
    return Place(name, href(endpoint, cluster=name, session=scope.session if is_current else None), is_current)


def _around(names: list[str], name: str) -> list[str]:
    """This one and its neighbours by name."""
    start = max(0, min(names.index(name) - CLUSTERS_SHOWN // 2, len(names) - CLUSTERS_SHOWN)) if name in names else 0
    return names[start : start + CLUSTERS_SHOWN]
