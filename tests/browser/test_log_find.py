"""Finding in one log of a real cluster: from hit to hit by links and by keys."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import opened
from tests.running import Running

pytestmark = pytest.mark.browser
NUMBER = re.compile(r"(\d+)\s+of\s+(\d+)")


def open_file(page: Page, demo: Running) -> None:
    page.goto(f"{demo.cluster_url}/logs?name=raylet.out")
    page.locator("th[scope=row] a").first.click()


def where(page: Page) -> int:
    found = NUMBER.search(page.locator(".log-found").inner_text())
    assert found is not None
    return int(found[1])


def test_enter_and_n_go_on_and_shift_goes_back(page: Page, demo: Running) -> None:
    open_file(page, demo)
    page.get_by_placeholder("Find in this file").fill("node_id")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("q=node_id"))
    expect(page.locator("#hit")).to_be_in_viewport()
    last = where(page)
    page.locator("[data-previous]").click()
    page.wait_for_url(re.compile("hit="))
    assert where(page) in {last - 1, last}  # the file may have grown
    here = page.url
    page.get_by_placeholder("Find in this file").press("Shift+Enter")
    page.wait_for_url(lambda url: url != here)
    back = page.url
    page.locator("h1").click()
    page.keyboard.press("n")
    page.wait_for_url(lambda url: url != back)
    assert page.locator("li.here mark").count() >= 1


def test_without_javascript_it_is_links_and_a_form(browser: Browser, signed_in: dict[str, object], demo: Running) -> None:
    with opened(browser, signed_in, java_script_enabled=False) as context:
        page = context.new_page()
        open_file(page, demo)
        page.get_by_placeholder("Find in this file").fill("NODE_ID")
        page.get_by_role("button", name="Find").click()
        assert page.locator("li.here mark").first.inner_text() == "node_id"
        page.locator("[data-previous]").click()
        assert page.locator("li.here mark").count() >= 1
        page.get_by_role("link", name="Only these lines").click()
        assert page.locator(".log li").count() == page.locator(".log li:has(mark)").count()
