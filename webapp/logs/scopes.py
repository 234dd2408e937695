"""Which log files are of one of Ray's things: by the workers, jobs and submissions that their names tell."""

from __future__ import annotations

from dataclasses import dataclass

from clusterstate import model
from clusterstate.query import NotFound
from clusterstate.resources import ACTORS, JOBS, TASKS, WORKERS
from clusterstate.store.reader import SessionReader

MOST_WORKERS = 800
"""Named to a node at once: with more the files of those that are named are searched, and it is said."""


@dataclass(frozen=True)
class LogScope:
    """Whose files; none named: all."""

    worker_ids: tuple[str, ...] = ()
    job_ids: tuple[str, ...] = ()
    submission_ids: tuple[str, ...] = ()
    is_whole: bool = True

    @property
    def ids(self) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """As probes take them: of workers, jobs, submissions."""
        return self.worker_ids, self.job_ids, self.submission_ids


NOBODY = LogScope(worker_ids=("",))
"""Whose files there are none of: of an actor that never had a worker, say."""


def of(reader: SessionReader, *, job: str = "", actor: str = "", worker: str = "") -> LogScope:
    """The files of the worker, actor or job that is named; of everything if none is. Raises NotFound."""
    if worker:
        return LogScope(worker_ids=(worker,))
    if actor:
        return of_actor(reader, actor)
    return of_job(reader, job) if job else LogScope()


def of_actor(reader: SessionReader, actor_id: str) -> LogScope:
    """Of all incarnations of an actor. Raises NotFound."""
    actor: model.Actor | None = reader.get(ACTORS, actor_id)
    if actor is None:
        raise NotFound(f"There is no actor {actor_id[:64]} in this session.")
    workers = {worker_id for worker_id, _ in incarnations(reader, actor)}
    return _scope(workers) if workers else NOBODY


def of_class(reader: SessionReader, class_name: str) -> tuple[str, ...]:
    """The workers of actors of a class, on all nodes, as many as may be named at once."""
    actors: list[model.Actor] = reader.find(ACTORS, "class_name", class_name, MOST_WORKERS)
    return tuple(dict.fromkeys(actor.worker_id for actor in actors if actor.worker_id))


def incarnations(reader: SessionReader, actor: model.Actor) -> list[tuple[str, str | None]]:
    """(worker, node) of each life of an actor, the present one first, without those of whom nobody knows."""
    found: dict[str, str | None] = {}
    if actor.worker_id:
        found[actor.worker_id] = actor.node_id
    for life in reversed(actor.previous_incarnations):
        if life.get("worker_id"):
            found.setdefault(life["worker_id"], life.get("node_id"))
    for task in reader.find(TASKS, "actor_id", actor.actor_id, MOST_WORKERS):
        if task.worker_id and task.type == "ACTOR_CREATION_TASK":
            found.setdefault(task.worker_id, task.node_id)
    return list(found.items())


def of_job(reader: SessionReader, job_key: str) -> LogScope:
    """Of a job, by its id or its submission's. Raises NotFound."""
    job: model.Job | None = reader.get(JOBS, job_key)
    jobs: list[model.Job] = [job] if job else reader.find(JOBS, "job_id", job_key)
    if not jobs:
        raise NotFound(f"There is no job {job_key[:64]} in this session.")
    submissions = {found.submission_id for found in jobs if found.submission_id}
    for submission_id in tuple(submissions):
        jobs += reader.find(JOBS, "submission_id", submission_id)
    job_ids = {found.job_id for found in jobs if found.job_id}
    workers: set[str] = set()
    for job_id in job_ids:
        workers |= reader.ids(WORKERS, "job_id", job_id, MOST_WORKERS + 1)
    scope = _scope(workers)
    return LogScope(scope.worker_ids, tuple(sorted(job_ids)), tuple(sorted(submissions)), scope.is_whole)


def _scope(workers: set[str]) -> LogScope:
    return LogScope(worker_ids=tuple(sorted(workers)[:MOST_WORKERS]), is_whole=len(workers) <= MOST_WORKERS)
