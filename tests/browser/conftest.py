"""A signed-in chromium on the demo, and what went wrong in it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.running import Running, raydeck_up

QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


PATIENCE_MS = 20_000


@dataclass
class Troubles:
    """What a browser complained of: console errors (a Content Security Policy report is one), failed requests, exceptions."""

    seen: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.seen.append(f"exception: {error}"))
        page.on("response", lambda answer: self.seen.append(f"{answer.status} {answer.url}") if answer.status >= 500 else None)

    def _console(self, message: ConsoleMessage) -> None:
        """A poll that a busy machine answers too late is tried again a second later: no fault of the page."""
        late = "htmx:error" in message.text and "timeout" in message.text.lower()
        if message.type in {"error", "warning"} and not late:
            self.seen.append(f"{message.type}: {message.text} ({message.location['url']})")


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "The browser tests need chromium: `apt-get install chromium` installs it."
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        yield found
        found.close()


@pytest.fixture(scope="package")
def demo() -> Iterator[Running]:
    """One `raydeck up --demo` for all that is looked at in the browser. It is busy: it ends with them."""
    with raydeck_up("--demo") as running:
        yield running


def sign_in(browser: Browser, sign_in_url: str) -> dict[str, object]:
    """The storage of a browser that signed in by the one-time link, as a person does on the first run."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(sign_in_url)
    page.locator("form[method=post] button[type=submit]").first.click()
    page.wait_for_url(lambda url: "/login" not in url)
    storage = dict(context.storage_state())
    context.close()
    return storage


@contextlib.contextmanager
def opened(browser: Browser, storage: dict[str, object], **options: object) -> Iterator[BrowserContext]:
    """A browser window of somebody who has signed in."""
    context = browser.new_context(storage_state=storage, **options)  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE_MS)
    yield context
    context.close()


def count_swaps(page: Page) -> None:
    """From here on `window.swaps` counts the updates that the page has shown."""
    page.evaluate("window.swaps = 0; document.addEventListener('htmx:after:swap', () => { window.swaps += 1; })")


def wait_for_updates(page: Page, count: int = 2) -> None:
    page.wait_for_function("wanted => window.swaps >= wanted", arg=count, timeout=60_000)


@pytest.fixture(scope="package")
def signed_in(browser: Browser, demo: Running) -> dict[str, object]:
    """Signed in to the demo, which has something of everything by now."""
    storage = sign_in(browser, demo.ready["sign_in_url"])
    demo.wait_for_rows("actors", "?state=DEAD")
    demo.wait_for_rows("jobs", "?status=FAILED", within_s=180)
    demo.wait_for_rows("nodes", at_least=2)
    return storage


@pytest.fixture
def troubles() -> Troubles:
    return Troubles()


@pytest.fixture
def context(browser: Browser, signed_in: dict[str, object]) -> Iterator[BrowserContext]:
    with opened(browser, signed_in, viewport={"width": 1280, "height": 900}) as found:
        yield found


@pytest.fixture
def page(context: BrowserContext, troubles: Troubles) -> Iterator[Page]:
    """A signed-in page that must not complain of anything."""
    found = context.new_page()
    troubles.watch(found)
    yield found
    assert troubles.seen == []
