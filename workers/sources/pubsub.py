"""Following what the GCS publishes of actors, jobs, nodes and workers, by long poll.

Order matters: subscribe, then take a snapshot, then apply messages. A message that is received before the snapshot is asked
for is in the snapshot already. After any failure, and when the publisher is another one, subscribe and snapshot anew: the
GCS keeps no messages for a subscriber it does not know.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from workers.sources import gcs_stubs
from workers.sources.gcs import GcsClient, GcsError, GcsUnimplemented
from workers.sources.gcs_wire import BadRecord, field_number, number_in, records

SUBSCRIBER_ID_BYTES = 28  # of Ray's UniqueID
POLL_LIMIT_S = 60.0  # an unanswered poll is asked again; the GCS drops subscribers after 300 s without one
CHANNELS = {
    "GCS_ACTOR_CHANNEL": "actor_message",
    "GCS_JOB_CHANNEL": "job_message",
    "GCS_NODE_INFO_CHANNEL": "node_info_message",
    "GCS_WORKER_DELTA_CHANNEL": "worker_delta_message",
}


class PublisherChanged(GcsError):
    """Another GCS process answers: what was published in between is not known."""


@dataclass(frozen=True)
class Published:
    """One message. `key_id` names what it is about: deltas hold no id of their own."""

    kind: str  # actor_message, job_message, node_info_message, worker_delta_message
    key_id: str
    message: Any


def why_not(cluster_version: str | None) -> str | None:
    """Why pubsub is not to be used with a cluster of that Ray version; None when it may be.

    Channel and field numbers differ between releases: another release's messages would decode into wrong things silently.
    """
    installed = gcs_stubs.installed_version()
    if gcs_stubs.pubsub_layout() is None:
        return f"The installed Ray {installed} publishes in a way that Raydeck does not know, so everything is polled."
    if cluster_version is None or not gcs_stubs.same_release(cluster_version, installed):
        return (
            f"The cluster runs Ray {cluster_version or 'of an unknown version'}, Raydeck is installed with Ray {installed}: "
            f"everything is polled. Install ray=={cluster_version or '<the version of the cluster>'} beside Raydeck to follow it live."
        )
    return None


class Subscription:
    """One subscriber of the control plane's channels. Of one use: make another after a GcsError."""

    def __init__(self, client: GcsClient) -> None:
        layout = gcs_stubs.pubsub_layout()
        if layout is None:
            raise GcsUnimplemented("The installed Ray has no known pubsub service.")
        self.unreadable = 0  # messages that could not be parsed
        self._client = client
        self._layout = layout
        self._id = secrets.token_bytes(SUBSCRIBER_ID_BYTES)
        self._publisher = b""
        self._last = 0
        self._poll = gcs_stubs.pubsub_method(layout.control_service, "GcsSubscriberPoll")
        self._command = gcs_stubs.pubsub_method(layout.control_service, "GcsSubscriberCommandBatch")
        self._message = gcs_stubs.row_class(self._poll, "pub_messages")
        self._messages_field = field_number(self._poll.reply, "pub_messages")
        self._sequence_field = field_number(self._message, "sequence_id")
        self._publisher_field = field_number(self._poll.reply, "publisher_id")

    async def subscribe(self) -> None:
        commands = [{"channel_type": self._layout.channels[name], "subscribe_message": {}} for name in CHANNELS]
        await self._client.call_raw(self._command, self._command.request(subscriber_id=self._id, commands=commands))

    async def next(self) -> list[Published]:
        """What was published since the last call; waits for it at most POLL_LIMIT_S, then an empty list.

        Raises PublisherChanged after a GCS restart, GcsUnreachable and the like when the connection is lost.
        """
        request = self._poll.request(subscriber_id=self._id, max_processed_sequence_id=self._last, publisher_id=self._publisher)
        raw = await self._client.long_poll(self._poll, request, POLL_LIMIT_S)
        if raw is None:
            return []
        try:
            return list(self._read(raw))
        except BadRecord:
            raise GcsError("What the GCS published cannot be read.") from None

    def _read(self, raw: bytes) -> Iterator[Published]:
        publisher = b"".join(records(raw, self._publisher_field))
        if self._publisher and publisher != self._publisher:
            raise PublisherChanged("The GCS was restarted.")
        self._publisher = publisher
        for record in records(raw, self._messages_field):
            sequence_id = number_in(record, self._sequence_field)
            if sequence_id <= self._last:
                continue  # delivered twice
            self._last = sequence_id  # also of one that cannot be read: it would be sent again for ever
            message = gcs_stubs.parse_or_none(self._message, record)
            if message is None:
                self.unreadable += 1
                continue
            kind = message.WhichOneof("inner_message")
            if kind in CHANNELS.values():
                yield Published(kind, bytes(message.key_id).hex(), getattr(message, kind))
