"""What a simulated cluster is: its tables, key-value store, session and clock. The builders of rows stand on it."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timezone
from random import Random
from typing import Any

from tests.simulated_ray import ids, stubs
from tests.simulated_ray.publisher import Publishers
from tests.simulated_ray.tables import Table

Clock = Callable[[], float]  # Unix seconds


def _table(reply: Any, rows: str, state_of: Callable[[Any], int]) -> Table:
    """A table whose records fit the repeated field `rows` of that reply."""
    row = stubs.message_class(reply.DESCRIPTOR.fields_by_name[rows].message_type)
    return Table(row, stubs.field_number(reply, rows), state_of)


class World:
    """The state of a simulated cluster. Every method may be called from any thread; ids are given and taken as hex digits."""

    def __init__(
        self,
        *,
        ray_version: str | None = None,
        seed: int = 1,
        max_dead_actors: int = 100_000,
        max_tasks: int = 100_000,
        clock: Clock = time.time,
    ) -> None:
        self.lock = threading.RLock()
        self.random = Random(seed)
        self.clock = clock
        self.ray_version = ray_version or stubs.installed_version()
        self.max_dead_actors = max_dead_actors  # as RAY_maximum_gcs_destroyed_actor_cached_count
        self.max_tasks = max_tasks  # as RAY_task_events_max_num_task_in_gcs
        service = stubs.gcs_service
        self.nodes = _table(service.GetAllNodeInfoReply, "node_info_list", lambda row: int(row.state))
        self.actors = _table(service.GetAllActorInfoReply, "actor_table_data", lambda row: int(row.state))
        self.jobs = _table(service.GetAllJobInfoReply, "job_info_list", lambda row: int(row.is_dead))
        self.workers = _table(service.GetAllWorkerInfoReply, "worker_table_data", lambda row: int(row.is_alive))
        self.placement_groups = _table(service.GetAllPlacementGroupReply, "placement_group_table_data", lambda row: int(row.state))
        self.node_states = _table(stubs.autoscaler.ClusterResourceState, "node_states", lambda row: int(row.status))
        self.tasks = _table(service.GetTaskEventsReply, "events_by_task", lambda row: max(row.state_updates.state_ts_ns, default=0))
        self.lost_attempts: Counter[bytes] = Counter()  # by job
        self.lost_profile_events: Counter[bytes] = Counter()
        self.autoscaling_state = stubs.autoscaler.AutoscalingState()
        self.kv: dict[bytes, dict[bytes, bytes]] = {}
        self.actor_of_worker: dict[bytes, bytes] = {}
        self.publishers = Publishers(self.random)
        self.last_job = 0
        self.last_pid = 20_000
        self.gcs_address = "127.0.0.1:0"  # known when the server listens
        self._begin_session()

    def now_ms(self) -> int:
        return int(self.clock() * 1000)

    def next_pid(self) -> int:
        self.last_pid = self.last_pid + 1 if self.last_pid < 4_194_000 else 20_000
        return self.last_pid

    def publish(self, channel: str, key: bytes, message: Any, raw: bytes = b"") -> None:
        self.publishers.publish(channel, key, message, raw)

    def put_kv(self, namespace: str, key: str | bytes, value: str | bytes) -> None:
        """Write a key of Ray's internal key-value store, any bytes."""
        with self.lock:
            self.kv.setdefault(namespace.encode(), {})[_encoded(key)] = _encoded(value)

    def delete_kv(self, namespace: str, key: str | bytes) -> None:
        with self.lock:
            self.kv.get(namespace.encode(), {}).pop(_encoded(key), None)

    def clear(self) -> None:
        """Forget all rows and keys, as a GCS without an external store does when it starts again."""
        with self.lock:
            for table in (self.nodes, self.actors, self.jobs, self.workers, self.placement_groups, self.node_states, self.tasks):
                table.clear()
            self.lost_attempts.clear()
            self.lost_profile_events.clear()
            self.kv.clear()
            self.actor_of_worker.clear()
            self.autoscaling_state = stubs.autoscaler.AutoscalingState()
            self.last_job = 0

    def publish_error(self, message: str, *, type: str = "worker_died", job_id: str = "ffffffff") -> None:  # noqa: A002 - Ray's field name
        """Send an error on RAY_ERROR_INFO_CHANNEL."""
        row = stubs.gcs.ErrorTableData(job_id=bytes.fromhex(job_id), type=type, error_message=message, timestamp=float(self.now_ms()))
        self.publish("RAY_ERROR_INFO_CHANNEL", job_id.encode(), row)

    def _begin_session(self) -> None:
        """A new session name and cluster id, with the keys that the head node writes at its start."""
        started = self.clock()
        name = datetime.fromtimestamp(started, timezone.utc).strftime("session_%Y-%m-%d_%H-%M-%S_%f")
        self.session_name = f"{name}_{self.next_pid()}"
        self.session_dir = f"/tmp/ray/{self.session_name}"
        self.cluster_id = ids.unique(self.random)
        metadata = {
            "ray_version": self.ray_version,
            "python_version": "3.11.7",
            "ray_init_cluster": False,
            "git_commit": "b7f4259e944bf6959f721b106adc366ddfa0c356",
            "os": "linux",
            "session_start_timestamp_ms": int(started * 1000),
            "libc_version": "glibc:2.36",
        }
        self.put_kv("session", "session_name", self.session_name)
        self.put_kv("cluster", "CLUSTER_METADATA", json.dumps(metadata))
        self.put_kv("cluster", "ray_cluster_id", self.cluster_id)
        self.put_kv("dashboard", "dashboard", "127.0.0.1:8265")
        self.put_kv("dashboard", "webui:url", "")


def _encoded(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
