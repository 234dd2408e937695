"""Hostile texts go through the simulated GCS whole, so that the suites that use them test what they say."""

from __future__ import annotations

import json

import pytest
from google.protobuf.message import DecodeError

from tests.simulated_ray import SimulatedRay, hostile, stubs
from tests.simulated_ray.client import Client, Subscription


@pytest.mark.parametrize("text", hostile.params())
def test_a_hostile_text_arrives_whole_in_an_actor(ray: SimulatedRay, client: Client, text: str) -> None:
    actor_id = ray.add_actor(class_name=text, name=text)
    row = client.call("ActorInfoGcsService", "GetActorInfo", actor_id=bytes.fromhex(actor_id)).actor_table_data
    assert (row.class_name, row.name) == (text, text)


def test_every_kind_of_row_can_hold_every_hostile_text(ray: SimulatedRay, client: Client) -> None:
    planted = hostile.plant(ray)

    nodes = {node.node_id.hex(): node.node_name for node in client.nodes().node_info_list}
    jobs = {job.job_id.hex(): job.entrypoint for job in client.call("JobInfoGcsService", "GetAllJobInfo").job_info_list}
    actors = {row.actor_id.hex(): row.death_cause.actor_died_error_context.error_message for row in client.actors().actor_table_data}
    tasks = {row.task_id.hex(): row.task_info.name for row in client.call("TaskInfoGcsService", "GetTaskEvents").events_by_task}
    for one in hostile.TEXTS:
        assert tasks[planted.tasks[one.name]] == one.text
        assert nodes[planted.nodes[one.name]] == one.text
        assert jobs[planted.jobs[one.name]] == one.text
        assert actors[planted.actors[one.name]] == one.text
        assert ray.submission(planted.submissions[one.name])["message"] == one.text


def test_lone_surrogates_come_in_the_json_of_a_submission(ray: SimulatedRay, client: Client) -> None:
    for one in hostile.LONE_SURROGATES:
        ray.add_submission("s", entrypoint=one.text)
        value = client.call("InternalKVGcsService", "InternalKVGet", key=b"_ray_internal_job_info_s", namespace=b"job").value
        assert json.loads(value)["entrypoint"] == one.text


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in hostile.NOT_UTF8])
def test_bytes_that_are_no_text_break_a_whole_reply_but_not_their_neighbours(ray: SimulatedRay, client: Client, data: bytes) -> None:
    good = ray.add_actor(class_name="Good")
    bad = ray.add_actor(class_name=data)

    with pytest.raises(DecodeError):
        stubs.gcs.ActorTableData.FromString(ray.actors.payload(bytes.fromhex(bad)))
    row = client.call("ActorInfoGcsService", "GetActorInfo", actor_id=bytes.fromhex(good)).actor_table_data
    assert row.class_name == "Good"

    ray.kill_actor(bad)
    assert data in (ray.actors.payload(bytes.fromhex(bad)) or b"")  # they survive later changes


def test_unknown_fields_are_an_error_and_not_forgotten(ray: SimulatedRay) -> None:
    with pytest.raises(TypeError, match="no field 'klass_name'"):
        ray.add_actor(klass_name="x")


def test_a_hostile_name_is_published_too(ray: SimulatedRay, client: Client) -> None:
    subscription = Subscription(client, "GCS_ACTOR_CHANNEL")
    ray.add_actor(name=hostile.by_name("script"))
    assert {message.actor_message.name for message in subscription.take(3)} == {hostile.by_name("script")}
