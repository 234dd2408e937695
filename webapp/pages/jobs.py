"""Jobs: all of a session, and a first page for each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from flask import Response, request

from clusterstate import model
from clusterstate.journal import Operation
from clusterstate.operations import SubmitJob
from clusterstate.query import Condition, NotFound
from clusterstate.resources import ACTORS as ACTOR_ROWS
from clusterstate.resources import JOBS as JOB_ROWS
from clusterstate.resources import NODES, PLACEMENT_GROUPS, PROCESSES, WORKERS
from clusterstate.resources import TASKS as TASK_ROWS
from clusterstate.task_states import progress
from webapp import background
from webapp.breakdown import Breakdown, breakdown
from webapp.ids import hash_in
from webapp.job_failure import FailedActors, JobFailure, failed_actors, failure_of
from webapp.pages.job_operations import STOPPABLE, ability_of, may_operate, operations_of, why_not_stoppable
from webapp.parts import parts
from webapp.responses import table_query, table_response
from webapp.scope import Scope, href
from webapp.showing import NarrowedTable, narrowed, show
from webapp.tables.actors import ACTORS
from webapp.tables.drawing import TableView
from webapp.tables.jobs import JOBS
from webapp.tables.metadata import with_metadata_columns
from webapp.tables.placement_groups import PLACEMENT_GROUPS as GROUPS
from webapp.tables.tasks import TASKS
from webapp.tables.workers import WORKERS as WORKER_TABLE
from webapp.tabs import Tab, chosen_tab
from webapp.task_source import Source, source_of
from webapp.waiting_tasks import WaitingTasks, waiting_tasks

TABS = (
    ("info", "Info"),
    ("tasks", "Tasks"),
    ("breakdown", "Breakdown"),
    ("actors", "Actors"),
    ("workers", "Workers"),
    ("placement-groups", "Placement groups"),
)
TAB_TABLES = {
    "tasks": (TASKS, "job_id"),
    "actors": (ACTORS, "job_id"),
    "workers": (WORKER_TABLE, "current_job_id"),
    "placement-groups": (GROUPS, "creator_job_id"),
}
SEEN = (JOB_ROWS.name, ACTOR_ROWS.name, NODES.name, TASK_ROWS.name)
SEEN_IN_TAB = {
    "info": (),
    "tasks": (),
    "breakdown": (),
    "actors": (PROCESSES.name,),
    "workers": (WORKERS.name, PROCESSES.name),
    "placement-groups": (PLACEMENT_GROUPS.name,),
}


@dataclass(frozen=True)
class JobPage:
    """All that jobs/detail.html may use."""

    job: model.Job
    driver_node: model.Node | None
    progress: dict[str, int]  # attempts of tasks by segment of the bar; empty when none is known
    actor_states: dict[str, int]
    failed_actors: FailedActors | None
    failure: JobFailure | None  # what a failed job opens with
    tabs: tuple[Tab, ...]
    tab: str
    view: TableView | None  # the table of the chosen tab; None on Info, or where the job has no driver yet
    waiting: WaitingTasks | None  # beside the table of tasks: why those that wait do
    operations: tuple[Operation, ...]  # what was asked of it here, newest first
    stop: Stop | None
    source: Source | None  # of the table of tasks, or of the breakdown
    breakdown: Breakdown | None


@dataclass(frozen=True)
class Stop:
    """Whether who looks may stop the job; `reason` says why not."""

    reason: str | None


@dataclass(frozen=True)
class AskedPage:
    """All that jobs/asked.html may use: a submission that Ray does not know (yet)."""

    submission_id: str
    operations: tuple[Operation, ...]
    submission: Operation


def list_jobs(scope: Scope) -> Response:
    """Every job of the session: drivers and submissions. Ray's own drivers are left out unless asked for."""
    table = with_metadata_columns(JOBS, request.args, scope.reader)
    query = table_query(table)
    hidden = () if "is_internal" in query.filters or query.q else (Condition("is_internal", "is", 0),)
    return table_response("jobs/list.html", table, query, scope, always=hidden)


