"""/go?q=: from any id, pid, address, name or pasted log line to the page it is about."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Response, render_template, request

from clusterstate.query import BadQuery
from clusterstate.store.fleet_reader import Fleet
from clusterstate.store.reader import IndexMissing
from webapp import background
from webapp.finding import Findings, Found, find
from webapp.parts import parts
from webapp.responses import html, redirect_to
from webapp.scope import href

MAX_TEXT = 4000
MAX_CLUSTERS = 20
ID_ARGUMENT = {
    "node": "node_id",
    "job": "job_key",
    "task": "task_id",
    "actor": "actor_id",
    "worker": "worker_id",
    "placement_group": "placement_group_id",
}
"""Kind of what was found, which is its page's endpoint → the argument of that page."""


@dataclass(frozen=True)
class Match:
    """A link the page offers."""

    cluster: str
    kind: str
    label: str
    detail: str
    href: str


def go() -> Response:
    """Redirects when one thing is meant, lists when several may be, says what was searched when nothing is."""
    text = request.args.get("q", "").strip()
    if len(text) > MAX_TEXT:
        raise BadQuery(f"q is too long; at most {MAX_TEXT} characters are searched.")
    searched, session = _clusters()
    found = background.run(lambda: _search(parts().fleet, searched, session, text)) if text else []
    matches = [_match(cluster, session, one) for cluster, findings in found for one in findings.found]
    if len(matches) == 1 and all(findings.is_exact for _, findings in found if findings.found):
        return redirect_to(matches[0].href, 302)
    page = render_template(
        "go/results.html",
        q=text,
        matches=matches,
        searched=searched,
        is_complete=all(findings.is_complete for _, findings in found),
    )
    return html(page, 200 if matches or not text else 404)


def _clusters() -> tuple[list[str], str | None]:
    """Where to search: the cluster and session that the asking page showed, else every cluster."""
    cluster, session = request.args.get("cluster"), request.args.get("session") or None
    if not cluster:
        return background.run(parts().fleet.names)[:MAX_CLUSTERS], None
    background.run(lambda: parts().fleet.reader(cluster, session))  # raises NotFound for what is not there
    return [cluster], session


def _search(fleet: Fleet, clusters: list[str], session: str | None, text: str) -> list[tuple[str, Findings]]:
    found = []
    for cluster in clusters:
        try:
            found.append((cluster, find(fleet.reader(cluster, session), text)))
        except IndexMissing:
            continue
    return found


def _match(cluster: str, session: str | None, found: Found) -> Match:
    where = {"cluster": cluster, "session": session, ID_ARGUMENT[found.kind]: found.row_id}
    return Match(cluster, found.kind, found.label, found.detail, href(found.kind, **where))
