"""Jobs of a simulated cluster: drivers in the job table, submissions in the key-value store."""

from __future__ import annotations

import json
from typing import Any

from tests.simulated_ray import ids, texts
from tests.simulated_ray.wire import fill, known
from tests.simulated_ray.worker_rows import Workers

SUBMISSION_KEY = "_ray_internal_job_info_"
ID_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz23456789"


class Jobs(Workers):
    """Adds and ends drivers and submissions."""

    def add_job(
        self, *, publish: bool = True, metadata: dict[str, str] | None = None, ray_namespace: str | None = None, **fields: Any
    ) -> str:
        """A driver connects. `fields` are those of JobTableData. Returns its job_id."""
        with self.lock:
            self.last_job += 1
            job_id = ids.to_bytes(fields.pop("job_id", None) or ids.job(self.last_job))
            row = self.jobs.message(job_id=job_id)
            fill(row, known(row, self._default_job(job_id, metadata or {}, ray_namespace)))
            raw = fill(row, fields)
            self.jobs.put(job_id, row, raw)
            self._add_driver(row)
            if publish:
                self.publish("GCS_JOB_CHANNEL", job_id, row, raw)
            return job_id.hex()

    def finish_job(self, job_id: str, *, publish: bool = True, **fields: Any) -> None:
        """The driver leaves. Its actors are left to the caller."""
        with self.lock:
            key = bytes.fromhex(job_id)
            row = self.jobs.get(key)
            row.is_dead = True
            row.end_time = row.timestamp = self.now_ms()
            raw = fill(row, fields)
            self.jobs.put(key, row, raw)
            driver = ids.driver_worker(key)
            if driver in self.workers and self.workers.state(driver):
                self.kill_worker(
                    driver.hex(), exit_type="INTENDED_USER_EXIT", publish=publish, **known(self.workers.message(), {"job_id": key})
                )
            if publish:
                self.publish("GCS_JOB_CHANNEL", key, row, raw)

    def forget_job(self, job_id: str) -> None:
        """The GCS drops a job without a word."""
        with self.lock:
            self.jobs.remove(bytes.fromhex(job_id))

    def add_submission(self, submission_id: str | None = None, *, status: str = "PENDING", driver: bool = False, **record: Any) -> str:
        """A job is submitted: its record is in the key-value store. With `driver`, its driver is in the job table too.

        `record` are the record's own JSON fields (entrypoint, message, metadata, runtime_env_json, ...). Returns the submission_id.
        """
        with self.lock:
            chosen = submission_id or "raysubmit_" + "".join(self.random.choices(ID_LETTERS, k=16))
            values = {**self._default_record(status), **record}
            self._put_record(chosen, values)
            if driver:
                dead = status in ("SUCCEEDED", "STOPPED", "FAILED")
                self.add_job(
                    metadata={"job_submission_id": chosen, **(values["metadata"] or {})},
                    entrypoint=values["entrypoint"],
                    is_dead=dead,
                    start_time=values["start_time"],
                    end_time=(values["end_time"] or 0) if dead else 0,
                )
            return chosen

    def set_submission(self, submission_id: str, **record: Any) -> None:
        """Change fields of a submission's record, such as status and message. Nothing is published: Ray has no channel for it."""
        with self.lock:
            self._put_record(submission_id, {**self.submission(submission_id), **record})

    def submission(self, submission_id: str) -> dict[str, Any]:
        """A submission's record as it is stored. KeyError if there is none."""
        values: dict[str, Any] = json.loads(self.kv[b"job"][(SUBMISSION_KEY + submission_id).encode()])
        return values

    def forget_submission(self, submission_id: str) -> None:
        self.delete_kv("job", SUBMISSION_KEY + submission_id)

    def job_ids(self, *, alive: bool = True) -> list[str]:
        """Ids of the jobs that run (or have ended)."""
        with self.lock:
            return [job_id.hex() for job_id in self.jobs.in_state(0 if alive else 1)]

    def _add_driver(self, row: Any) -> None:
        """The driver's own row in the worker table."""
        node_id = row.driver_address.node_id
        self.add_worker(
            node_id.hex() if node_id in self.nodes else None,
            worker_id=ids.driver_worker(row.job_id),
            worker_type="DRIVER",
            worker_address=row.driver_address,
            pid=row.driver_pid,
            is_alive=not row.is_dead,
            start_time_ms=row.start_time,
        )

    def _put_record(self, submission_id: str, values: dict[str, Any]) -> None:
        self.put_kv("job", SUBMISSION_KEY + submission_id, json.dumps(values))

    def _default_job(self, job_id: bytes, metadata: dict[str, str], ray_namespace: str | None) -> dict[str, Any]:
        number = int.from_bytes(job_id, "little")
        now = self.now_ms()
        environment = {"env_vars": {"STAGE": "prod", "API_TOKEN": f"secret-{number}"}, "working_dir": f"gcs://_ray_pkg_{number:016x}.zip"}
        head = self.nodes.get(next(iter(self.nodes))) if len(self.nodes) else None
        ip = head.node_manager_address if head else "127.0.0.1"
        pid = self.next_pid()
        return {
            "timestamp": now,
            "driver_ip_address": ip,
            "driver_pid": pid,
            "start_time": now,
            "entrypoint": texts.ENTRYPOINTS[number % len(texts.ENTRYPOINTS)],
            "config": {
                "ray_namespace": texts.NAMESPACES[number % len(texts.NAMESPACES)] if ray_namespace is None else ray_namespace,
                "metadata": metadata,
                "default_actor_lifetime": "NON_DETACHED",
                "py_driver_sys_path": ["/srv/app"],
                "runtime_env_info": {
                    "serialized_runtime_env": json.dumps(environment),
                    "runtime_env_config": {"setup_timeout_seconds": 600},
                },
            },
            "driver_address": {
                "node_id": head.node_id if head else b"",
                "ip_address": ip,
                "port": 42_001,
                "worker_id": ids.driver_worker(job_id),
            },
        }

    def _default_record(self, status: str) -> dict[str, Any]:
        now = self.now_ms()
        ended = status in ("SUCCEEDED", "STOPPED", "FAILED")
        started = status != "PENDING"
        nodes = self.nodes.in_state(0)
        return {
            "status": status,
            "entrypoint": self.random.choice(texts.ENTRYPOINTS),
            "message": texts.JOB_MESSAGES.get(status, ""),
            "error_type": "JOB_ENTRYPOINT_COMMAND_ERROR" if status == "FAILED" else None,
            "start_time": now - 60_000 if ended else now,
            "end_time": now if ended else None,
            "metadata": {"job_name": self.random.choice(texts.JOB_NAMES)},
            "entrypoint_num_cpus": 0,
            "entrypoint_num_gpus": 0,
            "entrypoint_memory": 0,
            "entrypoint_resources": None,
            "driver_agent_http_address": "http://127.0.0.1:52365" if started else None,
            "driver_node_id": nodes[0].hex() if nodes and started else None,
            "driver_exit_code": {"SUCCEEDED": 0, "FAILED": 1, "STOPPED": -15}.get(status),
            "runtime_env_json": json.dumps({"env_vars": {"DB_PASSWORD": "hunter2", "STAGE": "prod"}}),
        }
