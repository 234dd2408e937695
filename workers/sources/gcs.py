"""A client of Ray's GCS: plain gRPC on asyncio, without Ray's own client. It reads and never writes."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from workers.sources import gcs_stubs
from workers.sources.auth import bearer
from workers.sources.gcs_wire import Rows

MAX_MESSAGE_BYTES = 1024 * 1024 * 1024  # 100,000 actors with long errors; Ray's own limit is 512 MB a request
CALL_TIMEOUT_S = 5.0
SNAPSHOT_TIMEOUT_S = 60.0
KEYS_A_CALL = 100  # KV values asked for at once: a job record may be 20 kB and more

NOT_FOUND = 17  # ray::StatusCode::NotFound
REFUSALS = {
    False: "wants a token: set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, or write ~/.ray/auth_token.",
    True: "refuses our token: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token holds a wrong one.",
}
CHANNEL_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", 64 * 1024 * 1024),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),  # a new client must not inherit the back-off of the one before
)


class GcsError(Exception):
    """A call of the GCS failed. The message is a sentence that may be shown; it never holds the token."""


class GcsUnreachable(GcsError):
    """Nobody answers at the address, or not in time."""


class GcsTimeout(GcsUnreachable):
    """It was asked and has not answered within the call's time limit."""


class GcsRefused(GcsError):
    """The cluster wants a token, and ours is missing or wrong."""


class GcsUnimplemented(GcsError):
    """This Ray release does not have the call."""


@dataclass
class Traffic:
    """What a client has cost the GCS so far."""

    calls: int = 0
    received_bytes: int = 0
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))  # in all, by method
    made: Counter[str] = field(default_factory=Counter)  # calls that were answered, by method
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=50))  # seconds of the last calls of any kind

    def way_s(self) -> float:
        """What a call takes before the GCS has done anything: network and busy machines, from the quickest of the last calls."""
        return min(self.recent, default=0.0)


@dataclass(frozen=True)
class Credentials:
    """How to speak to a cluster: Ray's token and Ray's TLS files, as the environment names them."""

    token: str | None = None
    tls: grpc.ChannelCredentials | None = None


def tls_credentials(environ: Mapping[str, str]) -> grpc.ChannelCredentials | None:
    """Ray's own TLS set-up: RAY_USE_TLS with certificate, key and CA files. Raises GcsError when a file is missing."""
    if environ.get("RAY_USE_TLS", "0").strip().lower() not in ("1", "true"):
        return None
    content = []
    for name in ("RAY_TLS_CA_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_SERVER_CERT"):
        try:
            content.append(Path(environ[name]).read_bytes())
        except KeyError:
            raise GcsError(f"RAY_USE_TLS is on, but {name} is not set.") from None
        except OSError as problem:
            raise GcsError(f"RAY_USE_TLS is on, but the file of {name} cannot be read: {problem.strerror}.") from None
    return grpc.ssl_channel_credentials(*content)


