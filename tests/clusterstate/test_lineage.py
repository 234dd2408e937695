"""The tree of who called whom: however and in whatever order rows come, its counts are those of whole subtrees."""

from __future__ import annotations

import dataclasses
import random
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from clusterstate.model import OTHER_NAMES, Task
from clusterstate.resources import TASKS
from clusterstate.store import lineage, lineage_reading
from clusterstate.store.index import Index
from clusterstate.store.lineage_reading import Lineage
from clusterstate.task_states import segment_of

JOB = "01000000"
STATES = ("PENDING_NODE_ASSIGNMENT", "RUNNING", "FINISHED", "FAILED", "END_UNKNOWN", "NIL")


def task_id(number: int, actor: int | None = None) -> str:
    return f"{number:016x}" + ("f" * 24 if actor is None else f"{actor:024x}") + JOB


def actor_id(actor: int) -> str:
    return f"{actor:024x}{JOB}"


def normal(number: int, parent: str | None = None, **fields: Any) -> Task:
    given: dict[str, Any] = {"name": f"step_{number % 3}", "type": "NORMAL_TASK", "state": "FINISHED", "job_id": JOB}
    return Task(task_id(number), parent_task_id=parent or "f" * 40 + JOB, **{**given, **fields})


def values(row: Task) -> list[Any]:
    return [getattr(row, field.name) for field in dataclasses.fields(row)]


def put(index: Index, *rows: Task) -> None:
    index.begin()
    index.put(TASKS, [(row.attempt_id, values(row)) for row in rows])
    index.commit()


def tree(path: Path) -> dict[str, Any]:
    """Every group by the path of names that leads to it: (members, counts of its segments)."""
    with closing(sqlite3.connect(path)) as db:
        words = dict(db.execute("SELECT n, word FROM words").fetchall())
        nodes = {row[0]: row[1] for row in db.execute("SELECT node, group_key FROM lineage_nodes")}
        listed = ", ".join(lineage.COLUMNS)
        groups = {row[0]: row[1:] for row in db.execute(f"SELECT group_key, parent, kind, name, members, {listed} FROM lineage_groups")}  # noqa: S608

    def named(node: Any) -> str:
        if isinstance(node, str):
            return "job"
        return node.hex() if isinstance(node, bytes) else words[node]

    def path_of(key: int | None) -> str:
        if key is None:
            return "nowhere"
        parent, kind, name = groups[key][:3]
        above = "" if isinstance(parent, str) else path_of(nodes[parent]) + "/"
        return f"{above}{named(parent)}:{kind[0]}:{name}"

    found = {}
    for key, (_, _, _, members, *counts) in groups.items():
        told = {segment: count for segment, count in zip(lineage.COUNTED, counts, strict=True) if count}
        if told or members:
            found[path_of(key)] = (members, told)
    return found


def expected(rows: list[Task]) -> Counter[str]:
    """Attempts below each node and its own, by brute force: node → number."""
    creators = {row.actor_id: row for row in rows if row.type == "ACTOR_CREATION_TASK"}
    by_id = {row.task_id: row for row in rows}

    def above(row: Task) -> str | None:
        if row.type in ("ACTOR_TASK", "ACTOR_CREATION_TASK"):
            return row.actor_id
        return None if (row.parent_task_id or "f" * 40).startswith("f" * 40) else row.parent_task_id

    def above_node(node: str) -> str | None:
        if node in by_id:
            return above(by_id[node])
        creator = creators.get(node)
        if creator is None:
            return "lost"
        parent = creator.parent_task_id or ""
        return None if parent.startswith("f" * 40) else parent

    found: Counter[str] = Counter()
    for row in rows:
        node = above(row)
        while node is not None and node != "lost":
            found[node] += 1
            node = above_node(node)
        found["job"] += node is None
    return found


def node_totals(path: Path) -> Counter[str]:
    with closing(sqlite3.connect(path)) as db:
        words = dict(db.execute("SELECT n, word FROM words").fetchall())
        rows = db.execute(f"SELECT node, {' + '.join(lineage.COLUMNS)} FROM lineage_nodes").fetchall()  # noqa: S608
    return Counter({node.hex() if isinstance(node, bytes) else words.get(node, "job"): total for node, total in rows if total})


def test_tasks_of_one_name_are_one_group_and_what_they_called_counts_with_them(tmp_path: Path) -> None:
    with closing(Index(tmp_path / "index.db")) as index:
        index.make_sorts()
        put(index, normal(1, name="fit"), normal(2, name="fit", state="RUNNING"), normal(3, task_id(1), name="load", state="FAILED"))
        put(index, normal(4, task_id(3), name="read"))

    assert tree(tmp_path / "index.db") == {
        "job:T:fit": (2, {"finished": 2, "failed": 1, "running": 1}),
        f"job:T:fit/{task_id(1)}:T:load": (1, {"finished": 1, "failed": 1}),
        f"job:T:fit/{task_id(1)}:T:load/{task_id(3)}:T:read": (1, {"finished": 1}),
    }


