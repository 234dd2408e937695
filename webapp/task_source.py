"""How tasks are learnt and how complete what is known of them is: said wherever tasks are shown."""

from __future__ import annotations

from dataclasses import dataclass

from clusterstate import model
from clusterstate.resources import TASKS
from clusterstate.store.reader import SessionReader
from clusterstate.task_states import NOT_RECORDED


@dataclass(frozen=True)
class Source:
    """How complete the rows are."""

    word: str | None  # poll, push+poll; None: not known yet
    interval_s: float | None
    recorded: int  # attempts of which anything is or was known here, with those given up
    total: int  # attempts that there were, as far as anybody counts: at least `recorded`
    dropped: int  # attempts that Ray itself lost, by the GCS's count; where they are pushed, only those that are not recorded
    pushed: model.PushReport | None
    not_kept: int  # reports of attempts that were not kept: too many others had not ended


def source_of(reader: SessionReader, job_id: str | None = None) -> Source:
    """How complete what is known of tasks is, of a job or of all."""
    report = reader.collector()
    found = next((one for one in report.sources if one.resource == TASKS.name), None) if report else None
    states = reader.task_states(job_id)
    total = sum(states.values())
    recorded = total - states.get(NOT_RECORDED, 0)
    pushed, dropped = report.pushed if report else None, reader.reported_tasks(job_id)[1]
    return Source(
        word=found.source if found else None,
        interval_s=found.interval_s if found else None,
        recorded=recorded,
        total=total,
        dropped=min(dropped, total - recorded) if pushed is not None and pushed.events else dropped,
        pushed=pushed,
        not_kept=report.tasks_not_kept if report else 0,
    )
