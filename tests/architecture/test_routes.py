"""Routes: each names who may, and what is open to everybody is listed here by name."""

from __future__ import annotations

import ast
import re

from tests.architecture.repository import ROOT, modules, read, tree
from webapp.roles import PUBLIC
from webapp.routes import ROUTES
from webapp.security import SAFE_METHODS

OPEN_TO_EVERYBODY = {"static", "healthz", "login", "sign_in"}


def test_nothing_is_open_but_what_is_named_here() -> None:
    assert {route.endpoint for route in ROUTES if route.role == PUBLIC} == OPEN_TO_EVERYBODY


def test_what_changes_something_cannot_be_asked_for_with_a_link() -> None:
    assert [route.endpoint for route in ROUTES if route.effect and set(route.methods) & SAFE_METHODS] == []


def test_every_page_of_a_cluster_is_there_for_its_past_sessions_too() -> None:
    outside = [route.rule for route in ROUTES if not route.scoped and route.rule.startswith("/c/")]
    assert not outside


def test_no_view_registers_itself() -> None:
    """A decorator would make a route that the table does not know, and that nobody denied."""
    found = [
        (str(path), node.name)
        for path in modules("webapp")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        if re.search(r"\.(route|get|post|put|delete|patch)\(", ast.unparse(decorator) + "(")
    ]
    assert not found


def test_views_touch_neither_redis_nor_sql() -> None:
    pages = [path for path in modules("webapp") if path.parts[1] == "pages"]
    found = [str(path) for path in pages if re.search(r"\b(SELECT|INSERT|UPDATE|DELETE) |\bredis\.", read(path))]
    assert pages
    assert not found


def test_every_template_that_a_view_asks_for_is_there() -> None:
    asked = {name for path in modules("webapp") for name in re.findall(r'"([a-z_]+/[a-z_]+\.html)"', read(path))}
    assert asked
    assert [name for name in sorted(asked) if not (ROOT / "templates" / name).is_file()] == []
