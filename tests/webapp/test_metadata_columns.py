"""What people wrote into a job's metadata can be shown, sorted and filtered by, key by key."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest

from tests.built_cluster import BuiltCluster
from tests.simulated_ray.hostile import TEXTS
from tests.webapp.conftest import Person
from webapp.tables.jobs import JOBS
from webapp.tables.metadata import MOST_KEYS, with_metadata_columns


def job(cluster: BuiltCluster, key: str, **metadata: str) -> None:
    cluster.with_job(submission_id=key, type="SUBMISSION", metadata=metadata)


@pytest.fixture
def jobs(cluster: BuiltCluster) -> BuiltCluster:
    job(cluster, "one", team="vision", **{"run.id": "7"}, job_name="hidden elsewhere")
    job(cluster, "two", team="speech")
    job(cluster, "three")
    return cluster


def keys(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [row["job_key"] for row in answer.get_json()["rows"]]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("metadata.team=vision", ["one"]),
        ("metadata.team=*", ["one", "two"]),
        ("metadata.team=vision&metadata.team=speech", ["one", "two"]),
        ("metadata.run.id=7", ["one"]),
        ("metadata.nobody_has_it=1", []),
        ("q=metadata.team:spee", ["two"]),
        ("q=-metadata.team=vision", ["three", "two"]),
        ("sort=metadata.team&metadata.team=*", ["two", "one"]),
        ("sort=-metadata.team&metadata.team=*", ["one", "two"]),
    ],
)
def test_jobs_are_filtered_and_sorted_by_a_key(jobs: BuiltCluster, vera: Person, asked: str, found: list[str]) -> None:
    got = keys(vera.get(f"/c/demo/jobs.json?{asked}"))
    assert (got if "sort" in asked else sorted(got)) == (found if "sort" in asked else sorted(found))


def test_a_key_is_a_column_when_asked_for(jobs: BuiltCluster, vera: Person) -> None:
    page = vera.page("/c/demo/jobs?columns=job_id,metadata.team").text
    assert re.findall(r'<th scope="col"[^>]*>(?:<a[^>]*>)?([^<]+)', page) == ["Job", "metadata.team"]
    assert ">vision<" in page
    rows = vera.get("/c/demo/jobs.json?columns=job_id,metadata.team").get_json()["rows"]
    assert [row["metadata.team"] for row in rows] == [None, "speech", "vision"]


def test_the_list_offers_the_keys_that_occur(jobs: BuiltCluster, vera: Person) -> None:
    page = html.unescape(vera.page("/c/demo/jobs").text)
    offered = re.findall(r'role="switch"[^>]*>(metadata\.[^<]+)<', page)
    assert offered == ["metadata.team", "metadata.run.id"]


def test_without_being_asked_json_and_csv_keep_their_columns(jobs: BuiltCluster, vera: Person) -> None:
    row = vera.get("/c/demo/jobs.json").get_json()["rows"][-1]
    assert set(row) == {column.key for column in JOBS.columns}
    assert row["metadata"]["team"] == "vision"
    assert "metadata." not in vera.get("/c/demo/jobs.csv").text.splitlines()[0]


def test_the_most_frequent_keys_are_offered_and_any_other_can_be_named(cluster: BuiltCluster, vera: Person) -> None:
    job(cluster, "one", **{f"key{number}": "x" for number in range(60)})
    job(cluster, "two", key59="y")
    table = with_metadata_columns(JOBS, {}, cluster.reader)
    added = [column.key for column in table.columns if column.is_part]
    assert len(added) == MOST_KEYS
    assert added[0] == "metadata.key59"
    assert keys(vera.get("/c/demo/jobs.json?metadata.key58=x")) == ["one"]


def test_a_request_cannot_name_columns_without_end(cluster: BuiltCluster) -> None:
    named = {f"metadata.k{number}": ["x"] for number in range(500)}
    assert len(with_metadata_columns(JOBS, named, cluster.reader).columns) == len(JOBS.columns) + 2 * MOST_KEYS


@pytest.mark.parametrize("asked", ["metadata.=x", "metadata.a'b=x", 'metadata.a"b=x', "columns=metadata.%00", "sort=metadata.%2a"])
def test_what_cannot_be_a_key_is_refused(jobs: BuiltCluster, vera: Person, asked: str) -> None:
    assert vera.get(f"/c/demo/jobs.json?{asked}").status_code == 400


def test_keys_that_a_program_made_up_do_nothing(cluster: BuiltCluster, vera: Person) -> None:
    for number, one in enumerate(TEXTS):
        job(cluster, f"job-{number}", **{one.text or "empty": one.text})
    page = vera.page("/c/demo/jobs?columns=job_id,metadata").text
    assert not [one.name for one in TEXTS if "<" in one.text and one.text in page]
