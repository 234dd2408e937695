"""Tasks of a simulated cluster: what the GCS remembers of their attempts, and what it has lost (recorded from Ray 2.60)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.simulated_ray import ids, stubs, texts
from tests.simulated_ray.placement_groups import PlacementGroups
from tests.simulated_ray.wire import field, fill, known

STATES: dict[str, int] = dict(stubs.common.TaskStatus.items())
ENDS = (STATES["FINISHED"], STATES["FAILED"])
FINISHING = ("PENDING_ARGS_AVAIL", "PENDING_NODE_ASSIGNMENT", "SUBMITTED_TO_WORKER", "RUNNING", "FINISHED")
NS = 1_000_000  # in a millisecond


class Tasks(PlacementGroups):
    """Submits tasks, moves their attempts from state to state, loses them."""

    def add_task(
        self,
        *,
        state: str = "FINISHED",
        job_id: str | None = None,
        actor_id: str | None = None,
        parent_task_id: str | None = None,
        at_ms: int | None = None,
        attempt_number: int = 0,
        task_id: str | None = None,
        states: dict[str, int] | None = None,
        info: dict[str, Any] | None = None,
        updates: dict[str, Any] | None = None,
    ) -> str:
        """An attempt, as if it had gone up to `state` from `at_ms` on, or through `states` (name -> Unix ms). Returns its task_id.

        `info` and `updates` are fields of TaskInfoEntry and TaskStateUpdate.
        """
        with self.lock:
            job = bytes.fromhex(job_id) if job_id else self._any_job()
            actor = bytes.fromhex(actor_id) if actor_id else ids.NIL_ACTOR[:12] + job
            key = bytes.fromhex(task_id) if task_id else self.random.randbytes(8) + actor
            began = self.now_ms() if at_ms is None else at_ms
            times = {name: began + at for name, at in _path(state)} if states is None else states
            row = self.tasks.message(task_id=key, attempt_number=attempt_number, job_id=key[-4:])
            parent = bytes.fromhex(parent_task_id) if parent_task_id else b"\xff" * 20 + job
            raw = fill(row.task_info, {**known(row.task_info, self._default_info(key, parent, actor_id)), **(info or {})})
            raw_updates = fill(row.state_updates, {**self._default_updates(times), **(updates or {})})
            for name, ms in times.items():
                row.state_updates.state_ts_ns[STATES[name]] = ms * NS
            self._put_task(row, raw, raw_updates)
            return key.hex()

    def set_task(
        self, task_id: str, state: str | None = None, *, attempt_number: int = 0, at_ms: int | None = None, **updates: Any
    ) -> None:
        """An attempt comes to a state. `updates` are fields of TaskStateUpdate."""
        with self.lock:
            row = self.task(task_id, attempt_number)
            raw = fill(row.state_updates, updates)
            if state is not None:
                row.state_updates.state_ts_ns[STATES[state]] = (self.now_ms() if at_ms is None else at_ms) * NS
            self._put_task(row, b"", raw)

    def retry_task(self, task_id: str, attempt_number: int, **fields: Any) -> None:
        """A further attempt of a task, with what was asked for the first time."""
        with self.lock:
            first = self.task(task_id)
            self.add_task(task_id=task_id, attempt_number=attempt_number, **{"info": {"name": first.task_info.name}, **fields})

    def mark_tasks_of_ended_job(self, job_id: str, at_ms: int | None = None) -> None:
        """What the GCS does 15 s after a job's end: every attempt without an end is FAILED to it."""
        message = f"Job finishes ({job_id}) as driver exits. Marking all non-terminal tasks as failed."
        self._mark(lambda row: row.job_id == bytes.fromhex(job_id), message, at_ms)

    def mark_tasks_of_dead_worker(self, worker_id: str, exit_type: int, detail: str = "", at_ms: int | None = None) -> None:
        """What the GCS does a second after a worker's death, whatever the reason."""
        message = f"Worker running the task ({worker_id}) died with exit_type: {exit_type} with error_message: {detail}"
        self._mark(lambda row: row.state_updates.worker_id == bytes.fromhex(worker_id), message, at_ms)

    def lose_tasks(self, job_id: str, attempts: int = 0, profile_events: int = 0) -> None:
        """Workers report that they dropped events of so many attempts."""
        with self.lock:
            self.lost_attempts[bytes.fromhex(job_id)] += attempts
            self.lost_profile_events[bytes.fromhex(job_id)] += profile_events

    def forget_task(self, task_id: str, attempt_number: int = 0) -> None:
        """The GCS gives an attempt up for its limit, and counts it."""
        with self.lock:
            key = _row_id(bytes.fromhex(task_id), attempt_number)
            if key in self.tasks:
                self.tasks.remove(key)
                self.lost_attempts[key[20:24]] += 1

    def task(self, task_id: str, attempt_number: int = 0) -> Any:
        """A copy of an attempt's row (TaskEvents)."""
        with self.lock:
            return self.tasks.get(_row_id(bytes.fromhex(task_id), attempt_number))

    def _put_task(self, row: Any, raw_info: bytes, raw_updates: bytes) -> None:
        """Raw bytes for text fields go into the part that has the field."""
        key = _row_id(row.task_id, row.attempt_number)
        if not raw_info and not raw_updates:
            self.tasks.put(key, row)
        else:
            self.tasks.put_serialized(key, b"".join(_with_raw(row, raw_info, raw_updates)), latest(row))
        while len(self.tasks) > self.max_tasks:
            oldest = self.tasks.oldest_in_state(STATES["FINISHED"]) or next(iter(self.tasks))
            self.forget_task(oldest[:24].hex(), int.from_bytes(oldest[24:], "big"))

    def _mark(self, is_meant: Any, message: str, at_ms: int | None) -> None:
        with self.lock:
            for row in [row for row in map(self.tasks.get, list(self.tasks)) if latest(row) not in ENDS and is_meant(row)]:
                row.state_updates.state_ts_ns[STATES["FAILED"]] = (self.now_ms() if at_ms is None else at_ms) * NS
                fill(row.state_updates, {"error_info": {"error_type": "WORKER_DIED", "error_message": message}})
                self._put_task(row, b"", b"")

    def _default_info(self, key: bytes, parent: bytes, actor_id: str | None) -> dict[str, Any]:
        name = self.random.choice(texts.TASKS)
        common = {
            "name": name,
            "func_or_class_name": name,
            "job_id": key[-4:],
            "task_id": key,
            "parent_task_id": parent,
            "runtime_env_info": {"serialized_runtime_env": json.dumps({"env_vars": {"STAGE": "prod"}})},
        }
        if actor_id is None:
            return {**common, "type": "NORMAL_TASK", "required_resources": {"CPU": 1.0}}
        return {**common, "type": "ACTOR_TASK", "actor_id": bytes.fromhex(actor_id)}

    def _default_updates(self, times: dict[str, int]) -> dict[str, Any]:
        if "SUBMITTED_TO_WORKER" not in times:
            return {}
        node, number = self._any_node(), self.random.randrange(40)
        worker = node[:26] + number.to_bytes(2, "big")  # some forty a node
        placed: dict[str, Any] = {"node_id": node, "worker_id": worker, "worker_pid": 20_000 + number}
        if "FAILED" in times:
            placed["error_info"] = {"error_type": "TASK_EXECUTION_EXCEPTION", "error_message": texts.TASK_FAILURE}
        if "RUNNING" in times:
            file = f"{self.session_dir}/logs/worker-{worker.hex()}-01000000-{20_000 + number}"
            placed["task_log_info"] = {"stdout_file": file + ".out", "stderr_file": file + ".err", "stdout_start": 0, "stderr_start": 0}
        return placed


def latest(row: Any) -> int:
    """The attempt's state as the GCS reckons it: the highest number."""
    return max(row.state_updates.state_ts_ns, default=0)


def _path(state: str) -> list[tuple[str, int]]:
    """(state, ms since the beginning) on the way to a state."""
    steps = {"FAILED": (*FINISHING[:-1], "FAILED")}.get(state, FINISHING)
    reached = steps[: steps.index(state) + 1] if state in steps else ("PENDING_ARGS_AVAIL", state)
    return [(name, at * at * 10) for at, name in enumerate(reached)]


def _row_id(task_id: bytes, attempt_number: int) -> bytes:
    return task_id + attempt_number.to_bytes(4, "big")


def _with_raw(row: Any, raw_info: bytes, raw_updates: bytes) -> Iterator[bytes]:
    """The row's bytes with more of its two parts behind it: protobuf joins parts that come twice."""
    yield row.SerializeToString()
    for name, raw in (("task_info", raw_info), ("state_updates", raw_updates)):
        if raw:
            yield field(stubs.field_number(row, name), raw)
