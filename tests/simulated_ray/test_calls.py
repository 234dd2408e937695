"""The simulated GCS answers as a real one does: filters, limits and counts as recorded from Ray 2.60."""

from __future__ import annotations

import json

import grpc
import pytest

from tests.simulated_ray import SimulatedRay
from tests.simulated_ray.client import Client

ALIVE, DEAD = 2, 4  # of actors


def test_the_cluster_says_its_version_and_who_it_is(ray: SimulatedRay, client: Client) -> None:
    nodes = [bytes.fromhex(node_id) for node_id in ray.node_ids()]
    alive = client.call("NodeInfoGcsService", "CheckAlive", node_ids=[nodes[0], b"0" * 28])

    assert alive.ray_version == ray.ray_version
    assert list(alive.raylet_alive) == [True, False]
    assert client.call("NodeInfoGcsService", "GetClusterId").cluster_id == ray.cluster_id


def test_the_version_it_claims_can_be_chosen() -> None:
    with SimulatedRay(ray_version="2.53.0") as ray, Client(ray.address) as client:
        assert client.call("NodeInfoGcsService", "CheckAlive").ray_version == "2.53.0"


def test_nodes_are_filtered_by_state_ip_name_and_id(ray: SimulatedRay, client: Client) -> None:
    head, other = ray.node_ids()
    ray.kill_node(ray.add_node(node_name="gone"))

    def shown(**request: object) -> list[str]:
        return [node.node_id.hex() for node in client.nodes(**request).node_info_list]

    assert shown(state_filter=0) == [head, other]
    assert shown(node_selectors=[{"node_id": bytes.fromhex(other)}, {"node_name": "gone"}])[0] == other
    assert shown(node_selectors=[{"node_ip_address": "127.0.0.1"}]) == [head]
    assert len(shown(node_selectors=[{"node_name": "gone"}], state_filter=1)) == 1
    limited = client.nodes(limit=1)
    assert (len(limited.node_info_list), limited.total, limited.num_filtered) == (1, 3, 2)


def test_node_addresses_tell_who_lives(ray: SimulatedRay, client: Client) -> None:
    ray.kill_node(ray.node_ids()[1])

    rows = client.call("NodeInfoGcsService", "GetAllNodeAddressAndLiveness").node_info_list

    assert [row.state for row in rows] == [0, 1]


def test_actors_are_filtered_by_state_job_and_id(ray: SimulatedRay, client: Client) -> None:
    [other] = ray.job_ids()
    job = ray.add_job()
    living = [ray.add_actor(job_id=job), ray.add_actor(job_id=other)]
    dead = ray.add_actor(state="DEAD", job_id=job)

    def shown(**filters: object) -> list[str]:
        return [row.actor_id.hex() for row in client.actors(filters=filters).actor_table_data]

    assert shown(state=ALIVE) == living
    assert shown(state=DEAD) == [dead]
    assert shown(job_id=bytes.fromhex(job)) == [living[0], dead]
    assert shown(job_id=bytes.fromhex(job), state=DEAD) == [dead]
    assert shown(actor_id=bytes.fromhex(living[1])) == [living[1]]
    assert shown(actor_id=b"0" * 16) == []
    filtered = client.actors(filters={"state": ALIVE})
    assert (filtered.total, filtered.num_filtered) == (3, 1)
    limited = client.actors(limit=2)
    assert (len(limited.actor_table_data), limited.total) == (2, 3)


def test_an_actor_is_found_by_id_and_while_it_lives_by_name(ray: SimulatedRay, client: Client) -> None:
    actor_id = ray.add_actor(name="reader", ray_namespace="prod", class_name="Reader")

    by_id = client.call("ActorInfoGcsService", "GetActorInfo", actor_id=bytes.fromhex(actor_id))
    by_name = client.call("ActorInfoGcsService", "GetNamedActorInfo", name="reader", ray_namespace="prod")
    listed = client.call("ActorInfoGcsService", "ListNamedActors", all_namespaces=True)
    assert by_id.actor_table_data.class_name == by_name.actor_table_data.class_name == "Reader"
    assert ("prod", "reader") in [(row.ray_namespace, row.name) for row in listed.named_actors_list]

    ray.kill_actor(actor_id)
    missing = client.call("ActorInfoGcsService", "GetNamedActorInfo", name="reader", ray_namespace="prod")
    assert (missing.status.code, missing.status.message) == (17, "Actor with name 'reader' was not found.")


