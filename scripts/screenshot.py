"""Takes docs/screenshot.png: the overview of a demo cluster, in a real chromium, as a visitor sees it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, ViewportSize, sync_playwright

import system_tools

ROOT = Path(__file__).resolve().parent.parent
RAYDECK = Path(sys.executable).parent / "raydeck"
TARGET = ROOT / "docs" / "screenshot.png"
READY_WITHIN_S = 120
STOPPED_WITHIN_S = 30
FIRST_PICTURE_WITHIN_S = 20
WATCHED_FOR_S = 45  # until the small charts have something to show
LARGEST_BYTES = 600 * 1024
SIZE: ViewportSize = {"width": 1440, "height": 900}
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
]


def main() -> None:
    chromium = system_tools.ensure_chromium()
    with demo() as ready, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        sign_in(page, ready)
        show(page, f"{ready['url']}/c/{ready['cluster']}/")
        page.wait_for_timeout(WATCHED_FOR_S * 1000)
        show(page, page.url)
        page.screenshot(path=str(TARGET))
        browser.close()
    size = TARGET.stat().st_size
    print(f"{TARGET.relative_to(ROOT)}: {size / 1024:.0f} kB")
    if size > LARGEST_BYTES:
        raise SystemExit("The picture is larger than 600 kB.")


@contextlib.contextmanager
def demo() -> Iterator[dict[str, Any]]:
    """A demo of its own, with a state directory of its own; what its ready file says."""
    with tempfile.TemporaryDirectory(prefix="rd-shot-") as folder:
        ready = Path(folder) / "ready.json"
        options = ["--demo", "--port", "0", "--ready-file", str(ready), "--state-dir", str(Path(folder) / "state")]
        with (Path(folder) / "output").open("wb") as output:
            running = subprocess.Popen([RAYDECK, "up", *options], stdout=output, stderr=output)
        try:
            yield wait_for(ready, running, Path(folder) / "output")
        finally:
            running.terminate()
            running.wait(STOPPED_WITHIN_S)


def wait_for(ready: Path, running: subprocess.Popen[bytes], output: Path) -> dict[str, Any]:
    give_up = time.monotonic() + READY_WITHIN_S
    while not ready.exists():
        if running.poll() is not None or time.monotonic() > give_up:
            raise SystemExit(f"The demo did not become ready:\n{output.read_text(errors='replace')[-3000:]}")
        time.sleep(0.2)
    content: dict[str, Any] = json.loads(ready.read_text("utf-8"))
    return content


def sign_in(page: Page, ready: dict[str, Any]) -> None:
    """As a visitor does: open the link, press its button."""
    page.goto(ready["sign_in_url"])
    page.locator("form[method=post] button[type=submit]").first.click()
    page.wait_for_url(lambda url: "/login" not in url)


def show(page: Page, url: str) -> None:
    """Go there; the first picture of a new cluster takes a moment to be written."""
    give_up = time.monotonic() + FIRST_PICTURE_WITHIN_S
    while True:
        answer = page.goto(url)
        if answer is not None and answer.status == 200:
            return
        if time.monotonic() > give_up:
            raise SystemExit(f"{url} answered {answer.status if answer else 'nothing'}: no picture of that.")
        time.sleep(0.5)


if __name__ == "__main__":
    main()
