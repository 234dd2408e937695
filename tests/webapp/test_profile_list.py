"""The list of kept profiles: narrowed, ordered, and for programs."""

from __future__ import annotations

import csv
import io

import pytest
import redis

from clusterstate.profiles import CPU, STACKS, Profile
from clusterstate.store import profiles as kept
from clusterstate.store.profiles import Asked, Outcome, Target
from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import Clock, Person

LIST = "/c/demo/profiles"


@pytest.fixture
def some(cluster: BuiltCluster, redis_client: redis.Redis, clock: Clock) -> list[Profile]:
    cluster.project()
    asked = [(CPU, "otto", "actor =Trainer"), (STACKS, "ada", "job 1"), (CPU, "ada", "actor loader")]
    found = [
        Profile(
            profile_id=f"{number:024x}",
            cluster="demo",
            session=cluster.session,
            kind=kind,
            who=who,
            asked_at=clock() - number,
            about=about,
            targets=(Target("0" * 56, number, 1),),
            asked=(Asked("host", (0,), problem="Nobody answers"),),
            options={"duration": 10, "idle": True} if kind == CPU else {},
            of={"worker": "0" * 56},
            outcome=Outcome("DONE", 7 if kind == CPU else None),
        )
        for number, (kind, who, about) in enumerate(asked)
    ]
    for one in found:
        kept.keep(redis_client, one)
    return found


def about(person: Person, query: str) -> list[str]:
    return [row["about"] for row in person.get(f"{LIST}.json{query}").get_json()["rows"]]


def test_it_is_narrowed_by_kind_and_by_what_it_is_of_or_who_asked(vera: Person, some: list[Profile]) -> None:
    assert about(vera, "") == ["actor =Trainer", "job 1", "actor loader"]
    assert about(vera, "?kind=cpu") == ["actor =Trainer", "actor loader"]
    assert about(vera, "?q=ADA&kind=cpu") == ["actor loader"]
    assert about(vera, "?sort=about") == ["actor =Trainer", "actor loader", "job 1"]
    assert about(vera, "?sort=-state&limit=1") == ["actor =Trainer"]


@pytest.mark.parametrize("query", ["?kind=x", "?sort=size", "?limit=0", "?limit=1001", f"?q={'x' * 201}"])
def test_what_is_not_known_is_refused_with_what_is(vera: Person, some: list[Profile], query: str) -> None:
    assert vera.get(f"{LIST}.json{query}").status_code == 400


def test_it_is_csv_in_which_a_spreadsheet_finds_no_formula_and_text(vera: Person, some: list[Profile]) -> None:
    rows = list(csv.DictReader(io.StringIO(vera.get(f"{LIST}.csv").text)))
    assert [row["profile_id"] for row in rows] == [one.profile_id for one in some]
    assert rows[0]["samples"] == "7"
    assert len(vera.get(f"{LIST}.txt").text.splitlines()) == 4


def test_the_page_says_what_was_asked_for_and_how_long_it_is_kept(vera: Person, some: list[Profile]) -> None:
    page = vera.page(LIST).text
    assert "10 s, with idle threads" in page
    assert "are kept, for 30 days" in page
    assert "No kept profile is like that" in vera.page(f"{LIST}?q=nothing").text
