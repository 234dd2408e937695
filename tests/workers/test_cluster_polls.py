"""How often is asked: as often as wanted, less often where the answer costs the GCS much, never slower for a busy machine alone."""

from __future__ import annotations

import math

from workers.collectors.cluster_polls import Poll, Sources, Touched


def poll() -> Poll:
    async def ask() -> None: ...

    return Poll("jobs", ask, every_s=1.0, calls=("GetAllJobInfo", "InternalKVKeys"))


def intervals(costs: list[float], way_s: float = 0.0) -> list[float]:
    one = poll()
    found = []
    for cost in costs:
        one.interval_s = one.stretched_s(cost, way_s)
        found.append(round(one.interval_s, 2))
    return found


def test_a_cheap_question_is_asked_as_often_as_wanted() -> None:
    assert intervals([0.002] * 5) == [1.0] * 5


def test_a_dear_question_is_asked_less_and_less_often_until_its_share_is_kept() -> None:
    found = intervals([0.2] * 20)

    assert found[:3] == [1.5, 2.25, 3.38]
    assert found[-1] == 40.0


def test_an_answer_that_may_be_huge_at_once_is_asked_for_rarely_at_once() -> None:
    one = Poll("tasks", poll().ask, every_s=1.0, calls=("GetTaskEvents",), share=0.02, growth=math.inf, remembered=2)
    found = [one.stretched_s(cost, 0.0) for cost in (0.001, 2.0, 2.0, 0.01)]
    assert found == [1.0, 1.0, 100.0, 1.0]


def test_one_quick_answer_shows_that_slow_ones_were_a_busy_machine() -> None:
    assert intervals([0.3, 0.3, 0.3, 0.002])[-1] == 1.0


def test_the_way_to_the_gcs_is_not_its_work() -> None:
    assert intervals([0.1] * 5, way_s=0.1) == [1.0] * 5


def test_only_what_became_better_known_is_confirmed_each_as_of_its_own_moment() -> None:
    sources = Sources()
    sources.right("jobs", 10.0)
    sources.right("nodes", 12.0)

    assert sources.to_confirm() == {"jobs": 10.0, "nodes": 12.0}
    assert sources.to_confirm() == {}
    sources.right("nodes", 11.0)
    assert sources.to_confirm() == {}
    sources.right("jobs", 13.0)
    assert sources.to_confirm() == {"jobs": 13.0}


def test_a_report_says_how_each_resource_is_learnt() -> None:
    sources = Sources()
    sources.unreadable("jobs", 2)
    one = poll()
    one.interval_s = 1.0

    [actors, jobs] = sources.reports([one], ("actors",))

    assert (actors.resource, actors.source, actors.interval_s, actors.problem) == ("actors", "pubsub", None, None)
    assert (jobs.resource, jobs.source, jobs.interval_s) == ("jobs", "poll", 1.0)
    assert jobs.problem == "2 rows of jobs cannot be read and are not shown."


def test_what_is_published_during_a_question_is_newer_than_its_answer() -> None:
    touched = Touched()
    touched.note("before")
    with touched.watched() as outer:
        touched.note("a")
        with touched.watched() as inner:
            touched.note("b")
        touched.note("c")

    assert (outer, inner) == ({"a", "b", "c"}, {"b"})
