"""Getting around: keyboard, Back, without JavaScript, theme, time zone, old bookmarks."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import opened
from tests.running import Running

pytestmark = pytest.mark.browser


def test_back_returns_to_the_table_as_it_was(page: Page, demo: Running) -> None:
    page.goto(f"{demo.cluster_url}/actors")
    page.goto(f"{demo.cluster_url}/actors?state=DEAD")
    page.locator("table thead a").first.click()
    page.wait_for_url("**sort=*")
    sorted_url = page.url
    page.locator("table tbody tr a").first.click()
    page.wait_for_url("**/actors/*")
    page.go_back()
    assert page.url == sorted_url
    expect(page.locator("table tbody tr").first).to_contain_text("DEAD")
    page.go_back()
    page.wait_for_url("**/actors?state=DEAD")


def test_everything_can_be_done_without_javascript(browser: Browser, signed_in: dict[str, object], demo: Running) -> None:
    with opened(browser, signed_in, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(f"{demo.cluster_url}/actors")
        page.locator(".filters input[name=q]").fill("state:ALIVE")
        page.keyboard.press("Enter")
        page.wait_for_url("**q=state*")
        assert "DEAD" not in page.locator("table tbody").first.inner_text()
        page.locator("table tbody tr a").first.click()
        expect(page.locator("h1")).to_be_visible()
        page.goto(f"{demo.cluster_url}/nodes")
        page.locator("a.expand").first.click()
        expect(page.locator("tr.inner").first).to_contain_text("raylet")
        page.locator("select[name=time_zone]").select_option("UTC")
        page.locator(".zone button").click()
        expect(page.locator("select[name=time_zone]")).to_have_value("UTC")


def test_the_keyboard_alone_goes_everywhere(page: Page, demo: Running) -> None:
    page.goto(f"{demo.cluster_url}/")
    page.keyboard.press("?")
    expect(page.locator("dialog[open]")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("a")
    page.wait_for_url("**/actors")
    page.keyboard.press("/")
    expect(page.locator(".filters input[name=q]")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    expect(page.locator("dialog[open] input[type=search]")).to_be_focused()
    page.keyboard.type("placement")
    page.keyboard.press("Enter")
    page.wait_for_url("**/placement-groups")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/placement-groups/*")


def test_an_id_a_pid_and_a_name_lead_to_their_page(page: Page, demo: Running) -> None:
    actor = demo.wait_for_rows("actors", "?state=ALIVE&q=name:*")[0]
    for text in (actor["actor_id"], actor["name"]):
        page.goto(f"{demo.url}/go?q={text}")
        assert actor["actor_id"] in page.url or page.locator(f"a[href*='{actor['actor_id']}']").count() == 1
    answer = page.request.get(f"{demo.url}/go?q=nothing-is-called-this")
    assert answer.status == 404
    assert "Searched" in answer.text()


def test_the_theme_can_be_chosen_and_stays(page: Page, demo: Running) -> None:
    page.goto(f"{demo.cluster_url}/")
    before = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    with page.expect_response("**/preferences"):
        page.locator("html").press("t")
    page.wait_for_function("before => getComputedStyle(document.documentElement).backgroundColor !== before", arg=before)
    after = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    page.reload()
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == after


def test_a_time_zone_can_be_chosen_and_every_time_is_in_it(page: Page, demo: Running) -> None:
    page.goto(f"{demo.url}/account")
    page.locator("#time-zone select").select_option("Asia/Kathmandu")
    page.locator("#time-zone").locator("xpath=ancestor::form").locator("button").click()
    page.wait_for_load_state()
    page.goto(f"{demo.cluster_url}/jobs")
    times = page.locator("table.rows time").evaluate_all("times => times.map(time => [time.dateTime, time.textContent])")
    assert len(times) > 3
    for stamp, shown in times:
        assert minutes(shown) == (minutes(stamp) + 5 * 60 + 45) % (24 * 60)


def minutes(text: str) -> int:
    """Of the day, as written."""
    found = re.search(r"(\d\d):(\d\d):\d\d", text)
    assert found, text
    return 60 * int(found[1]) + int(found[2])


def test_bookmarks_of_rays_own_dashboard_still_lead_somewhere(page: Page, demo: Running) -> None:
    job = demo.wait_for_rows("jobs", "?job_id=*")[0]["job_id"]
    page.goto(f"{demo.url}/#/jobs/{job}")
    page.wait_for_url(f"**/jobs/{job}")
    page.goto(f"{demo.url}/help")
    page.goto(f"{demo.url}/#/cluster")
    page.wait_for_url("**/nodes")


def test_no_request_leaves_the_site(page: Page, demo: Running) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{demo.cluster_url}/")
    page.wait_for_timeout(3000)
    assert [url for url in asked if not url.startswith((demo.url, "data:"))] == []


def test_the_first_page_with_all_it_needs_is_small(page: Page, demo: Running) -> None:
    sizes: list[int] = []
    page.on("response", lambda answer: sizes.append(int(answer.headers.get("content-length") or 0)))
    page.goto(f"{demo.cluster_url}/")
    page.wait_for_load_state("networkidle")
    assert 0 < sum(sizes) < 100_000
