"""Searching the logs of a real cluster: found while one looks on, and a link to the line."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import opened
from tests.running import Running

pytestmark = pytest.mark.browser


def test_a_text_is_found_on_every_node_and_leads_to_its_line(page: Page, demo: Running) -> None:
    page.goto(f"{demo.cluster_url}/logs")
    page.get_by_placeholder("Find in the logs of every node").fill("raylet")
    page.keyboard.press("Enter")
    page.wait_for_url("**/logs/search?*run=*")
    expect(page.locator("#found .search-state")).to_contain_text("searched", timeout=30_000)
    assert page.locator("#found mark").count() > 5
    hit = page.locator("#found .log li:has(mark)").first
    number, text = hit.locator("a.at").inner_text(), hit.locator("mark").first.inner_text()
    assert text.lower() == "raylet"
    hit.locator("a.at").click()
    page.wait_for_url(re.compile(r"/logs/[0-9a-f]{56}/[\w=-]+\?at=\d+#b\d+"))
    shown = page.locator("li:target")
    expect(shown).to_contain_text("raylet", ignore_case=True)
    assert shown.locator("a.at").inner_text() == number


def test_an_expression_that_cannot_be_used_says_why(page: Page, demo: Running) -> None:
    page.goto(f"{demo.cluster_url}/logs/search?q=%28&regex=1")
    expect(page.locator("#found")).to_contain_text("unclosed group", timeout=30_000)


def test_without_javascript_the_page_is_loaded_again(browser: Browser, signed_in: dict[str, object], demo: Running) -> None:
    with opened(browser, signed_in, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(f"{demo.cluster_url}/logs/search?q=raylet")
        for _ in range(40):
            if "searched" in page.locator("#found .search-state").inner_text():
                break
            page.wait_for_timeout(500)
            page.reload()
        assert page.locator("#found mark").count() > 5
