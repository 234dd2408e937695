"""One place that turns what went wrong into an answer: page, fragment, JSON or text, as was asked. Never a traceback."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from flask import Flask, Response, current_app, g, render_template, request
from flask_wtf.csrf import CSRFError
from jinja2 import TemplateError
from werkzeug.datastructures import ImmutableMultiDict
from werkzeug.exceptions import BadRequest, HTTPException, MethodNotAllowed
from werkzeug.routing import RequestRedirect

from clusterstate.journal import BadAccount, JournalUnavailable
from clusterstate.node_questions import Unanswered
from clusterstate.query import BadQuery, NotFound
from clusterstate.store.connection import StoreUnavailable
from clusterstate.store.reader import IndexMissing
from clusterstate.store.signins import TooManyTries
from clusterstate.store.sqlite_reading import DeadlinePassed
from webapp.auth import bearer_header
from webapp.followers import TooManyFollow
from webapp.htmx import headers_of
from webapp.parts import parts
from webapp.rendering import html, json_response
from webapp.responses import NO_TAG
from webapp.security import MisdirectedRequest, safe_next, vary

log = logging.getLogger(__name__)

RETRY_AFTER_S = 5
TITLES = {
    400: "That cannot be asked",
    401: "Sign in first",
    403: "Not allowed",
    404: "Not found",
    405: "Not a method of this page",
    413: "Too large",
    421: "Not this host",
    429: "Too many tries",
    500: "Something is wrong with Raydeck",
    502: "The node did not answer that",
    503: "Not available now",
}


class CannotOperate(Exception):
    """What changes the cluster cannot be asked for now; the message says why."""


class TooBusy(Exception):
    """As much of this is done already as may be; the message says what."""


@dataclass(frozen=True)
class Mistyped:
    """What somebody typed into the query box of a table, and what is wrong with it."""

    q: str
    problem: str


SAYS_ITSELF: dict[type[Exception], tuple[int, int | None]] = {
    BadQuery: (400, None),
    BadAccount: (400, None),
    Unanswered: (502, None),
    TooManyFollow: (429, RETRY_AFTER_S),
    TooBusy: (429, RETRY_AFTER_S),
    CannotOperate: (503, RETRY_AFTER_S),
}
"""What is told as it stands: status, and seconds after which to try again."""


@dataclass(frozen=True)
class Problem:
    """What a person or program is told."""

    status: int
    message: str
    retry_after_s: int | None = None

    @property
    def title(self) -> str:
        return TITLES.get(self.status, "This did not work")


def use_errors(app: Flask) -> None:
    """Every exception ends here."""
    app.register_error_handler(Exception, answer_error)


def answer_error(error: Exception) -> Response:
    """The answer to a request that raised."""
    if isinstance(error, RequestRedirect):
        return Response(status=error.code, headers={"Location": error.new_url}, content_type="text/plain; charset=utf-8")
    problem = problem_of(error)
    if problem.status == 500:
        log.error("request %s %s %s failed", g.get("request_id", "-"), request.method, request.endpoint, exc_info=error)
    response = _shaped(problem, error)
    response.headers["X-Request-Id"] = g.get("request_id", "-")
    if problem.retry_after_s is not None:
        response.headers["Retry-After"] = str(problem.retry_after_s)
    if problem.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="Raydeck"'
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return response


def problem_of(error: Exception) -> Problem:
    """Status and sentence of an exception."""
    for kind, (status, retry_after_s) in SAYS_ITSELF.items():
        if isinstance(error, kind):
            return Problem(status, str(error), retry_after_s)
    if isinstance(error, NotFound):
        return Problem(404, str(error.args[0]) if error.args else "There is no such thing.")
    if isinstance(error, TooManyTries):
        return Problem(429, str(error), error.retry_after_s)
    if isinstance(error, StoreUnavailable):
        return Problem(503, "Redis cannot be reached now. What is known is still shown; signing in and changes wait for it.", RETRY_AFTER_S)
    if isinstance(error, JournalUnavailable):
        log.error("request %s: %s", g.get("request_id", "-"), error)
        return Problem(503, "The journal of accounts and operations cannot be read or written now.", RETRY_AFTER_S)
    if isinstance(error, IndexMissing):
        return Problem(503, "Nothing is known of this session yet. Its first picture is being taken.", 2)
    if isinstance(error, DeadlinePassed):
        return Problem(503, "This question takes too long. Narrow it with another filter.", 1)
    if isinstance(error, CSRFError):
        return Problem(403, error.description or "Refused.")
    if isinstance(error, HTTPException) and error.code is not None and error.code < 500:
        return Problem(error.code, _sentence(error))
    return Problem(500, "The request failed. The log of the web app has the reason under this request's id.")


def wants_json() -> bool:
    """Programs get JSON: by the path's ending, by Accept, or because they came with a token."""
    if (request.view_args or {}).get("format") == "json" or request.path.endswith(".json"):
        return True
    best = request.accept_mimetypes.best_match(["text/html", "application/json"], default="text/html")
    return best == "application/json" or (bearer_header() is not None and not request.accept_mimetypes.accept_html)


