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
from workers.sources.wire import Walk, holds_at_most

MAX_SESSIONS = 10
PARSED_AT_ONCE = 256 * 1024
"""Bytes of a body: some 400 ordinary events. Of made up ones it may make thirty times as much memory."""
MOST_IN_EVENT = 20_000
"""Fields of an event that is larger than that. What holds more is made up, and unreadable."""
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
        module = gcs_stubs.module("events_event_aggregator_service_pb2")
        self._data, self._metadata = module.RayEventsData, module.TaskEventsMetadata
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
        """The parsed events, some at once: an empty one of two bytes takes some hundred in memory."""
        data = field_number(gcs_stubs.module("events_event_aggregator_service_pb2").AddEventsRequest, "events_data")
        outer = Walk(self._raw, with_cut=True, most=MAX_EVENTS)
        for start, end in ((start, end) for number, start, end in outer if number == data):
            yield from self._events_between(start, end)
        if not outer.is_whole and not self.unreadable:
            self.unreadable = 1

    def _events_between(self, start: int, end: int) -> Iterator[Any]:
        listed, metadata = (field_number(self._data, name) for name in ("events", "task_events_metadata"))
        inner = Walk(self._raw, start, end, most=MAX_EVENTS)
        begin = upto = start  # of events that are parsed at once
        for number, at, to in inner:
            if number == listed and to - begin <= PARSED_AT_ONCE:
                upto = to
                continue
            yield from self._parsed(begin, upto)
            begin, upto = upto, to
            if number == listed and to - begin <= PARSED_AT_ONCE:
                continue
            begin = to
            if number == listed:
                yield from self._parsed_alone(at, to)
            elif number == metadata:
                self._note_dropped(at, to)
        yield from self._parsed(begin, upto)
        self.unreadable += not inner.is_whole

    def _parsed(self, start: int, end: int) -> Iterator[Any]:
        """A run of events. One that cannot be read costs no other."""
        data = gcs_stubs.parse_or_none(self._data, self._raw[start:end])
        if data is not None:
            yield from data.events
            return
        listed = field_number(self._data, "events")
        for number, at, to in Walk(self._raw, start, end):
            if number == listed:
                yield from self._parsed_alone(at, to)

    def _parsed_alone(self, start: int, end: int) -> Iterator[Any]:
        event = self._message(self._event, start, end, MOST_IN_EVENT)
        if event is not None:
            yield event

    def _message(self, kind: Any, start: int, end: int, most: int) -> Any | None:
        """None, and counted, when it cannot be read or holds too much."""
        is_small = end - start <= PARSED_AT_ONCE or holds_at_most(self._raw, start, end, kind.DESCRIPTOR, most)
        message = gcs_stubs.parse_or_none(kind, self._raw[start:end]) if is_small else None
        self.unreadable += message is None
        return message

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

    def _note_dropped(self, start: int, end: int) -> None:
        metadata = self._message(self._metadata, start, end, MAX_EVENTS)
        for lost in metadata.dropped_task_attempts if metadata is not None else ():
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
