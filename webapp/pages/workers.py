"""Worker processes: all of a session, and each of them."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Response

from clusterstate import model
from clusterstate.query import Condition, NotFound
from clusterstate.resources import ACTORS, JOBS, NODES, PROCESSES
from clusterstate.resources import TASKS as TASK_ROWS
from clusterstate.resources import WORKERS as WORKER_ROWS
from webapp.responses import table_query, table_response
from webapp.scope import Scope
from webapp.showing import NarrowedTable, narrowed, show
from webapp.tables.drawing import TableView
from webapp.tables.tasks import TASKS
from webapp.tables.workers import WORKERS
from webapp.task_source import Source, source_of

SEEN = (WORKER_ROWS.name, TASK_ROWS.name, PROCESSES.name, ACTORS.name, JOBS.name, NODES.name)


@dataclass(frozen=True)
class WorkerPage:
    """All that workers/detail.html may use."""

    worker_id: str
    worker: model.Worker | None  # None: the GCS has not listed it yet
    process: model.Process | None  # None: ended, or no node collector there
    actors: list[model.Actor]
    job: model.Job | None
    node: model.Node | None
    tasks: TableView
    source: Source  # how tasks are learnt


def list_workers(scope: Scope) -> Response:
    """Every worker process of the session that is still remembered."""
    return table_response("workers/list.html", WORKERS, table_query(WORKERS), scope)


def show_worker(scope: Scope, worker_id: str) -> Response:
    """One worker process: what it runs, what it holds, how it ended."""
    table = narrowed(TASKS)
    return show("workers/detail.html", "workers/_detail.html", scope, SEEN, lambda: _load(scope, worker_id, table))


def _load(scope: Scope, worker_id: str, table: NarrowedTable) -> WorkerPage:
    reader = scope.reader
    worker: model.Worker | None = reader.get(WORKER_ROWS, worker_id)
    processes = reader.find(PROCESSES, "worker_id", worker_id, 1)
    if worker is None and not processes:
        raise NotFound(f"No worker {worker_id[:64]!r} is remembered in this session of {scope.cluster}.")
    process: model.Process | None = processes[0] if processes else None
    job_id = (process.job_id if process else None) or (worker.job_id if worker else None)
    node_id = process.node_id if process else worker.node_id if worker else None
    jobs = reader.find(JOBS, "job_id", job_id, 1) if job_id else []
    return WorkerPage(
        worker_id=worker_id,
        worker=worker,
        process=process,
        actors=reader.find(ACTORS, "worker_id", worker_id, 5),
        job=jobs[0] if jobs else None,
        node=reader.get(NODES, node_id) if node_id else None,
        tasks=table.view(scope, Condition("worker_id", "is", worker_id)),
        source=source_of(reader, job_id),
    )
