"""A plain client over Ray's generated stubs, as the tests of the simulated cluster (and of the real one beside it) use it."""

from __future__ import annotations

import os
from importlib import import_module
from types import TracebackType
from typing import Any

import grpc

from tests.simulated_ray import ids, stubs

OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))
LIMIT_S = 10.0


class Client:
    """Calls by service and method: `client.call("NodeInfoGcsService", "CheckAlive")`."""

    def __init__(self, address: str, token: str | None = None) -> None:
        self._channel = grpc.insecure_channel(address, OPTIONS)
        self._metadata = [("authorization", f"Bearer {token}")] if token is not None else []

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._channel.close()

    def call(self, service: str, method: str, *, limit_s: float = LIMIT_S, **request: Any) -> Any:
        """One call through Ray's own stub class. grpc.RpcError as it comes."""
        name = _module_of(service)
        stub = getattr(import_module(name + "_grpc"), service + "Stub")(self._channel)
        messages = import_module(name)
        message = stubs.message_class(messages.DESCRIPTOR.services_by_name[service].methods_by_name[method].input_type)
        return getattr(stub, method)(message(**request), timeout=limit_s, metadata=self._metadata)

    def actors(self, **request: Any) -> Any:
        return self.call("ActorInfoGcsService", "GetAllActorInfo", **request)

    def nodes(self, **request: Any) -> Any:
        return self.call("NodeInfoGcsService", "GetAllNodeInfo", **request)


def _module_of(service: str) -> str:
    for name in ("gcs_service", "autoscaler", "node_manager"):
        module = f"{stubs.GENERATED}{name}_pb2"
        if service in import_module(module).DESCRIPTOR.services_by_name:
            return module
    raise LookupError(service)


class Subscription:
    """A subscriber of some channels of one pubsub service, which polls when asked."""

    def __init__(self, client: Client, *channels: str, service: str | None = None, key: bytes = b"") -> None:
        self._client = client
        self.service = service or service_of(channels[0])
        self.subscriber_id = os.urandom(ids.UNIQUE_BYTES)
        self.publisher_id = b""
        self.processed = 0
        commands = [stubs.pubsub.Command(channel_type=stubs.channel(name), key_id=key, subscribe_message={}) for name in channels]
        client.call(self.service, "GcsSubscriberCommandBatch", subscriber_id=self.subscriber_id, commands=commands)

    def poll(self, limit_s: float = LIMIT_S) -> list[Any]:
        """The next messages; waits for them. grpc.RpcError (DEADLINE_EXCEEDED) if none came."""
        reply = self._client.call(
            self.service,
            "GcsSubscriberPoll",
            limit_s=limit_s,
            subscriber_id=self.subscriber_id,
            publisher_id=self.publisher_id,
            max_processed_sequence_id=self.processed,
        )
        if reply.publisher_id != self.publisher_id:
            self.publisher_id, self.processed = reply.publisher_id, 0
        self.processed = max([self.processed, *(message.sequence_id for message in reply.pub_messages)])
        return list(reply.pub_messages)

    def take(self, count: int, limit_s: float = LIMIT_S) -> list[Any]:
        """At least so many messages, over as many polls as they take."""
        messages: list[Any] = []
        while len(messages) < count:
            messages += self.poll(limit_s)
        return messages


def service_of(channel: str) -> str:
    """The pubsub service that has this channel in the installed Ray."""
    services = stubs.gcs_services()
    if "InternalPubSubGcsService" in services:
        return "InternalPubSubGcsService"
    return "ObservabilityPubSubService" if channel.startswith("RAY_") else "ControlPlanePubSubGcsService"


def fields_of(message: Any) -> set[str]:
    """Names of the fields that are set."""
    return {field.name for field, _ in message.ListFields()}
