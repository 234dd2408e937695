"""Lets another process build and break a simulated cluster: one gRPC method, JSON in and out, beside Ray's services.

Bytes travel as {"bytes": hex}. Only the builders, faults and figures below may be called.
"""

from __future__ import annotations

import json
from typing import Any

import grpc

SERVICE = "simulated.Control"
METHOD = "Call"
BUILDERS = (
    "add_node",
    "kill_node",
    "forget_node",
    "set_available",
    "node_ids",
    "set_autoscaling",
    "add_job",
    "finish_job",
    "forget_job",
    "add_submission",
    "set_submission",
    "submission",
    "forget_submission",
    "job_ids",
    "add_worker",
    "kill_worker",
    "forget_worker",
    "worker_ids",
    "add_actor",
    "start_actor",
    "restart_actor",
    "kill_actor",
    "set_actor",
    "forget_actor",
    "actor_ids",
    "add_placement_group",
    "set_placement_group",
    "remove_placement_group",
    "forget_placement_group",
    "placement_group_ids",
    "add_task",
    "set_task",
    "retry_task",
    "mark_tasks_of_ended_job",
    "mark_tasks_of_dead_worker",
    "lose_tasks",
    "forget_task",
    "put_kv",
    "delete_kv",
    "publish_error",
)
CONTROLS = (
    "refuse",
    "delay",
    "allow",
    "stall",
    "drop_subscriptions",
    "subscribers",
    "changes_per_second",
    "figures",
    "reset_figures",
    "restart",
    "new_session",
    "serve_raylet",
)
CALLABLE = frozenset(BUILDERS + CONTROLS)
LATER = frozenset({"restart", "new_session"})  # they end the very server that answers: the answer goes first


def encode(value: Any) -> bytes:
    """JSON of a call or an answer."""
    return json.dumps(value, default=_bytes_as_hex).encode()


def decode(data: bytes) -> Any:
    return json.loads(data, object_hook=_hex_as_bytes)


def _bytes_as_hex(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    raise TypeError(f"{type(value).__name__} cannot be sent")


def _hex_as_bytes(value: dict[str, Any]) -> Any:
    return bytes.fromhex(value["bytes"]) if value.keys() == {"bytes"} else value


def handlers(cluster: Any) -> grpc.GenericRpcHandler:
    """The control service of a cluster. Faults do not touch it."""

    def call(data: bytes, context: grpc.ServicerContext) -> bytes:
        name, positional, named = decode(data)
        if name not in CALLABLE:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{name} may not be called. May be: {', '.join(sorted(CALLABLE))}")
        if name in LATER:
            cluster.later(lambda: getattr(cluster, name)(*positional, **named))
            return encode({"value": None})
        try:
            return encode({"value": getattr(cluster, name)(*positional, **named)})
        except (LookupError, TypeError, ValueError) as error:
            return encode({"error": f"{type(error).__name__}: {error}"})

    return grpc.method_handlers_generic_handler(SERVICE, {METHOD: grpc.unary_unary_rpc_method_handler(call)})
