"""Rows that the index keeps packed, interned and in sequence: questions are answered as if they were kept as they are."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from clusterstate import query
from clusterstate.model import Task, Text
from clusterstate.query import Condition, Selection
from clusterstate.resources import TASKS, TEXTS
from clusterstate.store.index import Index
from clusterstate.store.reader import SessionReader
from clusterstate.store.schema import SCHEMA_VERSION, columns_of
from clusterstate.store.upgrade import bring_up_to_date

NOW = 1_795_391_545.0
JOB = "01000000"
NODES = ("11" * 28, "2a" * 28)


def task(number: int, **fields: Any) -> Task:
    given: dict[str, Any] = {
        "task_id": f"{number:016x}{'f' * 24}{JOB}",
        "state": "FINISHED",
        "name": f"work_{number % 3}",
        "job_id": JOB,
        "node_id": NODES[number % 2] if number % 5 else None,
        "func_or_class_name": ("Fit.run", "load")[number % 2],
        "parent_task_id": "f" * 40 + JOB,
        "creation_time_ms": int(NOW * 1000) + number,
        "sequence": number + 1,
    }
    return Task(**{**given, **fields})


def values(row: Any) -> list[Any]:
    return [getattr(row, field.name) for field in dataclasses.fields(row)]


def fill(path: Path, rows: list[Task], texts: list[Text] | None = None) -> SessionReader:
    with closing(Index(path)) as index:
        index.make_sorts()
        index.begin()
        index.put(TASKS, [(row.attempt_id, values(row)) for row in rows])
        index.put(TEXTS, [(row.text_id, values(row)) for row in texts or []])
        index.commit()
    return SessionReader(path, "demo", "session")


def ids(reader: SessionReader, *where: Condition) -> set[str]:
    page = reader.page(query.TASKS, Selection(("task_id",), "creation_time_ms", where=where, limit=500), NOW)
    assert page.matching == len(page.rows)
    return {row["task_id"] for row in page.rows}


HOLDS: dict[str, Callable[[Any, Any], bool]] = {
    "is": lambda value, wanted: value == wanted,
    "is_not": lambda value, wanted: value != wanted,
    "contains": lambda value, wanted: value is not None and wanted in value,
    "lacks": lambda value, wanted: value is None or wanted not in value,
    "starts": lambda value, wanted: value is not None and value.startswith(wanted),
    "unknown": lambda value, wanted: value is None,
    "known": lambda value, wanted: value is not None,
}


@pytest.mark.parametrize("operator", HOLDS)
@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        ("node_id", NODES[0]),
        ("node_id", "2a2"),
        ("node_id", "no such node"),
        ("func_or_class_name", "Fit.run"),
        ("task_id", f"{7:016x}{'f' * 24}{JOB}"),
        ("task_id", f"{7:015x}"),
        ("parent_task_id", "ff"),
        ("name", "work_1"),
    ],
)
def test_every_condition_holds_of_the_same_rows_as_of_the_values_themselves(
    tmp_path: Path, operator: str, column: str, wanted: str
) -> None:
    rows = [task(number) for number in range(20)]
    reader = fill(tmp_path / "index.db", rows)

    expected = {row.task_id for row in rows if HOLDS[operator](getattr(row, column), wanted)}

    assert ids(reader, Condition(column, operator, wanted)) == expected


def test_a_row_comes_back_as_it_was_put_and_is_found_by_its_ids(tmp_path: Path) -> None:
    first, second = task(3, error_message_id="ab" * 8, actor_id=None), task(3, attempt_number=2, sequence=9)
    reader = fill(tmp_path / "index.db", [first, second], [Text("ab" * 8, "it broke")])

    assert reader.get(TASKS, first.attempt_id) == first
    assert reader.get(TASKS, second.attempt_id) == second
    assert reader.get(TASKS, first.task_id + "00000001") is None
    assert reader.get(TASKS, "not hex at all") is None
    assert reader.get(TASKS, first.task_id + "not hex") is None
    assert sorted(reader.find(TASKS, "task_id", first.task_id), key=lambda row: row.attempt_number) == [first, second]
    assert reader.find(TASKS, "node_id", NODES[1])
    assert not reader.find(TASKS, "node_id", "33" * 28)
    assert {row.attempt_id for row in reader.starting(TASKS, "task_id", first.task_id[:13])} == {first.attempt_id, second.attempt_id}
    assert reader.starting(TASKS, "task_id", "x") == []
    page = reader.page(query.TASKS, Selection(("error_message", "attempt_id"), "creation_time_ms"), NOW)
    assert {(row["attempt_id"], row["error_message"]) for row in page.rows} == {
        (first.attempt_id, "it broke"),
        (second.attempt_id, None),
    }


def test_counts_by_an_interned_column_name_its_values(tmp_path: Path) -> None:
    reader = fill(tmp_path / "index.db", [task(number) for number in range(20)])

    assert reader.counts(query.TASKS, "node_id") == {NODES[0]: 8, NODES[1]: 8, None: 4}
    assert reader.counts(query.TASKS, "name", [Condition("state", "is", "FINISHED")]) == {"work_0": 7, "work_1": 7, "work_2": 6}


def test_changes_and_removals_reach_rows_counts_and_sorts(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    rows = [task(number, state="RUNNING") for number in range(10)]
    reader = fill(path, rows)
    fill(path, [dataclasses.replace(row, state="FINISHED", end_time_ms=int(NOW * 1000)) for row in rows[:4]])
    with closing(Index(path)) as index:
        index.begin()
        index.delete(TASKS, [rows[9].attempt_id, "f" * 48, "nonsense"])
        index.bump([TASKS.name])
        index.commit()

    assert reader.counts(query.TASKS, "state") == {"RUNNING": 5, "FINISHED": 4}
    assert reader.counts(query.TASKS, "name") == {"work_0": 3, "work_1": 3, "work_2": 3}
    assert len(reader.find(TASKS, "state", "FINISHED")) == 4


def test_words_of_a_transaction_that_was_taken_back_are_interned_anew(tmp_path: Path) -> None:
    with closing(Index(tmp_path / "index.db")) as index:
        index.make_sorts()
        for end in (index.rollback, index.commit):
            index.begin()
            index.put(TASKS, [(task(1).attempt_id, values(task(1)))])
            end()

    assert SessionReader(tmp_path / "index.db", "demo", "session").get(TASKS, task(1).attempt_id) == task(1)


def test_no_column_that_is_sorted_by_is_kept_in_another_order() -> None:
    """Nothing sorts by a word's number or by packed bytes."""
    compact = {*TASKS.interned, *TASKS.packed}
    assert not compact & {listed for listed in TASKS.indexed if "," not in listed and listed != "task_id"}
    assert compact <= {column.name for column in columns_of(TASKS)}


