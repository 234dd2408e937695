"""Puts the web app together."""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from flask import Flask, Response, g, request
from werkzeug.local import LocalProxy

from clusterstate import paths
from clusterstate.journal import Journal
from clusterstate.log_follows import LogFollows
from clusterstate.node_questions import NodeQuestions
from clusterstate.operation_requests import OperationRequests
from clusterstate.profiles import Profiles
from clusterstate.settings import Settings, read_settings
from clusterstate.store.connection import StoreUnavailable, connect
from clusterstate.store.fleet_reader import Fleet
from clusterstate.store.known_signins import KnownSignIns
from clusterstate.store.signing import derive, master_key
from clusterstate.store.signins import Connect, SignIns
from webapp import csrf, formatting, navigation, security
from webapp.assets import Assets
from webapp.auth import Authentication, caller_if_any, require_role
from webapp.errors import use_errors
from webapp.exposition import RequestCounts
from webapp.followers import Followers
from webapp.fragment_cache import FragmentCache
from webapp.htmx import use_htmx
from webapp.ids import ChosenId
from webapp.parts import NAME, Parts, parts
from webapp.places import places
from webapp.preferences import check_url_theme, preferences, time_zones, url_theme
from webapp.profiling.samples import HeldSamples
from webapp.proxies import Proxies
from webapp.roles import Role
from webapp.routes import ROUTES, Route, add_routes, by_endpoint, check_routes
from webapp.scope import current_scope, href
from webapp.tables.drawn_rows import DrawnRows, drawer

log = logging.getLogger(__name__)


def create_app(
    settings: Settings,
    *,
    index_dir: Path,
    journal: Journal,
    redis_connect: Connect,
    routes: Iterable[Route] = ROUTES,
    clock: Callable[[], float] = time.time,
) -> Flask:
    """The WSGI app. Opens nothing yet but the journal it is given, so it may be made before a fork.

    Raises RuntimeError when the routes and the app's URL map differ.
    """
    folder = _files()
    app = Flask("webapp", static_folder=None, template_folder=str(folder / "templates"))
    most = security.MAX_BODY_BYTES
    app.config.update(MAX_CONTENT_LENGTH=most, MAX_FORM_MEMORY_SIZE=most, MAX_FORM_PARTS=security.MAX_FIELDS)
    app.url_map.merge_slashes = False
    app.url_map.converters["chosen"] = ChosenId
    known_routes = by_endpoint(routes)
    app.extensions[NAME] = _parts(settings, index_dir, journal, redis_connect, known_routes, clock, folder)
    use_htmx(app)
    use_errors(app)
    _before_and_after(app)
    csrf.OriginCheckedCSRF(app)
    _templates(app)
    add_routes(app, known_routes.values())
    check_routes(app, known_routes.values())
    app.wsgi_app = Proxies(  # type: ignore[method-assign]  # Flask's documented way to wrap an app
        app.wsgi_app, trusted=settings.trusted_proxies, url_prefix=settings.url_prefix, behind_tls_proxy=settings.behind_tls_proxy
    )
    return app


def app_from_environment() -> Flask:
    """The app as gunicorn loads it, from the environment alone."""
    settings = read_settings()
    return create_app(
        settings,
        index_dir=paths.index_dir(settings.state_dir),
        journal=Journal(paths.journal_file(settings.state_dir)),
        redis_connect=lambda: connect(settings, timeout_s=2.0),
    )