class GcsClient:
    """Unary calls to one GCS. Every call has a time limit and is counted.

    Cheap to throw away: after a lost connection a new client is made instead of repairing the old one.
    """

    def __init__(self, address: str, credentials: Credentials = Credentials(), traffic: Traffic | None = None) -> None:
        self.address = address
        self.traffic = traffic if traffic is not None else Traffic()
        self.last_answer_at: float | None = None  # monotonic: when any call last succeeded
        self._metadata = bearer(credentials.token)
        if credentials.tls is None:
            self._channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        else:
            self._channel = grpc.aio.secure_channel(address, credentials.tls, options=CHANNEL_OPTIONS)

    async def watch_connection(self) -> None:
        """Waits until the connection breaks, then raises GcsUnreachable.

        A call that waits for a new connection would reach another GCS process and never learn that it is another.
        """
        state = self._channel.get_state(try_to_connect=True)
        while state is not grpc.ChannelConnectivity.READY:
            await self._channel.wait_for_state_change(state)
            state = self._channel.get_state(try_to_connect=True)
        await self._channel.wait_for_state_change(state)
        raise GcsUnreachable(f"The connection to the GCS at {self.address} broke.")

    async def close(self) -> None:
        await self._channel.close(grace=None)

    async def call_raw(
        self, method: gcs_stubs.Method, request: Message, timeout_s: float | None = CALL_TIMEOUT_S, with_token: bool = True
    ) -> bytes:
        """The reply as it came over the wire. Raises a GcsError of the kind that fits."""
        started = time.monotonic()
        self.traffic.calls += 1
        call: Any = self._channel.unary_unary(method.path, request_serializer=_serialize, response_deserializer=None)
        try:
            raw: bytes = await call(request, timeout=timeout_s, metadata=self._metadata if with_token else ())
        except grpc.aio.AioRpcError as problem:
            raise _explained(problem, self.address, method.path, bool(self._metadata)) from None
        except grpc.aio.UsageError:  # the channel was closed under us: the client is being replaced
            raise GcsUnreachable(f"The connection to the GCS at {self.address} was closed.") from None
        now = time.monotonic()
        self.last_answer_at = now
        self.traffic.received_bytes += len(raw)
        name = method.path.rpartition("/")[2]
        self.traffic.seconds[name] += now - started
        self.traffic.made[name] += 1
        self.traffic.recent.append(now - started)
        return raw

    async def long_poll(self, method: gcs_stubs.Method, request: Message, timeout_s: float) -> bytes | None:
        """As call_raw, for a call that answers when there is something to say: None when there was nothing."""
        started = time.monotonic()
        try:
            return await self.call_raw(method, request, timeout_s)
        except GcsTimeout:
            if time.monotonic() - started < timeout_s * 0.9:
                raise
            return None

    async def call(self, name: str, timeout_s: float = CALL_TIMEOUT_S, with_token: bool = True, **fields: Any) -> Any:
        """One unary call by its Ray name, fields of the request as keywords, the parsed reply back."""
        method = _method(name)
        raw = await self.call_raw(method, method.request(**_known(method, fields)), timeout_s, with_token)
        return _checked(_parsed(method, raw), name)

    async def rows(self, name: str, list_field: str, timeout_s: float = CALL_TIMEOUT_S, **fields: Any) -> Rows:
        """A list call whose rows are parsed while walking over them."""
        method = _method(name)
        raw = await self.call_raw(method, method.request(**_known(method, fields)), timeout_s)
        row = gcs_stubs.row_class(method, list_field)
        return Rows(raw, method.reply, list_field, row)

    # The calls a dashboard needs, in Ray's words.

    async def check_alive(self, with_token: bool = True, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        return await self.call("CheckAlive", timeout_s, with_token)

    async def cluster_id(self) -> str | None:
        return bytes((await self.call("GetClusterId")).cluster_id).hex() or None

    async def cluster_status(self) -> Any:
        return await self.call("GetClusterStatus")

    async def all_nodes(self) -> Rows:
        return await self.rows("GetAllNodeInfo", "node_info_list")

    async def all_jobs(self) -> Rows:
        """Both skips: without them the GCS asks every driver and reads the KV for each job."""
        return await self.rows("GetAllJobInfo", "job_info_list", skip_submission_job_info_field=True, skip_is_running_tasks_field=True)

    async def all_actors(self) -> Rows:
        """Every actor that the GCS remembers, dead ones of finished jobs too. 42 MB and 1 s of GCS time at 100,000.

        With `show_dead_jobs` the GCS reads its table, where an actor stays DEPENDENCIES_UNREADY until it is ALIVE:
        PENDING_CREATION is kept in memory alone (Ray 2.53 to 2.60). What lives is as `actors_in_state` says.
        """
        return await self.rows("GetAllActorInfo", "actor_table_data", SNAPSHOT_TIMEOUT_S, show_dead_jobs=True)

    async def actors_in_state(self, state: str) -> Rows:
        """The actors in a state that is not DEAD, from the GCS's memory: those of ended jobs too, if they live."""
        return await self.rows("GetAllActorInfo", "actor_table_data", show_dead_jobs=False, filters={"state": state})

    async def actor(self, actor_id: str) -> Any | None:
        """One actor's table row, or None when the GCS does not know it."""
        reply = await self.call("GetActorInfo", actor_id=bytes.fromhex(actor_id))
        return reply.actor_table_data if reply.HasField("actor_table_data") and reply.actor_table_data.actor_id else None

    async def all_workers(self, is_alive: bool | None = None) -> Rows:
        if is_alive is None:
            return await self.rows("GetAllWorkerInfo", "worker_table_data", SNAPSHOT_TIMEOUT_S)
        return await self.rows("GetAllWorkerInfo", "worker_table_data", filters={"is_alive": is_alive})

    async def worker(self, worker_id: str) -> Any | None:
        reply = await self.call("GetWorkerInfo", worker_id=bytes.fromhex(worker_id))
        return reply.worker_table_data if reply.HasField("worker_table_data") else None

    async def all_placement_groups(self) -> Rows:
        return await self.rows("GetAllPlacementGroup", "placement_group_table_data")

    async def task_events(
        self,
        *,
        limit: int | None = None,
        job_id: str | None = None,
        task_id: str | None = None,
        actor_id: str | None = None,
        name: str | None = None,
        state: str | None = None,
        exclude_driver: bool = False,
    ) -> Rows:
        """Task attempts that the GCS remembers, newest first, each filter an equality.

        Costs the GCS time in proportion to all it stores, whatever the limit and filters: 0.5 s to 2.2 s at 100,000
        (87 MB). Only `task_id` is cheap: 0.8 ms. `gcs_decode_tasks.TaskReply` reads the rows and the totals.
        """
        filters: dict[str, Any] = {"exclude_driver": exclude_driver}
        ids = {"job": ("job_filters", job_id), "task": ("task_filters", task_id), "actor": ("actor_filters", actor_id)}
        filters.update((of, [{f"{kind}_id": bytes.fromhex(value)}]) for kind, (of, value) in ids.items() if value is not None)
        if name is not None:
            filters["task_name_filters"] = [{"task_name": name}]
        if state is not None:
            filters["state_filters"] = [{"state": state}]
        wanted: dict[str, Any] = {"filters": filters} if limit is None else {"filters": filters, "limit": limit}
        return await self.rows("GetTaskEvents", "events_by_task", SNAPSHOT_TIMEOUT_S, **wanted)

    async def kv_keys(self, namespace: str, prefix: str = "") -> list[bytes]:
        reply = await self.call("InternalKVKeys", namespace=namespace.encode(), prefix=prefix.encode())
        return list(reply.results)

    async def kv_get(self, namespace: str, key: str) -> bytes | None:
        """A value, or None. (The GCS answers a missing key with a NotFound status: a multi-get has no such case.)"""
        return (await self.kv_multi_get(namespace, [key.encode()])).get(key.encode())

    async def kv_put(self, namespace: str, key: str, value: bytes) -> None:
        """Writes a value, whatever stood there."""
        await self.call("InternalKVPut", namespace=namespace.encode(), key=key.encode(), value=value, overwrite=True)

    async def kv_delete(self, namespace: str, key: str) -> None:
        await self.call("InternalKVDel", namespace=namespace.encode(), key=key.encode(), del_by_prefix=False)

    async def kv_multi_get(self, namespace: str, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        wanted = list(keys)
        found: dict[bytes, bytes] = {}
        for at in range(0, len(wanted), KEYS_A_CALL):
            reply = await self.call("InternalKVMultiGet", namespace=namespace.encode(), keys=wanted[at : at + KEYS_A_CALL])
            found.update((entry.key, entry.value) for entry in reply.results)
        return found


async def gather_bounded(calls: Iterable[Any], limit: int) -> list[Any]:
    """Run coroutines, at most `limit` at once; results in order, exceptions of GcsError kind as values."""
    gate = asyncio.Semaphore(limit)

    async def one(call: Any) -> Any:
        async with gate:
            try:
                return await call
            except GcsError as problem:
                return problem

    return list(await asyncio.gather(*(one(call) for call in calls)))


def own_credentials(token: str | None, environ: Mapping[str, str] | None = None) -> Credentials:
    return Credentials(token, tls_credentials(os.environ if environ is None else environ))


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _method(name: str) -> gcs_stubs.Method:
    try:
        return gcs_stubs.method(name)
    except KeyError as problem:
        raise GcsUnimplemented(str(problem.args[0])) from None


def _known(method: gcs_stubs.Method, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that this release's request has. An unknown one only narrows or cheapens the answer, so it may be left out."""
    return {name: value for name, value in fields.items() if name in method.request.DESCRIPTOR.fields_by_name}


def _parsed(method: gcs_stubs.Method, raw: bytes) -> Any:
    try:
        return method.reply.FromString(raw)
    except (DecodeError, UnicodeDecodeError):
        raise GcsError(f"The GCS answered {method.path} with something that this Ray version cannot read.") from None


def _checked(reply: Any, name: str) -> Any:
    """Ray's own status beside gRPC's: 0 is OK, and 17 (NotFound) is an empty answer."""
    status = getattr(reply, "status", None)
    code = getattr(status, "code", 0) if "status" in reply.DESCRIPTOR.fields_by_name else 0
    if code not in (0, NOT_FOUND):
        raise GcsError(f"The GCS answered {name} with status {code}: {str(getattr(status, 'message', ''))[:500]}")
    return reply


def _explained(problem: grpc.aio.AioRpcError, address: str, path: str, has_token: bool) -> GcsError:
    code, details = problem.code(), " ".join(str(problem.details() or "").split())[:300]
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return GcsRefused(f"The cluster at {address} {REFUSALS[has_token]}")
    if code == grpc.StatusCode.UNIMPLEMENTED:
        return GcsUnimplemented(f"The cluster's Ray does not have the call {path}.")
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return GcsTimeout(f"The GCS at {address} does not answer in time ({path.rpartition('/')[2]}).")
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return GcsUnreachable(f"The GCS at {address} does not answer ({code.name}: {details}).")
    return GcsError(f"The GCS call {path} failed ({code.name}: {details}).")