def _shaped(problem: Problem, error: Exception) -> Response:
    if isinstance(error, MisdirectedRequest) or (isinstance(error, BadRequest) and getattr(g, "host_is_checked", None) is False):
        return _text(problem)  # no page for a host that is not ours
    if wants_json():
        told = {"error": problem.title, "message": problem.message, "status": problem.status, "request_id": g.get("request_id")}
        return json_response(told, problem.status)
    if request.path.endswith((".csv", ".txt")) or not request.accept_mimetypes.accept_html:
        return _text(problem)
    if headers_of(request).is_partial:
        return _fragment(problem)
    if problem.status == 401 and _is_a_visit():
        return _to_sign_in()
    if isinstance(error, BadQuery) and (page := _without_its_query(problem)) is not None:
        return page
    return _page(problem, "errors/page.html")


def _fragment(problem: Problem) -> Response:
    if problem.status == 401:
        response = Response(status=401, content_type="text/plain; charset=utf-8")
        response.headers["HX-Redirect"] = _sign_in_url(safe_next(_shown_path()))
        return response
    response = _page(problem, "errors/_error.html")
    response.headers["HX-PTag"] = NO_TAG
    vary(response, "HX-Request")
    return response


def _page(problem: Problem, template: str) -> Response:
    try:
        return html(render_template(template, problem=problem, request_id=g.get("request_id")), problem.status)
    except (TemplateError, LookupError):
        log.exception("the error page itself failed")
        return _text(problem)


def _text(problem: Problem) -> Response:
    request_id = g.get("request_id", "-")
    text = f"{problem.title}. {problem.message}\nRequest {request_id}\n"
    return Response(text, status=problem.status, content_type="text/plain; charset=utf-8")


def _without_its_query(problem: Problem) -> Response | None:
    """The table without what was typed into its query box, which holds it still, with what is wrong with it; None: that is no table's."""
    route = parts().routes.get(request.endpoint or "")
    if route is None or not route.table or not request.args.get("q") or "mistyped" in g:
        return None
    g.mistyped = Mistyped(request.args["q"], problem.message)
    request.args = ImmutableMultiDict((name, value) for name, value in request.args.items(multi=True) if name != "q")
    try:
        response: Response = current_app.ensure_sync(current_app.view_functions[route.endpoint])(**(request.view_args or {}))
    except (BadQuery, NotFound, StoreUnavailable, IndexMissing, DeadlinePassed):
        return None
    response.status_code = problem.status
    return response


def _is_a_visit() -> bool:
    """A person's browser that opens a page; a program without a token is told 401."""
    return request.method in ("GET", "HEAD") and "text/html" in request.headers.get("Accept", "")


def _to_sign_in() -> Response:
    target = request.full_path.rstrip("?") if request.method == "GET" else request.path
    return Response(
        status=302, headers={"Location": _sign_in_url(safe_next(request.script_root + target))}, content_type="text/plain; charset=utf-8"
    )


def _sign_in_url(target: str | None) -> str:
    from webapp.scope import href

    home = request.script_root + "/"
    return href("login", next=None if target in (None, home) else target)


def _shown_path() -> str | None:
    """Path and query of the page that htmx polls from."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(headers_of(request).current_url or "")
    except ValueError:
        return None
    return parts.path + (f"?{parts.query}" if parts.query else "") or None


def _sentence(error: HTTPException) -> str:
    """Werkzeug's own sentences are ours to show; they hold nothing of the server."""
    if error.code == 405:
        return "This page does not take that method."
    if error.code == 404:
        return "There is no such page. Go to the start, or search for an id, pid, address or name."
    if error.code == 413:
        return "The request is larger than any form here."
    description = error.description or ""
    return description[:500]