def test_methods_are_below_their_actor_and_the_actor_below_who_created_it(tmp_path: Path) -> None:
    actor: dict[str, Any] = {"actor_id": actor_id(7), "job_id": JOB, "func_or_class_name": "Counter.add"}
    rows = [
        normal(1, name="main"),
        Task(task_id(2, 7), name="Counter.__init__", type="ACTOR_CREATION_TASK", state="FINISHED", parent_task_id=task_id(1), **actor),
        Task(task_id(3, 7), name="Counter.add", type="ACTOR_TASK", state="RUNNING", parent_task_id="f" * 40 + JOB, **actor),
        normal(4, task_id(3, 7), name="inner"),
    ]
    for order in (rows, rows[::-1]):
        path = tmp_path / f"{order[0].task_id}.db"
        with closing(Index(path)) as index:
            index.make_sorts()
            for row in order:
                put(index, row)
        prefix = f"job:T:main/{task_id(1)}:A:Counter"
        below = f"{prefix}/{actor_id(7)}:T:"
        assert tree(path) == {
            "job:T:main": (1, {"finished": 3, "running": 1}),
            prefix: (1, {"finished": 2, "running": 1}),
            f"{below}Counter.__init__": (1, {"finished": 1}),
            f"{below}Counter.add": (1, {"finished": 1, "running": 1}),
            f"{below}Counter.add/{task_id(3, 7)}:T:inner": (1, {"finished": 1}),
        }