def test_a_restarted_actor_names_where_it_was(ray: SimulatedRay, client: Client) -> None:
    actor_id = ray.add_actor(max_restarts=2)
    first = ray.actor(actor_id).address
    ray.restart_actor(actor_id)

    row = client.call("ActorInfoGcsService", "GetActorInfo", actor_id=bytes.fromhex(actor_id)).actor_table_data

    assert (row.state, row.num_restarts) == (ALIVE, 1)
    if "previous_incarnations" in row.DESCRIPTOR.fields_by_name:  # Ray 2.60 up
        assert [(one.worker_id, one.node_id) for one in row.previous_incarnations] == [(first.worker_id, first.node_id)]


def test_above_its_limit_the_gcs_forgets_the_oldest_dead_actor(client: Client) -> None:
    with SimulatedRay(max_dead_actors=2) as ray, Client(ray.address) as other:
        dead = [ray.add_actor(state="DEAD") for _ in range(3)]
        assert [row.actor_id.hex() for row in other.actors().actor_table_data] == dead[1:]


def test_workers_die_with_their_actor_and_say_why(ray: SimulatedRay, client: Client) -> None:
    actor_id = ray.add_actor()
    worker_id = ray.actor(actor_id).address.worker_id
    ray.add_worker()
    ray.kill_actor(actor_id)

    living = client.call("WorkerInfoGcsService", "GetAllWorkerInfo", filters={"is_alive": True})
    dead = client.call("WorkerInfoGcsService", "GetWorkerInfo", worker_id=worker_id).worker_table_data

    assert (len(living.worker_table_data), living.total, living.num_filtered) == (2, 3, 1)  # with the driver of the job
    assert (dead.is_alive, dead.exit_type) == (False, 1)
    if "job_id" in dead.DESCRIPTOR.fields_by_name:  # Ray 2.60 up
        assert dead.job_id == ray.actor(actor_id).job_id


def test_a_submission_is_joined_to_its_driver_unless_told_to_skip(ray: SimulatedRay, client: Client) -> None:
    submission = ray.add_submission("raysubmit_x", status="FAILED", driver=True, message="no way", metadata={"job_name": "nightly"})
    ray.add_submission("raysubmit_waiting", status="PENDING")

    whole = client.call("JobInfoGcsService", "GetAllJobInfo").job_info_list
    short = client.call(
        "JobInfoGcsService", "GetAllJobInfo", skip_submission_job_info_field=True, skip_is_running_tasks_field=True
    ).job_info_list
    one = client.call("JobInfoGcsService", "GetAllJobInfo", job_or_submission_id=submission).job_info_list
    record = client.call("InternalKVGcsService", "InternalKVGet", key=b"_ray_internal_job_info_raysubmit_x", namespace=b"job")
    keys = client.call("InternalKVGcsService", "InternalKVKeys", prefix=b"_ray_internal_job_info_", namespace=b"job")

    assert [(job.job_info.status, job.job_info.message) for job in whole] == [("", ""), ("FAILED", "no way")]
    assert [job.HasField("job_info") or job.HasField("is_running_tasks") for job in short] == [False, False]
    assert [job.config.metadata["job_submission_id"] for job in one] == [submission]
    assert json.loads(record.value)["metadata"] == {"job_name": "nightly"}
    assert len(keys.results) == 2


