"""How many attempts of tasks are in each state: those recorded, those given up for the limit, and those never recorded."""

from __future__ import annotations

from pathlib import Path

from clusterstate.query import STATES_OF_TASKS
from clusterstate.store.sqlite_reading import ask


def task_states(path: Path, job_id: str | None, deadline: float | None = None) -> dict[str, int]:
    """Attempts by state, of a job or (None) of all. Raises IndexMissing, DeadlinePassed."""
    if job_id is None:
        return dict(ask(path, STATES_OF_TASKS.format(job="1"), (), deadline))
    return dict(ask(path, STATES_OF_TASKS.format(job="job_id = ?"), (job_id,) * 3, deadline))


def reported(path: Path, job_id: str | None) -> tuple[int, int]:
    """(attempts that the GCS counts, those of them that it knows were lost), of a job or of all."""
    where, values = ("1", ()) if job_id is None else ("job_id = ?", (job_id,))
    [found] = ask(path, f"SELECT coalesce(sum(reported), 0), coalesce(sum(dropped), 0) FROM task_totals WHERE {where}", values)  # noqa: S608
    return int(found[0]), int(found[1])
