"""Arranges a cluster as collectors would leave it: through the writer and the projection, never by writing keys."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import redis

from clusterstate import model, paths
from clusterstate.resources import (
    ACTORS,
    COLLECTOR,
    JOBS,
    NODE_RESOURCES,
    NODE_STATS,
    NODES,
    PLACEMENT_GROUPS,
    PROCESSES,
    STATUS,
    TASKS,
    TEXTS,
    WORKERS,
    Resource,
)
from clusterstate.settings import Settings
from clusterstate.store.fleet_index import FleetIndex, session_file
from clusterstate.store.projection import Projection
from clusterstate.store.reader import SessionReader
from clusterstate.store.writer import SessionWriter
from workers.sources.task_update import text_id

Row = TypeVar("Row")

CLUSTER_RESOURCES = (NODES, NODE_RESOURCES, WORKERS, JOBS, ACTORS, TASKS, PLACEMENT_GROUPS, STATUS, COLLECTOR)


class BuiltCluster:
    """A cluster called `demo` (or as named) in one session, whose rows the test adds. Each addition can be read at once."""

    opened: ClassVar[list[BuiltCluster]] = []
    """By the test that runs now; closed at its end."""

    def __init__(self, client: redis.Redis, settings: Settings, name: str = "demo", session: str = "session_1") -> None:
        self.name = name
        self.session = session
        self.settings = settings
        self.writer = SessionWriter(client, name, session)
        self.writer.begin(model.ClusterMetadata(name, session, "127.0.0.1:6379", ray_version="2.60.0", started_ms=1_700_000_000_000))
        self.index_dir = paths.index_dir(settings.state_dir)
        self.path: Path = session_file(self.index_dir, name, session)
        self._redis = client
        self._numbers = itertools.count(1)
        self.projection = Projection(client, self.path, name, session, 1800)
        self.opened.append(self)
        self.projection.catch_up()
        self.refresh()

    @property
    def reader(self) -> SessionReader:
        return SessionReader(self.path, self.name, self.session, deadline_ms=5000)

    def with_node(self, **fields: Any) -> model.Node:
        number = next(self._numbers)
        return self._with(
            NODES, model.Node, {"node_id": f"{number:056x}", "state": "ALIVE", "node_ip": "127.0.0.1", "hostname": f"host-{number}"}, fields
        )

    def with_node_stats(self, node_id: str, **fields: Any) -> model.NodeStats:
        return self._with(NODE_STATS, model.NodeStats, {"node_id": node_id, "collected_at": time.time()}, fields)

    def with_node_resources(self, node_id: str, **fields: Any) -> model.NodeResources:
        return self._with(NODE_RESOURCES, model.NodeResources, {"node_id": node_id}, fields)

    def with_actor(self, **fields: Any) -> model.Actor:
        number = next(self._numbers)
        return self._with(
            ACTORS,
            model.Actor,
            {"actor_id": f"{number:032x}", "state": "ALIVE", "class_name": "Counter", "start_time_ms": 1_700_000_000_000 + number},
            fields,
        )

    def with_job(self, **fields: Any) -> model.Job:
        number = next(self._numbers)
        job_id = f"{number:08x}"
        defaults = {"job_key": fields.get("submission_id") or job_id, "type": "DRIVER", "status": "RUNNING", "job_id": job_id}
        return self._with(JOBS, model.Job, {**defaults, "start_time_ms": 1_700_000_000_000 + number}, fields)

    def with_worker(self, **fields: Any) -> model.Worker:
        return self._with(WORKERS, model.Worker, {"worker_id": f"{next(self._numbers):056x}", "is_alive": True}, fields)

    def with_process(self, node_id: str, pid: int, **fields: Any) -> model.Process:
        defaults = {"process_id": f"{node_id}:{pid}", "node_id": node_id, "pid": pid, "kind": "WORKER"}
        return self._with(PROCESSES, model.Process, defaults, fields)

    def with_task(self, **fields: Any) -> model.Task:
        """An attempt of a task. Texts that it names by id are `with_text`'s."""
        number = next(self._numbers)
        defaults = {"task_id": f"{number:048x}", "state": "RUNNING", "name": "step", "creation_time_ms": 1_700_000_000_000 + number}
        return self._with(TASKS, model.Task, defaults, fields)

    def with_text(self, text: str) -> str:
        """Keeps a text of tasks; returns its id."""
        return self._with(TEXTS, model.Text, {"text_id": text_id(text), "text": text}, {}).text_id

    def with_placement_group(self, **fields: Any) -> model.PlacementGroup:
        number = next(self._numbers)
        return self._with(PLACEMENT_GROUPS, model.PlacementGroup, {"placement_group_id": f"{number:036x}", "state": "CREATED"}, fields)

    def with_rows(self, resource: Resource, *rows: Any) -> None:
        """Any rows, many at once."""
        self.writer.record(resource, rows, time.time())
        self.refresh()

    def refresh(self, now: float | None = None) -> None:
        """All is known right as of `now`, and the index has it."""
        now = time.time() if now is None else now
        self.writer.confirm({resource.name: now for resource in CLUSTER_RESOURCES})
        self.project(now)

    def project(self, now: float | None = None) -> None:
        """Lets the index catch up, as the projector would."""
        now = time.time() if now is None else now
        self.projection.catch_up()
        streams: Any = self.projection.streams
        reply: Any = self._redis.xread(streams, count=10_000)
        entries = dict(reply)
        changes, samples = (entries.get(key, []) for key in streams)
        self.projection.apply(changes, samples, now)
        self.projection.follow_freshness()
        fleet = FleetIndex(self.index_dir / "fleet.db")
        fleet.write({self.name: self.session}, [], now)
        fleet.close()

    def end(self, now: float | None = None, reason: str = "the GCS is gone") -> None:
        """The session is over and sealed."""
        now = time.time() if now is None else now
        self.writer.end(now, reason)
        self.project(now)
        self.projection.seal(now)

    def _with(self, resource: Resource, row_class: Callable[..., Row], defaults: dict[str, Any], fields: dict[str, Any]) -> Row:
        row = row_class(**{**defaults, **fields})
        self.with_rows(resource, row)
        return row
