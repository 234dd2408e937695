"""Attempts of tasks found by their state: some of them, how many, and what those that wait do so for, alike together.

A session may have a million tasks, and an actor or a caller most of them; those that wait, run or failed are found by their state.
All questions go by that index and are bounded: rows by their number, counts by how far is counted, all by the reader's deadline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clusterstate.model import Task
from clusterstate.resources import TASKS
from clusterstate.store.schema import column_of, decode_row, selected
from clusterstate.store.sqlite_reading import ask
from clusterstate.task_states import STATE_FIELDS

COUNTED = 10_000
"""How far is counted."""
GROUPED = 10_000
"""Attempts of a state that are grouped at most, the oldest first."""
GROUPS = 100


@dataclass(frozen=True)
class AtLeast:
    """A count, which may have been given up on the way."""

    count: int
    is_exact: bool


@dataclass(frozen=True)
class Alike:
    """Attempts of one state that wait for the same, as far as their rows say. Which of the ids are filled depends on what matters."""

    state: str
    type: str | None
    required_resources_id: str | None
    label_selector_id: str | None
    placement_group_id: str | None
    actor_id: str | None  # of methods of an actor
    count: int
    since_ms: int | None  # when the first of them came to the state, Unix ms


class TasksByState:
    """Questions to one session's index. `deadline` gives the time.monotonic() until when an answer is waited for.

    Methods raise IndexMissing, DeadlinePassed.
    """

    def __init__(self, path: Path, deadline: Callable[[], float]) -> None:
        self._path = path
        self._deadline = deadline

    def rows(
        self, states: Sequence[str], of: Mapping[str, Any], *, before: Task | None = None, newest: bool = False, limit: int
    ) -> list[Task]:
        """Attempts in these states with these values, the first created first; `before`: created no later than that task, or retried."""
        found: list[Task] = []
        order = "DESC" if newest else "ASC"
        where, values = _narrowed(of, before)
        for state in states:
            sql = f"SELECT {selected(TASKS)} FROM tasks WHERE state = ?{where} ORDER BY creation_time_ms {order} LIMIT ?"  # noqa: S608
            found += [decode_row(TASKS, row) for row in ask(self._path, sql, (state, *values, limit), self._deadline())]
        return sorted(found, key=lambda task: task.creation_time_ms or 0, reverse=newest)[:limit]

    def counts(self, states: Sequence[str], of: Mapping[str, Any], *, before: Task | None = None) -> dict[str, AtLeast]:
        """State → how many attempts in it have these values. States without any are left out."""
        where, values = _narrowed(of, before)
        found: dict[str, AtLeast] = {}
        for state in states:
            sql = f"SELECT count(*) FROM (SELECT 1 FROM tasks WHERE state = ?{where} LIMIT ?)"  # noqa: S608 - declared names
            [(count,)] = ask(self._path, sql, (state, *values, COUNTED), self._deadline())
            if count:
                found[state] = AtLeast(int(count), count < COUNTED)
        return found

    def ended_first(self, state: str, of: Mapping[str, Any], limit: int) -> list[Task]:
        """Attempts that ended in this state with these values, the first first."""
        where, values = _narrowed(of, None)
        sql = f"SELECT {selected(TASKS)} FROM tasks WHERE state = ?{where} ORDER BY +end_time_ms LIMIT ?"  # noqa: S608 - declared names
        return [decode_row(TASKS, row) for row in ask(self._path, sql, (state, *values, limit), self._deadline())]

    def alike(self, state: str, job_id: str | None = None) -> list[Alike]:
        """Attempts in a state, of a job or of all, that with most of the same first. Of more than GROUPED the oldest are told."""
        where, values = _narrowed({} if job_id is None else {"job_id": job_id}, None)
        since = STATE_FIELDS.get(state, "creation_time_ms")
        by_demand = "CASE WHEN type IS NOT 'ACTOR_TASK' THEN {} END" if state == "PENDING_NODE_ASSIGNMENT" else "NULL"
        by = [
            "type",
            by_demand.format("required_resources_id"),
            by_demand.format("label_selector_id"),
            by_demand.format("placement_group_id"),
            "CASE WHEN type = 'ACTOR_TASK' THEN actor_id END" if state != "PENDING_ARGS_AVAIL" else "NULL",
        ]
        columns = ", ".join(f"{sql} AS k{number}" for number, sql in enumerate(by))
        words = ", ".join(f"(SELECT word FROM words WHERE n = k{number})" for number in range(1, len(by)))  # noqa: S608 - no names
        sql = f"""
        SELECT k0, {words}, count, since FROM (
            SELECT k0, k1, k2, k3, k4, count(*) AS count, min(since) AS since FROM (
                SELECT {columns}, coalesce({since}, creation_time_ms) AS since
                FROM tasks WHERE state = ?{where} ORDER BY creation_time_ms LIMIT ?
            ) GROUP BY k0, k1, k2, k3, k4 ORDER BY count DESC LIMIT ?
        )"""  # noqa: S608 - declared names
        found = ask(self._path, sql, (state, *values, GROUPED, GROUPS), self._deadline())
        return [Alike(state, *row) for row in found]


def _narrowed(of: Mapping[str, Any], before: Task | None) -> tuple[str, list[Any]]:
    """More conditions, and what is bound in them. The plus keeps SQLite from another index than the state's."""
    terms: list[str] = []
    values: list[Any] = []
    for name, value in of.items():
        column = column_of(TASKS, name)
        if column is None:
            raise LookupError(f"tasks have no column {name}")
        if value is None:
            terms.append(f" AND +{TASKS.name}.{name} IS NULL")
            continue
        terms.append(f" AND +{column.equals(TASKS.name)}")
        values.append(column.bind(value))
    if before is not None and before.creation_time_ms is not None:
        terms.append(" AND (creation_time_ms < ? OR (creation_time_ms = ? AND sequence < ?) OR attempt_number > 0)")
        values += [before.creation_time_ms, before.creation_time_ms, before.sequence]
    return "".join(terms), values
