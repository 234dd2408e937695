"""However rows are found (by one of several indexes, from kept counts, by the values that a text is in), they are the same rows."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest

from clusterstate import query
from clusterstate.model import Task
from clusterstate.query import AnyOf, Condition, Selection
from clusterstate.store.reader import SessionReader
from tests.clusterstate.test_compact_rows import JOB, NODES, NOW, fill, task

ACTOR = f"{7:024x}{JOB}"
SINGLE = [
    Condition("state", "is", "FAILED"),
    Condition("state", "is", "RUNNING"),
    Condition("node_id", "is", NODES[0]),
    Condition("node_id", "is", "nobody's"),
    Condition("actor_id", "is", ACTOR),
    Condition("worker_pid", "is", 1003),
    Condition("attempt_number", "is", 0),
    Condition("parent_task_id", "is", "f" * 40 + JOB),
    Condition("name", "contains", "work_1"),
    Condition("name", "like", "w*2"),
    Condition("func_or_class_name", "contains", "fit"),
    Condition("func_or_class_name", "lacks", "fit"),
    Condition("error_type", "starts", "TASK"),
    Condition("error_type", "unknown"),
    Condition("task_id", "contains", "02f"),
    Condition("task_id", "contains", "02F"),
    Condition("task_id", "lacks", "not hex"),
    Condition("task_id", "contains", "not hex"),
    Condition("task_id", "known"),
]
WORDS = [
    AnyOf(tuple(Condition(column, "contains", word) for column in ("task_id", "name", "func_or_class_name")))
    for word in ("work_2", "FIT", "00f", "nowhere", "0000000000000003")
]


@pytest.fixture(scope="module")
def rows() -> list[Task]:
    chance = random.Random(11)
    return [
        task(
            number,
            state=chance.choice(("FINISHED", "FINISHED", "FINISHED", "FAILED", "RUNNING")),
            actor_id=ACTOR if number % 7 == 0 else None,
            worker_pid=1000 + number % 9,
            attempt_number=int(number % 11 == 0),
            error_type="TASK_EXECUTION_EXCEPTION" if number % 13 == 0 else None,
            start_time_ms=int(NOW * 1000) + chance.randrange(900),
            end_time_ms=int(NOW * 1000) + 1000 + chance.randrange(900),
        )
        for number in range(400)
    ]


@pytest.fixture(scope="module")
def reader(rows: list[Task], tmp_path_factory: pytest.TempPathFactory) -> SessionReader:
    return fill(Path(tmp_path_factory.mktemp("index")) / "session.db", rows)


def holds(row: Task, condition: Condition | AnyOf) -> bool:
    if isinstance(condition, AnyOf):
        return any(holds(row, one) for one in condition.conditions)
    value, wanted = getattr(row, condition.column), condition.value
    text, part = str(value or "").lower(), str(wanted or "").lower()
    answers: dict[str, bool] = {
        "is": value == wanted,
        "contains": part in text,
        "like": text.startswith("w") and text.endswith("2"),
        "lacks": part not in text,
        "starts": text.startswith(part),
        "unknown": value is None,
        "known": value is not None,
    }
    return answers[condition.operator]


@pytest.mark.parametrize("sort", ["creation_time_ms", "duration_ms", "name"])
def test_any_two_conditions_find_and_count_what_holds_of_the_rows(rows: list[Task], reader: SessionReader, sort: str) -> None:
    both: list[Condition | AnyOf] = [*SINGLE, *WORDS]
    for where in [(), *itertools.combinations(both, 1), *itertools.combinations(both, 2)]:
        wanted = [row for row in rows if all(holds(row, condition) for condition in where)]
        selection = Selection(("task_id", "attempt_number"), sort, descending=True, where=where, limit=500, counter="state")
        page = reader.page(query.TASKS, selection, NOW)
        assert {row["task_id"] for row in page.rows} == {row.task_id for row in wanted}, where
        assert (page.matching, page.matching_is_exact, len(page.rows)) == (len(wanted), True, len(wanted)), where
        assert reader.counts(query.TASKS, "state", where) == {
            state: number for state in ("FINISHED", "FAILED", "RUNNING") if (number := sum(row.state == state for row in wanted))
        }, where
        if sort == "creation_time_ms":
            assert [row["task_id"] for row in page.rows] == [row.task_id for row in reversed(wanted)], where


def test_of_two_given_values_the_rarer_finds_the_rows(reader: SessionReader) -> None:
    common, rare = Condition("state", "is", "FINISHED"), Condition("actor_id", "is", ACTOR)
    assert reader._found_by(query.TASKS, (common, rare)) == rare
    assert reader._found_by(query.TASKS, (rare,)) is None
