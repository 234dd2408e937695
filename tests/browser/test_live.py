"""An open page follows the cluster, and leaves alone what somebody is doing in it."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.conftest import count_swaps, opened, wait_for_updates
from tests.running import Running

pytestmark = pytest.mark.browser


def test_an_actor_that_is_made_and_dies_is_seen_without_reloading(page: Page, demo: Running) -> None:
    page.goto(f"{demo.cluster_url}/actors?sort=-start_time_ms")
    first = page.locator("table tbody tr").first.inner_text()
    page.wait_for_function("first => document.querySelector('table tbody tr').innerText !== first", arg=first, timeout=60_000)


def test_typing_in_a_filter_is_not_disturbed_by_updates(page: Page, demo: Running) -> None:
    page.goto(f"{demo.cluster_url}/actors")
    box = page.locator(".filters input[name=q]")
    box.focus()
    page.keyboard.type("sta", delay=20)
    count_swaps(page)
    page.wait_for_timeout(2500)
    page.keyboard.type("te:ALIVE", delay=20)
    expect(box).to_have_value("state:ALIVE")
    expect(box).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url("**q=state*")
    assert "DEAD" not in page.locator("table tbody").first.inner_text()


def test_an_update_keeps_the_focus_the_selection_and_what_is_unfolded(page: Page, demo: Running) -> None:
    worker = demo.wait_for_rows("workers", "?is_alive=true&columns=worker_id,title&q=title:*&sort=start_time_ms")[0]["worker_id"]
    page.goto(f"{demo.cluster_url}/nodes?expand={demo.wait_for_rows('nodes')[0]['node_id']}")
    page.locator("table.rows tbody a.expand").first.focus()
    page.evaluate("getSelection().selectAllChildren(document.querySelector('table.rows tbody tr td:nth-child(2)'))")
    selected = page.evaluate("getSelection().toString()")
    count_swaps(page)
    wait_for_updates(page)
    assert page.evaluate("getSelection().toString()") == selected != ""
    assert page.evaluate("document.activeElement.className") == "expand"

    page.goto(f"{demo.cluster_url}/workers/{worker}")
    page.locator(".live details.fold summary").first.click()
    count_swaps(page)
    wait_for_updates(page)
    expect(page.locator(".live details.fold").first).to_have_attribute("open", "")


def test_updates_leave_the_logs_of_a_job_that_were_asked_for(page: Page, demo: Running) -> None:
    jobs = demo.wait_for_rows("jobs", "?status=RUNNING&columns=job_key,submission_id&q=submission_id:*")
    page.goto(f"{demo.cluster_url}/jobs/{jobs[0]['job_key']}")
    logs = page.locator("#logs")
    logs.scroll_into_view_if_needed()
    expect(logs.locator("ol.log li").first).to_be_visible()
    tabs = logs.get_by_role("navigation", name="Files").get_by_role("link")
    tabs.last.click()
    expect(tabs.last).to_have_attribute("aria-current", "page")
    count_swaps(page)
    wait_for_updates(page)
    expect(tabs.last).to_have_attribute("aria-current", "page")
    expect(logs).not_to_contain_text("Show its logs")


def test_a_hidden_page_asks_for_nothing(page: Page, demo: Running) -> None:
    page.goto(f"{demo.cluster_url}/nodes")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    hide(page, True)
    page.wait_for_timeout(500)
    asked.clear()
    page.wait_for_timeout(3000)
    assert asked == []
    hide(page, False)
    page.wait_for_timeout(2500)
    assert asked != []


def test_updates_can_be_stopped_and_resumed(page: Page, demo: Running) -> None:
    page.goto(f"{demo.cluster_url}/nodes")
    asked: list[str] = []
    page.keyboard.press("p")
    page.wait_for_timeout(500)
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(2500)
    assert asked == []
    page.keyboard.press("p")
    page.wait_for_timeout(2500)
    assert asked != []


def test_a_page_says_when_raydeck_does_not_answer_and_when_it_does_again(
    browser: Browser, signed_in: dict[str, object], demo: Running
) -> None:
    with opened(browser, signed_in) as context:
        page = context.new_page()
        page.goto(f"{demo.cluster_url}/actors")
        rows = page.locator("table.rows tbody tr").count()
        context.route("**/actors*", lambda route: route.abort())
        expect(page.locator("#lost")).to_be_visible(timeout=30_000)
        expect(page.locator("#lost")).to_contain_text("last confirmed")
        assert page.locator("table.rows tbody tr").count() >= rows > 0  # what was known stays
        context.unroute("**/actors*")
        expect(page.locator("#lost")).to_be_hidden(timeout=30_000)


def test_an_error_of_an_update_is_told_beside_what_is_known(browser: Browser, signed_in: dict[str, object], demo: Running) -> None:
    def fail(route: Route) -> None:
        route.fulfill(status=503, content_type="text/html", body='<section id="error">This question takes too long.</section>')

    with opened(browser, signed_in) as context:
        page = context.new_page()
        page.goto(f"{demo.cluster_url}/actors")
        context.route("**/actors*", fail)
        expect(page.locator("#problem")).to_contain_text("takes too long")
        assert page.locator("table.rows tbody tr").count() > 0
        context.unroute("**/actors*")
        expect(page.locator("#problem")).to_be_empty(timeout=30_000)


def test_a_person_whose_sign_in_has_ended_is_asked_to_sign_in_again(browser: Browser, signed_in: dict[str, object], demo: Running) -> None:
    with opened(browser, signed_in) as context:
        page = context.new_page()
        page.goto(f"{demo.cluster_url}/actors?state=DEAD")
        context.clear_cookies()
        page.wait_for_url(lambda url: "/login?next=" in url, timeout=30_000)
        assert "state%3DDEAD" in page.url


def hide(page: Page, hidden: bool) -> None:
    """As a browser does to a tab that is not looked at."""
    page.evaluate(
        "hidden => { Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        hidden,
    )
