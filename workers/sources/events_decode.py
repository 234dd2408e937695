"""Events that Ray's agents push (`AddEventsRequest`, the binary route) as updates of our model. Bodies may be made up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from clusterstate.model import Text
from clusterstate.task_states import PUSHED
from workers.sources import gcs_stubs
from workers.sources.gcs_fields import clipped, enum_name
from workers.sources.gcs_wire import field_number
from workers.sources.task_messages import asked_for, error_in, present, ran_in
from workers.sources.task_update import TaskUpdate, is_attempt, paused, reached, task_id_of
from workers.sources.wire import Walk

MAX_SESSIONS = 10
PARSED_AT_ONCE = 4 * 1024 * 1024
"""Bytes of a body. An agent sends at most 1,000 events at once: some 600 kB."""
MAX_EVENTS = 200_000
"""Of one body. An agent holds 100,000. What is beyond it is made up, and is one unreadable event."""


class PushedBody:
    """One pushed body, read event by event. The counts are right when all updates have been taken."""

    def __init__(self, raw: bytes, now_ms: int, session: str | None = None) -> None:
        """`session`: events that name another one are counted and left out; None: all are taken."""
        self._raw = raw
        self._now_ms = now_ms
        self._session = session
        self._event = gcs_stubs.module("events_base_event_pb2").RayEvent
        self._decoders = {self._event.EventType.Value(name): decode for name, decode in _DECODERS.items()}
        self.read = 0  # events that told something of a task
        self.skipped = 0  # of other kinds: profiles, nodes, actors, jobs
        self.unreadable = 0
        self.of_other_sessions = 0
        self.sessions: set[str] = set()  # those that were named, at most MAX_SESSIONS
        self.dropped: list[tuple[str, int]] = []  # (task id, attempt) that Ray itself lost events of

    def updates(self) -> Iterator[TaskUpdate]:
        """One for each event of a task, in the order they came."""
        for event in self._events():
            decode = self._decoders.get(event.event_type)
            if decode is None:
                self.skipped += 1
                continue
            update = self._counted(event.session_name, decode(event, self._now_ms))
            if update is not None:
                yield update

    def _events(self) -> Iterator[Any]:
        """The parsed events: of an ordinary body at once, which is quicker; of a huge or broken one, one by one."""
        module = gcs_stubs.module("events_event_aggregator_service_pb2")
        body = gcs_stubs.parse_or_none(module.AddEventsRequest, self._raw) if len(self._raw) <= PARSED_AT_ONCE else None
        if body is None:
            yield from self._walked(module)
        else:
            self._note_dropped(body.events_data.task_events_metadata)
            yield from body.events_data.events

    def _walked(self, module: Any) -> Iterator[Any]:
        data = field_number(module.AddEventsRequest, "events_data")
        listed, metadata = (field_number(module.RayEventsData, name) for name in ("events", "task_events_metadata"))
        outer = Walk(self._raw, with_cut=True, most=MAX_EVENTS)
        for start, end in ((start, end) for number, start, end in outer if number == data):
            inner = Walk(self._raw, start, end, most=MAX_EVENTS)
            for number, at, to in inner:
                kind = self._event if number == listed else module.TaskEventsMetadata
                message = gcs_stubs.parse_or_none(kind, self._raw[at:to]) if number in (listed, metadata) else None
                if number == listed and message is not None:
                    yield message
                elif number == metadata and message is not None:
                    self._note_dropped(message)
                else:
                    self.unreadable += number in (listed, metadata)
            self.unreadable += not inner.is_whole
        if not outer.is_whole and not self.unreadable:
            self.unreadable = 1

    def _counted(self, session: str, update: TaskUpdate | None) -> TaskUpdate | None:
        """The update, if it may be taken."""
        if session not in self.sessions and len(self.sessions) < MAX_SESSIONS:
            self.sessions.add(clipped(session)[:200])
        if self._session is not None and session != self._session:
            self.of_other_sessions += 1
            return None
        if update is None:
            self.unreadable += 1
        else:
            self.read += 1
        return update

    def _note_dropped(self, metadata: Any) -> None:
        for lost in metadata.dropped_task_attempts:
            task_id = task_id_of(lost.task_id)
            if task_id is None or not is_attempt(lost.attempt_number):
                self.unreadable += 1
            else:
                self.dropped.append((task_id, lost.attempt_number))


def call_string(class_name: str, function: str) -> str:
    """A function as Ray's state API calls it: `Class.method` without modules."""
    short = function.rpartition(".")[2]
    return f"{class_name.rpartition('.')[2]}.{short}" if class_name else short


def _definition(event: Any, now_ms: int) -> TaskUpdate | None:
    message = event.task_definition_event
    return _defined(message, message.task_name, message.task_func, enum_name(message, "task_type"))


def _actor_definition(event: Any, now_ms: int) -> TaskUpdate | None:
    message = event.actor_task_definition_event
    return _defined(message, message.actor_task_name, message.actor_func, "ACTOR_TASK")


def _defined(message: Any, name: str, function: Any, kind: str) -> TaskUpdate | None:
    task_id, attempt = task_id_of(message.task_id), message.task_attempt
    if task_id is None or not is_attempt(attempt):
        return None
    said: dict[str, Any] = {"type": kind}
    found: list[Text] = []
    asked_for(said, found, message, name, _called(function), message.serialized_runtime_env)
    return TaskUpdate(task_id, attempt, said, texts=tuple(found))


def _lifecycle(event: Any, now_ms: int) -> TaskUpdate | None:
    message = event.task_lifecycle_event
    task_id, attempt = task_id_of(message.task_id), message.task_attempt
    if task_id is None or not is_attempt(attempt):
        return None
    said: dict[str, Any] = {}
    found: list[Text] = []
    ran_in(said, found, message)
    error, guess = error_in(found, message, "ray_error_info")
    told = [(one.state, at.seconds * 1000 + at.nanos // 1_000_000) for one in message.state_transitions for at in (one.timestamp,)]
    states = reached(told, PUSHED, guess, now_ms)
    said_at, is_paused = event.timestamp.seconds * 1000 + event.timestamp.nanos // 1_000_000, present(message, "is_debugger_paused")
    debugger = None if is_paused is None else paused(said_at, now_ms, bool(is_paused))
    return TaskUpdate(task_id, attempt, said, *states, error, debugger, tuple(found))


def _called(function: Any) -> str:
    variant = function.WhichOneof("function_descriptor")
    if variant is None:
        return ""
    described = getattr(function, variant)
    if variant == "python_function_descriptor":
        return call_string(described.class_name, described.function_name)
    return f"{described.class_name}.{described.function_name}" if described.class_name else str(described.function_name)


_DECODERS: dict[str, Callable[[Any, int], TaskUpdate | None]] = {
    "TASK_DEFINITION_EVENT": _definition,
    "ACTOR_TASK_DEFINITION_EVENT": _actor_definition,
    "TASK_LIFECYCLE_EVENT": _lifecycle,
}
