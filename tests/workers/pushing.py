"""Events as Ray's agents push them: one by one, or what workers would have told of what a simulated GCS has."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from clusterstate import paths
from clusterstate.spool import JSON, PROTOBUF, SpoolWriter
from tests.simulated_ray.tasks import NS, STATES, Tasks
from tests.simulated_ray.wire import fill, known
from tests.workers.collecting import CLUSTER
from workers.sources import gcs_stubs

NOW = 1_795_400_000_000
TASK, JOB = b"\xab" * 8 + b"\xff" * 12 + b"\x01\0\0\0", b"\x01\0\0\0"
SESSION = "session_1"
ACTOR_TASK = 2  # Ray's TaskType
ASKED_FOR = ("required_resources", "parent_task_id", "placement_group_id", "call_site", "label_selector")
RAN_IN = ("node_id", "worker_id", "worker_pid", "task_log_info", "actor_repr_name")


def event(kind: str, at_s: int = NOW // 1000, session: str = SESSION, **fields: Any) -> Any:
    """A RayEvent with one nested event: definition, actor_definition, lifecycle or profile."""
    name = {
        "definition": "task_definition_event",
        "actor_definition": "actor_task_definition_event",
        "lifecycle": "task_lifecycle_event",
        "profile": "task_profile_events",
    }[kind]
    number = {"definition": 1, "lifecycle": 2, "actor_definition": 3, "profile": 4}[kind]
    event = gcs_stubs.module("events_base_event_pb2").RayEvent(event_type=number, session_name=session, timestamp={"seconds": at_s})
    nested = getattr(event, name)
    fill(nested, known(nested, {"task_id": TASK, "job_id": JOB, **fields}))  # older releases lack some
    return event


def binary(*events: Any, dropped: list[tuple[bytes, int]] | None = None) -> bytes:
    module = gcs_stubs.module("events_event_aggregator_service_pb2")
    lost = [{"task_id": task_id, "attempt_number": number} for task_id, number in dropped or []]
    data = {"events": events, "task_events_metadata": {"dropped_task_attempts": lost}}
    return bytes(module.AddEventsRequest(events_data=data).SerializeToString())


def exported(*events: Any, **options: Any) -> bytes:
    """As Ray's agent posts them."""
    return json.dumps([json_format.MessageToDict(one, always_print_fields_with_no_presence=True, **options) for one in events]).encode()


def told_of(ray: Tasks, task_ids: Iterable[str] | None = None) -> list[Any]:
    """What workers would have told of these attempts (of all): a definition each, and an event for each state that was reached."""
    with ray.lock:
        wanted = None if task_ids is None else {bytes.fromhex(task_id) for task_id in task_ids}
        rows = [ray.tasks.get(row_id) for row_id in ray.tasks if wanted is None or row_id[:24] in wanted]
    return [one for row in rows for one in (_definition(row, ray.session_name), *_lifecycle(row, ray.session_name))]


def reached(ray: Tasks, task_id: str, *states: str, attempt_number: int = 0, at_ms: int | None = None, **fields: Any) -> Any:
    """An event of an attempt that comes to these states now."""
    moment = ray.now_ms() if at_ms is None else at_ms
    told = [_transition(STATES[state], moment) for state in states]
    key = bytes.fromhex(task_id)
    return event(
        "lifecycle", session=ray.session_name, task_id=key, job_id=key[-4:], task_attempt=attempt_number, state_transitions=told, **fields
    )


class Spooling:
    """What a receiver of this host does with bodies."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = paths.spool_dir(state_dir, CLUSTER)
        self._writer = SpoolWriter(self._folder, 1 << 30)

    def put(self, *events: Any, dropped: list[tuple[bytes, int]] | None = None) -> None:
        """As the binary route has them."""
        self.put_body(binary(*events, dropped=dropped))

    def put_exported(self, *events: Any) -> None:
        self.put_body(exported(*events), JSON)

    def put_body(self, body: bytes, kind: int = PROTOBUF) -> None:
        self._writer.append(kind, body)

    def close(self) -> None:
        """The receiver is gone. What it left is still to be taken."""
        self._writer.close()

    @property
    def is_taken(self) -> bool:
        """Whether all that was put before `close` is written elsewhere."""
        return not any(self._folder.iterdir())


def _definition(row: Any, session: str) -> Any:
    info, is_actors = row.task_info, row.task_info.type == ACTOR_TASK
    class_name, _, function = info.func_or_class_name.rpartition(".")
    called = {"python_function_descriptor": {"class_name": class_name, "function_name": function}}
    asked: dict[str, Any] = {name: getattr(info, name) for name in ASKED_FOR if hasattr(info, name)}
    asked |= {name: dict(asked[name]) for name in ("required_resources", "label_selector") if name in asked}
    asked |= {"job_id": row.job_id, "serialized_runtime_env": info.runtime_env_info.serialized_runtime_env}
    asked |= {"task_id": row.task_id, "task_attempt": row.attempt_number}
    if is_actors:
        return event("actor_definition", session=session, actor_task_name=info.name, actor_func=called, actor_id=info.actor_id, **asked)
    return event("definition", session=session, task_name=info.name, task_func=called, task_type=info.type, **asked)


def _lifecycle(row: Any, session: str) -> Iterator[Any]:
    """The last says where it ran and how it failed."""
    told = row.state_updates
    last = max(told.state_ts_ns, default=None)
    for state, ns in told.state_ts_ns.items():
        one = event(
            "lifecycle", session=session, task_id=row.task_id, job_id=row.job_id, task_attempt=row.attempt_number,
            state_transitions=[_transition(state, ns // NS)],
        )  # fmt: skip
        nested = one.task_lifecycle_event
        if state == last:
            for name in RAN_IN:
                _copy(told, name, nested, name)
            _copy(told, "error_info", nested, "ray_error_info")
        yield one


def _copy(source: Any, name: str, target: Any, its_name: str) -> None:
    field = source.DESCRIPTOR.fields_by_name.get(name)
    if field is None or its_name not in target.DESCRIPTOR.fields_by_name or not source.HasField(name):
        return
    if field.message_type is not None:
        getattr(target, its_name).ParseFromString(getattr(source, name).SerializeToString())  # another class, the same numbers
    else:
        setattr(target, its_name, getattr(source, name))


def _transition(state: int, ms: int) -> dict[str, Any]:
    return {"state": state, "timestamp": {"seconds": ms // 1000, "nanos": ms % 1000 * NS}}