def show_job(scope: Scope, job_key: str) -> Response:
    """One job by its submission id or job id."""
    tab = chosen_tab(TABS)
    table = narrowed(TAB_TABLES[tab][0]) if tab in TAB_TABLES else None
    resources = tuple(dict.fromkeys((*SEEN, *SEEN_IN_TAB[tab])))
    asked = operations_of(scope, job_key)
    submission = next((one for one in asked if one.action == SubmitJob.audit_action), None)
    also = tuple((one.operation_id, one.state, one.outcome) for one in asked)
    if submission is not None and scope.reader.get(JOB_ROWS, job_key) is None:
        page = AskedPage(job_key, asked, submission)
        return show("jobs/asked.html", "jobs/_asked.html", scope, SEEN, lambda: page, also)
    unable = ability_of(scope).reason if tab == "info" and may_operate() and not scope.is_past else None
    waiting = _waiting(scope, job_key) if tab == "tasks" else None
    load = partial(_load, scope, job_key, tab, table, asked, unable, waiting)
    return show("jobs/detail.html", "jobs/_detail.html", scope, resources, load, (*also, unable, waiting))


def find_job(scope: Scope, job_key: str) -> model.Job:
    """The job with this submission id or job id, as it stands in a path. Raises NotFound."""
    hashed = hash_in(job_key)
    job: model.Job | None = scope.reader.get(JOB_ROWS, job_key) if hashed is None else scope.reader.hashed(JOB_ROWS, hashed)
    if job is None and hashed is None:
        found = scope.reader.find(JOB_ROWS, "job_id", job_key, 1)
        job = found[0] if found else None
    if job is None:
        raise NotFound(f"No job {job_key[:64]!r} is remembered in this session of {scope.cluster}.")
    return job


def tabs_of(job: model.Job, current: str) -> tuple[Tab, ...]:
    """The tabs of a job's page, and its timeline, which is a page of its own."""
    own = (Tab(key, label, href("job", job_key=job.job_key, tab=None if key == TABS[0][0] else key), key == current) for key, label in TABS)
    return (*own, Tab("timeline", "Timeline", href("timeline", job_id=job.job_key), current == "timeline"))


def _load(
    scope: Scope,
    job_key: str,
    tab: str,
    table: NarrowedTable | None,
    asked: tuple[Operation, ...],
    unable: str | None,
    waiting: WaitingTasks | None,
) -> JobPage:
    job = find_job(scope, job_key)
    view = None
    if table is not None and job.job_id is not None:
        view = table.view(scope, Condition(TAB_TABLES[tab][1], "is", job.job_id))
    failed = failed_actors(scope.reader, job) if tab == "info" else None
    return JobPage(
        job=job,
        driver_node=scope.reader.get(NODES, job.driver_node_id) if job.driver_node_id else None,
        progress=_progress(scope, job),
        actor_states=scope.reader.counts(ACTORS.view, "state", (Condition("job_id", "is", job.job_id),)) if job.job_id else {},
        failed_actors=failed,
        failure=failure_of(scope.reader, job, failed) if tab == "info" else None,
        tabs=tabs_of(job, tab),
        tab=tab,
        view=view,
        waiting=waiting,
        source=source_of(scope.reader, job.job_id) if tab in ("tasks", "breakdown") and job.job_id else None,
        breakdown=breakdown(scope.reader, job.job_id) if tab == "breakdown" and job.job_id else None,
        operations=asked,
        stop=_stop(scope, job, unable) if may_operate() else None,
    )


def _waiting(scope: Scope, job_key: str) -> WaitingTasks | None:
    job_id = find_job(scope, job_key).job_id
    if job_id is None or scope.is_past:
        return None
    return waiting_tasks(scope.reader, parts().now(), job_id, run=background.run)


def _stop(scope: Scope, job: model.Job, unable: str | None) -> Stop | None:
    """Offered where something runs."""
    return None if scope.is_past or job.status not in STOPPABLE else Stop(why_not_stoppable(job) or unable)


def _progress(scope: Scope, job: model.Job) -> dict[str, int]:
    counts = scope.reader.task_states(job.job_id) if job.job_id else {}
    return progress(counts) if counts else {}
