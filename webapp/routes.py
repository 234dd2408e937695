"""Every route: its rule, its view, who may, and whether it changes something. What is not here does not exist.

A new page is one line in ROUTES, a view and a template.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

from flask import Flask, Response, g

from webapp import assets, exposition
from webapp.pages import (
    account,
    actors,
    cluster_info,
    durations,
    fleet,
    go,
    health,
    job_operations,
    jobs,
    log_errors,
    log_files,
    log_follow,
    log_of,
    log_search,
    log_view,
    login,
    logs,
    nodes,
    overview,
    placement_groups,
    profiles,
    status,
    tasks,
    timeline,
    workers,
)
from webapp.pages import help as help_page
from webapp.roles import OPERATOR, PUBLIC, VIEWER, Role
from webapp.scope import open_scope
from webapp.security import SAFE_METHODS

View = Callable[..., Response]
CLUSTER = "/c/<cluster>"
PAST = "/c/<cluster>/s/<session>"
FORMATS = "<any(json, csv, txt):format>"


@dataclass(frozen=True)
class Route:
    """One endpoint.

    `scoped`: below /c/<cluster>/ and /c/<cluster>/s/<session>/; the view gets a Scope instead of these names.
    `table`: also with .json, .csv and .txt behind the rule. `effect`: something outside this app's memory changes.
    """

    endpoint: str
    rule: str
    view: View
    role: Role
    methods: tuple[str, ...] = ("GET",)
    scoped: bool = False
    table: bool = False
    effect: bool = False

    @property
    def rules(self) -> tuple[str, ...]:
        """All URL rules of this route."""
        bases = tuple(base + self.rule for base in (CLUSTER, PAST)) if self.scoped else (self.rule,)
        return (*bases, *(f"{base}.{FORMATS}" for base in bases)) if self.table else bases

    @property
    def allowed_methods(self) -> frozenset[str]:
        return frozenset((*self.methods, "HEAD") if "GET" in self.methods else self.methods)


ROUTES: tuple[Route, ...] = (
    Route("static", "/static/<path:filename>", assets.serve_static, PUBLIC),
    Route("healthz", "/healthz", health.show_alive, PUBLIC),
    Route("readyz", "/readyz", health.show_ready, VIEWER),
    Route("metrics", "/metrics", exposition.show_metrics, VIEWER),
    Route("login", "/login", login.show_login, PUBLIC),
    Route("sign_in", "/login", login.sign_in, PUBLIC, ("POST",), effect=True),
    Route("logout", "/logout", login.sign_out, VIEWER, ("POST",), effect=True),
    Route("account", "/account", account.show_account, VIEWER),
    Route("save_preferences", "/account/preferences", account.save, VIEWER, ("POST",)),
    Route("change_password", "/account/password", account.change_password, VIEWER, ("POST",), effect=True),
    Route("create_token", "/account/tokens", account.create_token, VIEWER, ("POST",), effect=True),
    Route("revoke_token", "/account/tokens/<token_id>/revoke", account.revoke_token, VIEWER, ("POST",), effect=True),
    Route("go", "/go", go.go, VIEWER),
    Route("help", "/help", help_page.show_help, VIEWER),
    Route("fleet", "/", fleet.show_fleet, VIEWER),
    Route("overview", "/", overview.show_overview, VIEWER, scoped=True),
    Route("jobs", "/jobs", jobs.list_jobs, VIEWER, scoped=True, table=True),
    Route("job", "/jobs/<chosen:job_key>", jobs.show_job, VIEWER, scoped=True),
    Route("submit_form", "/jobs/submit", job_operations.show_submit_form, OPERATOR, scoped=True),
    Route("submit_job", "/jobs/submit", job_operations.submit_job, OPERATOR, ("POST",), scoped=True, effect=True),
    Route("stop_form", "/jobs/<chosen:job_key>/stop", job_operations.show_stop_form, OPERATOR, scoped=True),
    Route("stop_job", "/jobs/<chosen:job_key>/stop", job_operations.stop_job, OPERATOR, ("POST",), scoped=True, effect=True),
    Route("tasks", "/tasks", tasks.list_tasks, VIEWER, scoped=True, table=True),
    Route("durations", "/durations", durations.show_durations, VIEWER, scoped=True),
    Route("task", "/tasks/<task_id>", tasks.show_task, VIEWER, scoped=True),
    Route("timeline", "/timeline", timeline.show_timeline, VIEWER, scoped=True),
    Route("timeline_trace", "/timeline.json", timeline.download_timeline, VIEWER, scoped=True),
    Route("actors", "/actors", actors.list_actors, VIEWER, scoped=True, table=True),
    Route("actor", "/actors/<actor_id>", actors.show_actor, VIEWER, scoped=True),
    Route("nodes", "/nodes", nodes.list_nodes, VIEWER, scoped=True, table=True),
    Route("node", "/nodes/<node_id>", nodes.show_node, VIEWER, scoped=True),
    Route("workers", "/workers", workers.list_workers, VIEWER, scoped=True, table=True),
    Route("worker", "/workers/<worker_id>", workers.show_worker, VIEWER, scoped=True),
    Route("logs", "/logs", logs.list_logs, VIEWER, scoped=True),
    Route("logs_data", "/logs.json", logs.list_logs_data, VIEWER, scoped=True),
    Route("log_search", "/logs/search", log_search.show_search, VIEWER, scoped=True),
    Route("log_search_data", "/logs/search.json", log_search.search_data, VIEWER, scoped=True),
    Route("stop_log_search", "/logs/search/stop", log_search.stop_search, VIEWER, ("POST",), scoped=True),
    Route("log_of", "/logs/of", log_of.show_logs_of, VIEWER, scoped=True),
    Route("log_errors", "/logs/errors", log_errors.list_errors, VIEWER, scoped=True),
    Route("log_errors_data", "/logs/errors.json", log_errors.list_errors, VIEWER, scoped=True),
    Route("log_error", "/logs/errors/<fingerprint>", log_errors.show_error, VIEWER, scoped=True),
    Route("log_error_data", "/logs/errors/<fingerprint>.json", log_errors.show_error, VIEWER, scoped=True),
    Route("log_archive", "/logs/archive.tar.gz", log_files.download_archive, VIEWER, scoped=True),
    Route("log_file", "/logs/<node_id>/<file_id>/file", log_files.download_log, VIEWER, scoped=True),
    Route("follow_log", "/logs/<node_id>/<file_id>/follow", log_follow.follow_log, VIEWER, scoped=True),
    Route("log_levels", "/logs/<node_id>/<file_id>/levels", log_view.show_levels, VIEWER, scoped=True),
    Route("log_data", "/logs/<node_id>/<file_id>.json", log_view.show_log_data, VIEWER, scoped=True),
    Route("log", "/logs/<node_id>/<file_id>", log_view.show_log, VIEWER, scoped=True),
    Route("profiles", "/profiles", profiles.list_profiles, VIEWER, scoped=True, table=True),
    Route("new_profile", "/profiles/new", profiles.show_new, OPERATOR, scoped=True),
    Route("start_profile", "/profiles/new", profiles.start_profile, OPERATOR, ("POST",), scoped=True, effect=True),
    Route("compare_profiles", "/profiles/compare", profiles.compare_profiles, VIEWER, scoped=True),
    Route("profile", "/profiles/<profile_id>", profiles.show_profile, VIEWER, scoped=True),
    Route("profile_data", "/profiles/<profile_id>.json", profiles.show_profile, VIEWER, scoped=True),
    Route("download_profile", "/profiles/<profile_id>/download/<format>", profiles.download_profile, VIEWER, scoped=True),
    Route("stop_profile", "/profiles/<profile_id>/stop", profiles.stop_profile, OPERATOR, ("POST",), scoped=True, effect=True),
    Route("delete_profile", "/profiles/<profile_id>/delete", profiles.delete_profile, OPERATOR, ("POST",), scoped=True, effect=True),
    Route("status", "/status", status.show_status, VIEWER, scoped=True),
    Route("status_text", "/status.txt", status.download_status_text, VIEWER, scoped=True),
    Route("status_data", "/status.json", status.download_status, VIEWER, scoped=True),
    Route("cluster_info", "/info", cluster_info.show_cluster_info, VIEWER, scoped=True),
    Route(
        "placement_groups",
        "/placement-groups",
        placement_groups.list_placement_groups,
        VIEWER,
        scoped=True,
        table=True,
    ),
    Route(
        "placement_group",
        "/placement-groups/<placement_group_id>",
        placement_groups.show_placement_group,
        VIEWER,
        scoped=True,
    ),
)


def add_routes(app: Flask, routes: Iterable[Route]) -> None:
    """Registers every rule of every route. HEAD goes with GET; OPTIONS is nobody's."""
    for route in routes:
        view = _wrapped(route)
        for rule in route.rules:
            app.add_url_rule(rule, route.endpoint, view, methods=list(route.methods), provide_automatic_options=False)