def test_keys_can_be_read_written_and_deleted(ray: SimulatedRay, client: Client) -> None:
    kv = "InternalKVGcsService"
    name = client.call(kv, "InternalKVMultiGet", keys=[b"session_name", b"none"], namespace=b"session")
    assert [(entry.key, entry.value.decode()) for entry in name.results] == [(b"session_name", ray.session_name)]
    assert client.call(kv, "InternalKVPut", key=b"a\xff", value=b"\x00", namespace=b"n").added
    assert not client.call(kv, "InternalKVPut", key=b"a\xff", value=b"\x01", namespace=b"n").added
    assert client.call(kv, "InternalKVGet", key=b"a\xff", namespace=b"n").value == b"\x00"
    assert client.call(kv, "InternalKVExists", key=b"a\xff", namespace=b"n").exists
    assert client.call(kv, "InternalKVDel", key=b"a", del_by_prefix=True, namespace=b"n").deleted_num == 1
    assert client.call(kv, "InternalKVGet", key=b"a\xff", namespace=b"n").status.code == 17


def test_the_status_has_what_nodes_have_left_and_what_waits(ray: SimulatedRay, client: Client) -> None:
    head = ray.node_ids()[0]
    ray.set_available(head, {"CPU": 3.0}, status="RUNNING", idle_duration_ms=0)
    ray.add_actor(state="PENDING_CREATION", required_resources={"CPU": 100.0})
    ray.add_placement_group([{"CPU": 50.0}], state="PENDING", strategy="PACK")
    ray.set_autoscaling(pending_instances=[{"ray_node_type_name": "gpu-8", "details": "Starting"}])

    status = client.call("AutoscalerStateService", "GetClusterStatus")

    state = status.cluster_resource_state
    assert state.cluster_session_name == ray.session_name
    assert {row.node_id.hex(): row.available_resources["CPU"] for row in state.node_states}[head] == 3.0
    assert [(dict(one.request.resources_bundle), one.count) for one in state.pending_resource_requests] == [({"CPU": 100.0}, 1)]
    assert state.pending_gang_resource_requests[0].details.endswith(":PACK|PENDING")
    assert status.autoscaling_state.pending_instances[0].ray_node_type_name == "gpu-8"


def test_available_resources_are_told_node_by_node(ray: SimulatedRay, client: Client) -> None:
    service = "NodeResourceInfoGcsService"
    available = client.call(service, "GetAllAvailableResources").resources_list
    total = client.call(service, "GetAllTotalResources").resources_list
    usage = client.call(service, "GetAllResourceUsage").resource_usage_data.batch
    assert [row.node_id for row in available] == [row.node_id for row in total] == [row.node_id for row in usage]


def test_placement_groups_come_with_their_bundles(ray: SimulatedRay, client: Client) -> None:
    group = ray.add_placement_group([{"CPU": 1.0}, {"GPU": 1.0}], name="gang")
    ray.remove_placement_group(ray.add_placement_group())

    rows = client.call("PlacementGroupInfoGcsService", "GetAllPlacementGroup").placement_group_table_data

    assert rows[0].placement_group_id.hex() == group
    assert [dict(bundle.unit_resources) for bundle in rows[0].bundles] == [{"CPU": 1.0}, {"GPU": 1.0}]
    assert all(bundle.node_id for bundle in rows[0].bundles)
    assert rows[1].state == 3


def test_a_raylet_tells_of_its_workers_and_the_gpus_they_hold(ray: SimulatedRay, client: Client) -> None:
    node_id = ray.add_node(node_type_name="gpu-8")
    actor_id = ray.add_actor(node_id=node_id, required_resources={"CPU": 2.0, "GPU": 2.0})
    port = ray.serve_raylet(node_id)
    with Client(f"127.0.0.1:{port}") as raylet:
        stats = raylet.call("NodeManagerService", "GetNodeStats")

    [worker] = stats.core_workers_stats
    assert (worker.actor_id.hex(), worker.pid) == (actor_id, ray.actor(actor_id).pid)
    assert [slot.slot for slot in worker.used_resources["GPU"].resource_slots] == [0, 1]
    assert stats.store_stats.object_store_bytes_avail > 0
    assert client.call("NodeManagerService", "GetNodeStats").num_workers == 1  # the head's, on the GCS address: the driver


def test_what_is_not_simulated_is_unimplemented(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as error:
        client.call("TaskInfoGcsService", "AddTaskEventData")
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
