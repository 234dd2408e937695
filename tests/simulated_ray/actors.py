"""Actors of a simulated cluster: the actor table, and pubsub with the deltas that real Ray sends.

Recorded from Ray 2.60: DEPENDENCIES_UNREADY and PENDING_CREATION are published whole; ALIVE, RESTARTING and DEAD as deltas
that lack actor_id, job_id, class_name, resources, labels, node_id, placement group and incarnations. Their key is the actor's id.
"""

from __future__ import annotations

import json
from typing import Any
from zlib import crc32

from tests.simulated_ray import ids, texts
from tests.simulated_ray.jobs import Jobs
from tests.simulated_ray.wire import fill, known

STATES = {"DEPENDENCIES_UNREADY": 0, "PENDING_CREATION": 1, "ALIVE": 2, "RESTARTING": 3, "DEAD": 4}
WHOLE = (STATES["DEPENDENCIES_UNREADY"], STATES["PENDING_CREATION"])
DELTA_FIELDS = (
    "state",
    "address",
    "num_restarts",
    "max_restarts",
    "timestamp",
    "pid",
    "start_time",
    "end_time",
    "repr_name",
    "preempted",
    "ray_namespace",
    "name",
)


class Actors(Jobs):
    """Creates actors, moves them from state to state, lets them die."""

    def add_actor(
        self, *, state: str = "ALIVE", job_id: str | None = None, node_id: str | None = None, publish: bool = True, **fields: Any
    ) -> str:
        """An actor is created, passing through the states up to `state` and publishing each. Returns its actor_id.

        `fields` are those of ActorTableData; they hold from the first state on.
        """
        with self.lock:
            owner_job = bytes.fromhex(job_id) if job_id else self._any_job()
            actor_id = ids.to_bytes(fields.pop("actor_id", None) or ids.actor(self.random, owner_job))
            row = self.actors.message(actor_id=actor_id, job_id=owner_job)
            fill(row, known(row, self._default_actor(owner_job)))
            raw = fill(row, fields)
            self._put_actor(row, raw, publish)
            key = actor_id.hex()
            if state != "DEPENDENCIES_UNREADY":
                self.set_actor(key, publish=publish, state="PENDING_CREATION")
            if state in ("ALIVE", "RESTARTING", "DEAD"):
                self.start_actor(key, node_id, publish=publish, **{name: fields[name] for name in LIVE_FIELDS & fields.keys()})
            if state == "DEAD":
                self.kill_actor(key, publish=publish, **{name: fields[name] for name in DEATH_FIELDS & fields.keys()})
            elif state == "RESTARTING":
                self.restart_actor(key, publish=publish, to="RESTARTING")
            return key

    def start_actor(self, actor_id: str, node_id: str | None = None, *, publish: bool = True, **fields: Any) -> str:
        """The actor's constructor has returned on a node: it is ALIVE, in a worker of its own. Returns the worker_id."""
        with self.lock:
            row = self.actors.get(bytes.fromhex(actor_id))
            node = bytes.fromhex(node_id) if node_id else self._any_node()
            worker_id = self.add_worker(node.hex(), actor_id=actor_id)
            worker = self.workers.get(bytes.fromhex(worker_id))
            now = self.now_ms()
            defaults = {
                "state": "ALIVE",
                "address": worker.worker_address,
                "node_id": node,
                "pid": worker.pid,
                "start_time": row.start_time or now,
                "timestamp": float(now),
                "resource_mapping": [_granted(name, amount) for name, amount in row.required_resources.items() if amount],
            }
            self.set_actor(actor_id, publish=publish, **{**defaults, **fields})
            return worker_id

    def restart_actor(self, actor_id: str, *, publish: bool = True, to: str = "ALIVE", **fields: Any) -> None:
        """The actor's worker died and it begins again: RESTARTING, then ALIVE elsewhere (unless `to` says to stay RESTARTING)."""
        with self.lock:
            row = self.actors.get(bytes.fromhex(actor_id))
            self._end_worker_of(row, "SYSTEM_ERROR", publish)
            lost = {"worker_id": row.address.worker_id, "node_id": row.address.node_id}
            changes: dict[str, Any] = {
                "state": "RESTARTING",
                "num_restarts": row.num_restarts + 1,
                "address": {"ip_address": "", "port": 0, "worker_id": b""},
                "previous_incarnations": [*getattr(row, "previous_incarnations", ()), lost],
            }
            self.set_actor(actor_id, publish=publish, **{**known(row, changes), **fields})
            if to == "ALIVE":
                self.start_actor(actor_id, publish=publish)

    def kill_actor(
        self, actor_id: str, *, reason: str = "RAY_KILL", message: str | None = None, publish: bool = True, **fields: Any
    ) -> None:
        """The actor dies, its worker with it. `reason` is one of ActorDiedErrorContext; `death_cause=` replaces the whole cause."""
        with self.lock:
            row = self.actors.get(bytes.fromhex(actor_id))
            self._end_worker_of(row, "INTENDED_SYSTEM_EXIT", publish)
            now = self.now_ms()
            cause = {"actor_died_error_context": self._death(row, reason, message)}
            changes: dict[str, Any] = {"state": "DEAD", "timestamp": float(now), "end_time": now, "death_cause": cause}
            self.set_actor(actor_id, publish=publish, **{**changes, **fields})
            self._trim_dead()

    def set_actor(self, actor_id: str, *, publish: bool = True, **fields: Any) -> None:
        """Change any fields of an actor and publish what Ray would: the whole row or a delta, by its state."""
        with self.lock:
            row = self.actors.get(bytes.fromhex(actor_id))
            if "death_cause" in fields:
                row.ClearField("death_cause")
            self._put_actor(row, fill(row, fields), publish)

    def forget_actor(self, actor_id: str) -> None:
        """The GCS drops an actor without a word, as it does with the dead ones of ended jobs and above its limit."""
        with self.lock:
            self.actors.remove(bytes.fromhex(actor_id))

    def actor_ids(self, state: str = "ALIVE") -> list[str]:
        """Ids of the actors in a state, those longest in it first."""
        with self.lock:
            return [actor_id.hex() for actor_id in self.actors.in_state(STATES[state])]

    def actor(self, actor_id: str) -> Any:
        """A copy of the actor's row (ActorTableData)."""
        with self.lock:
            return self.actors.get(bytes.fromhex(actor_id))

    def _put_actor(self, row: Any, raw: bytes, publish: bool) -> None:
        self.actors.put(row.actor_id, row, raw)
        if publish:
            self.publish("GCS_ACTOR_CHANNEL", row.actor_id, row if row.state in WHOLE else self.delta(row), raw)

    def delta(self, row: Any) -> Any:
        """What Ray publishes of an actor that is ALIVE, RESTARTING or DEAD."""
        delta = self.actors.message()
        fill(delta, known(delta, {name: getattr(row, name) for name in DELTA_FIELDS}))
        delta.death_cause.CopyFrom(row.death_cause)
        return delta

    def _trim_dead(self) -> None:
        while self.actors.count(STATES["DEAD"]) > self.max_dead_actors:
            oldest = self.actors.oldest_in_state(STATES["DEAD"])
            if oldest is not None:
                self.actors.remove(oldest)

    def _end_worker_of(self, row: Any, exit_type: str, publish: bool) -> None:
        worker_id = row.address.worker_id
        if worker_id in self.workers and self.workers.state(worker_id):
            job = known(self.workers.message(), {"job_id": row.job_id})  # Ray tells a worker's job at its death alone
            self.kill_worker(worker_id.hex(), exit_type=exit_type, publish=publish, **job)

    def _any_job(self) -> bytes:
        running = self.jobs.in_state(0)
        return self.random.choice(running) if running else bytes.fromhex(self.add_job(publish=False))

    def _death(self, row: Any, reason: str, message: str | None) -> dict[str, Any]:
        said = next((text for _, known_reason, text in texts.DEATHS if known_reason == reason), "")
        if message is None:
            message = said.format(owner=row.owner_address.worker_id.hex(), ip=row.address.ip_address, node=row.node_id.hex())
        return {
            "error_message": message,
            "owner_id": row.owner_address.worker_id,
            "owner_ip_address": row.owner_address.ip_address,
            "node_ip_address": row.address.ip_address,
            "pid": row.pid,
            "name": row.name,
            "ray_namespace": row.ray_namespace,
            "class_name": row.class_name,
            "actor_id": row.actor_id,
            "reason": reason,
        }

    def _default_actor(self, job_id: bytes) -> dict[str, Any]:
        module, class_name, repr_name = self.random.choice(texts.CLASSES)
        number = self.random.randrange(10_000)
        job = self.jobs.get(job_id) if job_id in self.jobs else self.jobs.message()
        nil = {"node_id": ids.NIL_UNIQUE, "worker_id": ids.NIL_UNIQUE}
        detached = number % 20 == 0
        gpu = class_name == "TrainWorker"
        return {
            "state": "DEPENDENCIES_UNREADY",
            "max_restarts": self.random.choice((0, 0, 0, 1, 3, -1)),
            "address": nil,
            "owner_address": job.driver_address,
            "is_detached": detached,
            "name": f"{self.random.choice(texts.NAME_STEMS)}-{number}" if detached or number % 5 == 0 else "",
            "function_descriptor": {
                "python_function_descriptor": {
                    "module_name": module,
                    "class_name": class_name,
                    "function_name": "__init__",
                    "function_hash": f"{crc32(f'{module}.{class_name}'.encode()):032x}",
                }
            },
            "ray_namespace": job.config.ray_namespace,
            "serialized_runtime_env": json.dumps({"env_vars": {"STAGE": "prod"}}),
            "class_name": class_name,
            "repr_name": repr_name.format(n=number) if repr_name else "",
            "required_resources": {"CPU": 1.0, "GPU": 1.0} if gpu else self.random.choice(({}, {"CPU": 0.5}, {"CPU": 1.0})),
            "label_selector": {"ray.io/accelerator-type": "A100"} if gpu else {},
        }


def _granted(name: str, amount: float) -> dict[str, Any]:
    """What of a resource the actor got: GPUs by index, of anything else an amount."""
    if name == "GPU" and amount >= 1:
        return {"name": name, "resource_ids": [{"index": index, "quantity": 1.0} for index in range(int(amount))]}
    return {"name": name, "resource_ids": [{"quantity": amount}]}


LIVE_FIELDS = frozenset({"address", "node_id", "pid", "start_time", "timestamp", "resource_mapping"})
DEATH_FIELDS = frozenset({"death_cause", "end_time"})
