"""A larger cluster behind a path prefix: paging, page size, columns, counters, GPUs; then its end: past pages and empty ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Troubles, opened, sign_in
from tests.running import Running, raydeck_up
from tests.simulated_ray.remote import RemoteRay

pytestmark = pytest.mark.browser

ACTORS = 230
LISTS = ("jobs", "actors", "nodes", "workers", "placement-groups")


@dataclass
class Busy:
    """A simulated cluster, Raydeck on it below /ray, and a browser that has signed in."""

    ray: RemoteRay
    running: Running
    storage: dict[str, object]


@pytest.fixture(scope="module")
def busy(browser: Browser) -> Iterator[Busy]:
    with (
        RemoteRay(nodes=3, dead_nodes=1, jobs=4, submissions=6, live_actors=30, dead_actors=200, placement_groups=8) as ray,
        raydeck_up("--address", ray.address, "--url-prefix", "/ray", "--cluster-name", "busy") as running,
    ):
        running.wait_for_rows("actors", "?limit=500", at_least=ACTORS)
        yield Busy(ray, running, sign_in(browser, running.ready["sign_in_url"]))


@pytest.fixture
def busy_page(browser: Browser, busy: Busy, troubles: Troubles) -> Iterator[Page]:
    with opened(browser, busy.storage, viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        troubles.watch(page)
        yield page
        assert troubles.seen == []


def ids(page: Page) -> list[str]:
    found: list[str] = page.locator("table.rows > tbody > tr[id]").evaluate_all("rows => rows.map(row => row.id)")
    return found


def test_every_link_stays_below_the_path_prefix(busy_page: Page, busy: Busy) -> None:
    assert busy.running.url.endswith("/ray")
    for path in ("", *LISTS, "info"):
        busy_page.goto(f"{busy.running.cluster_url}/{path}")
        links = busy_page.locator(":is([href], [src], [action]):not([rel~=external])").evaluate_all(
            "all => all.map(one => one.href || one.src || one.action)"
        )
        assert [link for link in links if not link.startswith(busy.running.url)] == []


def test_next_and_previous_walk_through_all_rows_once(busy_page: Page, busy: Busy) -> None:
    busy_page.goto(f"{busy.running.cluster_url}/actors?sort=class_name")
    seen: list[list[str]] = [ids(busy_page)]
    while busy_page.locator("a[rel=next]").count():
        busy_page.locator("a[rel=next]").click()
        busy_page.wait_for_load_state()
        seen.append(ids(busy_page))
    every = [one for page in seen for one in page]
    assert len(every) == len(set(every)) == ACTORS
    busy_page.locator("a[rel=prev]").click()
    busy_page.wait_for_load_state()
    assert ids(busy_page) == seen[-2]


def test_the_page_size_can_be_chosen(busy_page: Page, busy: Busy) -> None:
    busy_page.goto(f"{busy.running.cluster_url}/actors")
    assert len(ids(busy_page)) == 100
    busy_page.locator(".pager a", has_text="500").click()
    busy_page.wait_for_url("**limit=500*")
    assert len(ids(busy_page)) == ACTORS


def test_columns_can_be_chosen_and_stay_while_sorting(busy_page: Page, busy: Busy) -> None:
    busy_page.goto(f"{busy.running.cluster_url}/actors")
    heads = busy_page.locator("table.rows thead th")
    assert "Namespace" not in heads.all_inner_texts()
    busy_page.locator("summary", has_text="Choose columns").click()
    busy_page.locator(".columns a", has_text="Namespace").click()
    busy_page.wait_for_url("**columns=*")
    busy_page.locator("table.rows thead a", has_text="Class").click()
    busy_page.wait_for_url("**sort=*")
    assert "Namespace" in heads.all_inner_texts()


def test_state_counters_are_links_to_just_those_rows(busy_page: Page, busy: Busy) -> None:
    busy_page.goto(f"{busy.running.cluster_url}/actors")
    counter = busy_page.locator(".counters a", has_text="DEAD")
    count = int(counter.locator("b").inner_text())
    counter.click()
    busy_page.wait_for_url("**state=DEAD*")
    assert set(busy_page.locator("table.rows tbody .state").all_inner_texts()) == {"DEAD"}
    assert count == int(busy_page.locator(".amount b").inner_text()) == 200
    busy_page.locator(".counters a[aria-current]").click()
    busy_page.wait_for_url(lambda url: "state=" not in url)


def test_filters_by_column_need_no_grammar(busy_page: Page, busy: Busy) -> None:
    busy_page.goto(f"{busy.running.cluster_url}/actors")
    busy_page.locator("summary", has_text="Filter by column").click()
    busy_page.locator(".filters select[name=state]").select_option("ALIVE")
    busy_page.wait_for_url("**state=ALIVE*")
    expect(busy_page.locator("table.rows tbody .state").first).to_have_text("ALIVE")


def test_a_dead_node_says_why_it_died(busy_page: Page, busy: Busy) -> None:
    busy_page.goto(f"{busy.running.cluster_url}/nodes?state=DEAD")
    busy_page.locator("table.rows tbody tr td:nth-child(2) a").click()
    expect(busy_page.locator("pre.error")).not_to_be_empty()


def test_a_node_without_a_collector_says_how_to_add_one(busy_page: Page, busy: Busy) -> None:
    busy_page.goto(f"{busy.running.cluster_url}/nodes?state=ALIVE")
    busy_page.locator("table.rows tbody tr td:nth-child(2) a").first.click()
    expect(busy_page.locator(".live")).to_contain_text("raydeck node")


def test_an_unknown_sort_or_page_says_what_is_allowed(busy_page: Page, busy: Busy, troubles: Troubles) -> None:
    for path, status, words in (
        ("actors?sort=nonsense", 400, "Sorts are"),
        ("actors/nonsense", 404, "remembered"),
        ("nonsense", 404, "no such page"),
    ):
        answer = busy_page.goto(f"{busy.running.cluster_url}/{path}")
        assert answer is not None
        assert answer.status == status
        expect(busy_page.locator("#error")).to_contain_text(words)
    troubles.seen.clear()  # a browser says of every such answer that it is one


@pytest.fixture(scope="module")
def ended(busy: Busy) -> str:
    """The session that has ended: its cluster was stopped, and an empty one started at the same address."""
    actors = busy.running.rows("actors")["total"]
    busy.ray.new_session(filled=False)
    busy.running.wait_until(lambda: busy.running.rows("actors")["total"] == 0, within_s=60)
    assert actors >= ACTORS
    status, page = busy.running.get(f"{busy.running.cluster_path}/info", Accept="text/html")
    assert status == 200
    return next(re.split('["/]', part)[0] for part in page.split("/s/")[1:])


def test_an_empty_cluster_says_why_each_list_is_empty_and_what_next(busy_page: Page, busy: Busy, ended: str) -> None:
    for name in LISTS:
        busy_page.goto(f"{busy.running.cluster_url}/{name}")
        expect(busy_page.locator(".empty")).to_have_count(1)
        assert len(busy_page.locator(".empty").inner_text()) > 20
    busy_page.goto(f"{busy.running.cluster_url}/")
    expect(busy_page.locator("h1")).to_contain_text("busy")


def test_the_pages_of_an_ended_session_stay_and_stay_in_it(busy_page: Page, busy: Busy, ended: str) -> None:
    past = f"{busy.running.cluster_url}/s/{ended}"
    busy_page.goto(f"{past}/actors?state=DEAD")
    assert len(ids(busy_page)) == 100
    expect(busy_page.locator(".banner.note")).to_contain_text("ended session")
    busy_page.locator("table.rows tbody a").first.click()
    busy_page.wait_for_url(f"{past}/actors/*")
    expect(busy_page.locator("h1 .state")).to_have_text("DEAD")
    busy_page.locator(".menu a", has_text="Overview").click()
    busy_page.wait_for_url(f"{past}/")
    assert busy_page.locator("[hx-get]").count() == 0  # nothing changes any more
    busy_page.locator(".banner.note a").click()
    busy_page.wait_for_url(f"{busy.running.cluster_url}/")
