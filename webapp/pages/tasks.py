"""Tasks: all attempts of a session, and each task with its attempts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Response, g, request

from clusterstate import model
from clusterstate.query import BadQuery, NotFound
from clusterstate.resources import ACTORS, JOBS, NODES
from clusterstate.resources import TASKS as TASK_ROWS
from clusterstate.task_states import has_ended, state_times
from clusterstate.task_waits import PENDING
from webapp import background
from webapp.parts import parts
from webapp.reasons import Reason
from webapp.responses import table_query, table_response
from webapp.scope import Scope
from webapp.showing import show
from webapp.tables.framework import TableQuery
from webapp.tables.tasks import TASKS
from webapp.tabs import Tab, of_this_page
from webapp.task_reasons import SEEN as SEEN_IN_REASONS
from webapp.task_reasons import why_task_waits
from webapp.task_source import Source, source_of
from webapp.task_texts import mapping_of, text_of
from webapp.waiting_tasks import WaitingTasks, waiting_tasks

SEEN = tuple(dict.fromkeys((TASK_ROWS.name, JOBS.name, *SEEN_IN_REASONS)))
CHILDREN_SHOWN = 50
MOST_ATTEMPTS = 1000


@dataclass(frozen=True)
class Step:
    """A state that an attempt came to. `lasted_ms` is until the next one; None: not known, or still in it."""

    state: str
    at_ms: int
    lasted_ms: int | None


@dataclass(frozen=True)
class TaskPage:
    """All that tasks/detail.html may use. The chosen attempt is `task`."""

    task: model.Task
    attempts: tuple[Tab, ...]
    steps: tuple[Step, ...]
    is_over: bool
    error_message: str | None
    call_site: str | None
    required_resources: dict[str, float] | None
    label_selector: dict[str, str] | None
    runtime_env: dict[str, Any] | None
    parent: model.Task | None
    children: list[model.Task]  # CHILDREN_SHOWN at most
    has_more_children: bool
    job: model.Job | None
    actor: model.Actor | None
    node: model.Node | None
    reason: Reason | None  # why it waits, when it does
    source: Source


def list_tasks(scope: Scope) -> Response:
    """Every attempt that is remembered."""
    query = table_query(TASKS)
    waiting = _waiting(scope, query) if g.get("format") is None else None
    return table_response(
        "tasks/list.html",
        TASKS,
        query,
        scope,
        beside=lambda _: {"source": source_of(scope.reader)},
        also=(waiting,),
        waiting=waiting,
    )


def _waiting(scope: Scope, query: TableQuery) -> WaitingTasks | None:
    """Why those of the list wait that do. None where the list is narrowed by anything but a job and states."""
    jobs = query.filters.get("job_id", ())
    states = tuple(state for state in PENDING if state in query.filters.get("state", PENDING))
    is_plain = not query.q and query.filters.keys() <= {"state", "job_id"} and len(jobs) < 2 and "*" not in "".join(jobs)
    if not is_plain or not states or scope.is_past:
        return None
    return waiting_tasks(scope.reader, parts().now(), next(iter(jobs), None), states, background.run)


def show_task(scope: Scope, task_id: str) -> Response:
    """One task: an attempt of it, the last unless the URL names another."""
    wanted = request.args.get("attempt")
    if wanted is not None and not (wanted.isascii() and wanted.isdigit() and len(wanted) < 10):
        raise BadQuery("attempt takes a number: 0 is the first attempt.")
    chosen = None if wanted is None else int(wanted)
    return show("tasks/detail.html", "tasks/_detail.html", scope, SEEN, lambda: _load(scope, task_id, chosen))


def _load(scope: Scope, task_id: str, chosen: int | None) -> TaskPage:
    reader = scope.reader
    attempts: list[model.Task] = sorted(
        reader.find(TASK_ROWS, "task_id", task_id, MOST_ATTEMPTS), key=lambda attempt: attempt.attempt_number
    )
    if not attempts:
        raise NotFound(f"No task {task_id[:64]!r} is remembered in this session of {scope.cluster}.")
    known = {attempt.attempt_number: attempt for attempt in attempts}
    task = attempts[-1] if chosen is None else known.get(chosen)
    if task is None:
        raise NotFound(f"Task {task_id[:64]!r} has no attempt {chosen}. Attempts are: {', '.join(map(str, list(known)[:20]))}.")
    children = reader.find(TASK_ROWS, "parent_task_id", task_id, CHILDREN_SHOWN + 1)
    jobs = reader.find(JOBS, "job_id", task.job_id, 1) if task.job_id else []
    last = attempts[-1].attempt_number
    return TaskPage(
        task=task,
        attempts=tuple(
            Tab(str(number), f"Attempt {number}", of_this_page(attempt=None if number == last else number), number == task.attempt_number)
            for number in known
        ),
        steps=_steps(task),
        is_over=has_ended(task.state),
        error_message=text_of(reader, task.error_message_id),
        call_site=text_of(reader, task.call_site_id),
        required_resources=mapping_of(reader, task.required_resources_id),
        label_selector=mapping_of(reader, task.label_selector_id),
        runtime_env=mapping_of(reader, task.runtime_env_id),
        parent=next(iter(reader.find(TASK_ROWS, "task_id", task.parent_task_id, 1)), None) if task.parent_task_id else None,
        children=children[:CHILDREN_SHOWN],
        has_more_children=len(children) > CHILDREN_SHOWN,
        job=jobs[0] if jobs else None,
        actor=reader.get(ACTORS, task.actor_id) if task.actor_id else None,
        node=reader.get(NODES, task.node_id) if task.node_id else None,
        reason=why_task_waits(reader, task),
        source=source_of(reader, task.job_id),
    )


def _steps(task: model.Task) -> tuple[Step, ...]:
    """The states in the order of their moments, with how long each lasted."""
    times = sorted(state_times(task), key=lambda step: step[1])
    following = [at for _, at in times[1:]]
    return tuple(Step(state, at, following[number] - at if number < len(following) else None) for number, (state, at) in enumerate(times))