def _parts(
    settings: Settings,
    index_dir: Path,
    journal: Journal,
    redis_connect: Connect,
    routes: Mapping[str, Route],
    clock: Callable[[], float],
    folder: Path,
) -> Parts:
    sign_ins = SignIns(redis_connect, settings.sign_in_hours * 3600, derive(master_key(settings.state_dir), "sign-ins"))
    assets = Assets(folder / "static")
    return Parts(
        settings=settings,
        fleet=Fleet(index_dir, stale_after_s=settings.stale_after_s, deadline_ms=settings.query_deadline_ms),
        auth=Authentication(journal, sign_ins, KnownSignIns(index_dir / "sign_ins.db"), clock),
        operations=OperationRequests(settings, journal, redis_connect),
        questions=NodeQuestions(settings, redis_connect),
        follows=LogFollows(settings, redis_connect),
        profiles=Profiles(settings, redis_connect),
        samples=HeldSamples(),
        followers=Followers(),
        fragments=FragmentCache(),
        counts=RequestCounts(routes, settings.web_workers),
        assets=assets,
        hosts=security.allowed_hosts(settings),
        routes=routes,
        clock=clock,
        redis_is_reachable=lambda: _is_reachable(sign_ins),
        build=_build(folder, assets),
    )


def _before_and_after(app: Flask) -> None:
    """The order matters: an answer's id and clock, Host, size, role; then (registered after) CSRF, then the view."""
    app.before_request(_begin)
    app.before_request(_check_host)
    app.before_request(security.check_size)
    app.before_request(check_url_theme)
    app.before_request(require_role)
    app.after_request(_finish)
    app.url_defaults(_version_static)


def _begin() -> None:
    g.request_id = secrets.token_hex(8)
    g.started = time.perf_counter()


def _check_host() -> None:
    g.host_is_checked = False
    security.check_host(parts().hosts)
    g.host_is_checked = True


def _finish(response: Response) -> Response:
    csrf.put_cookie(response)
    security.put_headers(response)
    response.headers.setdefault("X-Request-Id", g.get("request_id", "-"))
    if "started" in g:
        parts().counts.add(request.endpoint, response.status_code, time.perf_counter() - g.started)
    return response


def _version_static(endpoint: str, values: dict[str, Any]) -> None:
    """Links to static files carry the file's hash, so that browsers may keep them for a year."""
    if endpoint == "static" and "v" not in values:
        version = parts().assets.version(values.get("filename", ""))
        if version is not None:
            values["v"] = version


def _templates(app: Flask) -> None:
    """What every template may use."""
    app.jinja_env.autoescape = True
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals.update(
        href=href,
        menu=navigation.menu,
        parent_of=navigation.parent_of,
        places=places,
        elsewhere=navigation.ELSEWHERE,
        all_time_zones=time_zones,
        url_theme=url_theme,
    )
    app.jinja_env.globals["drawn"] = drawer(DrawnRows())
    formatting.register(app.jinja_env)
    app.context_processor(_context)


def _context() -> dict[str, Any]:
    """`person` (a Caller or None) marks an answer as one person's, which keeps its fragment out of the cache; `role` does not."""
    settings = parts().settings
    who = caller_if_any() if g.get("host_is_checked") else None
    return {
        "person": LocalProxy(_caller_for_template),
        "role": who.role if who else Role.PUBLIC,
        "Role": Role,
        "scope": current_scope(),
        "preferences": preferences(),
        "redis_is_away": g.get("redis_is_away", False),
        "refresh_s": settings.refresh_s,
        "now": parts().now(),
        "costs": parts().fleet.costs,
    }


def _caller_for_template() -> Any:
    g.is_personal = True
    return caller_if_any()


def _is_reachable(sign_ins: SignIns) -> bool:
    try:
        sign_ins.check_reachable()
    except StoreUnavailable:
        return False
    return True


def _files() -> Path:
    """Where templates and static files are: beside the packages in a checkout, within this one when installed."""
    here = Path(__file__).resolve().parent
    return here if (here / "templates").is_dir() else here.parent


def _build(folder: Path, assets: Assets) -> str:
    """A word for all templates, styles and scripts as they are at the start."""
    seen = hashlib.sha256(assets.build().encode())
    for path in sorted((folder / "templates").rglob("*.html")):
        seen.update(path.read_bytes())
    return seen.hexdigest()[:12]
