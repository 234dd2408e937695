"""Tables for programs: the same rows whether they are sent whole or in parts, and never many megabytes held at once."""

from __future__ import annotations

import gzip
import tracemalloc

import pytest
from werkzeug.test import TestResponse

from clusterstate.model import Job
from clusterstate.resources import JOBS
from clusterstate.store.sqlite_reading import DeadlinePassed
from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import Person

SORTS = ("-start_time_ms", "name", "-name", "status")


@pytest.fixture
def jobs(cluster: BuiltCluster) -> BuiltCluster:
    """Forty jobs with ties, unknowns and text that CSV and JSON must escape."""
    rows = [
        Job(
            f"{number:08x}",
            "DRIVER",
            "RUNNING" if number % 3 else "FAILED",
            job_id=f"{number:08x}",
            name=None if number % 4 == 0 else f"job, {number % 7}",
            entrypoint='=python "x.py"\n' * number,
            start_time_ms=number // 2,
            metadata={"é": "\u202e"},
        )
        for number in range(40)
    ]
    cluster.with_rows(JOBS, *rows)
    return cluster


def in_parts(monkeypatch: pytest.MonkeyPatch, characters: int = 300) -> None:
    monkeypatch.setattr("webapp.responses.EXPORTED_AT_ONCE", characters)


def ask(person: Person, path: str, **headers: str) -> TestResponse:
    answer = person.get(path, headers)
    assert answer.status_code == 200, answer.text
    return answer


@pytest.mark.parametrize("kind", ["json", "csv", "txt"])
@pytest.mark.parametrize("sort", SORTS)
def test_rows_sent_in_parts_are_those_sent_whole(
    viewers_program: Person, jobs: BuiltCluster, monkeypatch: pytest.MonkeyPatch, kind: str, sort: str
) -> None:
    for more in ("", "&limit=33", "&status=FAILED", "&columns=job_id,entrypoint&limit=7"):
        path = f"/c/demo/jobs.{kind}?sort={sort}{more}"
        whole = ask(viewers_program, path)
        with monkeypatch.context() as patched:
            in_parts(patched)
            parts, squeezed = ask(viewers_program, path), ask(viewers_program, path, **{"Accept-Encoding": "gzip"})
        assert "Content-Length" not in parts.headers
        assert "Content-Length" in whole.headers
        if kind == "json":
            told, expected = parts.get_json(), whole.get_json()
            for answer in (told, expected):
                for name in ("as_of", "age_s"):
                    answer.pop(name)
            told["next"], expected["next"] = bool(told["next"]), bool(expected["next"])  # they hold the moment of asking
            assert told == expected
        else:
            assert parts.data == whole.data
            assert gzip.decompress(squeezed.data) == whole.data
        assert parts.headers["X-Total-Count"] == whole.headers["X-Total-Count"]
        assert ("Link" in parts.headers) == ("Link" in whole.headers)


def test_following_the_links_shows_every_row_once(viewers_program: Person, jobs: BuiltCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    in_parts(monkeypatch)
    path, seen = "/c/demo/jobs.json?limit=9&sort=name", []
    while path:
        answer = ask(viewers_program, path).get_json()
        seen += [row["job_id"] for row in answer["rows"]]
        path = answer["next"]
    assert len(seen) == 40
    assert len(set(seen)) == 40


def test_nothing_is_a_whole_answer_too(viewers_program: Person, cluster: BuiltCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    in_parts(monkeypatch)
    assert ask(viewers_program, "/c/demo/jobs.json").get_json()["rows"] == []
    assert ask(viewers_program, "/c/demo/jobs.csv").text.startswith("job_key,")


@pytest.mark.parametrize("kind", ["json", "csv", "txt"])
def test_cells_of_megabytes_are_not_held_all_at_once(viewers_program: Person, cluster: BuiltCluster, kind: str) -> None:
    for number in range(48):
        cluster.with_rows(JOBS, Job(f"{number:08x}", "DRIVER", "RUNNING", job_id=f"{number:08x}", entrypoint=f"{number} " + "x" * 2**20))
    viewers_program.get(f"/c/demo/jobs.{kind}?limit=1")  # what is loaded once is not counted
    tracemalloc.start()
    answer = viewers_program.client.get(
        f"/c/demo/jobs.{kind}?columns=job_id,entrypoint", headers={"Host": "127.0.0.1:8270", **viewers_program.headers}, buffered=False
    )
    size = sum(len(piece) for piece in answer.response)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < 32 * 2**20
    assert size > 48 * 2**20 or kind == "txt"


def test_an_answer_that_cannot_be_finished_is_not_taken_for_a_whole_one(
    viewers_program: Person, jobs: BuiltCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_parts(monkeypatch)
    monkeypatch.setattr("webapp.exports.PIECE_BYTES", 100)
    answer = viewers_program.client.get("/c/demo/jobs.json", headers={"Host": "127.0.0.1:8270", **viewers_program.headers}, buffered=False)
    reader = type(jobs.reader)

    def too_slow(*_: object, **__: object) -> None:
        raise DeadlinePassed

    monkeypatch.setattr(reader, "_rows", too_slow)
    with pytest.raises(DeadlinePassed):
        list(answer.response)


def test_an_export_goes_forward_only(viewers_program: Person, jobs: BuiltCluster) -> None:
    following = viewers_program.get("/c/demo/jobs.json?limit=2").get_json()["next"]
    answer = viewers_program.get(following.replace("after=", "before="))
    assert answer.status_code == 400
    assert "after" in answer.get_json()["message"]
