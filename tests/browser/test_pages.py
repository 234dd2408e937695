"""Every page, in both themes, at three widths: it fits, it is readable, it follows the cluster, and nothing complains."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import Troubles, opened
from tests.running import Running

pytestmark = pytest.mark.browser

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
PICTURES = Path(__file__).parent / "pictures"
WIDTHS = {"phone": 360, "laptop": 1280, "wall": 2560}
AXE_AT = {"light": ("phone", "laptop"), "dark": ("laptop",)}  # what axe-core looks at is the same on a wall
PAGES = (
    "",
    "jobs",
    "jobs/{job}",
    "jobs/{job}?tab=actors",
    "jobs/{job}?tab=breakdown",
    "durations",
    "jobs/{job}/stop",
    "jobs/submit",
    "actors",
    "actors/{actor}",
    "nodes",
    "nodes?expand={node}",
    "nodes?view=cards",
    "nodes/{node}",
    "nodes/{node}?tab=processes",
    "nodes/{node}?tab=workers",
    "nodes/{node}?tab=actors",
    "nodes/{node}?tab=raylet",
    "nodes/{node}?tab=tasks",
    "tasks",
    "tasks?state=FAILED",
    "tasks/{task}",
    "jobs/{job}?tab=tasks",
    "workers",
    "workers/{worker}",
    "placement-groups",
    "placement-groups/{placement_group}",
    "logs",
    "logs?node={node}&empty=1&sort=name",
    "logs/{node}/{file}",
    "status",
    "status?verbose=1",
    "info",
    "actors?state=ALIVE&q=nothing-is-called-this",
)
OUTSIDE = ("/account", "/help", "/go?q=nothing-is-called-this", "/no-such-page")


@pytest.fixture(scope="package")
def ids(demo: Running) -> dict[str, str]:
    """An id of each kind from the demo."""
    return {
        "job": str(demo.wait_for_rows("jobs", "?job_id=*")[0]["job_key"]),
        "file": file_of(demo),
        "task": str(demo.wait_for_rows("tasks", "?state=FAILED")[0]["task_id"]),
        "actor": str(demo.wait_for_rows("actors", "?state=ALIVE")[0]["actor_id"]),
        "node": str(demo.wait_for_rows("nodes")[0]["node_id"]),
        "worker": str(demo.wait_for_rows("workers", "?is_alive=true")[0]["worker_id"]),
        "placement_group": str(demo.wait_for_rows("placement-groups")[0]["placement_group_id"]),
    }


def file_of(demo: Running) -> str:
    """The id of a log file of the node that `ids` names."""
    status, page = demo.get(f"{demo.cluster_path}/logs?node={demo.wait_for_rows('nodes')[0]['node_id']}&name=raylet.out")
    found = re.search(r"/logs/[0-9a-f]{56}/([A-Za-z0-9_-]{16})", page)
    assert status == 200
    assert found, page
    return found[1]


def addresses(demo: Running, ids: dict[str, str]) -> list[str]:
    return [f"{demo.cluster_url}/{path.format(**ids)}" for path in PAGES] + [demo.url + path for path in OUTSIDE]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_fits_and_is_accessible(
    browser: Browser, signed_in: dict[str, object], demo: Running, ids: dict[str, str], theme: str
) -> None:
    """At every width; the pictures are kept for people to look at."""
    PICTURES.mkdir(exist_ok=True)
    problems: list[str] = []
    troubles = Troubles()
    with opened(browser, signed_in, color_scheme=theme) as context:
        page = context.new_page()
        troubles.watch(page)
        for number, address in enumerate(addresses(demo, ids)):
            page.goto(address)
            found = look_at(page, f"{number:02d}", theme)
            problems += [f"{address.removeprefix(demo.url)} {problem}" for problem in found]
    assert problems + [seen for seen in troubles.seen if "404" not in seen] == []


def look_at(page: Page, name: str, theme: str) -> list[str]:
    """What is wrong with an open page at each width."""
    problems = []
    for width, pixels in WIDTHS.items():
        page.set_viewport_size({"width": pixels, "height": 900})
        page.screenshot(path=str(PICTURES / f"{name}-{theme}-{width}.png"))
        if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth + 1"):
            problems.append(f"is wider than the screen of a {width}")
        if width in AXE_AT[theme]:
            problems += [f"on a {width}: {finding}" for finding in axe_findings(page, theme)]
    return problems


def axe_findings(page: Page, theme: str = "light") -> list[str]:
    """What axe-core holds against the page, serious and critical. In the dark only colours are others."""
    page.evaluate(AXE.read_text("utf-8"))
    rules = ["wcag2a", "wcag2aa", "wcag21aa"] if theme == "light" else ["color-contrast"]
    found = page.evaluate("rules => axe.run(document, {runOnly: rules}).then(r => JSON.stringify(r.violations))", rules)
    return [
        f"{violation['id']} at {violation['nodes'][0]['target']} ({len(violation['nodes'])} times)"
        for violation in json.loads(found)
        if violation["impact"] in {"serious", "critical"}
    ]
