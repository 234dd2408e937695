"""Attempts that are given up for the limit go on counting: by job, name and state."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from clusterstate.model import OTHER_NAMES, GivenUpTasks, Task
from clusterstate.resources import TASKS_GIVEN_UP, Resource
from clusterstate.store.writer import SessionWriter

NAMES_OF_A_JOB = 10_000
"""Names that a program may make up for its tasks; the rest count as OTHER_NAMES."""

Group = tuple[str | None, str | None, str, str | None]
"""job id, name, state, type."""


class GivenUp:
    """Knows the names that are counted already."""

    def __init__(self) -> None:
        self._names: dict[str | None, set[str | None]] | None = None

    def tally(self, writer: SessionWriter, tasks: list[Task]) -> tuple[Resource, Sequence[Any]]:
        """The counts after these are gone as well: rows of TASKS_GIVEN_UP."""
        if self._names is None:
            self._names = {}
            for row in writer.rows(TASKS_GIVEN_UP):
                self._names.setdefault(row.job_id, set()).add(row.name)
        counts: Counter[Group] = Counter((task.job_id, self._name(task), task.state, task.type) for task in tasks)
        groups = {_key(group): group for group in counts}
        known = writer.get(TASKS_GIVEN_UP, list(groups))
        return TASKS_GIVEN_UP, [
            GivenUpTasks(key, *group, counts[group]) if row is None else replace(row, n=row.n + counts[group])
            for (key, group), row in zip(groups.items(), known, strict=True)
        ]

    def _name(self, task: Task) -> str | None:
        assert self._names is not None  # noqa: S101 - for the type checker
        names = self._names.setdefault(task.job_id, set())
        if task.name not in names:
            if len(names) >= NAMES_OF_A_JOB:
                return OTHER_NAMES
            names.add(task.name)
        return task.name


def _key(group: Group) -> str:
    return hashlib.blake2b(json.dumps(group).encode(), digest_size=12).hexdigest()
