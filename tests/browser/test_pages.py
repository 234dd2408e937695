"""Every page, in both themes, at three widths: it fits, it is readable, it follows the cluster, and nothing complains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Troubles
from tests.running import Running

pytestmark = pytest.mark.browser

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
PICTURES = Path(__file__).parent / "pictures"
WIDTHS = {"phone": 360, "laptop": 1280, "wall": 2560}
PAGES = (
    "",
    "jobs",
    "jobs/{job}",
    "jobs/{job}?tab=actors",
    "actors",
    "actors/{actor}",
    "nodes",
    "nodes?expand={node}",
    "nodes?view=cards",
    "nodes/{node}",
    "nodes/{node}?tab=processes",
    "nodes/{node}?tab=workers",
    "nodes/{node}?tab=raylet",
    "workers",
    "workers/{worker}",
    "placement-groups",
    "placement-groups/{placement_group}",
    "info",
    "actors?state=ALIVE&q=nothing-is-called-this",
)
OUTSIDE = ("/account", "/help", "/go?q=nothing-is-called-this", "/no-such-page")


@pytest.fixture(scope="session")
def ids(demo: Running) -> dict[str, str]:
    """An id of each kind from the demo."""
    return {
        "job": str(demo.wait_for_rows("jobs", "?job_id=*")[0]["job_key"]),
        "actor": str(demo.wait_for_rows("actors", "?state=ALIVE")[0]["actor_id"]),
        "node": str(demo.wait_for_rows("nodes")[0]["node_id"]),
        "worker": str(demo.wait_for_rows("workers", "?is_alive=true")[0]["worker_id"]),
        "placement_group": str(demo.wait_for_rows("placement-groups")[0]["placement_group_id"]),
    }


def addresses(demo: Running, ids: dict[str, str]) -> list[str]:
    return [f"{demo.cluster_url}/{path.format(**ids)}" for path in PAGES] + [demo.url + path for path in OUTSIDE]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", list(WIDTHS))
def test_every_page_fits_and_is_accessible(
    browser: Browser, signed_in: dict[str, object], demo: Running, ids: dict[str, str], theme: str, width: str
) -> None:
    context = browser.new_context(
        storage_state=signed_in,  # type: ignore[arg-type]
        viewport={"width": WIDTHS[width], "height": 900},
        color_scheme=theme,  # type: ignore[arg-type]
        bypass_csp=False,
    )
    page, troubles = context.new_page(), Troubles()
    troubles.watch(page)
    PICTURES.mkdir(exist_ok=True)
    problems: list[str] = []
    for number, address in enumerate(addresses(demo, ids)):
        page.goto(address)
        page.screenshot(path=str(PICTURES / f"{number:02d}-{width}-{theme}.png"))
        name = address.removeprefix(demo.url)
        if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth + 1"):
            problems.append(f"{name} is wider than the screen")
        problems += [f"{name}: {finding}" for finding in axe_findings(page)]
    context.close()
    expected = [seen for seen in troubles.seen if "404" not in seen]
    assert problems + expected == []


def axe_findings(page: Page) -> list[str]:
    """What axe-core holds against the page, serious and critical."""
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa']}).then(r => JSON.stringify(r.violations))")
    return [
        f"{violation['id']} at {violation['nodes'][0]['target']} ({len(violation['nodes'])} times)"
        for violation in json.loads(found)
        if violation["impact"] in {"serious", "critical"}
    ]


def test_an_actor_that_is_made_and_dies_is_seen_without_reloading(page: Page, demo: Running) -> None:
    page.goto(f"{demo.cluster_url}/actors?sort=-start_time_ms")
    first = page.locator("table tbody tr").first.inner_text()
    page.wait_for_function("first => document.querySelector('table tbody tr').innerText !== first", arg=first, timeout=60_000)


def test_typing_in_a_filter_is_not_disturbed_by_updates(page: Page, demo: Running) -> None:
    page.goto(f"{demo.cluster_url}/actors")
    box = page.locator("input[name=q]").first
    box.focus()
    page.keyboard.type("sta", delay=20)
    page.wait_for_timeout(2500)
    page.keyboard.type("te:ALIVE", delay=20)
    expect(box).to_have_value("state:ALIVE")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=state*")
    assert "DEAD" not in page.locator("table tbody").first.inner_text()


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
    context = browser.new_context(storage_state=signed_in, java_script_enabled=False)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(f"{demo.cluster_url}/actors")
    page.locator("input[name=q]").first.fill("state:ALIVE")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=state*")
    assert "DEAD" not in page.locator("table tbody").first.inner_text()
    page.locator("table tbody tr a").first.click()
    expect(page.locator("h1")).to_be_visible()
    context.close()


def test_the_keyboard_alone_goes_everywhere(page: Page, demo: Running) -> None:
    page.goto(f"{demo.cluster_url}/")
    page.keyboard.press("?")
    expect(page.locator("dialog[open]")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("a")
    page.wait_for_url("**/actors")
    page.keyboard.press("/")
    expect(page.locator("input[name=q]").first).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    expect(page.locator("dialog[open] input")).to_be_focused()


def test_the_theme_can_be_chosen_and_stays(page: Page, demo: Running) -> None:
    page.goto(f"{demo.cluster_url}/")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("html").press("t")
    page.wait_for_function("before => getComputedStyle(document.body).backgroundColor !== before", arg=before)
    after = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == after


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
    assert sum(sizes) < 100_000
