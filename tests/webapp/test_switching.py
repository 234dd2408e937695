"""From any page of a cluster to the same one of another cluster or session, and searches that stay where they are."""

from __future__ import annotations

import re

import pytest
import redis

from clusterstate.settings import Settings
from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import Person
from tests.webapp.test_every_page import Elements


def switch(page: str) -> dict[str, str]:
    """Label → address of the header's list of clusters and sessions."""
    inside = page.split('<details class="switch">')[1].split("</details>")[0]
    return {label: href for href, label in re.findall(r'<a href="([^"]+)"[^>]*>([^<]+)</a>', inside)}


def hidden_inputs(page: str) -> set[tuple[str, str]]:
    return {
        (attributes["name"], attributes.get("value", ""))
        for tag, attributes in Elements(page).found
        if tag == "input" and attributes.get("type") == "hidden" and attributes["name"] in ("cluster", "session")
    }


@pytest.fixture
def two_sessions(redis_client: redis.Redis, settings: Settings) -> BuiltCluster:
    """demo's current session; session_1 has ended before it."""
    ended = BuiltCluster(redis_client, settings)
    ended.with_actor(actor_id="a" * 32, class_name="Earlier")
    ended.end()
    current = BuiltCluster(redis_client, settings, session="session_2")
    BuiltCluster(redis_client, settings, name="other")
    return current


def test_every_page_of_a_cluster_leads_to_the_same_list_elsewhere(vera: Person, two_sessions: BuiltCluster) -> None:
    actor = two_sessions.with_actor()
    for path in ("actors", f"actors/{actor.actor_id}"):
        found = switch(vera.page(f"/c/demo/{path}").text)
        assert found == {
            "demo": "/c/demo/actors",
            "other": "/c/other/actors",
            "All clusters": "/",
            "Current session": "/c/demo/actors",
            "session_1": "/c/demo/s/session_1/actors",
        }
    for page in ("", "jobs", "tasks", "nodes", "workers", "placement-groups", "info"):
        for place in switch(vera.page(f"/c/demo/{page}").text).values():
            assert vera.page(place).status_code in (200, 302), place


def test_an_ended_session_leads_back_and_says_where_it_is(vera: Person, two_sessions: BuiltCluster) -> None:
    page = vera.page("/c/demo/s/session_1/actors").text
    assert switch(page)["Current session"] == "/c/demo/actors"
    assert switch(page)["demo"] == "/c/demo/s/session_1/actors"
    current = [a["href"] for tag, a in Elements(page.split('class="switch"')[1].split("</details>")[0]).found if a.get("aria-current")]
    assert current == ["/c/demo/s/session_1/actors", "/c/demo/s/session_1/actors"]


def test_of_many_sessions_the_newest_are_listed_and_the_rest_counted(vera: Person, redis_client: redis.Redis, settings: Settings) -> None:
    for number in range(12):
        BuiltCluster(redis_client, settings, session=f"session_{number:02}").end()
    BuiltCluster(redis_client, settings, session="session_99")
    found = switch(vera.page("/c/demo/").text)
    assert len([label for label in found if label.startswith("session_")]) == 8
    assert found["All sessions, 4 more"] == "/c/demo/info"
    unlisted = next(name for number in range(12) if (name := f"session_{number:02}") not in found)
    assert unlisted in switch(vera.page(f"/c/demo/s/{unlisted}/").text)


def test_going_inside_an_ended_session_stays_in_it(vera: Person, two_sessions: BuiltCluster) -> None:
    two_sessions.with_actor(actor_id="a" * 32)  # the same id is there now, too
    page = vera.page("/c/demo/s/session_1/actors").text
    assert hidden_inputs(page) == {("cluster", "demo"), ("session", "session_1")}
    assert "/go?cluster=demo&amp;session=session_1" in page
    assert vera.page(f"/go?cluster=demo&session=session_1&q={'a' * 32}").location == f"/c/demo/s/session_1/actors/{'a' * 32}"
    nothing = vera.page("/go?cluster=demo&session=session_1&q=nothing").text
    assert hidden_inputs(nothing) == {("cluster", "demo"), ("session", "session_1")}
    assert hidden_inputs(vera.page("/c/demo/actors").text) == {("cluster", "demo")}


def test_whatever_is_found_has_a_page(vera: Person, cluster: BuiltCluster) -> None:
    rows = [cluster.with_node(hostname="found"), cluster.with_job(name="found"), cluster.with_actor(name="found")]
    rows += [cluster.with_task(name="found"), cluster.with_placement_group(name="found")]
    links = {a["href"] for tag, a in Elements(vera.page("/go?q=found").text).found if a.get("href", "").startswith("/c/demo/")}
    assert len(links) == len(rows)
    assert all(vera.page(link).status_code == 200 for link in links)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_theme_of_the_url_wins_and_stays(ada: Person, cluster: BuiltCluster, theme: str) -> None:
    job, actor = cluster.with_job(), cluster.with_actor()
    cluster.with_task(job_id=job.job_id)
    ada.post("/account/preferences", {"theme": "dark" if theme == "light" else "light"})
    pages = ["/c/demo/", "/c/demo/actors", f"/c/demo/actors/{actor.actor_id}", f"/c/demo/jobs/{job.job_key}", "/c/demo/nodes", "/account"]
    for path in pages:
        page = ada.page(f"{path}?theme={theme}").text
        assert f'<html lang="en" data-theme="{theme}">' in page
        assert "data-theme-button" not in page
        for tag, attributes in Elements(page).found:
            target = attributes.get("href", "")
            if tag == "a" and not target.startswith(("#", "http", "/static/")) and not re.search(r"\.(json|csv|txt)\b", target):
                assert f"theme={theme}" in target, (path, target)
                whole = path + target if target.startswith("?") else target
                assert ada.page(whole).status_code in (200, 303), whole
    assert "data-theme-button" in ada.page("/c/demo/actors").text
    assert f'value="{theme}"' in ada.page(f"/c/demo/actors?theme={theme}").text.split('<form class="filters"')[1].split("</form>")[0]


def test_rows_that_were_drawn_for_one_theme_are_not_shown_in_another(vera: Person, cluster: BuiltCluster) -> None:
    cluster.with_actor()
    assert "theme=dark" in vera.page("/c/demo/actors?theme=dark").text
    assert "theme=" not in vera.page("/c/demo/actors").text.split("<tbody>")[1].split("</tbody>")[0]


def test_exports_and_their_following_pages_take_a_theme(viewers_program: Person, cluster: BuiltCluster) -> None:
    for _ in range(2):
        cluster.with_actor()
    answer = viewers_program.get("/c/demo/actors.json?theme=dark&limit=1").get_json()
    assert len(viewers_program.get(answer["next"]).get_json()["rows"]) == 1


def test_a_theme_that_there_is_not_is_refused(vera: Person, cluster: BuiltCluster) -> None:
    answer = vera.page("/c/demo/actors?theme=pink")
    assert answer.status_code == 400
    assert "light or dark" in answer.text


def test_links_that_leave_the_site_give_nothing_away(vera: Person, cluster: BuiltCluster) -> None:
    outward = [a for tag, a in Elements(vera.page("/c/demo/").text).found if a.get("href", "").startswith("http")]
    assert {"docs.ray.io", "github.com"} == {a["href"].split("/")[2] for a in outward}
    assert all({"noopener", "noreferrer"} <= set(a["rel"].split()) for a in outward)
