"""Worker processes of a simulated cluster: the worker table and the deltas that tell of their death."""

from __future__ import annotations

from typing import Any

from tests.simulated_ray import ids, stubs, texts
from tests.simulated_ray.nodes import Nodes
from tests.simulated_ray.wire import fill, known

DEAD, ALIVE = 0, 1  # is_alive, as a number


class Workers(Nodes):
    """Starts and ends worker processes."""

    def add_worker(self, node_id: str | None = None, *, actor_id: str | None = None, **fields: Any) -> str:
        """A worker process starts on a node. `fields` are those of WorkerTableData. Ray publishes nothing. Returns its worker_id."""
        with self.lock:
            worker_id = ids.to_bytes(fields.pop("worker_id", None) or ids.unique(self.random))
            row = self.workers.message()
            fill(row, known(row, self._default_worker(worker_id, bytes.fromhex(node_id) if node_id else self._any_node())))
            raw = fill(row, fields)
            self.workers.put(worker_id, row, raw)
            if actor_id:
                self.actor_of_worker[worker_id] = bytes.fromhex(actor_id)
            return worker_id.hex()

    def kill_worker(
        self, worker_id: str, *, exit_type: str = "INTENDED_SYSTEM_EXIT", exit_detail: Any = None, publish: bool = True, **fields: Any
    ) -> None:
        """A worker process ends. What is published holds its id and node alone."""
        with self.lock:
            key = bytes.fromhex(worker_id)
            row = self.workers.get(key)
            detail = dict(texts.WORKER_EXITS).get(exit_type, "") if exit_detail is None else exit_detail
            now = self.now_ms()
            row.is_alive = False
            raw = fill(row, {"exit_type": exit_type, "exit_detail": detail, "end_time_ms": now, "timestamp": now // 1000, **fields})
            self.workers.put(key, row, raw)
            self.actor_of_worker.pop(key, None)
            if publish:
                delta = stubs.gcs.WorkerDeltaData(node_id=row.worker_address.node_id, worker_id=key)
                self.publish("GCS_WORKER_DELTA_CHANNEL", key, delta)

    def forget_worker(self, worker_id: str) -> None:
        """The GCS drops a worker without a word."""
        with self.lock:
            self.workers.remove(bytes.fromhex(worker_id))
            self.actor_of_worker.pop(bytes.fromhex(worker_id), None)

    def worker_ids(self, *, alive: bool = True) -> list[str]:
        """Ids of the workers that live (or are dead)."""
        with self.lock:
            return [worker_id.hex() for worker_id in self.workers.in_state(ALIVE if alive else DEAD)]

    def _any_node(self) -> bytes:
        nodes = self.nodes.in_state(0)
        return self.random.choice(nodes) if nodes else ids.NIL_UNIQUE

    def _address(self, node_id: bytes, worker_id: bytes) -> dict[str, Any]:
        ip = self.nodes.get(node_id).node_manager_address if node_id in self.nodes else "127.0.0.1"
        return {"node_id": node_id, "ip_address": ip, "port": self.random.randrange(10_002, 20_000), "worker_id": worker_id}

    def _default_worker(self, worker_id: bytes, node_id: bytes) -> dict[str, Any]:
        address = self._address(node_id, worker_id)
        now = self.now_ms()
        sockets = f"{self.session_dir}/sockets"
        return {
            "is_alive": True,
            "worker_address": address,
            "worker_type": "WORKER",
            "worker_info": {
                "node_ip_address": address["ip_address"].encode(),
                "plasma_store_socket": f"{sockets}/plasma_store".encode(),
                "raylet_socket": f"{sockets}/raylet".encode(),
            },
            "pid": self.next_pid(),
            "start_time_ms": now,
            "worker_launch_time_ms": now - 900,
            "worker_launched_time_ms": now - 20,
        }
