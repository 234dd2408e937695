"""The simulated cluster as a server: it listens, answers, breaks and comes back."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

import grpc

from tests.simulated_ray import control, publisher, stubs, task_handlers  # noqa: F401 - registers its calls
from tests.simulated_ray.changes import Changes
from tests.simulated_ray.faults import Faults
from tests.simulated_ray.handlers import HANDLERS
from tests.simulated_ray.population import Population, populate
from tests.simulated_ray.raylet import get_node_stats
from tests.simulated_ray.tasks import Tasks
from tests.simulated_ray.world import Clock

THREADS = 64  # a long poll holds one
LATER_S = 0.05
OPTIONS = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0))
Call = Callable[[Any, grpc.ServicerContext], bytes]


class SimulatedRay(Tasks):
    """A simulated cluster whose GCS listens on loopback from construction until `close`.

    The builders (`add_node`, `kill_actor`, ...) change it and publish as Ray does; every field can be given any value.
    The numbers say what there is at the start.
    """

    def __init__(
        self,
        *,
        nodes: int = 1,
        dead_nodes: int = 0,
        jobs: int = 0,
        submissions: int = 0,
        live_actors: int = 0,
        dead_actors: int = 0,
        idle_workers: int = 0,
        dead_workers: int = 0,
        placement_groups: int = 0,
        tasks: int = 0,
        token: str | None = None,
        ray_version: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int = 1,
        max_dead_actors: int = 100_000,
        max_tasks: int = 100_000,
        clock: Clock = time.time,
    ) -> None:
        super().__init__(ray_version=ray_version, seed=seed, max_dead_actors=max_dead_actors, max_tasks=max_tasks, clock=clock)
        self.population = Population(
            nodes=nodes,
            dead_nodes=dead_nodes,
            jobs=jobs,
            submissions=submissions,
            live_actors=live_actors,
            dead_actors=dead_actors,
            idle_workers=idle_workers,
            dead_workers=dead_workers,
            placement_groups=placement_groups,
            tasks=tasks,
        )
        self.faults = Faults(token)
        self._host = host
        self._changes: Changes | None = None
        self._raylets: list[grpc.Server] = []
        self._starts = 1
        self._server, bound = self._bind(port)
        self.address = self.gcs_address = f"{host}:{bound}"
        populate(self, self.population)
        self._server.start()

    def __enter__(self) -> SimulatedRay:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def calls(self) -> Counter[str]:
        """How often each method was called."""
        return self.faults.calls

    @property
    def sent_bytes(self) -> Counter[str]:
        """How many bytes each method's replies had."""
        return self.faults.sent_bytes

    def figures(self) -> dict[str, dict[str, int]]:
        """Calls and reply bytes by method, rows by table: for reading from another process."""
        tables = {
            "nodes": self.nodes,
            "actors": self.actors,
            "jobs": self.jobs,
            "workers": self.workers,
            "placement_groups": self.placement_groups,
            "tasks": self.tasks,
        }
        return {
            "calls": dict(self.calls),
            "sent_bytes": dict(self.sent_bytes),
            "rows": {name: len(table) for name, table in tables.items()},
            "server": {"starts": self._starts},
        }

    def reset_figures(self) -> None:
        self.calls.clear()
        self.sent_bytes.clear()

    def refuse(self, name: str, code: str = "UNIMPLEMENTED") -> None:
        """Refuse a method or a whole service with that gRPC status, until `allow`."""
        self.faults.refuse(name, code)

    def delay(self, name: str, seconds: float) -> None:
        """Answer a method or a whole service later, until `allow`."""
        self.faults.delay(name, seconds)

    def allow(self, name: str) -> None:
        self.faults.allow(name)

    def stall(self, seconds: float) -> None:
        """Answer nothing for so long, as a GCS that is stopped or busy."""
        self.faults.stall(seconds)

    def drop_subscriptions(self) -> None:
        """Forget all subscribers without a word."""
        self.publishers.forget_subscribers()

    def subscribers(self) -> int:
        """How many subscribers are known."""
        return sum(one.subscribers for one in self.publishers.by_service.values())

    def changes_per_second(self, rate: float) -> None:
        """Let the cluster change by itself so many times a second; 0 stops it."""
        if self._changes is not None:
            self._changes.stop()
            self._changes = None
        if rate:
            self._changes = Changes(self, rate)

    def stop(self) -> None:
        """The GCS dies: connections break, new ones are refused."""
        self.publishers.close()
        self._server.stop(None).wait()

    def start(self, *, keep_state: bool = True) -> None:
        """The GCS comes back on the same port, with a new publisher id and without subscribers; without state it is empty."""
        with self.lock:
            if not keep_state:
                self.clear()
            self.publishers = publisher.Publishers(self.random)
            self._starts += 1
        self._server, _ = self._bind(int(self.address.rpartition(":")[2]))
        self._server.start()

    def restart(self, *, keep_state: bool = True, down_s: float = 0.0) -> None:
        """The GCS dies and comes back."""
        self.stop()
        time.sleep(down_s)
        self.start(keep_state=keep_state)

    def new_session(self, *, down_s: float = 0.0, filled: bool = True) -> None:
        """The cluster is stopped and another is started at the same address: new session, new ids, nothing of before."""
        self.stop()
        time.sleep(down_s)
        with self.lock:
            self.clear()
            self._begin_session()
            if filled:
                populate(self, self.population)
        self.start()

    def later(self, action: Callable[[], None]) -> None:
        """Do something from another thread, once the answer to the caller is out."""
        threading.Timer(LATER_S, action).start()

    def serve_raylet(self, node_id: str) -> int:
        """Give a node a raylet that answers on loopback, and name its port in the node table. Returns the port."""
        key = bytes.fromhex(node_id)
        server = grpc.server(ThreadPoolExecutor(4), options=OPTIONS)
        server.add_generic_rpc_handlers([self._raylet_handlers(lambda: key)])
        port = server.add_insecure_port(f"{self._host}:0")
        server.start()
        self._raylets.append(server)
        with self.lock:
            row = self.nodes.get(key)
            row.node_manager_address, row.node_manager_port = self._host, port
            self.nodes.put(key, row)
        return int(port)

    def close(self) -> None:
        """Stop everything."""
        self.changes_per_second(0)
        self.stop()
        for server in self._raylets:
            server.stop(None).wait()

    def _bind(self, port: int) -> tuple[grpc.Server, int]:
        server = grpc.server(ThreadPoolExecutor(THREADS, thread_name_prefix="simulated-ray"), options=OPTIONS)
        handlers = [self._service_handlers(name, service, self._gcs_call(name)) for name, service in stubs.gcs_services().items()]
        server.add_generic_rpc_handlers([*handlers, self._raylet_handlers(self._head), control.handlers(self)])
        return server, server.add_insecure_port(f"{self._host}:{port}")

    def _head(self) -> bytes:
        return next(iter(self.nodes))

    def _service_handlers(self, name: str, service: Any, call_of: Callable[[str], Call]) -> grpc.GenericRpcHandler:
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        for method in service.methods:
            request = stubs.message_class(method.input_type)
            answer = self._guarded(name, method.name, call_of(method.name))
            methods[method.name] = grpc.unary_unary_rpc_method_handler(answer, request_deserializer=request.FromString)
        return grpc.method_handlers_generic_handler(service.full_name, methods)

    def _guarded(self, service: str, method: str, call: Call) -> Call:
        """The call with faults applied and figures kept."""

        def guarded(request: Any, context: grpc.ServicerContext) -> bytes:
            self.faults.before(service, method, context)
            reply = call(request, context)
            self.faults.hold(context.is_active)
            self.faults.count(method, len(reply))
            return reply

        return guarded

    def _gcs_call(self, service: str) -> Callable[[str], Call]:
        if service in publisher.SERVICES:
            return lambda method: self._pubsub_call(service, method)
        return lambda method: self._table_call(service, method)

    def _table_call(self, service: str, method: str) -> Call:
        handler = HANDLERS.get((service, method))

        def call(request: Any, context: grpc.ServicerContext) -> bytes:
            if handler is None:
                context.abort(grpc.StatusCode.UNIMPLEMENTED, "")
                raise AssertionError("abort raises")
            with self.lock:
                return handler(self, request)

        return call

    def _pubsub_call(self, service: str, method: str) -> Call:
        if method == "GcsSubscriberPoll":
            return lambda request, context: self.publishers.by_service[service].poll(
                request.subscriber_id, request.publisher_id, request.max_processed_sequence_id, context.is_active
            )
        if method == "GcsSubscriberCommandBatch":
            return lambda request, context: self._subscribe(service, request, context)
        return self._table_call(service, method)

    def _subscribe(self, service: str, request: Any, context: grpc.ServicerContext) -> bytes:
        try:
            self.publishers.by_service[service].command(request.subscriber_id, request.commands)
        except publisher.WrongChannel:
            context.abort(grpc.StatusCode.ABORTED, "InvalidArgument")  # as Ray says it
        return b""

    def _raylet_handlers(self, node_id: Callable[[], bytes]) -> grpc.GenericRpcHandler:
        def call_of(method: str) -> Call:
            if method != "GetNodeStats":
                return self._table_call("NodeManagerService", method)

            def call(request: Any, context: grpc.ServicerContext) -> bytes:
                with self.lock:
                    return get_node_stats(self, node_id())

            return call

        return self._service_handlers("NodeManagerService", stubs.raylet_service(), call_of)