@pytest.mark.parametrize("seed", range(12))
def test_the_order_of_arrival_and_every_change_on_the_way_make_no_difference(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    rows: list[Task] = []
    callers: list[str] = ["f" * 40 + JOB]
    for number in range(1, 120):
        parent, kind = rng.choice(callers[-12:]), rng.random()
        if kind < 0.2:
            rows.append(
                Task(
                    task_id(number, number),
                    name="Worker.__init__",
                    func_or_class_name="Worker.__init__",
                    type="ACTOR_CREATION_TASK",
                    actor_id=actor_id(number),
                    parent_task_id=parent,
                    job_id=JOB,
                )
            )
        elif kind < 0.5 and any(row.type == "ACTOR_CREATION_TASK" for row in rows):
            actor = rng.choice([row.actor_id for row in rows if row.type == "ACTOR_CREATION_TASK"])
            assert actor is not None
            task = f"{number:016x}{actor}"
            rows.append(Task(task, name="Worker.run", type="ACTOR_TASK", actor_id=actor, parent_task_id=parent, job_id=JOB))
            callers.append(task)
        else:
            rows.append(normal(number, parent, name=rng.choice("abc"), attempt_number=0))
            callers.append(task_id(number))
            if rng.random() < 0.2:
                rows.append(dataclasses.replace(rows[-1], attempt_number=1))
    final = [dataclasses.replace(row, state=rng.choice(STATES), sequence=place) for place, row in enumerate(rows, 1)]
    lost = {row.task_id for row in rng.sample(final, 5)}
    final = [row for row in final if row.task_id not in lost]

    steps = []
    for row in final:
        bare = dataclasses.replace(row, name=None, type=None, parent_task_id=None, func_or_class_name=None, state="RUNNING")
        steps.append([*rng.sample([bare, dataclasses.replace(row, state="RUNNING")], rng.randint(0, 2)), row])
    followed, filled = tmp_path / "followed.db", tmp_path / "filled.db"
    with closing(Index(followed)) as index:
        index.make_sorts()
        while steps:
            batch = [rng.choice(steps) for _ in range(rng.randint(1, 9))]
            put(index, *{step[0].attempt_id: step.pop(0) for step in batch if step}.values())
            steps = [step for step in steps if step]
    with closing(Index(filled, in_bulk=True)) as index:
        put(index, *rng.sample(final, len(final)))
        index.make_sorts()

    assert node_totals(followed) == expected(final)
    assert node_totals(filled) == expected(final)
    assert tree(followed) == tree(filled)
    with closing(sqlite3.connect(followed)) as db:
        told = db.execute(f"SELECT sum({'), sum('.join(lineage.COLUMNS)}) FROM lineage_nodes WHERE group_key IS NULL").fetchone()  # noqa: S608
    by_segment = Counter(segment_of(row.state) for row in final)
    assert dict(zip(lineage.COUNTED, told, strict=True)) == {segment: by_segment[segment] for segment in lineage.COUNTED}


def test_rows_that_are_given_up_go_on_counting(tmp_path: Path) -> None:
    with closing(Index(tmp_path / "index.db")) as index:
        index.make_sorts()
        put(index, normal(1, name="fit"), normal(2, task_id(1), name="load"))
        index.begin()
        index.delete(TASKS, [task_id(1), task_id(2)])
        index.commit()
    assert tree(tmp_path / "index.db")["job:T:fit"] == (1, {"finished": 2})


def bare(number: int, **fields: Any) -> Task:
    """A task of which only its state has come."""
    return normal(number, name=None, type=None, state="RUNNING", **fields)


def read(path: Path, *, hide_finished: bool = False) -> Lineage:
    return Lineage(path, JOB, time.monotonic() + 10, hide_finished=hide_finished)


def test_a_member_that_left_does_not_stand_for_those_that_stay(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    with closing(Index(path)) as index:
        index.make_sorts()
        put(index, bare(1), bare(2))
        put(index, normal(1, name="fit"))
        of_nobody, fit = sorted(read(path).top().branches, key=lambda one: one.name or "")
        assert (of_nobody.kind, of_nobody.id, of_nobody.members) == ("GROUP", None, 1)
        assert (fit.kind, fit.id) == ("TASK", task_id(1))
        put(index, bare(3), normal(2, name="fit"))
        alone = next(one for one in read(path).top().branches if one.name is None)
        assert (alone.kind, alone.id) == ("TASK", task_id(3)), "who joins as the known one leaves is known"
        put(index, normal(4, bare(3).task_id, name="called"), bare(5))
        put(index, bare(6))
        put(index, normal(6, name="fit"))
        put(index, normal(5, name="fit"))
        alone = next(one for one in read(path).top().branches if one.name is None)
        assert alone.id == task_id(3), "those who stay go on being known"


def test_the_last_member_is_known_by_what_it_called(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    with closing(Index(path)) as index:
        index.make_sorts()
        put(index, bare(1), bare(2), normal(3, task_id(2), name="called"))
        put(index, normal(1, name="fit"))
    alone = next(one for one in read(path).top().branches if one.name is None)
    assert (alone.id, alone.total) == (task_id(2), 2)


def test_what_is_beyond_what_is_shown_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "index.db"
    with closing(Index(path)) as index:
        index.make_sorts()
        put(index, *(normal(number, task_id(1000 + number), name="orphan") for number in range(1, 51)))
    lost = read(path).lost()
    assert (len(lost.branches), lost.more, lost.is_exact) == (20, 30, True)
    monkeypatch.setattr(lineage_reading, "COUNTED_MORE", 10)
    lost = read(path).lost()
    assert (lost.more, lost.is_exact) == (10, False)


def test_what_is_hidden_is_not_counted_as_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage_reading, "AT_ONCE", 3)
    path = tmp_path / "index.db"
    callers = [normal(number, name="fit") for number in range(1, 11)]
    called = [normal(100 + number, task_id(number), name="load", state="RUNNING" if number < 6 else "FINISHED") for number in range(1, 11)]
    leaves = [normal(200 + number, name="fit", state="FAILED" if number < 2 else "FINISHED") for number in range(8)]
    with closing(Index(path)) as index:
        index.make_sorts()
        put(index, *callers, *called, *leaves)

    [group] = read(path).top().branches

    def level(*, hide_finished: bool) -> tuple[int, int, int]:
        found = read(path, hide_finished=hide_finished).below(group.key)
        return len(found.branches), found.more, found.leaves

    assert level(hide_finished=False) == (3, 7, 8)
    assert level(hide_finished=True) == (3, 2, 2)


def test_ids_that_close_a_circle_hang_nowhere_and_end(tmp_path: Path) -> None:
    with closing(Index(tmp_path / "index.db")) as index:
        index.make_sorts()
        put(index, normal(1, task_id(2)), normal(2, task_id(3)), normal(3, task_id(1)), normal(4, task_id(4)), normal(5, task_id(1)))
        put(index, normal(1, task_id(2), state="RUNNING"), normal(6))
    assert node_totals(tmp_path / "index.db")["job"] == 1


@pytest.mark.parametrize(("depth", "width"), [(2_000, 5_000), pytest.param(10_000, 100_000, marks=pytest.mark.scale)])
def test_very_deep_and_very_wide(tmp_path: Path, depth: int, width: int) -> None:
    deep = [normal(number, task_id(number - 1) if number > 1 else None, name="down") for number in range(1, depth + 1)]
    wide = [normal(2 * depth + number, task_id(depth // 2), name="across") for number in range(width)]
    with closing(Index(tmp_path / "index.db")) as index:
        index.make_sorts()
        for start in range(0, len(deep), 2000):
            put(index, *deep[start : start + 2000])
        put(index, *wide)
        put(index, dataclasses.replace(deep[-1], state="RUNNING"))
    with closing(Index(tmp_path / "filled.db", in_bulk=True)) as index:
        put(index, *wide, *deep[::-1])
        index.make_sorts()
    for totals in (node_totals(tmp_path / "index.db"), node_totals(tmp_path / "filled.db")):
        assert totals["job"] == depth + width
        assert totals[task_id(depth // 2)] == depth // 2 + width
        assert totals[task_id(depth - 1)] == 1


def test_names_without_end_become_one_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage, "GROUPS_OF_A_NODE", 10)
    rows = [normal(number, name=f"name {number}") for number in range(1, 31)]
    for path, in_bulk in ((tmp_path / "one.db", False), (tmp_path / "other.db", True)):
        with closing(Index(path, in_bulk=in_bulk)) as index:
            if not in_bulk:
                index.make_sorts()
            put(index, *rows)
            index.make_sorts()
            put(index, *(dataclasses.replace(row, state="FAILED") for row in rows))
        found = tree(path)
        assert len(found) == 11
        assert found[f"job:T:{OTHER_NAMES}"] == (20, {"failed": 20})
        assert node_totals(path) == Counter({"job": 30})
