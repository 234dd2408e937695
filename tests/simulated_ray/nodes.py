"""Nodes of a simulated cluster: the node table, the autoscaler's view of it, and node pubsub."""

from __future__ import annotations

import json
from typing import Any

from tests.simulated_ray import ids, stubs, texts
from tests.simulated_ray.wire import fill, known
from tests.simulated_ray.world import World

ALIVE, DEAD = 0, 1


class Nodes(World):
    """Adds nodes, changes what they have left, lets them die."""

    def add_node(self, *, publish: bool = True, **fields: Any) -> str:
        """A node joins; the first is the head. `fields` are those of GcsNodeInfo. Returns its node_id."""
        with self.lock:
            node_id = ids.to_bytes(fields.pop("node_id", None) or ids.unique(self.random))
            row = self.nodes.message(node_id=node_id)
            defaults = self._default_head(node_id) if not len(self.nodes) else self._default_node(node_id, len(self.nodes))
            fill(row, known(row, defaults))
            raw = fill(row, fields)
            self.nodes.put(node_id, row, raw)
            if row.state == ALIVE:
                self._put_node_state(row)
            self.put_kv("dashboard", f"DASHBOARD_AGENT_ADDR_NODE_ID_PREFIX:{node_id.hex()}", json.dumps([row.node_manager_address, -1, -1]))
            if publish:
                self._publish_node(row, row, raw)
            return node_id.hex()

    def kill_node(
        self, node_id: str, *, reason: str = "UNEXPECTED_TERMINATION", message: str | None = None, publish: bool = True, **fields: Any
    ) -> None:
        """A node dies. As with Ray, what is published holds its id, state, end and death alone. Its actors are left to the caller."""
        with self.lock:
            key = bytes.fromhex(node_id)
            row = self.nodes.get(key)
            row.state = DEAD
            row.end_time_ms = self.now_ms()
            fill(
                row, {"death_info": {"reason": reason, "reason_message": texts.NODE_DEATHS.get(reason, "") if message is None else message}}
            )
            raw = fill(row, fields)
            self.nodes.put(key, row, raw)
            self.node_states.remove(key)
            delta = self.nodes.message(node_id=key, state=DEAD, end_time_ms=row.end_time_ms, death_info=row.death_info)
            if publish:
                self._publish_node(row, delta)

    def forget_node(self, node_id: str) -> None:
        """The GCS drops a node without a word, as it does with old dead ones."""
        with self.lock:
            self.nodes.remove(bytes.fromhex(node_id))
            self.node_states.remove(bytes.fromhex(node_id))

    def set_available(self, node_id: str, available: dict[str, float], **fields: Any) -> None:
        """What a node has left, and any field of the autoscaler's NodeState (status, idle_duration_ms, node_activity)."""
        with self.lock:
            key = bytes.fromhex(node_id)
            row = self.node_states.get(key)
            row.available_resources.update(available)
            row.node_state_version += 1
            raw = fill(row, fields)
            self.node_states.put(key, row, raw)

    def node_ids(self, *, alive: bool = True) -> list[str]:
        """Ids of the nodes that live (or are dead)."""
        with self.lock:
            return [node_id.hex() for node_id in self.nodes.in_state(ALIVE if alive else DEAD)]

    def set_autoscaling(self, **fields: Any) -> None:
        """What an autoscaler reports: pending_instances, failed_instance_requests, ... (AutoscalingState)."""
        with self.lock:
            fill(self.autoscaling_state, fields)

    def _publish_node(self, row: Any, message: Any, raw: bytes = b"") -> None:
        self.publish("GCS_NODE_INFO_CHANNEL", row.node_id, message, raw)
        if hasattr(stubs.gcs, "GcsNodeAddressAndLiveness"):
            names = ("node_manager_address", "node_manager_port", "object_manager_port", "state", "death_info")
            short = stubs.gcs.GcsNodeAddressAndLiveness(node_id=row.node_id)
            fill(short, {name: getattr(message, name) for name in names if name != "death_info" or message.HasField(name)})
            self.publish("GCS_NODE_ADDRESS_AND_LIVENESS_CHANNEL", row.node_id, short)

    def _put_node_state(self, row: Any) -> None:
        """The autoscaler's row of a new node: all it has is free."""
        state = self.node_states.message(node_id=row.node_id, ray_node_type_name=row.node_type_name, instance_id=row.instance_id)
        fields = {
            "available_resources": dict(row.resources_total),
            "total_resources": dict(row.resources_total),
            "node_state_version": 1,
            "status": "IDLE",
            "idle_duration_ms": 1000,
            "node_ip_address": row.node_manager_address,
            "instance_type_name": row.instance_type_name,
            "labels": dict(row.labels),
        }
        fill(state, known(state, fields))
        self.node_states.put(row.node_id, state)

    def _default_head(self, node_id: bytes) -> dict[str, Any]:
        fields = self._default_node(node_id, 0)
        # On loopback, where this server answers as its raylet too.
        port = int(self.gcs_address.rpartition(":")[2])
        return {**fields, "is_head_node": True, "node_manager_address": "127.0.0.1", "node_name": "127.0.0.1", "node_manager_port": port}

    def _default_node(self, node_id: bytes, number: int) -> dict[str, Any]:
        node_type, instance_type, cpus, gpus, memory, model = texts.NODE_TYPES[number % len(texts.NODE_TYPES)]
        ip = f"10.{number // 65_000}.{number // 250 % 260}.{number % 250 + 1}" if number else "127.0.0.1"
        resources: dict[str, float] = {"CPU": cpus, "memory": memory * 0.7, "object_store_memory": memory * 0.3, f"node:{ip}": 1.0}
        labels = {
            "ray.io/node-id": node_id.hex(),
            "ray.io/availability-zone": texts.ZONES[number % 3],
            "team": "platform" if number % 4 else "research",
        }
        if gpus:
            resources |= {"GPU": gpus, f"accelerator_type:{model}": 1.0}
            labels["ray.io/accelerator-type"] = model
        if not number:
            resources["node:__internal_head__"] = 1.0
        return {
            "node_manager_address": ip,
            "node_name": ip,
            "node_manager_hostname": f"ray-{'head' if not number else f'worker-{number:04d}'}",
            "raylet_socket_name": f"{self.session_dir}/sockets/raylet",
            "object_store_socket_name": f"{self.session_dir}/sockets/plasma_store",
            "node_manager_port": 30_000 + number % 20_000,
            "object_manager_port": 8076,
            "metrics_export_port": -1,
            "runtime_env_agent_port": 41_000,
            "metrics_agent_port": -1,
            "dashboard_agent_listen_port": -1,
            "resources_total": resources,
            "labels": labels,
            "instance_id": f"i-{node_id.hex()[:17]}",
            "node_type_name": node_type,
            "instance_type_name": instance_type,
            "start_time_ms": self.now_ms(),
            "state_snapshot": {"state": "IDLE", "idle_duration_ms": 1000},  # as of the start: Ray's table is as old at times
            "temp_dir": "/tmp/ray",
            "session_dir": self.session_dir,
        }
