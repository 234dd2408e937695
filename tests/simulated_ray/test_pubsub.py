"""Pubsub of the simulated GCS: whole rows and deltas as recorded from Ray 2.60, long polls, publisher ids, sequence numbers."""

from __future__ import annotations

import threading
import time

import grpc
import pytest

from tests.simulated_ray import SimulatedRay
from tests.simulated_ray.client import Client, Subscription, fields_of

ACTOR, NODE, JOB, WORKER = "GCS_ACTOR_CHANNEL", "GCS_NODE_INFO_CHANNEL", "GCS_JOB_CHANNEL", "GCS_WORKER_DELTA_CHANNEL"
NEVER_IN_A_DELTA = {
    "actor_id",
    "job_id",
    "class_name",
    "required_resources",
    "node_id",
    "owner_address",
    "is_detached",
    "function_descriptor",
}


def test_a_new_actor_is_published_whole_until_it_is_alive(ray: SimulatedRay, client: Client) -> None:
    subscription = Subscription(client, ACTOR)
    actor_id = ray.add_actor(class_name="Reader", name="r", repr_name="Reader(1)", required_resources={"CPU": 1.0})

    messages = subscription.take(3)

    rows = [message.actor_message for message in messages]
    assert [message.key_id.hex() for message in messages] == [actor_id] * 3
    assert [row.state for row in rows] == [0, 1, 2]
    assert [row.class_name for row in rows] == ["Reader", "Reader", ""]
    assert fields_of(rows[0]) >= {"actor_id", "job_id", "class_name", "required_resources", "owner_address"}


def test_alive_restarting_and_dead_are_deltas(ray: SimulatedRay, client: Client) -> None:
    actor_id = ray.add_actor(name="r", repr_name="Reader(1)", max_restarts=1, required_resources={"CPU": 1.0})
    subscription = Subscription(client, ACTOR)
    ray.restart_actor(actor_id)
    ray.kill_actor(actor_id)

    restarting, alive, dead = [message.actor_message for message in subscription.take(3)]

    assert [restarting.state, alive.state, dead.state] == [3, 2, 4]
    for row in (restarting, alive, dead):
        assert not fields_of(row) & NEVER_IN_A_DELTA
    assert not restarting.address.worker_id
    assert alive.address.worker_id
    assert alive.num_restarts == dead.num_restarts == 1
    assert dead.death_cause.actor_died_error_context.reason == 4  # RAY_KILL
    assert dead.end_time > 0


def test_a_node_comes_whole_and_leaves_as_a_delta(ray: SimulatedRay, client: Client) -> None:
    subscription = Subscription(client, NODE)
    node_id = ray.add_node()
    ray.kill_node(node_id)

    added, gone = [message.node_info_message for message in subscription.take(2)]

    assert fields_of(added) >= {"node_id", "node_manager_address", "resources_total", "labels"}
    assert fields_of(gone) == {"node_id", "state", "end_time_ms", "death_info"}


def test_a_job_is_published_whole_at_start_and_end(ray: SimulatedRay, client: Client) -> None:
    subscription = Subscription(client, JOB)
    ray.finish_job(ray.add_job(entrypoint="python x.py"))

    started, ended = [message.job_message for message in subscription.take(2)]

    assert (started.entrypoint, started.is_dead) == (ended.entrypoint, False)
    assert ended.is_dead
    assert ended.end_time >= ended.start_time


def test_a_dead_worker_is_told_by_id_and_node_alone(ray: SimulatedRay, client: Client) -> None:
    subscription = Subscription(client, WORKER)
    worker_id = ray.add_worker()
    ray.kill_worker(worker_id)

    [message] = subscription.take(1)

    assert fields_of(message.worker_delta_message) == {"worker_id", "node_id"}
    assert message.worker_delta_message.worker_id.hex() == worker_id


def test_errors_come_through_the_observability_channel(ray: SimulatedRay, client: Client) -> None:
    subscription = Subscription(client, "RAY_ERROR_INFO_CHANNEL")
    ray.publish_error("A worker died.", job_id="01000000")
    [message] = subscription.take(1)
    assert message.error_info_message.error_message == "A worker died."


def test_a_poll_waits_until_something_happens(ray: SimulatedRay, client: Client) -> None:
    subscription = Subscription(client, JOB)
    threading.Timer(0.3, ray.add_job).start()
    started = time.monotonic()
    assert len(subscription.poll()) == 1
    assert time.monotonic() - started >= 0.25


def test_what_was_not_confirmed_is_sent_again(ray: SimulatedRay, client: Client) -> None:
    subscription = Subscription(client, JOB)
    ray.add_job()
    [first] = subscription.poll()
    subscription.processed = first.sequence_id - 1
    ray.add_job()
    assert [message.sequence_id for message in subscription.poll()] == [first.sequence_id, first.sequence_id + 1]


def test_sequence_numbers_are_shared_by_all_channels(ray: SimulatedRay, client: Client) -> None:
    subscription = Subscription(client, JOB)
    ray.add_job()
    ray.add_actor()
    ray.add_job()
    first, second = [message.sequence_id for message in subscription.take(2)]
    assert second > first + 1


def test_one_key_can_be_subscribed_alone(ray: SimulatedRay, client: Client) -> None:
    actor_id = ray.add_actor()
    subscription = Subscription(client, ACTOR, key=bytes.fromhex(actor_id))
    ray.add_actor()
    ray.kill_actor(actor_id)
    assert [message.key_id.hex() for message in subscription.take(1)] == [actor_id]


def test_a_newer_poll_ends_the_older_with_nothing(ray: SimulatedRay, client: Client) -> None:
    subscription = Subscription(client, JOB)
    answers: list[int] = []
    older = threading.Thread(target=lambda: answers.append(len(subscription.poll())))
    older.start()
    time.sleep(0.3)
    threading.Timer(0.3, ray.add_job).start()
    assert len(subscription.poll()) == 1
    older.join()
    assert answers == [0]


def test_a_channel_of_another_service_is_refused(ray: SimulatedRay, client: Client) -> None:
    if "InternalPubSubGcsService" in ray.publishers.by_service:
        return  # up to Ray 2.5x one service has all channels
    with pytest.raises(grpc.RpcError) as error:
        Subscription(client, "RAY_ERROR_INFO_CHANNEL", service="ControlPlanePubSubGcsService")
    assert error.value.code() is grpc.StatusCode.ABORTED


def test_after_a_restart_the_publisher_is_another_and_knows_no_subscriber(ray: SimulatedRay, client: Client) -> None:
    subscription = Subscription(client, JOB)
    ray.add_job()
    subscription.poll()
    before = subscription.publisher_id
    ray.restart()
    ray.add_job()

    with pytest.raises(grpc.RpcError):
        subscription.poll(0.5)
    again = Subscription(client, JOB)
    ray.add_job()
    [message] = again.poll()

    assert again.publisher_id != before
    assert message.sequence_id == 2  # numbers begin anew


def test_subscriptions_can_be_lost_without_a_word(ray: SimulatedRay, client: Client) -> None:
    subscription = Subscription(client, JOB)
    ray.drop_subscriptions()
    ray.add_job()
    with pytest.raises(grpc.RpcError):
        subscription.poll(0.5)
