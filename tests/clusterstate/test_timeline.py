"""What the index tells of a window of time: every task that overlaps it, counted or one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis

from clusterstate.model import Task
from clusterstate.query import AnyOf, Condition
from clusterstate.resources import TASKS
from clusterstate.settings import Settings
from clusterstate.store import timeline as module
from clusterstate.store.index import Index
from clusterstate.store.sqlite_reading import DeadlinePassed, connection
from clusterstate.store.timeline import Timeline, Window
from tests.built_cluster import BuiltCluster

T = 1_700_000_000_000
BOUNDS = Window(T - 3_600_000, T + 10_000_000)
ONE, TWO = "a1" * 28, "b2" * 28


@pytest.fixture
def cluster(redis_client: redis.Redis, settings: Settings) -> BuiltCluster:
    return BuiltCluster(redis_client, settings)


@pytest.fixture
def timeline(cluster: BuiltCluster) -> Timeline:
    return Timeline(cluster.path, BOUNDS)


def ran(cluster: BuiltCluster, start: int, end: int | None, worker: str | None = ONE, **fields: Any) -> Task:
    """A task that ran on a worker, milliseconds after T."""
    defaults = {"state": "RUNNING" if end is None else "FINISHED", "end_time_ms": None if end is None else T + end}
    return cluster.with_task(worker_id=worker, start_time_ms=T + start, **{**defaults, **fields})


def window(start: int, end: int) -> Window:
    return Window(T + start, T + end)


def names(timeline: Timeline, within: Window) -> set[str | None]:
    return {span.name for span in timeline.spans(timeline.tracks(within), within, 0, 100).rows}


def test_a_task_belongs_to_every_window_that_it_overlaps(cluster: BuiltCluster, timeline: Timeline) -> None:
    ran(cluster, 0, 900_000, name="long")
    ran(cluster, 0, 100, name="over before")
    ran(cluster, 100, 500, name="ends as it begins")
    ran(cluster, 450, 550, name="reaches in")
    ran(cluster, 500, 500, name="at its first moment")
    ran(cluster, 590, 700, name="reaches out")
    ran(cluster, 600, 700, name="begins as it ends")
    ran(cluster, 300, None, name="still runs", state="RUNNING_IN_RAY_GET")
    ran(cluster, 300, None, name="lost before", state="END_UNKNOWN")
    ran(cluster, 520, None, name="lost in it", state="END_UNKNOWN")
    cluster.with_task(name="waits", state="PENDING_NODE_ASSIGNMENT", worker_id=ONE)

    assert names(timeline, window(500, 600)) == {"long", "reaches in", "at its first moment", "reaches out", "still runs", "lost in it"}


def test_a_worker_is_there_for_what_began_long_before(cluster: BuiltCluster, timeline: Timeline) -> None:
    ran(cluster, 0, 900_000, ONE)
    for number in range(50):
        ran(cluster, number, number + 1, ONE)
        ran(cluster, number, number + 1, TWO)

    assert [track.worker_id for track in timeline.tracks(window(0, 1000))] == [ONE, TWO]
    assert [track.worker_id for track in timeline.tracks(window(500, 1000))] == [ONE]
    assert timeline.tracks(window(950_000, 960_000)) == []


def test_workers_are_found_by_job_node_and_id_and_tasks_without_one_come_last(cluster: BuiltCluster, timeline: Timeline) -> None:
    ran(cluster, 0, 1, None, job_id="01000000")
    ran(cluster, 0, 1, TWO, job_id="02000000", node_id="n2")
    ran(cluster, 0, 1, ONE, job_id="01000000", node_id="n1")
    all_there = window(0, 10)

    tracks = timeline.tracks(all_there)

    assert [(track.worker_id, track.node_id, track.job_id) for track in tracks] == [
        (TWO, "n2", "02000000"),
        (ONE, "n1", "01000000"),
        (None, None, "01000000"),
    ]

    def found(condition: Condition | AnyOf) -> list[str | None]:
        return [track.worker_id for track in timeline.tracks(all_there, condition)]

    assert found(Condition("job_id", "is", "01000000")) == [ONE, None]
    assert found(Condition("node_id", "is", "n2")) == [TWO]
    assert found(AnyOf((Condition("worker_id", "is", ONE), Condition("worker_id", "is", "none such")))) == [ONE]


@pytest.mark.parametrize("name", ["job_id", "node_id"])
def test_tasks_without_a_known_worker_are_those_of_the_job_or_node_that_is_asked_for(
    cluster: BuiltCluster, timeline: Timeline, name: str
) -> None:
    ran(cluster, 0, 10, None, name="theirs", **{name: "02000000"})
    ran(cluster, 5, 20, None, name="ours", state="FAILED", **{name: "01000000"})
    ran(cluster, 30, None, None, name="theirs", **{name: "02000000"})
    within = window(0, 100)

    [track] = timeline.tracks(within, Condition(name, "is", "01000000"))

    assert [span.name for span in timeline.spans([track], within, 0, 100).rows] == ["ours"]
    assert timeline.counts([track], within) == {None: 1}
    assert timeline.cells([track], within, 10, named=True).rows == [(None, 0, 1, "ours")]
    assert timeline.starts(within, 10, [track]) == [1, *[0] * 9]
    assert timeline.extent([track]) == (T + 5, T + 21)
    assert not timeline.runs([track])
    assert len(timeline.matching([track], within, (Condition("name", "contains", "s"),), 10).rows) == 1
    assert timeline.tracks(window(25, 100), Condition(name, "is", "01000000")) == []
    assert timeline.tracks(within, Condition(name, "is", "03000000")) == []
    assert timeline.counts(timeline.tracks(within), within) == {None: 3}


def test_starts_are_counted_by_worker_and_by_column(cluster: BuiltCluster, timeline: Timeline) -> None:
    for start, name, worker in (
        (0, "a", ONE),
        (5, "a", ONE),
        (9, "b", ONE),
        (10, "c", ONE),
        (35, "a", TWO),
        (99, "a", ONE),
        (100, "a", ONE),
    ):
        ran(cluster, start, start + 1, worker, name=name)
    within = window(0, 100)
    tracks = timeline.tracks(within)
    one, two = (track.number for track in tracks)

    assert timeline.counts(tracks, within) == {one: 5, two: 1}
    assert timeline.cells(tracks, within, 10, named=True).rows == [(one, 0, 3, None), (one, 1, 1, "c"), (one, 9, 1, "a"), (two, 3, 1, "a")]
    assert timeline.starts(within, 10) == [3, 1, 0, 1, 0, 0, 0, 0, 0, 1]
    assert timeline.starts(within, 10, tracks[1:]) == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    assert timeline.starts(window(0, 95), 10) == [3, 1, 0, 1, 0, 0, 0, 0, 0, 1]  # the last column ends after the window


def test_of_many_only_the_long_ones_are_read(cluster: BuiltCluster, timeline: Timeline) -> None:
    ran(cluster, 0, 50, name="long")
    ran(cluster, 60, 109, name="short")
    ran(cluster, 70, None, name="runs")
    ran(cluster, -5, 1, name="reaches in")
    within = window(0, 100)

    assert {span.name for span in timeline.spans(timeline.tracks(within), within, 50, 100).rows} == {"long", "runs", "reaches in"}
    assert len(timeline.spans(timeline.tracks(within), within, 0, 2).rows) == 2
    assert timeline.spans(timeline.tracks(within), within, 0, 2).is_cut
    assert not timeline.spans(timeline.tracks(within), within, 0, 4).is_cut


def test_the_extent_leaves_out_impossible_moments(cluster: BuiltCluster, timeline: Timeline) -> None:
    assert timeline.extent() is None
    assert timeline.extent([]) is None
    ran(cluster, -1_700_000_000_000 + 5, 5)
    ran(cluster, 2**61, 2**62)
    assert timeline.extent() is None
    ran(cluster, 100, 2_000, TWO)
    ran(cluster, 300, 400, TWO)

    assert timeline.extent([track for track in timeline.tracks(BOUNDS) if track.worker_id == TWO]) == (T + 100, T + 2_001)
    whole = timeline.extent()
    assert whole is not None
    assert whole.from_ms == T + 100


def test_what_is_looked_for_is_found_on_each_worker(cluster: BuiltCluster, timeline: Timeline) -> None:
    ran(cluster, 0, 20, name="load", state="FAILED")
    ran(cluster, 12, 13, name="load")
    ran(cluster, 14, 15, TWO, name="load")
    ran(cluster, 14, 15, TWO, name="step", state="FAILED")
    ran(cluster, 90, 95, name="load", state="FAILED")
    within = window(10, 50)
    tracks = timeline.tracks(within)
    loads = (Condition("name", "contains", "LOAD"),)

    rows, searched = timeline.matching(tracks, within, loads, 100)
    assert sorted(row.start_ms - T for row in rows) == [0, 12, 14]
    assert searched == {track.number for track in tracks}

    rows, searched = timeline.matching(tracks, within, loads, 2)
    assert len(rows) == 2
    assert searched == {tracks[0].number}
    assert [row.start_ms - T for row in timeline.failures(within, 100).rows] == [14]
    assert timeline.failures(window(0, 100), 2).is_cut


def test_whether_something_runs_is_known_of_all_and_of_each_worker(cluster: BuiltCluster, timeline: Timeline) -> None:
    ran(cluster, 0, 10, ONE)
    ran(cluster, 0, None, TWO, state="END_UNKNOWN")
    one, two = timeline.tracks(BOUNDS)
    assert not timeline.runs()
    ran(cluster, 5, None, ONE)
    assert timeline.runs()
    assert timeline.runs([one])
    assert not timeline.runs([two])


def test_what_takes_too_long_is_left_out_or_refused(cluster: BuiltCluster, timeline: Timeline, monkeypatch: pytest.MonkeyPatch) -> None:
    ran(cluster, 0, 10)
    tracks = timeline.tracks(BOUNDS)

    def late(*_: Any) -> Any:
        raise DeadlinePassed

    monkeypatch.setattr(module, "ask", late)

    assert timeline.starts(BOUNDS, 10) is None
    assert timeline.cells(tracks, BOUNDS, 10, named=False) == ([], True)
    assert timeline.matching(tracks, BOUNDS, (Condition("name", "is", "x"),), 10) == ([], frozenset())
    assert timeline.failures(BOUNDS, 10) == ([], True)
    refused: list[Callable[[], object]] = [lambda: timeline.tracks(BOUNDS), lambda: timeline.spans(tracks, BOUNDS, 0, 10), timeline.extent]
    for question in refused:
        with pytest.raises(DeadlinePassed):
            question()


def test_starts_of_a_worker_are_counted_without_a_look_at_its_rows(cluster: BuiltCluster) -> None:
    """The index on worker, start and end answers alone: a million tasks need not be read to be counted."""
    cluster.with_rows(TASKS, *(Task(f"{number:048x}", worker_id=ONE, start_time_ms=T + number) for number in range(50)))
    index = Index(cluster.path)
    index.make_sorts()
    index.close()

    plan = connection(cluster.path).execute(
        "EXPLAIN QUERY PLAN SELECT count(*) FROM tasks WHERE worker_id IS 1 AND start_time_ms >= 1 AND start_time_ms < 2"
    )
    assert any("COVERING INDEX tasks_worker_id_start_time_ms_end_time_ms" in row[3] for row in plan)
