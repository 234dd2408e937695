"""Ways in which the simulated GCS fails, each as a client sees it."""

from __future__ import annotations

import time

import grpc
import pytest

from tests.simulated_ray import SimulatedRay
from tests.simulated_ray.client import Client, Subscription
from tests.simulated_ray.faults import INVALID_TOKEN

CHECK = ("NodeInfoGcsService", "CheckAlive")


def failure(client: Client, service: str, method: str, limit_s: float = 5.0) -> tuple[grpc.StatusCode, str | None]:
    with pytest.raises(grpc.RpcError) as error:
        client.call(service, method, limit_s=limit_s)
    return error.value.code(), error.value.details()


def test_without_the_token_every_call_is_refused_in_rays_words() -> None:
    with (
        SimulatedRay(token="secret") as ray,
        Client(ray.address) as stranger,
        Client(ray.address, "wrong") as liar,
        Client(ray.address, "secret") as friend,
    ):
        refused = (grpc.StatusCode.UNAUTHENTICATED, INVALID_TOKEN)
        for method in (CHECK, ("ActorInfoGcsService", "GetAllActorInfo"), ("NodeManagerService", "GetNodeStats")):
            assert failure(stranger, *method) == failure(liar, *method) == refused
        with pytest.raises(grpc.RpcError, match="InvalidAuthToken"):
            Subscription(stranger, "GCS_ACTOR_CHANNEL")
        assert friend.call(*CHECK).ray_version


def test_a_method_or_a_service_can_be_refused_and_allowed_again(ray: SimulatedRay, client: Client) -> None:
    ray.refuse("GetAllActorInfo")
    assert failure(client, "ActorInfoGcsService", "GetAllActorInfo")[0] is grpc.StatusCode.UNIMPLEMENTED
    ray.refuse("NodeInfoGcsService", "RESOURCE_EXHAUSTED")
    assert failure(client, *CHECK)[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    ray.allow("NodeInfoGcsService")
    assert client.call(*CHECK).ray_version


def test_a_method_can_be_slow(ray: SimulatedRay, client: Client) -> None:
    ray.delay("CheckAlive", 0.4)
    started = time.monotonic()
    client.call(*CHECK)
    assert time.monotonic() - started >= 0.4
    assert len(client.nodes().node_info_list) == 2


def test_a_stalled_gcs_answers_nobody_and_then_goes_on(ray: SimulatedRay, client: Client) -> None:
    ray.stall(0.8)
    assert failure(client, *CHECK, limit_s=0.3)[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    assert client.call(*CHECK).ray_version


def test_a_stopped_gcs_is_unavailable_and_comes_back_on_its_port_with_its_state(ray: SimulatedRay, client: Client) -> None:
    ray.stop()
    assert failure(client, *CHECK)[0] is grpc.StatusCode.UNAVAILABLE
    ray.start()
    with Client(ray.address) as again:
        assert len(again.nodes().node_info_list) == 2


def test_a_gcs_without_a_store_comes_back_empty(ray: SimulatedRay) -> None:
    ray.restart(keep_state=False)
    with Client(ray.address) as client:
        assert client.nodes().total == 0
        assert client.call("InternalKVGcsService", "InternalKVKeys", prefix=b"", namespace=b"session").results == []


def test_a_new_session_has_another_name_and_id_and_nothing_of_before(ray: SimulatedRay) -> None:
    before = (ray.session_name, ray.cluster_id, ray.node_ids())
    time.sleep(0.002)
    ray.new_session()
    with Client(ray.address) as client:
        assert len(client.nodes().node_info_list) == 2
        name = client.call("InternalKVGcsService", "InternalKVGet", key=b"session_name", namespace=b"session").value.decode()
    assert name == ray.session_name
    assert not {ray.session_name, ray.cluster_id, *ray.node_ids()} & {before[0], before[1], *before[2]}


def test_calls_and_reply_bytes_are_counted_by_method(ray: SimulatedRay, client: Client) -> None:
    client.call(*CHECK)
    client.call(*CHECK)
    reply = client.nodes()
    assert (ray.calls["CheckAlive"], ray.calls["GetAllNodeInfo"]) == (2, 1)
    assert ray.sent_bytes["GetAllNodeInfo"] == reply.ByteSize()
