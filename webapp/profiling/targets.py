"""Which processes a profile is of: those of the worker, actor, task, job, class or node that a URL names, as node collectors see them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl

from clusterstate import model
from clusterstate.profiles import Target
from clusterstate.query import BadQuery, Condition, NotFound
from clusterstate.resources import ACTORS, JOBS, NODES, PROCESSES, TASKS
from clusterstate.store.reader import SessionReader
from clusterstate.task_states import has_ended
from webapp.parts import parts
from webapp.profiling.exits import MOST_WORDS, exit_in_words
from webapp.scope import Scope, href
from webapp.tables.workers import WORKERS

MOST_TARGETS = 2_000
MOST_ACTORS = 10_000
MOST_FIELDS = 100
PLACES = frozenset({"after", "before", "limit", "columns"})
"""Arguments of a table that say which page of it is shown, and how."""
PYTHON = ("WORKER", "DRIVER")
NAMES = ("worker", "actor", "task", "attempt", "job", "class", "node", "pid", "workers")
"""Arguments of a URL that say what a profile is of. `workers` is a query string of the table of workers."""
UNSEEN = "no node collector has seen its process yet: try again in a few seconds, or see on its node's page whether one runs there."
LONGEST = {"workers": 4_000}
"""Characters of an argument; of others 256."""


@dataclass(frozen=True)
class Chosen:
    """Processes to look into. `nobody` says why there are none."""

    of: dict[str, str]  # the arguments that chose them
    about: str
    href: str | None  # the page of what it is
    targets: tuple[Target, ...] = ()
    left_out: int = 0  # processes beyond MOST_TARGETS
    while_task: str = ""  # the task's name, if it is a task's
    nobody: str | None = None

    @property
    def are_many(self) -> bool:
        """Whether it was asked of things with many processes, however many there are now."""
        return not self.of.keys() & {"worker", "actor", "task", "pid"} and "driver" not in self.of


def chosen(scope: Scope, args: Mapping[str, str]) -> Chosen:
    """What these arguments name. Raises BadQuery, NotFound."""
    of = {name: args[name][: LONGEST.get(name, 256)] for name in (*NAMES, "driver") if args.get(name)}
    for name, choose in CHOICES.items():
        if name in of:
            return replace(choose(scope.reader, of), of=of)
    raise BadQuery(
        "Name what to look into: worker=, actor=, task=, job=, class= (with job=: of that job), workers= or node= (with pid=: one process)."
    )


def _worker(reader: SessionReader, of: Mapping[str, str]) -> Chosen:
    worker_id = of["worker"]
    found = reader.find(PROCESSES, "worker_id", worker_id, 1)
    nobody = exit_in_words(reader, worker_id) or f"No process of this worker is known: {UNSEEN}"
    return _one(f"worker {worker_id[:8]}", href("worker", worker_id=worker_id), found, reader, nobody)


def _actor(reader: SessionReader, of: Mapping[str, str]) -> Chosen:
    actor: model.Actor | None = reader.get(ACTORS, of["actor"])
    if actor is None:
        raise NotFound(f"No actor {of['actor'][:64]!r} is remembered in this session.")
    alive = actor.worker_id and actor.state != "DEAD"
    found = reader.find(PROCESSES, "worker_id", actor.worker_id, 1) if alive else []
    name = actor.name or actor.class_name or actor.actor_id[:8]
    ended = f" {actor.exit_detail[:MOST_WORDS]}" if actor.exit_detail and actor.state == "DEAD" else ""
    nobody = f"It is {actor.state}, but {UNSEEN}" if alive else f"It is {actor.state}: no process of it runs now.{ended}"
    return _one(f"actor {name}", href("actor", actor_id=actor.actor_id), found, reader, nobody)


def _task(reader: SessionReader, of: Mapping[str, str]) -> Chosen:
    attempts: list[model.Task] = sorted(reader.find(TASKS, "task_id", of["task"], 1000), key=lambda one: one.attempt_number)
    wanted = [one for one in attempts if str(one.attempt_number) == of.get("attempt", str(one.attempt_number))]
    if not wanted:
        raise NotFound(f"No such attempt of task {of['task'][:64]!r} is remembered in this session.")
    task = wanted[-1]
    page = href("task", task_id=task.task_id, attempt=of.get("attempt"))
    about = f"task {task.name or task.task_id[:8]}"
    if has_ended(task.state):
        return Chosen({}, about, page, nobody=f"It has ended ({task.state}): what ran cannot be sampled any more.")
    if not task.worker_id:
        return Chosen({}, about, page, nobody=f"It is {task.state}: no worker runs it yet.")
    found = reader.find(PROCESSES, "worker_id", task.worker_id, 1)
    nobody = exit_in_words(reader, task.worker_id) or "The worker that ran it is gone."
    return replace(_one(about, page, found, reader, nobody), while_task=task.name or "")


def _job(reader: SessionReader, of: Mapping[str, str]) -> Chosen:
    job = _found_job(reader, of["job"])
    page = href("job", job_key=job.job_key)
    name = job.name or job.submission_id or job.job_id or job.job_key
    found: list[model.Process] = reader.find(PROCESSES, "job_id", job.job_id, MOST_TARGETS * 2) if job.job_id else []
    if "driver" in of:
        drivers = [one for one in found if one.kind == "DRIVER"]
        return _one(f"the driver of job {name}", page, drivers, reader, "Its driver does not run, or where no node collector sees it.")
    return _many(f"job {name}", page, found, reader, "No process of this job runs now.")


def _found_job(reader: SessionReader, name: str) -> model.Job:
    job: model.Job | None = reader.get(JOBS, name) or next(iter(reader.find(JOBS, "job_id", name, 1)), None)
    if job is None:
        raise NotFound(f"No job {name[:64]!r} is remembered in this session.")
    return job


def _class(reader: SessionReader, of: Mapping[str, str]) -> Chosen:
    actors: list[model.Actor] = reader.find(ACTORS, "class_name", of["class"], MOST_ACTORS)
    job = _found_job(reader, of["job"]) if "job" in of else None
    job_id = job.job_id if job is not None else None
    alive = {actor.worker_id for actor in actors if actor.worker_id and actor.state == "ALIVE" and job_id in (None, actor.job_id)}
    found = [one for worker_id in sorted(alive) for one in reader.find(PROCESSES, "worker_id", worker_id, 1)]
    of_job = f" of job {job_id}" if job_id else ""
    page = href("actors", class_name=of["class"], job_id=job_id)
    return _many(f"actors of class {of['class'][:100]}{of_job}", page, found, reader, f"No actor of this class{of_job} is alive.")


def _workers(reader: SessionReader, of: Mapping[str, str]) -> Chosen:
    """Those that the table of workers shows with this query string, on all of its pages."""
    asked: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(of["workers"], max_num_fields=MOST_FIELDS)
    except ValueError:
        raise BadQuery(f"workers= has more than {MOST_FIELDS} arguments.") from None
    for name, value in pairs:
        asked.setdefault(name, []).append(value)
    query = WORKERS.query({name: values for name, values in asked.items() if name not in PLACES}, keep=("theme",))
    selection = replace(query.selection((Condition("is_alive", "is", True),)), limit=MOST_TARGETS + 1)
    rows = reader.page(WORKERS.view, selection, parts().now()).rows
    found = [one for row in rows for one in reader.find(PROCESSES, "worker_id", row["worker_id"], 1)]
    about = "all workers" if not query.where else "workers that are filtered"
    if query.q:
        about = f"workers: {query.q[:100]}"
    page = href("workers") + (f"?{of['workers']}" if of["workers"] else "")
    return _many(about, page, found, reader, "No living worker of this query is seen by a node collector.")


def _node(reader: SessionReader, of: Mapping[str, str]) -> Chosen:
    node: model.Node | None = reader.get(NODES, of["node"])
    if node is None:
        raise NotFound(f"No node {of['node'][:64]!r} is remembered in this session.")
    page = href("node", node_id=node.node_id)
    name = node.node_name or node.hostname or node.node_id[:8]
    if "pid" not in of:
        found = reader.find(PROCESSES, "node_id", node.node_id, MOST_TARGETS * 2)
        return _many(f"node {name}", page, found, reader, "No worker or driver of this node is seen now.")
    if not of["pid"].isascii() or not of["pid"].isdigit() or len(of["pid"]) > 10:
        raise BadQuery(f"pid is {of['pid'][:32]!r}; it must be the number of a process of this node.")
    process: model.Process | None = reader.get(PROCESSES, f"{node.node_id}:{int(of['pid'])}")
    nobody = f"There is no process {of['pid']} of this session on that node now."
    return _one(f"process {of['pid']} on {name}", page, [process] if process else [], reader, nobody)


CHOICES: dict[str, Callable[[SessionReader, Mapping[str, str]], Chosen]] = {
    "worker": _worker,
    "actor": _actor,
    "task": _task,
    "class": _class,
    "job": _job,
    "workers": _workers,
    "node": _node,
}


def _one(about: str, page: str, found: list[model.Process], reader: SessionReader, nobody: str) -> Chosen:
    known = [one for one in found if one.start_time_ms is not None][:1]
    return Chosen({}, about, page, tuple(_target(one, reader) for one in known), nobody=None if known else nobody)


def _many(about: str, page: str, found: list[model.Process], reader: SessionReader, nobody: str) -> Chosen:
    known = [one for one in found if one.kind in PYTHON and one.start_time_ms is not None]
    known.sort(key=lambda one: (one.node_id, one.pid))
    targets = tuple(_target(one, reader) for one in known[:MOST_TARGETS])
    return Chosen({}, about, page, targets, max(0, len(known) - MOST_TARGETS), nobody=None if known else nobody)


def _target(process: model.Process, reader: SessionReader) -> Target:
    actor: model.Actor | None = reader.get(ACTORS, process.actor_id) if process.actor_id else None
    name = (actor.name or actor.repr_name or actor.class_name) if actor is not None else None
    title = f"driver {process.title}" if process.kind == "DRIVER" and process.title else process.title
    return Target(
        node_id=process.node_id,
        pid=process.pid,
        started_ms=process.start_time_ms or 0,
        kind=process.kind,
        label=(name or title or f"pid {process.pid}")[:200],
        class_name=actor.class_name if actor is not None else None,
        worker_id=process.worker_id,
        actor_id=process.actor_id,
        job_id=process.job_id,
    )
