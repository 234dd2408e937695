"""Jobs: all of a session, and a first page for each."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Response

from clusterstate import model
from clusterstate.query import Condition, NotFound
from clusterstate.resources import ACTORS as ACTOR_ROWS
from clusterstate.resources import JOBS as JOB_ROWS
from clusterstate.resources import NODES, PLACEMENT_GROUPS, PROCESSES, WORKERS
from clusterstate.resources import TASKS as TASK_ROWS
from clusterstate.task_states import progress
from webapp.ids import hash_in
from webapp.responses import table_query, table_response
from webapp.scope import Scope
from webapp.showing import NarrowedTable, narrowed, show
from webapp.tables.actors import ACTORS
from webapp.tables.drawing import TableView
from webapp.tables.jobs import JOBS
from webapp.tables.placement_groups import PLACEMENT_GROUPS as GROUPS
from webapp.tables.tasks import TASKS
from webapp.tables.workers import WORKERS as WORKER_TABLE
from webapp.tabs import Tab, chosen_tab, draw_tabs

TABS = (("info", "Info"), ("tasks", "Tasks"), ("actors", "Actors"), ("workers", "Workers"), ("placement-groups", "Placement groups"))
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
    tabs: tuple[Tab, ...]
    tab: str
    view: TableView | None  # the table of the chosen tab; None on Info, or where the job has no driver yet


def list_jobs(scope: Scope) -> Response:
    """Every job of the session: drivers and submissions. Ray's own drivers are left out unless asked for."""
    query = table_query(JOBS)
    hidden = () if "is_internal" in query.filters or query.q else (Condition("is_internal", "is", 0),)
    return table_response("jobs/list.html", JOBS, query, scope, always=hidden)


def show_job(scope: Scope, job_key: str) -> Response:
    """One job by its submission id or job id."""
    tab = chosen_tab(TABS)
    table = narrowed(TAB_TABLES[tab][0]) if tab in TAB_TABLES else None
    resources = tuple(dict.fromkeys((*SEEN, *SEEN_IN_TAB[tab])))
    return show("jobs/detail.html", "jobs/_detail.html", scope, resources, lambda: _load(scope, job_key, tab, table))


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


def _load(scope: Scope, job_key: str, tab: str, table: NarrowedTable | None) -> JobPage:
    job = find_job(scope, job_key)
    view = None
    if table is not None and job.job_id is not None:
        view = table.view(scope, Condition(TAB_TABLES[tab][1], "is", job.job_id))
    return JobPage(
        job=job,
        driver_node=scope.reader.get(NODES, job.driver_node_id) if job.driver_node_id else None,
        progress=_progress(scope, job),
        actor_states=scope.reader.counts(ACTORS.view, "state", (Condition("job_id", "is", job.job_id),)) if job.job_id else {},
        tabs=draw_tabs(TABS, tab),
        tab=tab,
        view=view,
    )


def _progress(scope: Scope, job: model.Job) -> dict[str, int]:
    counts = scope.reader.counts(TASKS.view, "state", (Condition("job_id", "is", job.job_id),)) if job.job_id else {}
    return progress(counts) if counts else {}