def test_a_file_from_before_rows_were_compact_is_written_anew_with_all_that_it_held(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    rows = [task(number, sequence=0, other_states_ms={"NIL": 5}) for number in range(30)]
    names = [column.name for column in columns_of(TASKS.row) if column.name != "sequence"]
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")
        db.executemany("INSERT INTO meta VALUES(?, ?)", [("schema", "5"), ("sealed", "1"), ("epoch", "ab")])
        db.execute("CREATE TABLE versions(resource TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID")
        db.execute("CREATE TABLE fresh(name TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID")
        db.execute("INSERT INTO fresh VALUES('tasks', 12.5)")
        db.execute(f"CREATE TABLE tasks(row_hash INTEGER PRIMARY KEY, {', '.join(names)})")
        marks = ", ".join("?" * (len(names) + 1))
        for number, row in enumerate(rows):
            stored = ['{"NIL": 5}' if name == "other_states_ms" else getattr(row, name) for name in names]
            db.execute(f"INSERT INTO tasks VALUES({marks})", [number, *stored])
        db.execute("CREATE TABLE samples(at REAL, node_id TEXT)")
        db.execute("INSERT INTO samples VALUES(1.0, 'aa')")
        db.commit()
    path.chmod(0o400)

    bring_up_to_date(path)

    reader = SessionReader(path, "demo", "session")
    assert {row.task_id for row in reader.all(TASKS)} == {row.task_id for row in rows}
    assert reader.get(TASKS, rows[4].attempt_id) == rows[4]
    assert reader.counts(query.TASKS, "state") == {"FINISHED": 30}
    assert path.stat().st_mode & 0o777 == 0o400
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
        assert (
            dict(db.execute("SELECT name, value FROM meta").fetchall()).items()
            >= {
                "schema": str(SCHEMA_VERSION),
                "sealed": "1",
                "epoch": "ab",
            }.items()
        )
        assert db.execute("SELECT at FROM fresh WHERE name = 'tasks'").fetchone() == (12.5,)
        assert db.execute("SELECT at, node_id FROM samples").fetchall() == [(1.0, "aa")]


def test_a_deleted_index_answers_until_another_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    reader = fill(path, [task(1)])
    assert len(ids(reader)) == 1
    for file in tmp_path.iterdir():
        file.unlink()
    assert len(ids(SessionReader(path, "demo", "session"))) == 1

    assert len(ids(fill(path, [task(1), task(2)]))) == 2
