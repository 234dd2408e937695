"""Whatever text a cluster holds is shown as text: nothing runs, nothing breaks the layout, and none of it is lost."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import pytest
from playwright.sync_api import Browser, Dialog, Page

from tests.browser.conftest import Troubles, opened, sign_in
from tests.running import Running, raydeck_up
from tests.simulated_ray import hostile
from tests.simulated_ray.remote import RemoteRay
from webapp.formatting import visible

pytestmark = pytest.mark.browser

WORST = (
    "script",
    "img-onerror",
    "svg-onload",
    "textarea",
    "close-all",
    "meta-refresh",
    "attribute-double",
    "attribute-single",
    "attribute-htmx",
    "javascript-url",
    "jinja",
    "json-break",
    "ansi",
    "nul",
    "bidi",
    "combining",
    "long",
    "many-lines",
)
TABLES = {
    "actors": "actor_id",
    "jobs": "job_key",
    "nodes": "node_id",
    "workers": "worker_id",
    "placement-groups": "placement_group_id",
}
LONGEST_CELL = 400
TALLEST_ROW = 120
FOREIGN = "iframe, base, meta[http-equiv], main img, main script, main style, form[action^='http://192']"


@dataclass
class Besieged:
    """A cluster full of hostile text, Raydeck on it, and where each text is."""

    running: Running
    planted: hostile.Planted
    storage: dict[str, object]

    def pages(self, text: str) -> dict[str, str]:
        """The pages about the rows that hold a text."""
        return {
            "actor": f"actors/{self.planted.actors[text]}",
            "job": f"jobs/{self.planted.jobs[text]}",
            "submission": f"jobs/{self.planted.submissions[text]}",
            "node": f"nodes/{self.planted.nodes[text]}",
            "worker": f"workers/{self.planted.workers[text]}",
            "placement group": f"placement-groups/{self.planted.placement_groups[text]}",
        }


@pytest.fixture(scope="module")
def besieged(browser: Browser) -> Iterator[Besieged]:
    with RemoteRay(nodes=1, jobs=0, submissions=0, placement_groups=0) as ray:
        planted = hostile.plant(ray)
        with raydeck_up("--address", ray.address, "--cluster-name", "besieged") as running:
            running.wait_for_rows("actors", "?limit=500&columns=actor_id", at_least=len(hostile.TEXTS))
            running.wait_for_rows("jobs", "?limit=500&columns=job_key&type=SUBMISSION", at_least=len(hostile.TEXTS) - 1)
            yield Besieged(running, planted, sign_in(browser, running.ready["sign_in_url"]))


@pytest.fixture
def wary_page(browser: Browser, besieged: Besieged, troubles: Troubles) -> Iterator[Page]:
    """A page that would tell of every script that ran, every dialog, and everything that the policy had to stop."""
    with opened(browser, besieged.storage, viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        troubles.watch(page)
        page.on("dialog", lambda dialog: refuse(dialog, troubles))
        page.on("request", lambda request: troubles.seen.append(request.url) if "192.0.2.1" in request.url else None)
        yield page
        assert troubles.seen == []


def refuse(dialog: Dialog, troubles: Troubles) -> None:
    troubles.seen.append(f"dialog: {dialog.message}")
    dialog.dismiss()


def unharmed(page: Page) -> list[str]:
    """What has come of an open page."""
    return list(
        page.evaluate(
            """([tallest, foreign]) => {
              const found = [];
              if (window.pwned !== undefined) found.push("a script ran");
              if (document.querySelector(foreign)) found.push("markup came through");
              if (!document.querySelector("footer.bottom")) found.push("the page is cut off");
              const root = document.documentElement;
              if (root.scrollWidth > root.clientWidth + 1) found.push("the page is too wide");
              const rows = [...document.querySelectorAll("table.rows > tbody > tr")];
              if (rows.some(row => row.offsetHeight > tallest)) found.push("a row is too tall");
              return found;
            }""",
            [TALLEST_ROW, FOREIGN],
        )
    )


@pytest.mark.parametrize("name", TABLES)
def test_tables_show_hostile_text_shortened_and_as_text(wary_page: Page, besieged: Besieged, name: str) -> None:
    every = ",".join(besieged.running.rows(name, "?limit=1")["rows"][0])
    for query in ("?limit=500", f"?limit=500&columns={every}", "?limit=500&view=cards"):
        if "view" in query and name != "nodes":
            continue
        wary_page.goto(f"{besieged.running.cluster_url}/{name}{query}")
        assert unharmed(wary_page) == []
        longest = wary_page.evaluate("Math.max(0, ...[...document.querySelectorAll('table.rows td')].map(cell => cell.innerText.length))")
        assert longest <= LONGEST_CELL


@pytest.mark.parametrize("text", WORST)
def test_pages_show_hostile_text_as_text(wary_page: Page, besieged: Besieged, text: str) -> None:
    for kind, path in besieged.pages(text).items():
        answer = wary_page.goto(f"{besieged.running.cluster_url}/{path}")
        assert answer is not None
        assert (kind, answer.status, unharmed(wary_page)) == (kind, 200, [])
    wary_page.goto(f"{besieged.running.cluster_url}/")
    assert unharmed(wary_page) == []


@pytest.mark.parametrize("one", [pytest.param(one, id=one.name) for one in hostile.TEXTS])
def test_every_hostile_text_stands_whole_on_its_pages(besieged: Besieged, one: hostile.Hostile) -> None:
    expected = squeezed(visible(one.text))
    for kind in ("actor", "job", "submission", "worker"):
        status, body = besieged.running.get(f"{besieged.running.cluster_path}/{besieged.pages(one.name)[kind]}", Accept="text/html")
        assert status == 200
        assert expected in squeezed(text_of(body)), f"not whole on the page of its {kind}"


def test_programs_get_every_hostile_text_unbroken(besieged: Besieged) -> None:
    status, body = besieged.running.get(f"{besieged.running.cluster_path}/actors.json?limit=500")
    assert status == 200
    names = {row["actor_id"]: row["name"] for row in json.loads(body)["rows"]}
    for one in hostile.TEXTS:
        assert (names[besieged.planted.actors[one.name]] or "") == one.text


@pytest.mark.parametrize("name", TABLES)
def test_csv_stays_rectangular(besieged: Besieged, name: str) -> None:
    status, body = besieged.running.get(f"{besieged.running.cluster_path}/{name}.csv?limit=500")
    assert status == 200
    csv.field_size_limit(10_000_000)
    rows = list(csv.reader(io.StringIO(body.replace("\0", ""), newline="")))
    assert {len(row) for row in rows} == {len(rows[0])}
    assert len(rows) > len(hostile.TEXTS) - 2
    assert [cell for row in rows for cell in row if cell.startswith(("=", "+", "@"))] == []  # no formula for a spreadsheet


@dataclass
class _Text(HTMLParser):
    """The text of a document, as a browser would show it."""

    parts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def text_of(body: str) -> str:
    parser: Any = _Text()
    parser.feed(body)
    parser.close()
    return "".join(parser.parts)


def squeezed(text: str) -> str:
    return " ".join(text.split())
