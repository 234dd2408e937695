"""Whether this process lives, and whether it can serve."""

from __future__ import annotations

from typing import Any

from flask import Response, g

from clusterstate.journal import JournalUnavailable
from webapp import background
from webapp.parts import Parts, parts
from webapp.responses import json_response

PROJECTOR_SILENT_S = 15.0
REDIS_IS_AWAY = {"part": "redis", "reason": "Redis does not answer: nobody can sign in, probes and changes wait."}


def show_alive() -> Response:
    """200 while the event loop turns. Asks nobody; open to all, and says nothing but that."""
    response = json_response({"status": "alive"})
    response.headers["Cache-Control"] = "no-store"
    return response


def show_ready() -> Response:
    """200 when pages can be served and people can sign in, else 503 with the reasons."""
    found = parts()
    # Redis is asked here and not in the background: a connection belongs to the event loop that opened it.
    reasons = [] if found.redis_is_reachable() else [REDIS_IS_AWAY]
    reasons += background.run(lambda: list(_reasons(found)))
    body: dict[str, Any] = {"status": "not ready" if reasons else "ready", "reasons": reasons, "request_id": g.get("request_id")}
    response = json_response(body, 503 if reasons else 200)
    if reasons:
        response.headers["Retry-After"] = "2"
    return response


def _reasons(found: Parts) -> list[dict[str, str]]:
    reasons: list[dict[str, str]] = []
    now = found.now()
    try:
        if not found.auth.journal.has_users():
            reasons.append({"part": "journal", "reason": "There are no users yet."})
    except JournalUnavailable:
        reasons.append({"part": "journal", "reason": "The journal cannot be read."})
    written = found.fleet.written_at()
    if written is None:
        reasons.append({"part": "index", "reason": "No index has been written here yet: is a projector running?"})
    elif now - written > PROJECTOR_SILENT_S:
        reasons.append({"part": "index", "reason": f"The projector last wrote {now - written:.0f} s ago."})
    return reasons
