"""The timeline under mouse and keys, with Back, and without JavaScript."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import count_swaps, opened, wait_for_updates
from tests.running import Running

pytestmark = pytest.mark.browser


def window(page: Page) -> tuple[int, int]:
    """From and to of what is shown, Unix ms."""
    picture = page.locator("#timeline")
    return int(picture.get_attribute("data-from") or 0), int(picture.get_attribute("data-to") or 0)


def moved_from(page: Page, before: tuple[int, int]) -> tuple[int, int]:
    """The window once it is another one that stands still."""
    page.wait_for_function(
        "before => document.querySelector('#timeline').dataset.from !== before && location.search.includes('to=')", arg=str(before[0])
    )
    page.wait_for_function(
        "() => new URLSearchParams(location.search).get('from') === document.querySelector('#timeline').dataset.from", timeout=10_000
    )
    return window(page)


def span(window: tuple[int, int]) -> int:
    return window[1] - window[0]


def drag(page: Page, area: Locator, start: float, end: float) -> None:
    """Across an element, from one part of its width to another."""
    box = area.bounding_box()
    assert box
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * start, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * (start + end) / 2, y, steps=4)
    page.mouse.move(box["x"] + box["width"] * end, y, steps=4)
    page.mouse.up()


def open_still(page: Page, demo: Running, margin_ms: int = 0) -> tuple[int, int]:
    """A window that stands still, around what has run so far."""
    demo.wait_for_rows("tasks", "?state=FINISHED")
    page.goto(f"{demo.cluster_url}/timeline")
    expect(page.locator("#timeline .track-row").first).to_be_visible()
    first, last = window(page)
    page.goto(f"{demo.cluster_url}/timeline?from={first - margin_ms}&to={last}")
    return window(page)


def test_buttons_and_keys_zoom_and_move_and_back_returns(page: Page, demo: Running) -> None:
    start = open_still(page, demo)
    page.locator("[data-step=in]").click()
    closer = moved_from(page, start)
    assert span(closer) == pytest.approx(span(start) / 2, abs=2)

    page.wait_for_timeout(1600)  # steps close together are one entry of the history
    page.keyboard.press("d")
    later = moved_from(page, closer)
    assert later[0] == pytest.approx(closer[0] + span(closer) / 2, abs=2)
    page.wait_for_timeout(1600)
    page.keyboard.press("s")
    wider = moved_from(page, later)
    assert span(wider) == pytest.approx(2 * span(later), abs=2)

    page.go_back()
    assert moved_from(page, wider) == later
    page.go_back()
    assert moved_from(page, later) == closer
    page.go_forward()
    assert moved_from(page, closer) == later
    page.keyboard.press("0")
    page.wait_for_function("() => !location.search.includes('to=')")
    expect(page.locator("[data-step=fit]")).to_have_attribute("aria-current", "true")


def test_the_mouse_drags_zooms_and_chooses_a_part(page: Page, demo: Running) -> None:
    start = open_still(page, demo)
    track = page.locator("#timeline .track").first
    drag(page, track, 0.25, 0.5)
    dragged = moved_from(page, start)
    assert dragged[0] == pytest.approx(start[0] - span(start) / 4, rel=0, abs=span(start) / 50)
    assert span(dragged) == pytest.approx(span(start), abs=2)
    assert "/timeline?" in page.url, "the end of a drag opens no task"

    box = track.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 5)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    zoomed = moved_from(page, dragged)
    assert span(zoomed) == pytest.approx(span(dragged) / 2, rel=0.02)
    assert sum(zoomed) / 2 == pytest.approx(sum(dragged) / 2, abs=span(dragged) / 50), "what is under the mouse stays there"

    first, last = (int(page.locator("#timeline").get_attribute(name) or 0) for name in ("data-first", "data-last"))
    drag(page, page.locator("#timeline .strip"), 0.2, 0.7)
    assert span(moved_from(page, zoomed)) == pytest.approx((last - first) / 2, rel=0.05)


def test_it_follows_what_runs_until_it_is_moved(page: Page, demo: Running) -> None:
    page.goto(f"{demo.cluster_url}/timeline?span=60000")
    before = window(page)
    count_swaps(page)
    wait_for_updates(page)
    assert window(page)[1] > before[1]
    assert span(window(page)) == 60_000
    page.keyboard.press("ArrowLeft")
    still = moved_from(page, before)
    page.wait_for_timeout(2500)
    assert window(page) == still
    page.get_by_role("link", name="Follow now").click()
    page.wait_for_url("**span=60000*")


def test_what_is_looked_for_stands_out_while_it_is_typed(page: Page, demo: Running) -> None:
    open_still(page, demo)
    name = (page.locator("#timeline a.bar title").first.text_content() or "").partition(",")[0]
    page.locator(".filters input[name=q]").fill(f'name:"{name}"')
    expect(page.locator("#timeline .amount.found b")).not_to_have_text("0")
    page.locator("#timeline a.found").first.wait_for(state="attached")


def test_a_bar_opens_its_task(page: Page, demo: Running) -> None:
    open_still(page, demo)
    page.locator("#timeline a.bar:has(svg) rect").first.click(force=True)  # one wide enough for a label
    page.wait_for_url("**/tasks/*")
    expect(page.locator("h1")).to_be_visible()


def test_everything_can_be_done_without_javascript(browser: Browser, signed_in: dict[str, object], demo: Running) -> None:
    demo.wait_for_rows("tasks", "?state=FINISHED")
    with opened(browser, signed_in, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(f"{demo.cluster_url}/timeline")
        page.locator("[data-step=in]").click()
        page.wait_for_url("**from=*")
        zoomed = window(page)
        page.locator("[data-step=earlier]").click()
        page.wait_for_url(re.compile(f"from=(?!{zoomed[0]}&)"))
        assert window(page)[0] < zoomed[0]
        page.locator(".filters input[name=q]").fill("state:FINISHED")
        page.locator(".filters button").click()
        page.wait_for_url("**q=state*")
        assert "from=" in page.url
        page.locator("a.fold-node").first.click()
        page.wait_for_url("**closed=*")
        page.get_by_role("link", name="Follow now").click()
        page.wait_for_url("**span=*")
        expect(page.locator("#timeline .track-row").first).to_be_visible()


def test_it_fits_a_phone(browser: Browser, signed_in: dict[str, object], demo: Running) -> None:
    demo.wait_for_rows("tasks", "?state=FINISHED")
    with opened(browser, signed_in, viewport={"width": 360, "height": 780}) as context:
        page = context.new_page()
        page.goto(f"{demo.cluster_url}/timeline")
        expect(page.locator("#timeline .track-row").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
