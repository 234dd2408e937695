"""The GCS's actors as our model, and the joining of what is published of them with what is known."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import Any

from clusterstate.masking import mask_text
from clusterstate.model import Actor
from workers.sources.gcs_fields import (
    MAX_ENTRIES,
    clipped,
    enum_name,
    hex_id,
    hex_of,
    number,
    optional,
    plain_name,
    plain_resources,
    text,
    texts,
)

FULL_STATES = frozenset({"DEPENDENCIES_UNREADY", "PENDING_CREATION"})
"""States whose published message is a whole row; of the others it is a delta."""
AMOUNTS = frozenset({"CPU", "memory", "object_store_memory", "bundle"})
"""Resources that are handed out by amount: their index in a resource mapping means nothing."""
OFTEN_TOLD = 500
"""Characters of a cause of death that is remembered: a longer one is a traceback of its own."""
EXIT_TYPE = re.compile(r"Worker exit type: ([A-Z_]{1,64})")
LOST = "The GCS no longer knows this actor. It ended while nobody was watching; when and why is not known."


def actor_of(message: Any, actor_id: str | None = None) -> Actor:
    """A row of the actor table (`ActorTableData`). A delta has no id of its own: it is the message's key."""
    cause, detail = death_of(message)
    address = message.address
    worker_id = hex_id(address, "worker_id")
    return Actor(
        actor_id=hex_id(message, "actor_id") or actor_id or "",
        state=enum_name(message, "state"),
        class_name=text(message, "class_name"),
        name=text(message, "name"),
        repr_name=text(message, "repr_name"),
        ray_namespace=text(message, "ray_namespace"),
        job_id=hex_id(message, "job_id"),
        node_id=hex_id(address, "node_id") if worker_id else None,  # before that it is the node that was asked, or the last one
        worker_id=worker_id,
        pid=number(message, "pid"),
        ip=text(address, "ip_address"),
        is_detached=bool(message.is_detached),
        start_time_ms=number(message, "start_time"),
        end_time_ms=number(message, "end_time"),
        num_restarts=int(message.num_restarts),
        max_restarts=int(message.max_restarts),
        num_restarts_due_to_node_preemption=number(message, "num_restarts_due_to_node_preemption"),
        required_resources=plain_resources(message.required_resources),
        placement_group_id=hex_of(optional(message, "placement_group_id") or b""),
        label_selector=texts(getattr(message, "label_selector", {})),
        death_cause=cause,
        exit_detail=detail,
        call_site=_clipped_or_none(optional(message, "call_site")),
        resource_mapping=slots_of(getattr(message, "resource_mapping", ())),
        previous_incarnations=[
            {"worker_id": one.worker_id.hex(), "node_id": one.node_id.hex()}
            for one in list(getattr(message, "previous_incarnations", ()))[:MAX_ENTRIES]
        ],
    )


def merge_actor(known: Actor | None, update: Actor) -> Actor:
    """An actor after a published message. ALIVE and DEAD messages are deltas: they never take away what is known.

    A delta carries state, address, name, pid, namespace, times and the cause of death (Ray 2.53 to 2.60).
    """
    if known is None or (update.state in FULL_STATES and update.class_name):
        return update
    merged = replace(
        known,
        state=update.state,
        class_name=update.class_name or known.class_name,
        name=update.name or known.name,
        repr_name=update.repr_name or known.repr_name,
        ray_namespace=update.ray_namespace or known.ray_namespace,
        job_id=update.job_id or known.job_id,
        start_time_ms=update.start_time_ms or known.start_time_ms,
        end_time_ms=update.end_time_ms,
        num_restarts=max(update.num_restarts, known.num_restarts),
        death_cause=update.death_cause,
        exit_detail=update.exit_detail,
        required_resources=update.required_resources or known.required_resources,
        placement_group_id=update.placement_group_id or known.placement_group_id,
        resource_mapping=update.resource_mapping or known.resource_mapping,
        previous_incarnations=update.previous_incarnations or known.previous_incarnations,
    )
    return _placed(merged, known, update)


def _placed(merged: Actor, known: Actor, update: Actor) -> Actor:
    """Where it runs. RESTARTING runs nowhere; the dead keep their last place; a new worker has other slots."""
    if update.state == "RESTARTING":
        return replace(merged, node_id=None, worker_id=None, pid=None, ip=None, resource_mapping={})
    moved = update.worker_id is not None and update.worker_id != known.worker_id
    return replace(
        merged,
        node_id=update.node_id or known.node_id,
        worker_id=update.worker_id or known.worker_id,
        pid=update.pid or (None if moved else known.pid),
        ip=update.ip or known.ip,
        resource_mapping=update.resource_mapping or ({} if moved else known.resource_mapping),
    )


def lost_actor(known: Actor) -> Actor:
    """An actor that lived when it was last seen and that the GCS no longer knows."""
    return replace(known, state="DEAD", exit_detail=LOST)


def slots_of(mapping: Any) -> dict[str, list[int]]:
    """The instances that an actor holds, such as {"GPU": [0, 1]}. Resources of a bundle count for what they are of."""
    slots: dict[str, set[int]] = {}
    for entry in list(mapping)[:MAX_ENTRIES]:
        resource = clipped(plain_name(entry.name))
        if resource in AMOUNTS or resource.startswith("node:"):
            continue
        held = {int(one.index) for one in list(entry.resource_ids)[:MAX_ENTRIES] if one.quantity > 0}
        slots.setdefault(resource, set()).update(held)
    return {resource: sorted(held) for resource, held in sorted(slots.items()) if held}


def death_of(message: Any) -> tuple[str | None, str | None]:
    """The kind of death and the whole text about it, from the cause's variant (`ActorDeathCause`)."""
    if not message.HasField("death_cause"):
        return None, None
    variant = message.death_cause.WhichOneof("context")
    if variant is None:
        return None, None
    context = getattr(message.death_cause, variant)
    if variant == "actor_died_error_context":
        return _died(context)
    if variant == "creation_task_failure_context":
        return "CREATION_TASK_FAILED", _masked(context.formatted_exception_string)
    kind = variant.removesuffix("_context").upper()  # RUNTIME_ENV_FAILED, ACTOR_UNSCHEDULABLE, OOM
    return kind, _masked(context.error_message)


def _died(context: Any) -> tuple[str | None, str | None]:
    """Ray's sentence, and what became of the node when that was the reason.

    Ray says WORKER_DIED also of an actor that left by itself or whose job ended: then the worker's exit type is the cause.
    """
    reason = enum_name(context, "reason")
    exit_type = EXIT_TYPE.search(context.error_message[:1000]) if reason == "WORKER_DIED" else None
    if exit_type is not None and exit_type[1].startswith("INTENDED_"):
        reason = exit_type[1]
    parts = [context.error_message]
    if optional(context, "node_death_info") is not None:
        why = context.node_death_info.reason_message
        if why and why not in context.error_message:
            parts.append(f"The node: {enum_name(context.node_death_info, 'reason')}: {why}")
    return ("ACTOR_DIED" if reason == "UNSPECIFIED" else reason), _masked("\n".join(part for part in parts if part))


def _masked(value: str) -> str | None:
    return _masked_often(value) if len(value) <= OFTEN_TOLD else mask_text(clipped(value)) or None


@lru_cache(1000)
def _masked_often(value: str) -> str | None:
    """Thousands of actors die of the same sentence."""
    return mask_text(clipped(value)) or None


def _clipped_or_none(value: str | None) -> str | None:
    return clipped(value) if value else None
