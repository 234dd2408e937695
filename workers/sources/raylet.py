"""Asking Ray about the raylets of this host: GetNodeStats of each, and of the GCS where they listen.

Calls are started and looked after: the caller's loop beats a heartbeat and waits for nobody. Neither is ever sent
anything but questions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Generic, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from workers.sources import gcs_stubs
from workers.sources.auth import bearer, ray_token
from workers.sources.gcs import CHANNEL_OPTIONS, Credentials, tls_credentials
from workers.sources.raylet_decode import (
    NodeAddress,
    RayletReading,
    decode_node_address,
    decode_node_stats,
    worker_ids_from_log_names,
)

T = TypeVar("T")

TIMEOUT_S = 4.0
"""The raylet asks each of its workers in turn: one that is stopped holds the answer up."""
MAX_WORKERS = 2000
MAX_LOG_NAMES = 50_000
NODE_STATS = "/ray.rpc.NodeManagerService/GetNodeStats"


def ray_credentials(environ: Mapping[str, str]) -> Credentials:
    """Token and TLS files as Ray's own environment names them. Raises GcsError when a file is missing."""
    return Credentials(ray_token(environ), tls_credentials(environ))


class Question(Generic[T]):
    """One call that is asked again and again, at most one at a time."""

    def __init__(self, call: Any, request: Message, metadata: tuple[tuple[str, str], ...], decode: Callable[[bytes, float], T]) -> None:
        self._call = call
        self._request = request
        self._metadata = metadata
        self._decode = decode
        self._under_way: Any = None
        self.answer: T | None = None  # the newest
        self.problem: str | None = None  # why the last call gave none

    def ask(self) -> None:
        """Starts the call unless one is under way. Never waits."""
        if self._under_way is None:
            self._under_way = self._call.future(self._request, timeout=TIMEOUT_S, metadata=self._metadata, wait_for_ready=False)

    def look(self, now: float) -> bool:
        """Takes the answer if it is there; False while the call is under way."""
        if self._under_way is None:
            return True
        if not self._under_way.done():
            return False
        done, self._under_way = self._under_way, None
        try:
            self.answer, self.problem = self._decode(done.result(), now), None
        except grpc.RpcError as error:
            self.problem = _sentence(error)
        except (DecodeError, ValueError) as error:
            self.problem = f"it sent an answer that cannot be read ({type(error).__name__})."
        return True

    def cancel(self) -> None:
        if self._under_way is not None:
            self._under_way.cancel()
            self._under_way = None


class RayletClient(Question[RayletReading]):
    """GetNodeStats of one raylet: its workers by pid, and its object store."""

    def __init__(self, address: str, port: int, credentials: Credentials) -> None:
        self.endpoint = f"{_bracketed(address)}:{port}"
        self._channel = _channel(self.endpoint, credentials)
        proto = gcs_stubs.module("node_manager_pb2")

        def decode(raw: bytes, now: float) -> RayletReading:
            return decode_node_stats(proto.GetNodeStatsReply.FromString(raw), now, MAX_WORKERS)

        request = proto.GetNodeStatsRequest(include_memory_info=False)
        super().__init__(_unary(self._channel, NODE_STATS), request, bearer(credentials.token), decode)

    def close(self) -> None:
        self.cancel()
        self._channel.close()


class NodeLookup(Question[dict[str, NodeAddress]]):
    """Where nodes listen, from the GCS. Asked when a raylet is new here and now and then after, never each second."""

    def __init__(self, gcs_address: str, node_ids: Iterable[str], credentials: Credentials) -> None:
        self.credentials = credentials
        self._channel = _channel(gcs_address, credentials)
        method = gcs_stubs.method("GetAllNodeInfo")
        wanted = frozenset(node_ids)

        def decode(raw: bytes, now: float) -> dict[str, NodeAddress]:
            reply: Any = method.reply.FromString(raw)
            found = (decode_node_address(info) for info in reply.node_info_list)
            return {node.node_id: node for node in found if node.node_id in wanted}

        super().__init__(_unary(self._channel, method.path), _selecting(method, wanted), bearer(credentials.token), decode)

    def close(self) -> None:
        self.cancel()
        self._channel.close()


def worker_ids_from_logs(session_dir: str, pids: Iterable[int]) -> dict[int, str]:
    """pid → worker id from the session's log file names; {} where the folder cannot be read."""
    try:
        with os.scandir(os.path.join(session_dir, "logs")) as entries:
            return worker_ids_from_log_names((entry.name for entry in islice(entries, MAX_LOG_NAMES)), pids)
    except OSError:
        return {}


def _selecting(method: gcs_stubs.Method, node_ids: frozenset[str]) -> Message:
    """A request for these nodes alone. Ray releases that cannot select send all, which are sifted."""
    request: Any = method.request()
    if "node_selectors" in method.request.DESCRIPTOR.fields_by_name:
        for node_id in sorted(node_ids):
            request.node_selectors.add(node_id=bytes.fromhex(node_id))
    return request  # type: ignore[no-any-return]


def _channel(target: str, credentials: Credentials) -> grpc.Channel:
    if credentials.tls is None:
        return grpc.insecure_channel(target, options=CHANNEL_OPTIONS)
    return grpc.secure_channel(target, credentials.tls, options=CHANNEL_OPTIONS)


def _unary(channel: grpc.Channel, path: str) -> Any:
    return channel.unary_unary(path, request_serializer=lambda message: message.SerializeToString(), response_deserializer=None)


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _sentence(error: Any) -> str:
    """What went wrong, without what the other side wrote: that may be long, and is not ours."""
    code = error.code() if hasattr(error, "code") else None
    if code == grpc.StatusCode.UNAUTHENTICATED:
        return "it wants Ray's token, and ours is missing or wrong."
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"it did not answer within {TIMEOUT_S:.0f} s."
    if code is None or code == grpc.StatusCode.UNAVAILABLE:
        return "it cannot be reached."
    return f"it answered {code.name}."
