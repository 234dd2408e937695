"""Watches a cluster's GCS as a plain gRPC client and prints what it has seen, as JSON. Run as a program of its own:

`python demo_observer.py ADDRESS TOKEN LIMIT_S WANTED...` ends as soon as all wanted facts were seen.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import grpc
from ray.core.generated import common_pb2, gcs_pb2, gcs_service_pb2, gcs_service_pb2_grpc


class Observer:
    def __init__(self, address: str, token: str) -> None:
        self.channel = grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", 64 << 20)])
        self.metadata = [("authorization", f"Bearer {token}")]

    def call(self, service: str, method: str, request: Any) -> Any:
        stub = getattr(gcs_service_pb2_grpc, f"{service}GcsServiceStub")(self.channel)
        return getattr(stub, method)(request, timeout=10, metadata=self.metadata)

    def facts(self) -> Iterator[str]:
        yield from self.nodes()
        yield from self.jobs()
        yield from self.actors()
        yield from self.placement_groups()
        yield from self.tasks()

    def nodes(self) -> Iterator[str]:
        for node in self.call("NodeInfo", "GetAllNodeInfo", gcs_service_pb2.GetAllNodeInfoRequest()).node_info_list:
            yield f"node:{gcs_pb2.GcsNodeInfo.GcsNodeState.Name(node.state)}"
            yield f"node zone:{node.labels.get('zone')}"
            yield f"node ip:{node.node_manager_address}"
            yield from (f"node resource:{name}" for name in ("licence", "camera") if name in node.resources_total)

    def jobs(self) -> Iterator[str]:
        for job in self.call("JobInfo", "GetAllJobInfo", gcs_service_pb2.GetAllJobInfoRequest()).job_info_list:
            name = job.config.metadata.get("job_name")
            yield f"driver:{name}:{'dead' if job.is_dead else 'alive'}"
        keys = self.call("InternalKV", "InternalKVKeys", gcs_service_pb2.InternalKVKeysRequest(namespace=b"job", prefix=b"")).results
        for key in keys:
            reply = self.call("InternalKV", "InternalKVGet", gcs_service_pb2.InternalKVGetRequest(namespace=b"job", key=key))
            info = json.loads(reply.value)
            yield f"submission:{info['status']}"
            yield from (f"submission env:{name}" for name in (json.loads(info.get("runtime_env_json") or "{}").get("env_vars") or {}))

    def actors(self) -> Iterator[str]:
        for actor in self.call("ActorInfo", "GetAllActorInfo", gcs_service_pb2.GetAllActorInfoRequest()).actor_table_data:
            state = gcs_pb2.ActorTableData.ActorState.Name(actor.state)
            yield f"actor:{state}"
            yield f"actor named:{actor.name}"
            yield f"actor repr:{actor.repr_name}"
            if actor.is_detached:
                yield f"actor detached:{actor.class_name}"
            if actor.num_restarts:
                yield f"actor restarted:{actor.class_name}"
            if state == "DEAD":
                context = actor.death_cause.actor_died_error_context
                yield f"actor death:{common_pb2.ActorDiedErrorContext.Reason.Name(context.reason)}"
                yield f"actor death cause:{actor.death_cause.WhichOneof('context')}"

    def placement_groups(self) -> Iterator[str]:
        reply = self.call("PlacementGroupInfo", "GetAllPlacementGroup", gcs_service_pb2.GetAllPlacementGroupRequest())
        for group in reply.placement_group_table_data:
            yield f"placement group:{gcs_pb2.PlacementGroupTableData.PlacementGroupState.Name(group.state)}"
            yield f"placement group scheduling:{gcs_pb2.PlacementGroupStats.SchedulingState.Name(group.stats.scheduling_state)}"

    def tasks(self) -> Iterator[str]:
        drivers = self.call("TaskInfo", "GetTaskEvents", gcs_service_pb2.GetTaskEventsRequest(limit=5000)).events_by_task
        task_ids = {task.task_id for task in drivers}
        for task in drivers:
            states = task.state_updates.state_ts_ns
            if states:
                yield f"task:{common_pb2.TaskStatus.Name(max(states))}"
            if task.attempt_number:
                yield "task retried"
            if task.task_info.parent_task_id in task_ids and task.task_info.name == "measure":
                yield "task nested"


def main() -> None:
    address, token, limit_s, *wanted = sys.argv[1:]
    observer = Observer(address, token)
    seen: dict[str, float] = {}  # fact -> seconds after which it was first seen
    begun = time.monotonic()
    while time.monotonic() - begun < float(limit_s) and not set(wanted) <= seen.keys():
        try:
            for fact in observer.facts():
                seen.setdefault(fact, round(time.monotonic() - begun, 1))
        except grpc.RpcError as error:
            seen.setdefault(f"problem:{error}", round(time.monotonic() - begun, 1))
        time.sleep(0.5)
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main()
