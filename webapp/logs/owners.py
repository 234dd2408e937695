"""Whose a log file is: the job, actor or worker that writes it, or the node, and whether that is alive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from clusterstate import model
from clusterstate.log_answers import ListedFile, Listing
from clusterstate.log_names import AUTOSCALER, DRIVER, GCS, SERVE, WORKER, named, serve_file
from clusterstate.resources import ACTORS, JOBS, NODES, TASKS, WORKERS
from clusterstate.store.reader import SessionReader
from webapp.hosts import is_gone, own_host
from webapp.logs.scopes import MOST_WORKERS
from webapp.scope import Scope, href

ALIVE, DEAD = "ALIVE", "DEAD"
RUNNING = frozenset({"PENDING", "RUNNING"})
MOST_ON_IP = 64
MOST_SERVE = 2_000
CALLS_LOOKED_AT = 3
"""Of a worker whose actor lives elsewhere by now: any task of it names the actor."""


@dataclass(frozen=True)
class Owner:
    """What a file is of. `state` is ALIVE or DEAD; None: nobody knows."""

    label: str
    href: str
    state: str | None
    also: tuple[str, str] | None = None  # label and address of what it belongs to


@dataclass
class Owners:
    """Of the files of a node. Each file costs a few look-ups by an index."""

    scope: Scope
    node: model.Node
    _jobs: dict[str, model.Job | None] = field(default_factory=dict)

    @property
    def _reader(self) -> SessionReader:
        return self.scope.reader

    @cached_property
    def beside(self) -> list[model.Node]:
        """Nodes of the same host: their raylets share the log folder."""
        host = own_host(self._reader, self.node)
        if host is None or not self.node.node_ip:
            return [self.node]
        near: list[model.Node] = self._reader.find(NODES, "node_ip", self.node.node_ip, MOST_ON_IP)
        found = [node for node in near if node.node_id == self.node.node_id or own_host(self._reader, node) == host]
        return found or [self.node]

    @cached_property
    def classes(self) -> dict[str, str]:
        """worker → class of the actor that it runs, or ran, on this host."""
        found: dict[str, str] = {}
        for node in self.beside:
            for rows in self._reader.scan(ACTORS, ("worker_id", "class_name"), "start_time_ms", ("node_id", node.node_id)):
                found.update((worker_id, name) for worker_id, name, *_ in rows if worker_id and name)
        return found

    def of_class(self, class_name: str) -> tuple[str, ...]:
        """The workers of a class of actors, as many as a node may be asked for."""
        return tuple(worker_id for worker_id, name in self.classes.items() if name == class_name)[-MOST_WORKERS:]

    def counted(self, listing: Listing) -> dict[str, int]:
        """Files of each class of actors, the most first."""
        found: Counter[str] = Counter()
        for worker_id, count in listing.workers.items():
            if worker_id in self.classes:
                found[self.classes[worker_id]] += count
        return dict(found.most_common())

    def of_name(self, name: str) -> Owner | None:
        """Of the file that has this path beneath the log folder."""
        told = named(name)
        ids = (told.worker_id, told.job_id, told.submission_id, told.pid)
        return self.of(ListedFile("", name, 0, 0, told.group, told.stream, told.rotation, *ids))

    def of(self, file: ListedFile) -> Owner | None:
        if file.group == WORKER and file.worker_id:
            return self._of_worker(file.worker_id, file.pid, file.job_id)
        if file.group == DRIVER:
            return self._of_job(file.submission_id or file.job_id)
        if file.group == SERVE:
            return self._of_serve(file)
        if file.job_id:
            return self._of_job(file.job_id)
        return self._of_node(file)

    def _of_worker(self, worker_id: str, pid: int | None, job_id: str | None) -> Owner:
        worker: model.Worker | None = self._reader.get(WORKERS, worker_id)
        state = None if worker is None else ALIVE if worker.is_alive and not is_gone(self.scope, self.node) else DEAD
        actor = self._actor_of(worker_id)
        job_id = job_id or (worker.job_id if worker else None) or (actor.job_id if actor else None)
        also = (f"job {job_id}", href("job", job_key=job_id)) if job_id else None
        if actor is not None:
            if state is None and actor.worker_id == worker_id:
                state = DEAD if actor.state == DEAD else ALIVE
            return Owner(_name(actor), href("actor", actor_id=actor.actor_id), state, also)
        if state is None and is_gone(self.scope, self.node):
            state = DEAD
        return Owner(f"worker {pid}" if pid else f"worker {worker_id[:8]}", href("worker", worker_id=worker_id), state, also)

    def _actor_of(self, worker_id: str) -> model.Actor | None:
        for actor in self._reader.find(ACTORS, "worker_id", worker_id, 1):
            found: model.Actor = actor
            return found
        for task in self._reader.find(TASKS, "worker_id", worker_id, CALLS_LOOKED_AT):
            if task.actor_id and task.type in {"ACTOR_CREATION_TASK", "ACTOR_TASK"}:
                known: model.Actor | None = self._reader.get(ACTORS, task.actor_id)
                return known
        return None

    def _of_job(self, job_key: str | None) -> Owner | None:
        if not job_key:
            return None
        if job_key not in self._jobs:
            self._jobs[job_key] = self._reader.get(JOBS, job_key) or next(iter(self._reader.find(JOBS, "job_id", job_key, 1)), None)
        job = self._jobs[job_key]
        state = None if job is None else ALIVE if job.status in RUNNING and not self.scope.is_past else DEAD
        name = (job.name or job.submission_id or job.job_id) if job else None
        return Owner(f"job {name or job_key}", href("job", job_key=job.job_key if job else job_key), state)

    @cached_property
    def _serve(self) -> Mapping[str, model.Actor]:
        """Serve's actors on this host, by the files they write; a living one before a dead one."""
        near = {node.node_id for node in self.beside}
        found: dict[str, model.Actor] = {}
        actors: list[model.Actor] = self._reader.find(ACTORS, "ray_namespace", "serve", MOST_SERVE)
        for actor in actors:
            name = serve_file(actor)
            if name and (actor.node_id in near or actor.node_id is None) and (name not in found or actor.state != DEAD):
                found[name] = actor
        return found

    def _of_serve(self, file: ListedFile) -> Owner | None:
        actor = self._serve.get(file.name.removesuffix(f".{file.rotation}") if file.rotation else file.name)
        if actor is None:
            return None
        return Owner(_name(actor), href("actor", actor_id=actor.actor_id), DEAD if actor.state == DEAD else ALIVE)

    def _of_node(self, file: ListedFile) -> Owner:
        nodes = [self.node] if file.group in {GCS, AUTOSCALER} else self.beside
        states = {DEAD if is_gone(self.scope, node) else ALIVE for node in nodes}
        address = href("node", node_id=self.node.node_id)
        if len(nodes) > 1:  # of which of them its name does not tell
            return Owner(f"one of {len(nodes)} nodes here", address, states.pop() if len(states) == 1 else None)
        return Owner("head node" if self.node.is_head_node else "node", address, states.pop())


def _name(actor: model.Actor) -> str:
    """Class and name, as people know it."""
    return " ".join(part for part in (actor.class_name or "actor", actor.name) if part)
