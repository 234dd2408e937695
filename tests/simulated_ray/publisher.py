"""Ray's pubsub by long poll: one mailbox a subscriber, numbered messages, a publisher id that changes with each start."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.simulated_ray import ids, stubs, wire

PUBLISH_BATCH_SIZE = 5000  # messages a reply, Ray's default
MAILBOX_LIMIT = 1_000_000  # messages kept for a subscriber that does not poll; the oldest go first
WAIT_STEP_S = 0.5  # how soon a cancelled poll is noticed


class WrongChannel(ValueError):
    """A subscription to a channel that the service does not have."""


@dataclass
class Subscriber:
    """What one subscriber asked for and has not yet confirmed."""

    mailbox: deque[tuple[int, bytes]] = field(default_factory=lambda: deque(maxlen=MAILBOX_LIMIT))
    keys: dict[int, set[bytes]] = field(default_factory=dict)  # channel -> keys; the empty key stands for all
    polls: int = 0

    def wants(self, channel: int, key: bytes) -> bool:
        keys = self.keys.get(channel, ())
        return b"" in keys or key in keys


class Publisher:
    """The publisher behind one pubsub service."""

    def __init__(self, channels: Iterable[int], publisher_id: bytes) -> None:
        self.publisher_id = publisher_id
        self.channels = frozenset(channels)
        self._sequence = 0
        self._subscribers: dict[bytes, Subscriber] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._reply_records = stubs.field_number(stubs.gcs_service.GcsSubscriberPollReply, "pub_messages")
        self._reply_publisher = stubs.field_number(stubs.gcs_service.GcsSubscriberPollReply, "publisher_id")

    @property
    def subscribers(self) -> int:
        return len(self._subscribers)

    def command(self, subscriber_id: bytes, commands: Iterable[Any]) -> None:
        """Subscribe and unsubscribe. Raises WrongChannel."""
        with self._changed:
            subscriber = self._subscribers.setdefault(subscriber_id, Subscriber())
            for command in commands:
                if command.channel_type not in self.channels:
                    raise WrongChannel(command.channel_type)
                if command.HasField("unsubscribe_message"):
                    subscriber.keys.get(command.channel_type, set()).discard(command.key_id)
                else:
                    subscriber.keys.setdefault(command.channel_type, set()).add(command.key_id)

    def publish(self, channel: int, key: bytes, content: str, message: Any, raw: bytes = b"") -> None:
        """Send `message` as the field `content` of a PubMessage to all who want it."""
        with self._changed:
            self._sequence += 1
            takers = [s for s in self._subscribers.values() if s.wants(channel, key)]
            if not takers:
                return
            envelope = stubs.pubsub.PubMessage(channel_type=channel, key_id=key, sequence_id=self._sequence)
            body = wire.field(stubs.field_number(envelope, content), message.SerializeToString() + raw)
            record = wire.field(self._reply_records, envelope.SerializeToString() + body)
            for subscriber in takers:
                subscriber.mailbox.append((self._sequence, record))
            self._changed.notify_all()

    def poll(self, subscriber_id: bytes, publisher_id: bytes, processed: int, is_active: Callable[[], bool]) -> bytes:
        """Wait for messages after `processed`; a newer poll of the same subscriber ends this one with an empty reply."""
        with self._changed:
            subscriber = self._subscribers.setdefault(subscriber_id, Subscriber())
            subscriber.polls += 1
            mine = subscriber.polls
            self._changed.notify_all()
            if publisher_id == self.publisher_id:
                _drop_processed(subscriber.mailbox, processed)
            while not subscriber.mailbox and not self._closed and subscriber.polls == mine and is_active():
                self._changed.wait(WAIT_STEP_S)
            records = [] if subscriber.polls != mine else [record for _, record in list(subscriber.mailbox)[:PUBLISH_BATCH_SIZE]]
        return b"".join(records) + wire.field(self._reply_publisher, self.publisher_id)

    def forget_subscribers(self) -> None:
        """Drop all subscriptions without a word, as Ray does with those that have not polled for minutes."""
        with self._changed:
            for subscriber in self._subscribers.values():
                subscriber.keys.clear()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def _drop_processed(mailbox: deque[tuple[int, bytes]], processed: int) -> None:
    while mailbox and mailbox[0][0] <= processed:
        mailbox.popleft()


CONTROL_CHANNELS = {
    "GCS_ACTOR_CHANNEL": "actor_message",
    "GCS_JOB_CHANNEL": "job_message",
    "GCS_NODE_INFO_CHANNEL": "node_info_message",
    "GCS_WORKER_DELTA_CHANNEL": "worker_delta_message",
    "GCS_NODE_ADDRESS_AND_LIVENESS_CHANNEL": "node_address_and_liveness_message",
}
OBSERVABILITY_CHANNELS = {
    "RAY_ERROR_INFO_CHANNEL": "error_info_message",
    "RAY_LOG_CHANNEL": "log_batch_message",
    "RAY_NODE_RESOURCE_USAGE_CHANNEL": "node_resource_usage_message",
}
CONTENT = {**CONTROL_CHANNELS, **OBSERVABILITY_CHANNELS}
# Up to 2.5x there was one service for all; 2.60 has two, each with a publisher of its own.
SERVICES = {
    "ControlPlanePubSubGcsService": tuple(CONTROL_CHANNELS),
    "ObservabilityPubSubService": tuple(OBSERVABILITY_CHANNELS),
    "InternalPubSubGcsService": tuple(CONTENT),
}


class Publishers:
    """The publishers of all pubsub services that the installed Ray has."""

    def __init__(self, random: Any) -> None:
        there = stubs.gcs_services().keys() & SERVICES.keys()
        names = set(stubs.pubsub.ChannelType.keys())
        self.by_service = {
            service: Publisher((stubs.channel(name) for name in SERVICES[service] if name in names), ids.unique(random))
            for service in sorted(there)
        }

    def publish(self, channel: str, key: bytes, message: Any, raw: bytes = b"") -> None:
        """Publish on a channel by its name; a channel that the installed Ray lacks is left out."""
        if channel not in stubs.pubsub.ChannelType.keys():  # noqa: SIM118 - protobuf's enum wrapper is no mapping
            return
        number = stubs.channel(channel)
        for publisher in self.by_service.values():
            if number in publisher.channels:
                publisher.publish(number, key, CONTENT[channel], message, raw)

    def forget_subscribers(self) -> None:
        for publisher in self.by_service.values():
            publisher.forget_subscribers()

    def close(self) -> None:
        for publisher in self.by_service.values():
            publisher.close()
