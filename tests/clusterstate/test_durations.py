"""Quantiles of durations by name: right within what the histogram promises, however rows come."""

from __future__ import annotations

import dataclasses
import random
import statistics
import time
from contextlib import closing
from pathlib import Path

import pytest

from clusterstate.model import OTHER_NAMES, Task
from clusterstate.store import durations
from clusterstate.store.durations import bucket_of, middle_of, quantiles
from clusterstate.store.index import Index
from clusterstate.store.reader import SessionReader
from tests.clusterstate.test_lineage import normal, put

BEGAN = 1_795_391_545_000


def ran(number: int, ms: int | None, **fields: object) -> Task:
    task = normal(number, name="work")
    end = None if ms is None else BEGAN + ms
    return dataclasses.replace(task, start_time_ms=BEGAN, end_time_ms=end, sequence=number, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("ms", [0, 1, 31, 32, 33, 100, 999, 12_345, 86_400_000, 2**40])
def test_a_bucket_stands_for_its_durations_within_two_and_a_half_percent(ms: int) -> None:
    assert middle_of(bucket_of(ms)) == pytest.approx(ms, rel=0.025, abs=1)


def test_what_ended_before_it_began_counts_as_no_time() -> None:
    assert bucket_of(-5) == 0


def test_quantiles_are_those_of_the_values() -> None:
    rng = random.Random(3)
    values = sorted(int(rng.lognormvariate(6, 2)) for _ in range(5000))
    buckets: dict[int, int] = {}
    for value in values:
        buckets[bucket_of(value)] = buckets.get(bucket_of(value), 0) + 1
    found = quantiles(sorted(buckets.items()))
    cut = statistics.quantiles(values, n=100)
    assert found[2] == pytest.approx(cut[49], rel=0.05)
    assert found[4] == pytest.approx(cut[94], rel=0.05)
    assert found[0] == pytest.approx(values[0], rel=0.03)
    assert found[-1] == pytest.approx(values[-1], rel=0.03)
    assert quantiles([]) == ()


def test_followed_and_filled_tables_say_the_same(tmp_path: Path) -> None:
    rng = random.Random(5)
    rows = [ran(number, rng.choice([None, rng.randint(0, 5000)])) for number in range(1, 200)]
    followed, filled = tmp_path / "followed.db", tmp_path / "filled.db"
    with closing(Index(followed)) as index:
        index.make_sorts()
        put(index, *(dataclasses.replace(row, end_time_ms=BEGAN + 7) for row in rows[:50]))
        put(index, *rows)
    with closing(Index(filled, in_bulk=True)) as index:
        put(index, *rows)
        index.make_sorts()
    ended = sum(row.end_time_ms is not None for row in rows[50:]) + 50
    [one] = SessionReader(followed, "demo", "one").durations("01000000")
    [other] = SessionReader(filled, "demo", "two").durations("01000000")
    assert one.name == other.name == "work"
    assert other.count == sum(row.end_time_ms is not None for row in rows)
    assert one.count <= ended
    assert SessionReader(followed, "demo", "one").durations("02000000") == []


def test_names_without_end_are_counted_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durations, "NAMES_OF_A_JOB", 5)
    with closing(Index(tmp_path / "index.db")) as index:
        index.make_sorts()
        put(index, *(ran(number, 10, name=f"name {number}") for number in range(1, 21)))
    found = {one.name: one.count for one in durations.durations(tmp_path / "index.db", None, 100, time.monotonic() + 5)}
    assert len(found) == 6
    assert found[OTHER_NAMES] == 15


def test_a_name_that_nothing_counts_under_any_more_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    with closing(Index(path)) as index:
        index.make_sorts()
        put(index, ran(1, 10, name="before"), ran(2, 10, name="stays"))
        put(index, ran(1, 10, name="after"))
    found = durations.durations(path, None, 100, time.monotonic() + 5)
    assert [(one.name, one.count) for one in found] == [("after", 1), ("stays", 1)]


def test_names_are_counted_once_over_many_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durations, "NAMES_OF_A_JOB", 5)
    with closing(Index(tmp_path / "index.db")) as index:
        index.make_sorts()
        for number in range(1, 9):
            put(index, *(ran(100 * number + ms, ms, name=f"name {number}") for ms in range(9)))
        put(index, *(ran(900 + number, 50, name=f"name {number}") for number in range(1, 9)))
    found = {one.name: one.count for one in durations.durations(tmp_path / "index.db", None, 100, time.monotonic() + 5)}
    assert found == {**{f"name {number}": 10 for number in range(1, 6)}, OTHER_NAMES: 30}
