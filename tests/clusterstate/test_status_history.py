"""Which moments of the status are kept, and what they tell."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from clusterstate import status_history
from clusterstate.model import ClusterStatus, FailedNode, NodeGroup, PendingNode, ResourceDemand, StatusMoment
from clusterstate.status_history import StatusCharts, changes_of, charts_of, figures_of, moment_of, to_give_up, worth_keeping


def status(**fields: Any) -> ClusterStatus:
    base = ClusterStatus(0.0, nodes=[NodeGroup("cpu", 1, 1)], resources_total={"CPU": 8.0}, resources_available={"CPU": 6.0})
    return replace(base, **fields)


def at(now: float, **fields: Any) -> StatusMoment:
    return moment_of(status(**fields), now)


def asked(shape: dict[str, float], count: int = 1, kind: str = "TASK_ACTOR") -> ResourceDemand:
    return ResourceDemand(kind, shape, count)


def drawn(moments: list[StatusMoment], steps: range, step_s: float, known_until: float | None) -> StatusCharts:
    return charts_of([figures_of(one) for one in moments], steps, step_s, known_until)


def test_names_of_moments_sort_as_moments_do() -> None:
    names = [at(now).moment for now in (5.0, 1_700_000_000.25, 17_000_000_000.0)]

    assert names == sorted(names)
    assert len({len(name) for name in names}) == 1


def test_nothing_is_kept_while_nothing_changes() -> None:
    first = worth_keeping(None, at(100.0))
    assert first is not None
    assert [worth_keeping(first, at(100.0 + second)) for second in range(1, 3600, 60)] == [None] * 60


def test_a_node_that_goes_is_kept_within_seconds() -> None:
    first = at(100.0)
    gone = {"nodes": [NodeGroup("cpu", 1, 0)]}

    assert worth_keeping(first, at(101.0, **gone)) is None
    kept = worth_keeping(first, at(102.0, **gone))
    assert kept is not None
    assert kept.is_event


def test_what_changes_with_each_task_is_kept_each_ten_seconds() -> None:
    first = at(100.0)
    idle = {"nodes": [NodeGroup("cpu", 0, 2)]}
    busy = {"resources_available": {"CPU": 1.0}}

    for changed, is_event in ((idle, True), (busy, False), ({"demands": [asked({"CPU": 1.0})]}, True)):
        assert worth_keeping(first, at(109.0, **changed)) is None
        kept = worth_keeping(first, at(110.0, **changed))
        assert kept is not None
        assert kept.is_event is is_event


def test_more_of_a_shape_that_waits_already_is_no_event() -> None:
    kept = worth_keeping(at(100.0, demands=[asked({"CPU": 1.0}, 3)]), at(120.0, demands=[asked({"CPU": 1.0}, 30)]))

    assert kept is not None
    assert not kept.is_event


def test_a_clock_that_was_set_back_stops_nothing() -> None:
    assert worth_keeping(at(1000.0), at(5.0, nodes=[NodeGroup("cpu", 1, 0)])) is not None


def test_moments_are_given_up_oldest_first_and_events_outlive_points() -> None:
    kept = [(f"{number:06d}", number % 2 == 0) for number in range(3000)]

    over = to_give_up(kept)
    left = [one for one in kept if one[0] not in set(over)]

    assert sum(is_event for _, is_event in left) == status_history.EVENTS_KEPT
    assert sum(not is_event for _, is_event in left) == status_history.POINTS_KEPT
    assert left[-1] == kept[-1]
    assert to_give_up(left) == []


def test_a_moment_is_small_whatever_the_status_is() -> None:
    shapes = [asked({f"r{number}": 1.0}, number) for number in range(1000)]
    names = {f"r{number}": 1.0 for number in range(1000)} | {"CPU": 1.0, "accelerator_type:A100": 1.0}
    failed = [FailedNode("t", "x" * 100_000, failed_at_ms=number) for number in range(100)]

    moment = at(1.0, demands=shapes, resources_total=names, resources_available=names, failed_nodes=failed)

    assert len(moment.demands) == status_history.DEMANDS_KEPT
    assert max(one.count for one in moment.demands) == 999
    assert moment.waiting == {"TASK_ACTOR": sum(range(1000))}
    assert next(iter(moment.resources_total)) == "CPU"
    assert len(moment.resources_total) == status_history.RESOURCES_KEPT
    assert "accelerator_type:A100" not in moment.resources_total
    assert len(moment.failed) == status_history.FAILURES_KEPT
    assert max(len(one.reason) for one in moment.failed) == status_history.LONGEST_TEXT


def test_a_chart_carries_a_moment_on_until_the_next() -> None:
    moments = [
        at(105.0),
        at(125.0, nodes=[NodeGroup("cpu", 2, 0)], demands=[asked({"CPU": 1.0}, 4), asked({"CPU": 1.0}, 9, "REQUEST_RESOURCES")]),
    ]

    charts = drawn(moments, range(9, 15), 10.0, known_until=150.0)

    assert list(charts.active.values) == [None, 1, 1, 2, 2, 2]
    assert list(charts.idle.values) == [None, 1, 1, 0, 0, 0]
    assert list(charts.waiting.values) == [None, 0, 0, 4, 4, 4]
    assert list(charts.shares["CPU"].values) == [None, 25.0, 25.0, 25.0, 25.0, 25.0]
    assert (charts.active.started_at, charts.active.step_s) == (90.0, 10.0)


def test_a_chart_is_empty_where_nobody_watched() -> None:
    moments = [at(100.0), replace(at(160.0), unknown_since=118.0)]

    charts = drawn(moments, range(10, 20), 10.0, known_until=172.0)

    assert list(charts.active.values) == [1, 1, None, None, None, None, 1, 1, None, None]


def test_a_share_of_nothing_or_of_what_is_not_known_is_unknown() -> None:
    moments = [at(100.0, resources_total={"GPU": 0.0, "CPU": 4.0}, resources_available={"GPU": 0.0})]

    charts = drawn(moments, range(10, 11), 10.0, known_until=110.0)

    assert (charts.shares["GPU"].values, charts.shares["CPU"].values) == ((None,), (None,))
    assert drawn([], range(10, 12), 10.0, known_until=None).active.values == (None, None)


def test_changes_say_what_became_different_newest_first() -> None:
    failure = FailedNode("gpu", "no quota", failed_at_ms=1)
    moments = [
        at(100.0, demands=[asked({"CPU": 1.0}, 2)]),
        at(110.0, demands=[asked({"CPU": 1.0}, 7)]),
        at(
            120.0,
            nodes=[NodeGroup("cpu", 0, 2), NodeGroup("gpu", 1)],
            pending_nodes=[PendingNode("gpu", count=2)],
            demands=[asked({"GPU": 1.0})],
        ),
        replace(at(300.0, failed_nodes=[failure], resources_total={"CPU": 16.0}), unknown_since=130.0),
    ]

    newest, before = changes_of(moments)

    assert (newest.at, before.at) == (300.0, 120.0)
    assert before.nodes == {
        "cpu": (NodeGroup("cpu", 1, 1), NodeGroup("cpu", 0, 2)),
        "gpu": (NodeGroup("gpu"), NodeGroup("gpu", 1)),
    }
    assert before.pending == {"gpu": (0, 2)}
    assert [one.shape for one in before.wanted] == [{"GPU": 1.0}]
    assert [one.shape for one in before.given] == [{"CPU": 1.0}]
    assert newest.unwatched_s == 170.0
    assert newest.failed == [failure]
    assert newest.sizes == {"CPU": (8.0, 16.0)}
    assert newest.pending == {"gpu": (2, 0)}
