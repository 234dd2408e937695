"""A signed-in chromium on the demo, and what went wrong in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.running import Running

QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass
class Troubles:
    """What a browser complained of: console errors (a Content Security Policy report is one), failed requests, exceptions."""

    seen: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.seen.append(f"exception: {error}"))
        page.on("response", lambda answer: self.seen.append(f"{answer.status} {answer.url}") if answer.status >= 500 else None)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.seen.append(f"{message.type}: {message.text}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "The browser tests need chromium: `apt-get install chromium` installs it."
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        yield found
        found.close()


@pytest.fixture(scope="session")
def signed_in(browser: Browser, demo: Running) -> Iterator[dict[str, object]]:
    """The storage of a browser that signed in by the one-time link, as a person does on the first run."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(demo.ready["sign_in_url"])
    page.locator("form[method=post] button[type=submit]").first.click()
    page.wait_for_url(lambda url: "/login" not in url)
    demo.wait_for_rows("actors", "?state=DEAD")
    demo.wait_for_rows("jobs", "?status=FAILED")
    demo.wait_for_rows("nodes", at_least=2)
    yield dict(context.storage_state())
    context.close()


@pytest.fixture
def troubles() -> Troubles:
    return Troubles()


@pytest.fixture
def context(browser: Browser, signed_in: dict[str, object]) -> Iterator[BrowserContext]:
    opened = browser.new_context(storage_state=signed_in, viewport={"width": 1280, "height": 900})  # type: ignore[arg-type]
    opened.set_default_timeout(10_000)
    yield opened
    opened.close()


@pytest.fixture
def page(context: BrowserContext, troubles: Troubles) -> Iterator[Page]:
    """A signed-in page that must not complain of anything."""
    opened = context.new_page()
    troubles.watch(opened)
    yield opened
    assert troubles.seen == []
