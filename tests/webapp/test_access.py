"""Who may reach what: denied by default, for every route, method and role."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from flask import Flask, Response

from clusterstate.journal import Journal
from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import Clock, Person, program
from webapp.roles import ADMIN, OPERATOR, PUBLIC, VIEWER, role_named
from webapp.routes import ROUTES, Route, describe_routes
from webapp.scope import Scope

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
EXAMPLES = {
    "<file_id>": "AAAAAAAAAAAAAAAA",
    "<cluster>": "demo",
    "<session>": "session_1",
    "<any(json, csv, txt):format>": "json",
    "<path:filename>": "vendor/htmx.min.js",
    "<token_id>": "0123456789ab",
    "<chosen:job_key>": "00000001",
    "<task_id>": "0" * 47 + "1",
    "<actor_id>": "0" * 31 + "1",
    "<fingerprint>": "1:0123456789abcdef",
    "<node_id>": "0" * 55 + "1",
    "<worker_id>": "0" * 55 + "1",
    "<placement_group_id>": "0" * 35 + "1",
    "<profile_id>": "0" * 23 + "1",
    "<format>": "raw",
}
CANARY = "canary-5e1f0c"


def example(rule: str) -> str:
    for part, value in EXAMPLES.items():
        rule = rule.replace(part, value)
    assert "<" not in rule, f"give an example for {rule}"
    return rule


def all_paths() -> list[tuple[Route, str]]:
    return [(route, example(rule)) for route in ROUTES for rule in route.rules]


@pytest.fixture
def planted(cluster: BuiltCluster) -> BuiltCluster:
    cluster.with_node(hostname=CANARY)
    cluster.with_actor(class_name=CANARY, name=CANARY)
    cluster.with_job(name=CANARY)
    return cluster


def show_for_operators() -> Response:
    return Response("for operators")


def do_for_admins() -> Response:
    return Response("done")


def rows_for_admins(scope: Scope) -> Response:
    return Response(f"rows of {scope.cluster}")


HIGHER = (
    Route("for_operators", "/for-operators", show_for_operators, OPERATOR),
    Route("for_admins", "/for-admins", do_for_admins, ADMIN, ("GET", "POST"), effect=True),
    Route("rows_for_admins", "/rows-for-admins", rows_for_admins, ADMIN, scoped=True, table=True),
)


@pytest.fixture
def app_with_higher_routes(make_app: Callable[..., Flask]) -> Flask:
    return make_app(routes=(*ROUTES, *HIGHER))


def test_without_signing_in_every_route_and_method_is_refused(anybody: Person, planted: BuiltCluster) -> None:
    for route, path in all_paths():
        for method in METHODS:
            if route.role is PUBLIC and method in route.allowed_methods | {"POST", "GET", "HEAD"}:
                continue
            answer = anybody.open(method, path)
            assert answer.status_code == 401, f"{method} {path}"
            assert CANARY not in answer.text + str(answer.headers)


def test_a_browser_without_sign_in_is_sent_to_the_sign_in_page(anybody: Person, planted: BuiltCluster) -> None:
    for route, path in all_paths():
        if route.role is PUBLIC or "GET" not in route.methods or path.endswith((".json", ".txt")):
            continue
        answer = anybody.page(path)
        assert answer.status_code == 302, path
        assert answer.location.startswith("/login?next=") or path == "/", path
        assert CANARY not in answer.text


def test_only_health_sign_in_and_static_files_are_open() -> None:
    assert {route.endpoint for route in ROUTES if route.role is PUBLIC} == {"healthz", "login", "sign_in", "static"}


def test_unknown_paths_are_refused_like_any_other(anybody: Person, vera: Person) -> None:
    assert anybody.get("/nowhere").status_code == 401
    assert vera.get("/nowhere").status_code == 404


def test_a_route_is_allowed_exactly_from_its_role_up(
    app_with_higher_routes: Flask, users: Journal, clock: Clock, planted: BuiltCluster
) -> None:
    for user, role in (("vera", "viewer"), ("otto", "operator"), ("ada", "admin")):
        for caller in (
            Person(app_with_higher_routes.test_client()).sign_in(user),
            program(app_with_higher_routes, users, user, role, clock()),
        ):
            for route, path in [(higher, example(rule)) for higher in HIGHER for rule in higher.rules]:
                allowed = role_named(role) >= route.role
                assert (caller.get(path).status_code == 200) is allowed, (user, path)
                assert caller.get(path).status_code in (200, 403)


def test_a_token_is_worth_no_more_than_its_role(app_with_higher_routes: Flask, users: Journal, clock: Clock) -> None:
    weak = program(app_with_higher_routes, users, "ada", "viewer", clock())

    assert weak.get("/for-admins").status_code == 403
    assert weak.get("/readyz").status_code in (200, 503)


ODD_FORMS = (
    "//for-admins",
    "/./for-admins",
    "/x/../for-admins",
    "/for-admins;p=1",
    "/for-admins/",
    "/for%2dadmins/",
    "/FOR-ADMINS",
    "/c/demo//rows-for-admins",
    "/c//demo/rows-for-admins",
    "/c/demo/rows-for-admins.JSON",
    "/c/demo/s/session_1/../rows-for-admins",
)


def test_odd_forms_of_a_path_open_nothing(app_with_higher_routes: Flask, users: Journal, planted: BuiltCluster) -> None:
    vera = Person(app_with_higher_routes.test_client()).sign_in("vera")

    for path in ODD_FORMS:
        assert vera.get(path).status_code in (308, 403, 404), path


def test_no_other_method_does_anything(vera: Person, planted: BuiltCluster) -> None:
    for method in ("TRACE", "CONNECT", "PROPFIND", "COPY", "delete", "PUT", "PATCH", "DELETE", "OPTIONS"):
        for path in ("/account", "/c/demo/actors", "/go", "/metrics", "/c/demo/actors.json"):
            assert vera.open(method, path).status_code in (403, 405), (method, path)


def test_a_method_cannot_be_overridden(vera: Person, planted: BuiltCluster) -> None:
    answer = vera.open("GET", "/account?_method=DELETE", {"X-HTTP-Method-Override": "DELETE"})

    assert answer.status_code == 200


def test_the_start_is_refused_when_something_is_answered_that_no_route_declares(make_app: Callable[..., Flask]) -> None:
    twice = replace(ROUTES[0], rule="/elsewhere/<path:filename>")
    with pytest.raises(RuntimeError, match="Two routes are called static"):
        make_app(routes=(*ROUTES, twice))

    from webapp import routes

    app = make_app()
    app._got_first_request = False
    app.add_url_rule("/forgotten", "forgotten", lambda: "open")
    with pytest.raises(RuntimeError, match="/forgotten"):
        routes.check_routes(app, ROUTES)


def test_the_list_of_routes_is_the_url_map(app: Flask) -> None:
    listed = {(entry["rule"], tuple(entry["methods"])) for entry in describe_routes()}
    answered = {(rule.rule, tuple(sorted(rule.methods or ()))) for rule in app.url_map.iter_rules()}

    assert listed == answered
    assert all(entry["role"] in {"public", "viewer", "operator", "admin"} for entry in describe_routes())
    assert VIEWER.word == "viewer"
