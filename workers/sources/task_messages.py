"""The parts that Ray's messages about tasks share, polled or pushed: what was asked for, where it ran, how it failed."""

from __future__ import annotations

from typing import Any

from clusterstate.model import Text
from clusterstate.task_states import END_UNKNOWN, INFERRED
from workers.sources.gcs_fields import clipped, enum_name
from workers.sources.task_update import (
    NODE_ID_BYTES,
    PLACEMENT_GROUP_ID_BYTES,
    TASK_ID_BYTES,
    WORKER_ID_BYTES,
    call_site_text,
    error_text,
    id_of,
    inference_in,
    labels_text,
    log_files_text,
    refer,
    resources_text,
    runtime_env_text,
)

OFFSETS = ("stdout_start", "stdout_end", "stderr_start", "stderr_end")


def asked_for(said: dict[str, Any], found: list[Text], message: Any, name: str, function: str, runtime_env: str) -> None:
    """What was submitted: of a `TaskInfoEntry`, a `TaskDefinitionEvent` or an `ActorTaskDefinitionEvent`."""
    if name:
        said["name"] = clipped(name)
    if function:
        said["func_or_class_name"] = clipped(function)
    put(said, "parent_task_id", id_of(message.parent_task_id, TASK_ID_BYTES))
    put(said, "placement_group_id", id_of(message.placement_group_id, PLACEMENT_GROUP_ID_BYTES))
    refer(said, found, "required_resources_id", resources_text(message.required_resources))
    refer(said, found, "label_selector_id", labels_text(getattr(message, "label_selector", {})))
    refer(said, found, "runtime_env_id", runtime_env_text(runtime_env))
    refer(said, found, "call_site_id", call_site_text(getattr(message, "call_site", "")))


def ran_in(said: dict[str, Any], found: list[Text], message: Any) -> None:
    """Where it runs and logs: of a `TaskStateUpdate` or a `TaskLifecycleEvent`, of which older releases have fewer fields."""
    put(said, "node_id", id_of(message.node_id, NODE_ID_BYTES))
    put(said, "worker_id", id_of(message.worker_id, WORKER_ID_BYTES))
    if message.worker_pid > 0:
        said["worker_pid"] = message.worker_pid
    repr_name = present(message, "actor_repr_name")
    if repr_name:
        said["actor_repr_name"] = clipped(repr_name)
    log = present(message, "task_log_info")
    if log is None:
        return
    refer(said, found, "log_files_id", log_files_text(log.stdout_file, log.stderr_file))
    for name in OFFSETS:
        if log.HasField(name) and (offset := getattr(log, name)) >= 0:
            said[name] = offset


def error_in(found: list[Text], message: Any, name: str) -> tuple[tuple[str, str | None] | None, str | None]:
    """Of a `RayErrorInfo` field: ((kind, id of its text), what the failure counts as where the GCS only inferred it)."""
    info = present(message, name)
    return (None, None) if info is None else error_of(found, enum_name(info, "error_type"), info.error_message or _cause_in(info))


def error_of(found: list[Text], kind: str, message: str) -> tuple[tuple[str, str | None] | None, str | None]:
    """The same of its parts. What the GCS guessed is no error."""
    guess = inference_in(kind, message)
    if guess == END_UNKNOWN:
        return None, guess
    said = error_text(message)
    if said is not None:
        found.append(said)
    return (kind, None if said is None else said.text_id), INFERRED if guess else None


def _cause_in(info: Any) -> str:
    """The message inside the error's variant, for those errors that have none of their own."""
    context = _variant(info, "error")
    if context is not None and context.DESCRIPTOR.name == "ActorDeathCause":
        context = _variant(context, "context")
    return str(getattr(context, "error_message", "") or getattr(context, "formatted_exception_string", ""))


def _variant(message: Any, group: str) -> Any:
    name = message.WhichOneof(group)
    return getattr(message, name) if name else None


def present(message: Any, name: str) -> Any:
    """A field with presence; None when it is not set, or when the installed release does not have it."""
    try:
        return getattr(message, name) if message.HasField(name) else None
    except ValueError:
        return None


def put(said: dict[str, Any], name: str, value: Any) -> None:
    if value is not None:
        said[name] = value
