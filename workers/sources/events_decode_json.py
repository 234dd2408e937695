"""Events that Ray's agents export as JSON (`RAY_DASHBOARD_AGGREGATOR_AGENT_EVENTS_EXPORT_ADDR`) as updates of our model.

A body is a list of `RayEvent`s in protobuf's JSON: ids in base64, 64-bit numbers as text, names in camel case or, where the
agent is told to keep them, as in the protocol. It may be made up: any value may be of any type.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any

import msgspec

from clusterstate.model import Text
from clusterstate.task_states import PUSHED
from workers.sources import gcs_stubs
from workers.sources.events_decode import PARSED_AT_ONCE, PushedBody, call_string
from workers.sources.gcs_fields import MAX_ENTRIES, clipped
from workers.sources.task_messages import OFFSETS, asked_for, error_of, put
from workers.sources.task_update import (
    NODE_ID_BYTES,
    WORKER_ID_BYTES,
    TaskUpdate,
    id_of,
    is_attempt,
    log_files_text,
    paused,
    reached,
    refer,
    task_id_of,
)

_events = msgspec.json.Decoder(list[msgspec.Raw])
_event = msgspec.json.Decoder()
MAX_VALUES = 4_000_000
"""Of one body larger than PARSED_AT_ONCE: each takes some 100 bytes of memory, and an event of Ray's has 50."""
_HALF = rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
_PAIR = rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_OTHER = rb"\\(?:[^u]|u(?![dD][89a-fA-F])[0-9a-fA-F]{0,4}|u)"
_ESCAPES = re.compile(
    rb"(?:" + _PAIR + rb"){1,500}|(?P<half>(?:(?!" + _PAIR + rb")" + _HALF + rb"){1,500})|(?:(?!" + _HALF + rb")" + _OTHER + rb"){1,500}",
    re.DOTALL,
)
"""In runs: a body of many megabytes may hold nothing else, and each match takes memory."""
_WHOLE = re.compile(r"-?[0-9]{1,19}\Z")
_USER_MAPS = frozenset({"required_resources", "label_selector", "ref_ids"})
"""Their keys are names that people chose."""


class ExportedBody(PushedBody):
    """One posted list of events. Bad events are counted and left out; a body that is no JSON list is one bad event."""

    def updates(self) -> Iterator[TaskUpdate]:
        for raw in self._records():
            event = _parsed(raw)
            decode = None if event is None else _DECODERS.get(_string(event.get("eventType")))
            if event is None:
                self.unreadable += 1
            elif decode is None:
                self.skipped += 1
            else:
                update = self._counted(_string(event.get("sessionName")), decode(event, self._now_ms))
                if update is not None:
                    yield update

    def _records(self) -> list[Any]:
        if len(self._raw) > PARSED_AT_ONCE and sum(map(self._raw.count, b",[{")) > MAX_VALUES:
            self.unreadable += 1
            return []
        for mended in (bytes, _without_halves):
            try:
                return _events.decode(mended(self._raw))
            except (msgspec.MsgspecError, ValueError, RecursionError):
                pass
        self.unreadable += 1
        return []