def check_routes(app: Flask, routes: Iterable[Route]) -> None:
    """Refuses to start when the app answers something that no route declares, or the other way round."""
    wanted = {(rule, route.endpoint, route.allowed_methods) for route in routes for rule in route.rules}
    there = {(rule.rule, rule.endpoint, frozenset(rule.methods or ())) for rule in app.url_map.iter_rules()}
    if wanted != there:
        odd = sorted(f"{rule} ({endpoint})" for rule, endpoint, _ in wanted ^ there)
        raise RuntimeError(f"Routes and the app's URL map differ: {', '.join(odd)}.")


def by_endpoint(routes: Iterable[Route]) -> Mapping[str, Route]:
    found: dict[str, Route] = {}
    for route in routes:
        if found.setdefault(route.endpoint, route) is not route:
            raise RuntimeError(f"Two routes are called {route.endpoint}.")
    return found


def describe_routes(routes: Iterable[Route] = ROUTES) -> list[dict[str, Any]]:
    """One entry a rule, as `raydeck routes --json` prints them."""
    return [
        {
            "name": route.endpoint,
            "rule": rule,
            "methods": sorted(route.allowed_methods),
            "role": route.role.word,
            "effect": route.effect,
            "csrf": any(method not in SAFE_METHODS for method in route.methods),
        }
        for route in routes
        for rule in route.rules
    ]


def _wrapped(route: Route) -> View:
    """The view as Flask calls it: URL parts of the scope become a Scope, the format goes to where answers are made."""

    @wraps(route.view)
    def view(**values: Any) -> Response:
        if route.table:
            g.format = values.pop("format", None)
        if not route.scoped:
            return route.view(**values)
        g.scope = open_scope(values.pop("cluster"), values.pop("session", None))
        return route.view(g.scope, **values)

    if route.scoped and not inspect.signature(route.view).parameters:
        raise RuntimeError(f"{route.endpoint} is scoped: its view takes a scope.")
    return view
