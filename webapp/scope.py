"""The cluster and Ray session that a URL names, and URLs that stay with them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from flask import g, has_request_context, url_for

from clusterstate.resources import NODE_STATS, NODES, PROCESSES
from clusterstate.store.reader import Freshness, SessionReader
from webapp.parts import parts
from webapp.preferences import url_theme

BY_NODES = frozenset({NODE_STATS.name, PROCESSES.name, "samples"})
"""What node collectors write; the rest comes from the cluster collector."""


PLAIN = re.compile(r"(?!submit\Z)[A-Za-z0-9_-]{1,256}")
"""Stands in a URL as it is. (`submit` is a page beside those of jobs: see `ids`.)"""
STAND_IN = "an-id"
PLACE = frozenset({"cluster", "session", "filename"})


@dataclass(frozen=True)
class Scope:
    """What a scoped view is about."""

    cluster: str
    session: str | None  # named in the URL; None: the current one
    reader: SessionReader

    @property
    def is_past(self) -> bool:
        """Whether the URL names a session: links stay with it, nothing can be asked of a node."""
        return self.session is not None

    def state(self, *names: str, now: float) -> ScopeState:
        """Version and freshness of these resources (or `samples`): the cheap question before any query.

        What node collectors bring is as fresh as each of them: it makes the answer partial, not stale.
        """
        by_cluster = [name for name in names if name not in BY_NODES] or [NODES.name]
        nodes_matter = not BY_NODES.isdisjoint(names)

        version = self.reader.version(*names)
        return ScopeState(version, self.reader.freshness(*by_cluster, now=now, nodes_matter=nodes_matter))


@dataclass(frozen=True)
class ScopeState:
    """What a fragment's tag depends on, besides the question."""

    version: str
    freshness: Freshness

    def tag_parts(self, now: float) -> tuple[object, ...]:
        """Ages of old data move on each 10 s; fresh data needs no age."""
        fresh = self.freshness
        bucket = int(now // 10) if fresh.word in ("stale", "unknown") else None
        return self.version, fresh.word, bucket, fresh.exact, [(item.node_id, item.reason) for item in fresh.partial]


def open_scope(cluster: str, session: str | None) -> Scope:
    """The scope of a URL. Raises NotFound."""
    return Scope(cluster, session, parts().fleet.reader(cluster, session))


def current_scope() -> Scope | None:
    """The scope of this request, if its page has one."""
    found: Scope | None = getattr(g, "scope", None) if has_request_context() else None
    return found


def href(endpoint: str, **values: Any) -> str:
    """The URL of a page, in the cluster and session of this request unless others are named. None drops a value."""
    if len(values) == 1:
        [(name, value)] = values.items()
        if isinstance(value, str) and PLAIN.fullmatch(value) and name not in PLACE:
            before = _before(endpoint, name)
            if before is not None:
                return before + value
    return _built(endpoint, values)


def _before(endpoint: str, name: str) -> str | None:
    """What stands before an id in a page's URL, where the id comes last: a table has hundreds of such links."""
    known: dict[tuple[str, str], str | None] = g.setdefault("links", {})
    if (endpoint, name) not in known:
        built = _built(endpoint, {name: STAND_IN})
        known[endpoint, name] = built.removesuffix(STAND_IN) if built.endswith("/" + STAND_IN) and "?" not in built else None
    return known[endpoint, name]


def _built(endpoint: str, values: dict[str, Any]) -> str:
    route = parts().routes.get(endpoint)
    if route is None:
        raise LookupError(f"There is no route {endpoint}.")
    scope = current_scope()
    if route.scoped and scope is not None and values.setdefault("cluster", scope.cluster) == scope.cluster:
        values.setdefault("session", scope.session)
    if "GET" in route.methods and endpoint != "static":
        values.setdefault("theme", url_theme())
    return url_for(endpoint, **{name: value for name, value in values.items() if value is not None})


def has_page(endpoint: str) -> bool:
    """Whether a page exists, for links that are offered only where they lead somewhere."""
    return endpoint in parts().routes