def _without_halves(raw: bytes) -> bytes:
    """Without halves of surrogate pairs, which JSON can hold and a text cannot."""
    return _ESCAPES.sub(lambda found: b"?" * (len(found.group()) // 6) if found.lastgroup else found.group(), raw)


def _parsed(raw: Any) -> dict[str, Any] | None:
    """One event; None when it is none."""
    try:
        event = _event.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if not isinstance(event, dict):
        return None
    return event if "eventType" in event else _camel(event)


class _Message:
    """A JSON object that is read as the protobuf message of that shape: absent is empty."""

    __slots__ = ("call_site", "label_selector", "parent_task_id", "placement_group_id", "required_resources")

    def __init__(self, values: dict[str, Any]) -> None:
        self.parent_task_id = _bytes(values.get("parentTaskId"))
        self.placement_group_id = _bytes(values.get("placementGroupId"))
        self.call_site = _string(values.get("callSite"))
        self.required_resources = _amounts(values.get("requiredResources"))
        labels = _mapping(values.get("labelSelector"))
        self.label_selector = {name: value for name, value in labels.items() if isinstance(value, str)}


def _definition(event: dict[str, Any], now_ms: int) -> TaskUpdate | None:
    values = _mapping(event.get("taskDefinitionEvent"))
    return _defined(values, "taskName", "taskFunc", _enum("TaskType", values.get("taskType", 0)))


def _actor_definition(event: dict[str, Any], now_ms: int) -> TaskUpdate | None:
    return _defined(_mapping(event.get("actorTaskDefinitionEvent")), "actorTaskName", "actorFunc", "ACTOR_TASK")


def _defined(values: dict[str, Any], name: str, function: str, kind: str) -> TaskUpdate | None:
    task_id, attempt = task_id_of(_bytes(values.get("taskId"))), _whole(values.get("taskAttempt"))
    if task_id is None or not is_attempt(attempt):
        return None
    said: dict[str, Any] = {"type": kind}
    found: list[Text] = []
    called, environment = _called(_mapping(values.get(function))), _string(values.get("serializedRuntimeEnv"))
    asked_for(said, found, _Message(values), _string(values.get(name)), called, environment)
    return TaskUpdate(task_id, attempt, said, texts=tuple(found))


def _lifecycle(event: dict[str, Any], now_ms: int) -> TaskUpdate | None:
    values = _mapping(event.get("taskLifecycleEvent"))
    task_id, attempt = task_id_of(_bytes(values.get("taskId"))), _whole(values.get("taskAttempt"))
    if task_id is None or not is_attempt(attempt):
        return None
    said: dict[str, Any] = {}
    found: list[Text] = []
    _ran_in(said, found, values)
    error, guess = _error(found, values.get("rayErrorInfo"))
    states = reached(_transitions(values.get("stateTransitions")), PUSHED, guess, now_ms)
    is_paused = values.get("isDebuggerPaused")
    debugger = paused(_moment(event.get("timestamp")), now_ms, is_paused) if isinstance(is_paused, bool) else None
    return TaskUpdate(task_id, attempt, said, *states, error, debugger, tuple(found))


def _transitions(value: Any) -> Iterator[tuple[int, int]]:
    """(Ray's number of a state, Unix ms). A state whose name the installed release does not have is left out."""
    for one in _list(value):
        number = _state_number(one.get("state", 0)) if isinstance(one, dict) else None
        if number is not None:
            yield number, _moment(one.get("timestamp"))


def _ran_in(said: dict[str, Any], found: list[Text], values: dict[str, Any]) -> None:
    put(said, "node_id", id_of(_bytes(values.get("nodeId")), NODE_ID_BYTES))
    put(said, "worker_id", id_of(_bytes(values.get("workerId")), WORKER_ID_BYTES))
    put(said, "worker_pid", _whole(values.get("workerPid")) or None)
    put(said, "actor_repr_name", clipped(_string(values.get("actorReprName"))) or None)
    log = _mapping(values.get("taskLogInfo"))
    if not log:
        return
    refer(said, found, "log_files_id", log_files_text(_string(log.get("stdoutFile")), _string(log.get("stderrFile"))))
    for name in OFFSETS:
        offset = _whole(log.get(_camel_name(name)), -1)
        if offset >= 0:
            said[name] = offset


def _error(found: list[Text], value: Any) -> tuple[tuple[str, str | None] | None, str | None]:
    if not isinstance(value, dict):
        return None, None
    message = _string(value.get("errorMessage"))
    if not message:
        causes = [_mapping(value.get(name)) for name in ("runtimeEnvSetupFailedError", "actorDiedError")]
        causes += [_mapping(context) for context in causes[1].values()]
        message = next((text for cause in causes for key in _CAUSES if (text := _string(cause.get(key)))), "")
    return error_of(found, _enum("ErrorType", value.get("errorType", 0)), message)


_CAUSES = ("errorMessage", "formattedExceptionString")


def _called(function: dict[str, Any]) -> str:
    for variant, values in function.items():
        described = _mapping(values)
        class_name, name = _string(described.get("className")), _string(described.get("functionName"))
        if variant == "pythonFunctionDescriptor":
            return call_string(class_name, name)
        return f"{class_name}.{name}" if class_name else name
    return ""


# --- Values of any type as the type that is meant; anything else is as if it were not there.


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value[:MAX_ENTRIES] if isinstance(value, list) else []


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _whole(value: Any, absent: int = 0) -> int:
    if isinstance(value, str) and _WHOLE.match(value):
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else absent


def _bytes(value: Any) -> bytes:
    """An id in base64. Longer ones than any id are none."""
    if not isinstance(value, str) or len(value) > 64:
        return b""
    try:
        return binascii.a2b_base64(value)
    except ValueError:  # also what is not ASCII
        return b""


def _amounts(value: Any) -> dict[str, float]:
    return {name: float(one) for name, one in _mapping(value).items() if isinstance(one, (int, float)) and abs(one) < 1e300}


def _moment(value: Any) -> int:
    """Unix ms of `2026-11-22T23:55:15.087219888Z`; 0 for anything else."""
    if not isinstance(value, str) or not 20 <= len(value) <= 40 or value[-1] != "Z":
        return 0
    second, fraction = _second(value[:19]), value[20:23]
    return 0 if second is None else second * 1000 + (int(fraction.ljust(3, "0")) if fraction.isdecimal() and fraction.isascii() else 0)


@lru_cache(1024)
def _second(text: str) -> int | None:
    try:
        return int(datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp())
    except (ValueError, OverflowError):
        return None


def _state_number(value: Any) -> int | None:
    """Ray's number of a state; None for a name that the installed release does not have."""
    if isinstance(value, str):
        found = _enum_type("TaskStatus").values_by_name.get(value)
        return None if found is None else int(found.number)
    return _whole(value, -1)


def _enum(name: str, value: Any) -> str:
    """The name of an enum's value, which protobuf's JSON gives by name, or by number where it knows none."""
    known = _enum_type(name)
    if isinstance(value, str):
        return value if value in known.values_by_name else "UNKNOWN"
    found = known.values_by_number.get(_whole(value, -1))
    return f"UNKNOWN({_whole(value, -1)})" if found is None else str(found.name)


@lru_cache
def _enum_type(name: str) -> Any:
    return gcs_stubs.module("common_pb2").DESCRIPTOR.enum_types_by_name[name]


def _camel(values: Any, depth: int = 0) -> Any:
    """An object whose keys are the protocol's own names, with those that protobuf's JSON uses."""
    if isinstance(values, list):
        return [_camel(item, depth + 1) for item in values[:MAX_ENTRIES]] if depth < 8 else []
    if not isinstance(values, dict) or depth >= 8:
        return values
    return {_camel_name(name): value if name in _USER_MAPS else _camel(value, depth + 1) for name, value in values.items()}


@lru_cache(1024)
def _camel_name(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


_DECODERS: dict[str, Callable[[dict[str, Any], int], TaskUpdate | None]] = {
    "TASK_DEFINITION_EVENT": _definition,
    "ACTOR_TASK_DEFINITION_EVENT": _actor_definition,
    "TASK_LIFECYCLE_EVENT": _lifecycle,
}
