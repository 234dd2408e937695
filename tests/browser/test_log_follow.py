"""Following a log in a real browser: what is written appears, scrolling up holds it back, a rotation is marked."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Page, expect

from tests.running import Running

pytestmark = pytest.mark.browser
NAME = "watched-by-a-test.log"


@pytest.fixture
def log(demo: Running) -> Iterator[Path]:
    """A file of some lines in the log folder of the demo's session."""
    raylet = next(one for one in psutil.Process(demo.process.pid).children(recursive=True) if one.name() == "raylet")
    folder = next(word.partition("=")[2] for word in raylet.cmdline() if word.startswith("--log_dir="))
    path = Path(folder, NAME)
    path.write_text("".join(f"line {number}\n" for number in range(1, 201)))
    yield path
    for rotated in path.parent.glob(f"{NAME}*"):
        rotated.unlink()


@pytest.fixture
def followed(page: Page, demo: Running, log: Path) -> Page:
    page.goto(f"{demo.cluster_url}/logs?name={NAME}")
    page.locator("table.rows tbody").get_by_role("link", name=NAME).first.click()
    page.get_by_role("switch", name="Follow").first.click()
    expect(page.locator("[data-state]")).to_have_text("Following")
    return page


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_what_is_written_appears_at_the_end(followed: Page, log: Path) -> None:
    append(log, "\x1b[31mERROR\x1b[0m a new line\n")
    line = followed.locator("ol.log li").last
    expect(line).to_contain_text("a new line")
    expect(line).to_be_in_viewport()
    assert line.locator("a.at").inner_text() == "201"
    expect(line).to_have_class("error")
    expect(line.locator(".fg-red")).to_have_text("ERROR")


def test_scrolling_up_holds_back_until_the_end_is_come_to_again(followed: Page, log: Path) -> None:
    lines = followed.locator("ol.log li")
    lines.first.scroll_into_view_if_needed()
    append(log, "while you read\nand another\n")
    expect(followed.locator("[data-state]")).to_have_text("Held back while you read: 2 new lines")
    assert lines.count() == 200
    followed.get_by_role("button", name="Go on").click()
    expect(lines.last).to_contain_text("and another")
    assert lines.count() == 202
    expect(followed.get_by_role("button", name="Go on")).to_be_hidden()


def test_a_rotation_is_marked_and_the_next_file_followed(followed: Page, log: Path) -> None:
    append(log, "the last of this file\n")
    log.rename(log.with_name(f"{NAME}.1"))
    log.write_text("the first of the next\n")
    lines = followed.locator("ol.log li")
    expect(lines.last).to_contain_text("the first of the next")
    assert lines.last.locator("a.at").inner_text() == "1"
    expect(followed.locator("ol.log li.told")).to_contain_text("rotated: a new one begins")
    assert lines.nth(200).inner_text().endswith("the last of this file")


def test_a_thousand_lines_a_second_are_shown_and_the_page_keeps_the_newest(followed: Page, log: Path) -> None:
    def write() -> None:
        for first in range(0, 6000, 200):
            append(log, "".join(f"fast {number}\n" for number in range(first, first + 200)))
            time.sleep(0.1)

    writer = threading.Thread(target=write)
    writer.start()
    writer.join()
    lines = followed.locator("ol.log li")
    expect(lines.last).to_contain_text("fast 5999")
    assert lines.count() == 5000
    shown = followed.evaluate("[...document.querySelectorAll('ol.log li code')].map(line => line.textContent)")
    assert shown == [f"fast {number}" for number in range(1000, 6000)]


def test_a_file_that_was_cut_is_said_so(followed: Page, log: Path) -> None:
    os.truncate(log, 0)
    append(log, "begun again\n")
    expect(followed.locator("ol.log li").last).to_contain_text("begun again")
    expect(followed.locator("ol.log li.told")).to_contain_text("was cut")
