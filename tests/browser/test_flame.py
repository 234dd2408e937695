"""A flame graph in a browser: under the mouse, the keyboard, without scripts, and as strict as our policy is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from html import escape
from pathlib import Path
from urllib.parse import urlencode

import pytest
from flask import Flask, render_template, request
from playwright.sync_api import Browser, Page
from werkzeug.serving import make_server

from clusterstate.stacks import Samples
from tests.browser.conftest import Troubles
from tests.webapp.flame.profiles import hostile_profile, profile
from webapp.flame.asking import parse
from webapp.flame.viewing import view
from webapp.formatting import register
from webapp.security import HEADERS

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
PROFILES = {
    "small": profile("main;load;parse 4", "main;load 3", "main;train;torch/nn.py:forward 5", "idle 1"),
    "hostile": hostile_profile(),
}
PAGE = """<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8">
<meta name="htmx-config" content='{"history":false}'>
<title>Profile</title><link rel="icon" href="/static/icon.svg"><link rel="stylesheet" href="/static/css/raydeck.css">
<link rel="stylesheet" href="/static/css/profiles.css"><script src="/static/vendor/htmx.min.js" defer></script>
<script src="/static/js/keys.js" type="module"></script><script src="/static/js/live.js" type="module"></script>
<script src="/static/js/flame.js" type="module"></script></head>
<body data-refresh="1"><main id="main">%s</main></body></html>"""

GROWING = """<div class="live" id="profile" hx-get="?{query}" hx-trigger="every 200ms" hx-target="this" hx-swap="outerMorph">{body}</div>"""


def app_of(profiles: dict[str, Samples]) -> Flask:
    """Our templates and files alone: what stands around a profile is tested elsewhere."""
    app = Flask("flame", template_folder=str(ROOT / "templates"), static_folder=str(ROOT / "static"))
    app.jinja_env.trim_blocks = True
    register(app.jinja_env)

    @app.get("/<name>")
    def show(name: str) -> tuple[str, dict[str, str]]:
        def to(**arguments: object) -> str:
            arguments = {**arguments, "grows": request.args.get("grows")}
            return f"/{name}?" + urlencode({key: value for key, value in arguments.items() if value is not None})

        body = render_template("profiles/_viewer.html", viewer=view(profiles[name], parse(request.args, ("grows",)), to))
        if "grows" in request.args:
            body = GROWING.format(query=escape(request.query_string.decode()), body=body)
        return (body if "HX-Request" in request.headers else PAGE % body), HEADERS

    return app


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app_of(PROFILES), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    troubles = Troubles()
    opened = browser.new_page()
    troubles.watch(opened)
    yield opened
    opened.close()
    assert not troubles.seen


def shown(page: Page) -> str:
    return page.locator(".crumbs b").inner_text()


def box(page: Page, name: str) -> None:
    page.locator(".boxes a").filter(has=page.locator("title", has_text=name)).first.click()


def wait_for(page: Page, name: str) -> None:
    page.wait_for_function("name => document.querySelector('.crumbs b')?.textContent === name", arg=name)


def test_a_click_zooms_and_the_way_back_is_the_browsers(page: Page, served: str) -> None:
    page.goto(f"{served}/small")
    box(page, "load")
    wait_for(page, "load")
    page.reload()
    assert shown(page) == "load"

    page.go_back()
    wait_for(page, "all")
    page.go_forward()
    wait_for(page, "load")


def test_a_zoom_lasts_while_the_profile_around_it_keeps_itself_up_to_date(page: Page, served: str) -> None:
    page.goto(f"{served}/small?grows=1")
    with page.expect_request(lambda sent: "grows=1" in sent.url):
        box(page, "load")
    wait_for(page, "load")
    for _ in range(3):
        with page.expect_response(lambda answer: "at=" in answer.url):
            pass
    assert shown(page) == "load"


def test_arrows_go_from_box_to_box_and_tab_stops_at_one_alone(page: Page, served: str) -> None:
    page.goto(f"{served}/small")
    page.locator(".boxes a").first.focus()
    names = []
    for key in ("ArrowDown", "ArrowRight", "ArrowLeft", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
        names.append(page.evaluate("document.activeElement.querySelector('title').textContent.split('\\n')[0]"))

    assert names == ["main", "idle", "main", "load", "parse"]
    assert page.locator('.boxes a[tabindex="0"]').count() == 1

    page.keyboard.press("Enter")
    wait_for(page, "parse")
    assert page.evaluate("document.activeElement.closest('.boxes') !== null")
    page.keyboard.press("Escape")
    wait_for(page, "all")


def test_a_search_marks_what_it_finds_and_n_goes_to_the_next(page: Page, served: str) -> None:
    page.goto(f"{served}/small")
    page.keyboard.press("/")
    page.keyboard.type("app")
    page.keyboard.press("Enter")
    page.locator(".found-count").wait_for()
    assert "100.0" in page.locator(".found-count").inner_text()

    page.locator(".boxes a").first.focus()
    page.keyboard.press("n")
    wait_for(page, "main")
    page.keyboard.press("n")
    wait_for(page, "idle")


def test_what_is_under_the_mouse_is_told_below(page: Page, served: str) -> None:
    page.goto(f"{served}/small")
    page.locator(".boxes a").filter(has=page.locator("title", has_text="forward")).first.hover()

    assert "torch/nn.py:1" in page.locator("[data-details]").inner_text()


def test_all_of_it_works_without_scripts(browser: Browser, served: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{served}/small")
    box(page, "load")
    assert shown(page) == "load"

    page.fill("input[name=q]", "parse")
    page.locator("form.filters button").click()
    assert "30.8" in page.locator(".found-count").inner_text()
    context.close()


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("asked", ["", "?view=functions", "?by=thread", "?q=script"])
def test_hostile_names_break_neither_the_policy_nor_the_page(page: Page, served: str, width: int, asked: str) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(f"{served}/hostile{asked}")

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("main script, main img").count() == 0
