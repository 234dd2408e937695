"""How long after a change in Ray an open page shows it, in a real browser on the demo.

`python -m benchmarks live --changes 20`. A driver of its own makes and ends actors and placement groups and says when; the
pages are open in chromium, which notes when each row and each state stands in the document. With `--tasks` they are tasks of a
cluster that pushes its events, with Raydeck in the dashboard's place.
"""

from __future__ import annotations

import argparse
import random
import sys
import time

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from benchmarks import machine
from benchmarks.in_place import DEFAULT_INSTALL, watched_in_place
from tests.browser.conftest import QUIET, opened, sign_in
from tests.ray.timing import p95
from tests.ray.told_driver import ToldDriver, told_driver
from tests.running import raydeck_up

SEEN_WITHIN_MS = 30_000
PAUSE_S = 1.0
"""At most, before a change: chance decides, so that polls are met at any moment."""

WATCH = """() => {
  window.seen = {};
  const look = () => {
    for (const row of document.querySelectorAll("table tbody tr")) {
      for (const [, name] of row.innerText.matchAll(/(live-[0-9]+)/g)) {
        const state = row.innerText.match(/ALIVE|DEAD|CREATED|REMOVED|RUNNING|FINISHED/);
        window.seen[name] ??= Date.now();
        if (state) window.seen[`${name} ${state[0]}`] ??= Date.now();
      }
    }
  };
  new MutationObserver(look).observe(document.body, {childList: true, subtree: true, characterData: true});
}"""


def main(arguments: list[str]) -> int:
    """Run it and print. Returns 0, or 2 when there is no default install of Ray for `--tasks`; figures decide nothing here."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks live", description=__doc__)
    parser.add_argument("--changes", type=int, default=20, help="of each kind, default 20, at most 100")
    parser.add_argument("--tasks", action="store_true", help="tasks whose events are pushed, instead of actors and placement groups")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args(arguments)
    if options.tasks and not DEFAULT_INSTALL.exists():
        sys.stderr.write(f"There is no {DEFAULT_INSTALL}: `make test-versions` makes it.\n")
        return 2
    count = max(1, min(options.changes, 100))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.chromium, args=QUIET)
        before = machine.busy_seconds()
        told = _pushed_tasks(browser, count) if options.tasks else _on_the_demo(browser, count)
        busy, total = (after - earlier for after, earlier in zip(machine.busy_seconds(), before, strict=True))
        browser.close()
    for what, times in told.items():
        sys.stdout.write(
            f"{what:28} median {sorted(times)[len(times) // 2]:.2f} s, p95 {p95(times):.2f} s, worst {max(times):.2f} s, n {len(times)}\n"
        )
    sys.stdout.write(f"load {machine.load_average()}; all cores {busy / total:.0%} busy, starts included\n")
    return 0


def _on_the_demo(browser: Browser, count: int) -> dict[str, list[float]]:
    with raydeck_up("--demo") as demo, told_driver({**demo.ready["ray_env"], "HOME": str(demo.folder)}) as driver:
        demo.wait_for_rows("nodes", at_least=2)
        with opened(browser, sign_in(browser, demo.ready["sign_in_url"])) as window:
            found = _actors(_page(window, f"{demo.cluster_url}/actors?name=live-&limit=500"), driver, count)
            return found | _groups(_page(window, f"{demo.cluster_url}/placement-groups?name=live-&limit=500"), driver, count)


def _pushed_tasks(browser: Browser, count: int) -> dict[str, list[float]]:
    with watched_in_place(DEFAULT_INSTALL) as watched, opened(browser, sign_in(browser, watched.ready["sign_in_url"])) as window:
        page = _page(window, f"{watched.site.url.rstrip('/')}{watched.site.base}/tasks?q=live-&limit=500")
        running, finished = [], []
        for number in range(count):
            name = f"live-{number}"
            _pause()
            began = watched.driver.ask("hold", name)["at"]
            running.append(_seen_s(page, f"{name} RUNNING") - began)
            _pause()
            ended = watched.driver.ask("let_go", name)["at"]
            finished.append(_seen_s(page, f"{name} FINISHED") - ended)
        return {"a task runs: RUNNING": running, "it ends: FINISHED": finished}


def _page(window: BrowserContext, url: str) -> Page:
    page = window.new_page()
    page.goto(url)
    page.evaluate(WATCH)
    return page


def _actors(page: Page, driver: ToldDriver, count: int) -> dict[str, list[float]]:
    made, alive, dead = [], [], []
    for number in range(count):
        name = f"live-{number}"
        _pause()
        asked = driver.ask("actor", name)["at"]
        answered = driver.ask("wait", name)["at"]
        made.append(_seen_s(page, name) - asked)
        alive.append(_seen_s(page, f"{name} ALIVE") - answered)
        _pause()
        killed = driver.ask("kill", name)["at"]
        dead.append(_seen_s(page, f"{name} DEAD") - killed)
    return {"an actor is asked for": made, "it answers: ALIVE": alive, "it is killed: DEAD": dead}


def _groups(page: Page, driver: ToldDriver, count: int) -> dict[str, list[float]]:
    made, removed = [], []
    for number in range(count):
        name = f"live-{number}"
        _pause()
        asked = driver.ask("group", name, [{"CPU": 0.01}], "PACK")["at"]
        made.append(_seen_s(page, name) - asked)
        _pause()
        ended = driver.ask("remove_group", name)["at"]
        removed.append(_seen_s(page, f"{name} REMOVED") - ended)
    return {"a placement group is made": made, "it is removed: REMOVED": removed}


def _pause() -> None:
    time.sleep(random.uniform(0, PAUSE_S))


def _seen_s(page: Page, what: str) -> float:
    """When it first stood in the document, as Unix seconds."""
    page.wait_for_function("what => window.seen[what]", arg=what, timeout=SEEN_WITHIN_MS)
    return float(page.evaluate("what => window.seen[what]", what)) / 1000
