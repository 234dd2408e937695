"""What the GCS says becomes our model: in Ray's words, unknown as None, hostile values tamed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clusterstate.model import (
    Actor,
    BundleShape,
    FailedNode,
    Job,
    Node,
    NodeResources,
    PendingNode,
    ResourceDemand,
    Worker,
)
from workers.sources import gcs_stubs
from workers.sources.autoscaler_decode import AutoscalerReport
from workers.sources.gcs_decode import ended_with_node, merge_node, merge_worker, node_of, placement_group_of, worker_of
from workers.sources.gcs_decode_actors import actor_of, lost_actor, merge_actor
from workers.sources.gcs_decode_jobs import driver_job_of, keyed, submission_id_of, submission_job_of, with_driver, with_submission
from workers.sources.gcs_decode_status import cluster_status_of, metadata_of, node_resources_of, settled, sighted
from workers.sources.gcs_fields import CUT, MAX_TEXT, clipped, parsed_json

NODE, WORKER, ACTOR, JOB = b"\x11" * 28, b"\x22" * 28, b"\x33" * 16, b"\x01\x00\x00\x00"
NIL = b"\xff" * 28


def message(name: str, /, **fields: Any) -> Any:
    return getattr(gcs_stubs.module("gcs_pb2"), name)(**fields)


def actor_row(**fields: Any) -> Any:
    return message("ActorTableData", **{"actor_id": ACTOR, "job_id": JOB, "state": 2, "class_name": "Model", **fields})


# --- Actors


def test_an_actor_has_its_ids_in_hex_and_what_is_not_there_is_none() -> None:
    actor = actor_of(actor_row(address={"node_id": NODE, "worker_id": WORKER, "ip_address": "10.0.0.1"}, pid=7, start_time=5000))

    assert (actor.actor_id, actor.job_id, actor.node_id, actor.worker_id) == (ACTOR.hex(), JOB.hex(), NODE.hex(), WORKER.hex())
    assert (actor.state, actor.class_name, actor.pid, actor.ip, actor.start_time_ms) == ("ALIVE", "Model", 7, "10.0.0.1", 5000)
    assert (actor.name, actor.end_time_ms, actor.placement_group_id, actor.death_cause, actor.call_site) == (None,) * 5


def test_an_actor_that_waits_is_on_no_node() -> None:
    actor = actor_of(actor_row(state=1, address={"node_id": NIL, "worker_id": NIL}))

    assert (actor.state, actor.node_id, actor.worker_id, actor.ip) == ("PENDING_CREATION", None, None, None)


def test_a_state_that_a_later_ray_invents_is_shown_as_its_number() -> None:
    assert actor_of(actor_row(state=17)).state == "UNKNOWN(17)"


DIED = "The actor is dead because its worker process has died. Worker exit type: {} Worker exit detail: as it said."


def died(exit_type: str) -> dict[str, Any]:
    return {"actor_died_error_context": {"reason": 1, "error_message": DIED.format(exit_type)}}


@pytest.mark.parametrize(
    ("cause", "kind", "detail"),
    [
        ({"actor_died_error_context": {"reason": 4, "error_message": "killed by `ray.kill`"}}, "RAY_KILL", "killed by `ray.kill`"),
        ({"actor_died_error_context": {"error_message": "why?"}}, "ACTOR_DIED", "why?"),
        ({"creation_task_failure_context": {"formatted_exception_string": "ValueError: x"}}, "CREATION_TASK_FAILED", "ValueError: x"),
        ({"runtime_env_failed_context": {"error_message": "pip failed"}}, "RUNTIME_ENV_FAILED", "pip failed"),
        ({"actor_unschedulable_context": {"error_message": "no node"}}, "ACTOR_UNSCHEDULABLE", "no node"),
        ({"oom_context": {"error_message": "too much"}}, "OOM", "too much"),
        (died("INTENDED_USER_EXIT"), "INTENDED_USER_EXIT", DIED.format("INTENDED_USER_EXIT")),
        (died("INTENDED_SYSTEM_EXIT"), "INTENDED_SYSTEM_EXIT", DIED.format("INTENDED_SYSTEM_EXIT")),
        (died("SYSTEM_ERROR"), "WORKER_DIED", DIED.format("SYSTEM_ERROR")),
        (died("USER_ERROR"), "WORKER_DIED", DIED.format("USER_ERROR")),
        ({}, None, None),
    ],
)
def test_the_cause_of_death_is_a_kind_and_the_whole_text(cause: dict[str, Any], kind: str | None, detail: str | None) -> None:
    actor = actor_of(actor_row(state=4, death_cause=cause))

    assert (actor.death_cause, actor.exit_detail) == (kind, detail)


def test_a_death_with_the_node_says_what_became_of_the_node() -> None:
    context = {
        "reason": 3,
        "error_message": "its node has died",
        "node_death_info": {"reason": 3, "reason_message": "spot instance reclaimed"},
    }

    actor = actor_of(actor_row(state=4, death_cause={"actor_died_error_context": context}))

    assert actor.death_cause == "NODE_DIED"
    assert actor.exit_detail == "its node has died\nThe node: AUTOSCALER_DRAIN_PREEMPTED: spot instance reclaimed"


def test_slots_are_named_by_resource_also_those_of_a_bundle() -> None:
    mapping = [
        {
            "name": "GPU_group_0_aa",
            "resource_ids": [{"index": 3, "quantity": 1.0}, {"index": 1, "quantity": 0.5}, {"index": 2, "quantity": 0.0}],
        },
        {"name": "GPU_group_aa", "resource_ids": [{"index": 3, "quantity": 1.0}]},
        {"name": "CPU", "resource_ids": [{"index": 0, "quantity": 1.0}]},
        {"name": "node:10.0.0.1", "resource_ids": [{"index": 0, "quantity": 0.1}]},
    ]

    assert actor_of(actor_row(resource_mapping=mapping)).resource_mapping == {"GPU": [1, 3]}


def test_what_an_actor_asks_of_a_bundle_is_in_plain_words() -> None:
    asked = {"CPU_group_aa": 0.5, "CPU_group_0_aa": 0.5, "bundle_group_0_aa": 0.001, "bundle_group_aa": 0.001, "GPU": 1.0}

    assert actor_of(actor_row(required_resources=asked)).required_resources == {"CPU": 0.5, "GPU": 1.0}


def known_actor() -> Actor:
    return actor_of(
        actor_row(
            state=1,
            name="one",
            max_restarts=2,
            required_resources={"GPU": 1.0},
            placement_group_id=b"\x44" * 18,
            resource_mapping=[{"name": "GPU", "resource_ids": [{"index": 0, "quantity": 1}]}],
        )
    )


def delta(state: int, **fields: Any) -> Actor:
    return actor_of(message("ActorTableData", state=state, **fields), ACTOR.hex())


def test_a_published_delta_takes_nothing_away() -> None:
    merged = merge_actor(
        known_actor(), delta(2, address={"node_id": NODE, "worker_id": WORKER, "ip_address": "10.0.0.1"}, pid=9, start_time=5)
    )

    assert (merged.state, merged.class_name, merged.name, merged.job_id) == ("ALIVE", "Model", "one", JOB.hex())
    assert (merged.pid, merged.node_id, merged.max_restarts, merged.placement_group_id) == (9, NODE.hex(), 2, "44" * 18)
    assert merged.required_resources == {"GPU": 1.0}


def test_the_dead_keep_their_last_place_and_the_restarting_have_none() -> None:
    alive = merge_actor(known_actor(), delta(2, address={"node_id": NODE, "worker_id": WORKER}, pid=9))
    restarting = merge_actor(alive, delta(3, address={"node_id": NODE}, pid=9, num_restarts=1))
    dead = merge_actor(alive, delta(4, end_time=77))

    assert (restarting.node_id, restarting.pid, restarting.num_restarts, restarting.resource_mapping) == (None, None, 1, {})
    assert (dead.state, dead.node_id, dead.pid, dead.end_time_ms) == ("DEAD", NODE.hex(), 9, 77)


def test_an_actor_that_comes_back_from_death_has_no_end() -> None:
    dead = merge_actor(known_actor(), delta(4, end_time=77, death_cause={"oom_context": {"error_message": "x"}}))

    again = merge_actor(dead, delta(2, address={"node_id": NODE, "worker_id": WORKER}, pid=10))

    assert (again.state, again.end_time_ms, again.death_cause, again.exit_detail) == ("ALIVE", None, None, None)


def test_an_actor_that_the_gcs_forgot_is_dead_and_says_that_the_reason_is_not_known() -> None:
    lost = lost_actor(known_actor())

    assert (lost.state, lost.class_name, lost.end_time_ms) == ("DEAD", "Model", None)
    assert "no longer knows" in (lost.exit_detail or "")


# --- Hostile text


def test_texts_up_to_a_hundred_kilobytes_stay_whole_and_endless_ones_are_cut() -> None:
    long, endless = "<b>\x1b[31m\u202e" * 12_000, "x" * (3 * MAX_TEXT)

    assert actor_of(actor_row(name=long)).name == long
    cut = actor_of(actor_row(name=endless)).name or ""
    assert len(cut) == MAX_TEXT
    assert cut.endswith(CUT)


def test_secrets_in_error_texts_are_masked() -> None:
    cause = {"runtime_env_failed_context": {"error_message": "pip install --index-url https://me:pw@host/simple failed"}}

    assert actor_of(actor_row(state=4, death_cause=cause)).exit_detail == "pip install --index-url https://<redacted>@host/simple failed"


def test_json_with_half_characters_endless_numbers_and_depth_becomes_storable() -> None:
    tree = parsed_json('{"a": "\\ud800x", "b": NaN, "c": 1e999, "d": ' + str(10**30) + ', "e": [true, null, 1.5]}')
    deep = parsed_json("[" * 100 + "]" * 100)

    assert tree == {"a": "?x", "b": None, "c": None, "d": str(10**30), "e": [True, None, 1.5]}
    assert CUT in json.dumps(deep, ensure_ascii=False)
    assert parsed_json("[" * 100_000) is None
    assert parsed_json(b"\xff\xfe\xfd") is None
    assert clipped("ok") == "ok"


def test_amounts_that_are_no_numbers_are_left_out() -> None:
    node = node_of(message("GcsNodeInfo", node_id=NODE, resources_total={"CPU": float("nan"), "GPU": float("inf"), "memory": 1.0}))

    assert node.resources_total == {"memory": 1.0}


# --- Nodes and workers


def test_ports_where_nobody_listens_are_none() -> None:
    node = node_of(message("GcsNodeInfo", node_id=NODE, node_manager_port=6000, metrics_export_port=-1, runtime_env_agent_port=0))

    assert (node.node_manager_port, node.metrics_export_port, node.runtime_env_agent_port) == (6000, None, None)


def test_the_message_of_a_nodes_death_leaves_the_rest_as_it_was() -> None:
    known = node_of(message("GcsNodeInfo", node_id=NODE, node_name="n", resources_total={"CPU": 4.0}, labels={"a": "b"}, start_time_ms=1))

    death = {"reason": 2, "reason_message": "health check failed"}
    update = node_of(message("GcsNodeInfo", node_id=NODE, state=1, end_time_ms=9, death_info=death))
    dead = merge_node(known, update)

    assert (dead.state, dead.node_name, dead.end_time_ms, dead.labels, dead.start_time_ms) == ("DEAD", "n", 9, {"a": "b"}, 1)
    assert dead.state_message == "Unexpected termination: health check failed"
    assert merge_node(None, update) == update
    assert isinstance(dead, Node)


def test_a_drivers_job_is_in_its_worker_id_where_the_gcs_does_not_say_it() -> None:
    address = {"worker_id": JOB + b"\xff" * 24, "node_id": NODE, "ip_address": "10.0.0.1"}

    driver = worker_of(message("WorkerTableData", is_alive=True, worker_type=1, worker_address=address, pid=5))

    assert (driver.worker_type, driver.job_id, driver.pid, driver.exit_type) == ("DRIVER", "01000000", 5, None)


def test_a_worker_that_died_has_its_reason_and_keeps_what_was_known() -> None:
    born = worker_of(
        message("WorkerTableData", is_alive=True, worker_address={"worker_id": WORKER, "node_id": NODE}, pid=5, start_time_ms=3)
    )
    row = message("WorkerTableData", worker_address={"worker_id": WORKER}, exit_type=4, exit_detail="OOM", end_time_ms=8)

    dead = merge_worker(born, worker_of(row))

    assert (dead.is_alive, dead.exit_type, dead.exit_detail) == (False, "NODE_OUT_OF_MEMORY", "OOM")
    assert (dead.pid, dead.node_id, dead.start_time_ms, dead.end_time_ms) == (5, NODE.hex(), 3, 8)


def test_a_worker_ends_with_its_node() -> None:
    worker = ended_with_node(Worker(worker_id=WORKER.hex(), is_alive=True, node_id=NODE.hex()), 99)

    assert (worker.is_alive, worker.end_time_ms) == (False, 99)
    assert worker.exit_detail


# --- Placement groups


def test_a_placement_group_has_its_bundles_and_its_times_in_milliseconds() -> None:
    group = placement_group_of(
        message(
            "PlacementGroupTableData",
            placement_group_id=b"\x44" * 18,
            name="pg",
            strategy=3,
            state=2,
            creator_job_id=JOB,
            creator_actor_id=b"\xff" * 16,
            bundles=[{"bundle_id": {"bundle_index": 1}, "unit_resources": {"CPU": 2.0}, "node_id": NODE}],
            stats={"creation_request_received_ns": 5_000_000_000, "end_to_end_creation_latency_us": 1500, "scheduling_state": 6},
        )
    )

    assert (group.state, group.strategy, group.creator_job_id, group.creator_actor_id) == ("CREATED", "STRICT_SPREAD", JOB.hex(), None)
    assert (group.creation_request_received_ms, group.end_to_end_creation_latency_ms, group.scheduling_state) == (5000, 1.5, "FINISHED")
    assert [(bundle.bundle_index, bundle.unit_resources, bundle.node_id) for bundle in group.bundles] == [(1, {"CPU": 2.0}, NODE.hex())]


# --- Jobs


def driver(**fields: Any) -> Job:
    config = {
        "ray_namespace": "ns",
        "metadata": fields.pop("metadata", {}),
        "runtime_env_info": {"serialized_runtime_env": fields.pop("env", "")},
    }
    return driver_job_of(message("JobTableData", **{"job_id": JOB, "config": config, "entrypoint": "python a.py", **fields}))


def test_a_driver_is_running_until_it_has_succeeded_as_in_ray() -> None:
    assert driver().status == "RUNNING"
    assert driver(is_dead=True, end_time=5).status == "SUCCEEDED"
    assert driver().job_key == "01000000"


def test_secrets_of_a_driver_are_masked() -> None:
    job = driver(env='{"env_vars": {"HF_TOKEN": "abc"}}', metadata={"job_name": "n", "api_key": "k"}, entrypoint="a.py --password=x")

    assert job.runtime_env == {"env_vars": {"HF_TOKEN": "<redacted>"}}
    assert job.metadata == {"job_name": "n", "api_key": "<redacted>"}
    assert (job.name, job.entrypoint) == ("n", "a.py --password=<redacted>")


def test_rays_own_drivers_are_flagged() -> None:
    row = message("JobTableData", job_id=JOB, config={"ray_namespace": "_ray_internal_dashboard"})

    assert driver_job_of(row).is_internal
    assert not driver().is_internal


RECORD = {
    "status": "FAILED",
    "entrypoint": "python b.py",
    "message": "exit code 1",
    "error_type": "JOB_ENTRYPOINT_COMMAND_ERROR",
    "start_time": 1000,
    "end_time": 2000,
    "metadata": {"job_name": "nightly"},
    "runtime_env": {"env_vars": {"A": "b"}, "working_dir": "gcs://x.zip"},
    "entrypoint_num_cpus": 1,
    "entrypoint_num_gpus": 0,
    "entrypoint_memory": 1024,
    "entrypoint_resources": {"special": 2},
    "driver_node_id": "ab",
    "driver_exit_code": 1,
}


def submission(**fields: Any) -> Job:
    job = submission_job_of("raysubmit_1", json.dumps({**RECORD, **fields}).encode())
    assert job is not None
    return job


def test_a_submission_record_is_a_job() -> None:
    job = submission()

    assert (job.job_key, job.type, job.status, job.job_id, job.name) == ("raysubmit_1", "SUBMISSION", "FAILED", None, "nightly")
    assert (job.start_time_ms, job.end_time_ms, job.driver_exit_code, job.message) == (1000, 2000, 1, "exit code 1")
    assert job.entrypoint_resources == {"CPU": 1.0, "memory": 1024.0, "special": 2.0}
    assert job.runtime_env == {"env_vars": {"A": "<redacted>"}, "working_dir": "gcs://x.zip"}
    as_ray_writes_it = submission(runtime_env=None, runtime_env_json='{"env_vars": {"A": "b"}, "pip": ["x"]}')
    assert as_ray_writes_it is not None
    assert as_ray_writes_it.runtime_env == {"env_vars": {"A": "<redacted>"}, "pip": ["x"]}


@pytest.mark.parametrize("record", [b"", b"null", b"[1]", b"{", b"\x80\x04pickle"])
def test_a_record_that_is_none_makes_no_job(record: bytes) -> None:
    assert submission_job_of("x", record) is None


def test_a_record_with_fields_of_the_wrong_kind_still_makes_a_job() -> None:
    job = submission(status=7, metadata=[1], runtime_env="x", start_time="soon", entrypoint_num_cpus="many", driver_exit_code=10**40)

    assert (job.status, job.metadata, job.runtime_env, job.start_time_ms, job.driver_exit_code) == ("UNKNOWN()", {}, {}, None, None)


def test_a_submission_takes_its_place_from_its_driver_and_its_end_from_its_record() -> None:
    joined = with_driver(submission(driver_node_id=None), driver(driver_pid=5, driver_address={"node_id": NODE, "ip_address": "10.0.0.1"}))

    assert (joined.job_key, joined.job_id, joined.status, joined.type) == ("raysubmit_1", "01000000", "FAILED", "SUBMISSION")
    assert (joined.driver_pid, joined.driver_ip, joined.driver_node_id, joined.ray_namespace) == (5, "10.0.0.1", NODE.hex(), "ns")
    assert (joined.end_time_ms, joined.entrypoint) == (2000, "python b.py")


def test_a_newer_record_keeps_the_driver() -> None:
    joined = with_driver(submission(status="RUNNING"), driver(driver_pid=5))

    newer = with_submission(joined, submission(status="SUCCEEDED"))

    assert (newer.status, newer.job_id, newer.driver_pid) == ("SUCCEEDED", "01000000", 5)


def test_a_submission_named_like_another_driver_has_a_key_of_its_own() -> None:
    disguised = submission_job_of("01000000", b'{"status": "RUNNING"}')
    assert disguised is not None

    assert keyed(disguised, {"01000000"}).job_key == "submission:01000000"
    assert keyed(disguised, {"02000000"}).job_key == "01000000"


def test_keys_of_submissions_are_told_from_others() -> None:
    assert submission_id_of(b"_ray_internal_job_info_raysubmit_1") == "raysubmit_1"
    assert submission_id_of(b"something_else") is None
    assert submission_id_of(b"_ray_internal_job_info_\xff") == "\\xff"


# --- Status


def status_reply(**fields: Any) -> Any:
    return gcs_stubs.module("autoscaler_pb2").GetClusterStatusReply(**fields)


def state(**fields: Any) -> dict[str, Any]:
    return {"node_id": NODE, "status": 1, "total_resources": {"CPU": 4.0}, "available_resources": {"CPU": 1.0}, **fields}


def test_totals_are_of_live_nodes_and_without_what_repeats_itself() -> None:
    total = {"CPU": 4.0, "node:10.0.0.1": 1.0, "CPU_group_aa": 1.0, "bundle_group_aa": 1000.0}
    reply = status_reply(
        cluster_resource_state={"node_states": [state(total_resources=total), state(node_id=b"\x12" * 28), state(status=2)]}
    )

    status = cluster_status_of(reply, [], 10.0)
    [first, second] = node_resources_of(reply, 10.0)

    assert (status.resources_total, status.resources_available) == ({"CPU": 8.0}, {"CPU": 2.0})
    assert first.resources_total == {"CPU": 4.0, "node:10.0.0.1": 1.0}
    assert second.node_id == "12" * 28


def test_what_is_asked_for_in_vain_is_listed_by_kind() -> None:
    cpu = {"resources_bundle": {"CPU": 50.0}}
    reply = status_reply(
        cluster_resource_state={
            "pending_resource_requests": [{"request": {"resources_bundle": {"GPU": 1.0}}, "count": 3}],
            "pending_gang_resource_requests": [{"requests": [cpu, cpu], "details": "0857:SPREAD|PENDING"}],
            "cluster_resource_constraints": [{"resource_requests": [{"request": {"resources_bundle": {"CPU": 8.0}}, "count": 2}]}],
        }
    )

    demands = cluster_status_of(reply, [], 0.0).demands

    assert [(one.kind, one.shape, one.count, one.strategy) for one in demands] == [
        ("TASK_ACTOR", {"GPU": 1.0}, 3, None),
        ("PLACEMENT_GROUP", {"CPU": 100.0}, 1, "SPREAD"),
        ("REQUEST_RESOURCES", {"CPU": 8.0}, 2, None),
    ]
    assert demands[1].bundles == [BundleShape({"CPU": 50.0}, 2)]


def test_pending_and_failed_nodes_are_named() -> None:
    reply = status_reply(
        autoscaling_state={
            "autoscaler_state_version": 3,
            "pending_instances": [{"ray_node_type_name": "gpu", "ip_address": "10.0.0.9", "details": "setting up"}],
            "pending_instance_requests": [{"ray_node_type_name": "cpu", "count": 4}],
            "failed_instance_requests": [{"ray_node_type_name": "gpu", "reason": "no quota", "failed_ts": 7}],
        }
    )
    dead = Node(node_id="ab", state="DEAD", node_ip="10.0.0.2", state_message="gone", end_time_ms=9)

    status = cluster_status_of(reply, [dead], 0.0)

    assert [(one.node_type, one.ip, one.details) for one in status.pending_nodes] == [
        ("gpu", "10.0.0.9", "setting up"),
        ("cpu", None, "4 requested"),
    ]
    assert [(one.node_type, one.reason, one.ip, one.failed_at_ms) for one in status.failed_nodes] == [
        ("gpu", "no quota", None, 7000),
        ("", "gone", "10.0.0.2", 9),
    ]


def test_what_placement_groups_reserve_is_counted_once() -> None:
    total = {"CPU": 8.0, "CPU_group_aa": 3.0, "CPU_group_0_aa": 1.0, "CPU_group_1_aa": 2.0, "bundle_group_aa": 2000.0, "CPU_group_bb": 1.0}
    available = {"CPU": 4.0, "CPU_group_aa": 2.5, "CPU_group_0_aa": 0.5, "CPU_group_1_aa": 2.0, "CPU_group_bb": 1.0}
    reply = status_reply(cluster_resource_state={"node_states": [state(total_resources=total, available_resources=available)]})

    status = cluster_status_of(reply, [], 0.0)
    [row] = node_resources_of(reply, 0.0)

    assert (status.reserved_total, status.reserved_available) == ({"CPU": 4.0}, {"CPU": 3.5})
    assert (row.reserved_total, row.reserved_available) == ({"CPU": 4.0}, {"CPU": 3.5})
    assert (row.resources_total, row.resources_available) == ({"CPU": 8.0}, {"CPU": 4.0})


def test_tasks_that_wait_for_a_bundle_count_by_what_a_person_wrote() -> None:
    group = "ab" * 18
    inside = {f"CPU_group_{group}": 2.0, f"CPU_group_0_{group}": 2.0, f"bundle_group_{group}": 0.001}
    reply = status_reply(
        cluster_resource_state={
            "pending_resource_requests": [
                {"request": {"resources_bundle": inside}, "count": 2},
                {"request": {"resources_bundle": {"CPU": 2.0}}, "count": 5},
                {"request": {"resources_bundle": {f"bundle_group_{group}": 0.001}}, "count": 1},  # of PlacementGroup.ready()
                {"request": {}, "count": 4},
            ]
        }
    )

    demands = cluster_status_of(reply, [], 0.0).demands

    assert [(one.shape, one.count, one.in_placement_groups) for one in demands] == [({"CPU": 2.0}, 7, 2), ({}, 4, 0)]


def test_placement_groups_of_one_shape_are_one_demand() -> None:
    cpu, gpu = {"resources_bundle": {"CPU": 50.0}}, {"resources_bundle": {"GPU": 7.0}}
    groups = [{"requests": some, "details": "0857:PACK|PENDING"} for some in ([cpu, cpu, gpu], [gpu, cpu, cpu], [cpu])]
    reply = status_reply(cluster_resource_state={"pending_gang_resource_requests": groups})

    demands = cluster_status_of(reply, [], 0.0).demands

    assert [(one.count, one.shape) for one in demands] == [(2, {"CPU": 100.0, "GPU": 7.0}), (1, {"CPU": 50.0})]
    assert demands[0].bundles == [BundleShape({"CPU": 50.0}, 2), BundleShape({"GPU": 7.0}, 1)]


def test_what_the_autoscaler_calls_infeasible_is_marked() -> None:
    reply = status_reply(
        autoscaling_state={
            "autoscaler_state_version": 1,
            "infeasible_resource_requests": [{"resources_bundle": {"TPU": 4.0}}, {"resources_bundle": {"NPU": 1.0}}],
        },
        cluster_resource_state={
            "pending_resource_requests": [
                {"request": {"resources_bundle": {"TPU": 4.0}}, "count": 3},
                {"request": {"resources_bundle": {"CPU": 1.0}}, "count": 1},
            ]
        },
    )

    demands = cluster_status_of(reply, [], 0.0).demands

    assert [(one.shape, one.count, one.is_infeasible) for one in demands] == [
        ({"TPU": 4.0}, 3, True),
        ({"CPU": 1.0}, 1, False),
        ({"NPU": 1.0}, 1, True),
    ]


def test_the_first_autoscalers_report_names_types_pending_nodes_failures_and_requests() -> None:
    report = AutoscalerReport(
        at=1.0,
        node_types={"10.0.0.1": "head"},
        pending_nodes=[PendingNode("gpu", count=2, is_launch=True)],
        failed_nodes=[FailedNode("cpu", "", "10.0.0.2"), FailedNode("gpu", "none left", category="NoCapacity")],
        demands=[ResourceDemand("REQUEST_RESOURCES", {"CPU": 1.0}, 1)],
    )
    states = [state(node_ip_address="10.0.0.1"), state(node_id=b"\x12" * 28, node_ip_address="10.0.0.3", status=3)]
    reply = status_reply(cluster_resource_state={"node_states": states})
    dead = Node(node_id="ab", state="DEAD", node_ip="10.0.0.2", state_message="gone", end_time_ms=9)
    other = Node(node_id="cd", state="DEAD", node_ip="10.0.0.4", state_message="gone too", end_time_ms=8)

    status = cluster_status_of(reply, [dead, other], 0.0, report)

    assert status.autoscaler_version == "v1"
    assert [(one.node_type, one.active, one.idle) for one in status.nodes] == [("", 0, 1), ("head", 1, 0)]
    assert status.pending_nodes == report.pending_nodes
    assert [(one.node_type, one.category, one.reason, one.is_reported) for one in status.failed_nodes] == [
        ("gpu", "NoCapacity", "none left", True),
        ("cpu", "NodeTerminated", "gone", True),
        ("", "NodeTerminated", "gone too", False),
    ]
    assert [(one.kind, one.shape) for one in status.demands] == [("REQUEST_RESOURCES", {"CPU": 1.0})]


def test_a_demand_waits_since_it_was_first_seen_without_a_break() -> None:
    def status(now: float, *shapes: dict[str, float]) -> Any:
        requests = [{"request": {"resources_bundle": shape}, "count": int(now)} for shape in shapes]
        reply = status_reply(
            cluster_resource_state={"pending_resource_requests": requests},
            autoscaling_state={
                "pending_instances": [{"ray_node_type_name": "gpu", "instance_id": "i-1", "details": f"step {now}"}],
                "pending_instance_requests": [{"ray_node_type_name": "gpu", "count": 1, "request_ts": 3}],
            },
        )
        return cluster_status_of(reply, [], now)

    first = sighted(status(10.0, {"CPU": 1.0}), None)
    second = sighted(status(20.0, {"CPU": 1.0}, {"GPU": 1.0}), first)
    third = sighted(status(30.0, {"GPU": 1.0}), second)
    fourth = sighted(status(40.0, {"CPU": 1.0}), third)

    assert [{tuple(one.shape): one.since_ms for one in seen.demands} for seen in (first, second, third, fourth)] == [
        {("CPU",): 10_000},
        {("CPU",): 10_000, ("GPU",): 20_000},
        {("GPU",): 20_000},
        {("CPU",): 40_000},
    ]
    assert [(one.is_launch, one.since_ms) for one in fourth.pending_nodes] == [(False, 10_000), (True, 3_000)]


def test_a_node_that_is_only_idle_for_longer_has_not_changed() -> None:
    def idle(now: float, duration_ms: int) -> NodeResources:
        reply = status_reply(
            cluster_resource_state={"node_states": [state(status=3, idle_duration_ms=duration_ms, node_activity=["old news"])]}
        )
        return node_resources_of(reply, now)[0]

    first, later, anew = idle(100.0, 5000), idle(110.0, 14_600), idle(120.0, 1000)

    assert (first.idle_since_ms, first.node_activity) == (95_000, [])
    assert settled(first, later) == first
    assert settled(first, anew).idle_since_ms == 119_000


def test_metadata_says_what_the_cluster_recorded_of_itself() -> None:
    record = {"ray_version": "2.60.0", "python_version": "3.11.7", "git_commit": "abc", "os": "linux", "session_start_timestamp_ms": 5}

    full = metadata_of("prod", "session_1", "10.0.0.1:6379", json.dumps(record).encode())
    bare = metadata_of("prod", "session_1", "10.0.0.1:6379", b"garbage")

    assert (full.ray_version, full.ray_commit, full.os, full.started_ms) == ("2.60.0", "abc", "linux", 5)
    assert (bare.ray_version, bare.ray_commit, bare.started_ms, bare.session) == (None, None, None, "session_1")
