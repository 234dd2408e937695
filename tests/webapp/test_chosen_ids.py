"""Jobs whose submission id is anything: each link to them leads there, in a browser and through proxies."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote, urlencode, urljoin, urlsplit

import pytest
from flask import Flask

from clusterstate.journal import Journal
from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import Person
from tests.webapp.test_every_page import Elements

ODD_IDS = (
    "..",
    ".",
    "...",
    "a/b",
    "/",
    "//a",
    "../../login",
    "%2e%2e",
    "%2F",
    "a\\b",
    " two words ",
    "état-任务",
    "~",
    "a~2Fb",
    "a?tab=actors#x",
    "a+b&c=d;e",
    "line\nline\x00\x7f",
    "\u202e\u200b",
    "<b>\"'{{7*7}}",
    "actors.json",
    "s",
    "~~0123456789abcdef",
    "x" * 9000,
    "界" * 900,
    "/" * 800,
)
"""With what browsers, servers and proxies take for something else, and what is too long for them."""
LONGEST_LINK = 1200
SEARCHED = tuple(odd for odd in ODD_IDS if len(odd) <= 256)
"""Filters and Go take no longer words."""


def links_to_jobs(page: str, prefix: str = "") -> list[str]:
    return [
        attributes["href"]
        for tag, attributes in Elements(page).found
        if tag == "a" and attributes.get("href", "").startswith(f"{prefix}/c/demo/jobs/") and "progress" not in attributes["href"]
    ]


def as_browsers_see(link: str) -> str:
    """The path that a browser asks for, having taken out the dots that it knows, spelled either way."""
    path = urlsplit(urljoin("http://127.0.0.1:8270/c/demo/", link)).path
    return urljoin("http://127.0.0.1:8270/", path.replace("%2e", ".").replace("%2E", ".").replace("%5C", "/"))


@pytest.mark.parametrize("submission_id", ODD_IDS)
def test_every_link_to_a_job_opens_its_page(vera: Person, cluster: BuiltCluster, submission_id: str) -> None:
    job = cluster.with_job(submission_id=submission_id, type="SUBMISSION", entrypoint="the right one")
    cluster.with_job(entrypoint="another")
    cluster.with_task(job_id=job.job_id)
    cluster.with_actor(job_id=job.job_id)
    pages = [vera.page(path).text for path in ("/c/demo/jobs", "/c/demo/", "/c/demo/jobs/" + str(job.job_id))]
    links = {link for page in pages for link in links_to_jobs(page) if "00000002" not in link}
    assert len(links) >= 4  # by job id and by submission id, and of its page: tasks and actors
    for link in links:
        path = urlsplit(link).path
        assert as_browsers_see(link).endswith(path.replace("%2e", ".")), link
        assert unquote(path).count("/") == 4, link
        assert unquote(unquote(path)) == unquote(path), link
        assert len(link) < LONGEST_LINK
        answer = vera.page(link)
        assert answer.status_code == 200, link
        assert "the right one" in vera.page(path).text, link
        assert "<dt>" in vera.fragment(path).text or "<h1>" in vera.fragment(path).text


@pytest.mark.parametrize("submission_id", ODD_IDS)
def test_links_below_a_path_prefix_lead_there_too(
    make_app: Callable[..., Flask], users: Journal, cluster: BuiltCluster, submission_id: str
) -> None:
    below = Person(make_app(url_prefix="/ray/x").test_client(), prefix="/ray/x").sign_in("vera")
    cluster.with_job(submission_id=submission_id, type="SUBMISSION", entrypoint="the right one", job_id=None)
    links = {link for path in ("/c/demo/jobs", "/c/demo/") for link in links_to_jobs(below.page(path).text, below.prefix)}
    assert links
    for link in links:
        path = link.removeprefix(below.prefix)
        assert "the right one" in below.page(path).text, link
        assert "the right one" in below.page(path.replace("/c/demo/", "/c/demo/s/session_1/")).text, link


def test_a_submission_called_like_the_driver_of_another_job_has_its_own_page(vera: Person, cluster: BuiltCluster) -> None:
    driver = cluster.with_job(entrypoint="the driver")
    key = f"submission:{driver.job_id}"
    cluster.with_job(job_key=key, submission_id=driver.job_id, type="SUBMISSION", entrypoint="the submission")
    [link] = [link for link in links_to_jobs(vera.page("/c/demo/jobs").text) if "submission" in link]
    assert "the submission" in vera.page(link).text
    assert "the driver" in vera.page(f"/c/demo/jobs/{driver.job_id}").text


def test_a_hash_of_nothing_is_not_found(vera: Person, cluster: BuiltCluster) -> None:
    for name in ("~~0123456789abcdef", "~~7fffffffffffffff", "~~ffffffffffffffff"):
        assert vera.page(f"/c/demo/jobs/{name}").status_code == 404


@pytest.mark.parametrize("submission_id", SEARCHED)
def test_programs_find_the_job_too(viewers_program: Person, cluster: BuiltCluster, submission_id: str) -> None:
    cluster.with_job(submission_id=submission_id, type="SUBMISSION")
    cluster.with_job(submission_id="other", type="SUBMISSION")
    answer = viewers_program.get("/c/demo/jobs.json?" + urlencode({"submission_id": f"={submission_id}"}))
    assert [row["submission_id"] for row in answer.get_json()["rows"]] == [submission_id]


@pytest.mark.parametrize("submission_id", [odd for odd in SEARCHED if odd == odd.strip() and odd.isprintable()])
def test_going_to_it_by_its_id_leads_to_its_page(vera: Person, cluster: BuiltCluster, submission_id: str) -> None:
    cluster.with_job(submission_id=submission_id, type="SUBMISSION", entrypoint="the right one")
    answer = vera.page("/go?" + urlencode({"q": submission_id}))
    assert answer.status_code == 302, answer.text
    assert "the right one" in vera.page(answer.headers["Location"]).text


def test_an_id_that_was_typed_as_it_is_opens_too(vera: Person, cluster: BuiltCluster) -> None:
    cluster.with_job(submission_id="my job+1", type="SUBMISSION", entrypoint="the right one")
    assert "the right one" in vera.page("/c/demo/jobs/my%20job+1").text
