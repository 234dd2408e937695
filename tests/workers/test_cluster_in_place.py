"""In the dashboard's place: the address is written, kept and handed back, and what Ray's clients ask there the GCS answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis

from clusterstate import ingest
from clusterstate.settings import Settings
from clusterstate.store import keys, task_queries
from clusterstate.store.task_queries import TaskQueryFailed
from tests.simulated_ray import SimulatedRay
from tests.workers.collecting import CLUSTER, NO_TOKEN, Seen, collecting, eventually
from workers.collectors import cluster_in_place, cluster_queries
from workers.collectors.cluster_in_place import reachable
from workers.sources import gcs_stubs
from workers.sources.gcs import GcsClient

LISTEN = "127.0.0.1:8271"
BEFORE = {"dashboard": b"127.0.0.1:8265", "webui:url": b"127.0.0.1:8265"}
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "the token of this test"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, poll_interval_s=0.25, in_place=True, cluster_listen=LISTEN)


@pytest.fixture(autouse=True)
def _in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_in_place, "AGAIN_EVERY_S", 0.1)
    monkeypatch.setattr(cluster_queries, "WAIT_S", 0.1)


@pytest.fixture
def ray() -> Iterator[SimulatedRay]:
    with SimulatedRay(nodes=1, jobs=1) as cluster:
        for key, value in BEFORE.items():
            cluster.put_kv("dashboard", key, value)
        yield cluster


def addresses(ray: SimulatedRay) -> dict[str, bytes]:
    with ray.lock:
        return {key.decode(): value for key, value in ray.kv[b"dashboard"].items() if key.decode() in BEFORE}


def ours(settings: Settings, has_token: bool = False) -> dict[str, bytes]:
    secret = ingest.secret_of(settings.state_dir, CLUSTER)
    address = ingest.dashboard_address(settings.cluster_listen, CLUSTER, secret, has_token)
    return {"dashboard": address.encode(), "webui:url": settings.cluster_listen.encode()}


def test_both_keys_are_written_and_written_again_when_another_writes(
    ray: SimulatedRay, redis_client: redis.Redis, settings: Settings
) -> None:
    with collecting(redis_client, settings, ray.address):
        eventually(lambda: addresses(ray) == ours(settings))
        ray.put_kv("dashboard", "dashboard", "127.0.0.1:1")
        ray.delete_kv("dashboard", "webui:url")
        eventually(lambda: addresses(ray) == ours(settings))


@pytest.mark.parametrize(("has_token", "environ"), [(True, TOKEN), (False, NO_TOKEN)], ids=["token", "no token"])
def test_with_a_token_no_secret_stands_in_the_cluster_and_without_one_it_is_in_the_path(
    has_token: bool, environ: dict[str, str], redis_client: redis.Redis, settings: Settings
) -> None:
    secret = ingest.secret_of(settings.state_dir, CLUSTER).encode()
    with (
        SimulatedRay(token=TOKEN["RAY_AUTH_TOKEN"] if has_token else None) as ray,
        collecting(redis_client, settings, ray.address, environ),
    ):
        eventually(lambda: addresses(ray) == ours(settings, has_token))

        assert (secret in b"".join(addresses(ray).values())) is not has_token
        assert ingest.asks_for_token(redis_client, CLUSTER) is has_token


def test_at_an_orderly_stop_what_stood_there_is_handed_back(ray: SimulatedRay, redis_client: redis.Redis, settings: Settings) -> None:
    ray.delete_kv("dashboard", "webui:url")
    with collecting(redis_client, settings, ray.address):
        eventually(lambda: addresses(ray) == ours(settings))

    assert addresses(ray) == {"dashboard": BEFORE["dashboard"]}
    assert not redis_client.exists(keys.stood_before(CLUSTER))


def test_what_another_wrote_last_is_what_is_handed_back(ray: SimulatedRay, redis_client: redis.Redis, settings: Settings) -> None:
    with collecting(redis_client, settings, ray.address):
        eventually(lambda: addresses(ray) == ours(settings))
        ray.put_kv("dashboard", "dashboard", "127.0.0.1:9999")
        eventually(lambda: addresses(ray) == ours(settings))

    assert addresses(ray) == {**BEFORE, "dashboard": b"127.0.0.1:9999"}


def test_nothing_is_handed_back_where_another_has_written(
    ray: SimulatedRay, redis_client: redis.Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_in_place, "AGAIN_EVERY_S", 60)
    with collecting(redis_client, settings, ray.address):
        eventually(lambda: addresses(ray) == ours(settings))
        ray.put_kv("dashboard", "dashboard", "10.0.0.1:8265")

    assert addresses(ray) == {**BEFORE, "dashboard": b"10.0.0.1:8265"}


def test_what_stood_there_survives_lost_connections_and_kills(
    ray: SimulatedRay, redis_client: redis.Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(self: Any) -> None: ...

    with monkeypatch.context() as patch:
        patch.setattr(cluster_in_place.InPlace, "hand_back", nothing)
        with collecting(redis_client, settings, ray.address):  # killed, in effect
            eventually(lambda: addresses(ray) == ours(settings))
    moved = replace(settings, cluster_listen="127.0.0.1:9271")
    with collecting(redis_client, moved, ray.address) as seen:
        eventually(lambda: addresses(ray) == ours(moved))
        ray.restart()
        eventually(lambda: seen.report and not seen.report.gcs_reachable)
        eventually(lambda: seen.report and seen.report.gcs_reachable)

    assert addresses(ray) == BEFORE


def test_the_address_of_an_earlier_session_is_not_handed_to_a_new_one(
    ray: SimulatedRay, redis_client: redis.Redis, settings: Settings
) -> None:
    with collecting(redis_client, settings, ray.address):
        eventually(lambda: addresses(ray) == ours(settings))
        ray.new_session()
        ray.put_kv("dashboard", "dashboard", "127.0.0.1:5555")
        eventually(lambda: addresses(ray) == ours(settings))

    assert addresses(ray)["dashboard"] == b"127.0.0.1:5555"


@pytest.mark.parametrize("settings_in_force", [{"in_place": False}, {"in_place": False, "cluster_listen": ""}])
def test_nothing_is_written_unless_it_is_asked_for(
    ray: SimulatedRay, redis_client: redis.Redis, settings: Settings, settings_in_force: dict[str, Any]
) -> None:
    with collecting(redis_client, replace(settings, **settings_in_force), ray.address) as seen:
        eventually(lambda: seen.as_of("tasks"))
        assert addresses(ray) == BEFORE

    assert ray.calls["InternalKVPut"] == 0


def test_a_cluster_finds_a_listener_of_every_address_at_the_heads_own() -> None:
    assert reachable("0.0.0.0:8271", "10.1.2.3:6379") == "10.1.2.3:8271"
    assert reachable("[::]:8271", "[fd00::1]:6379") == "[fd00::1]:8271"
    assert reachable("127.0.0.1:8271", "10.1.2.3:6379") == "127.0.0.1:8271"


# --- What Ray's clients ask


def asked(redis_client: redis.Redis, body: bytes) -> bytes:
    return task_queries.ask(redis_client, CLUSTER, body)


@pytest.fixture
def seen(ray: SimulatedRay, redis_client: redis.Redis, settings: Settings) -> Iterator[Seen]:
    with collecting(redis_client, settings, ray.address) as found:
        eventually(lambda: found.as_of("nodes"))
        yield found


def question(**fields: Any) -> bytes:
    return bytes(gcs_stubs.method("GetTaskEvents").request(**fields).SerializeToString())


def reply_of(raw: bytes) -> Any:
    return gcs_stubs.method("GetTaskEvents").reply.FromString(raw)


def test_a_question_is_answered_with_the_reply_of_the_gcs(ray: SimulatedRay, redis_client: redis.Redis, seen: Seen) -> None:
    for state in ("FINISHED", "RUNNING", "FAILED"):
        ray.add_task(state=state)
    wanted = {"limit": 2, "filters": {"exclude_driver": True}}

    answer = asked(redis_client, question(**wanted))

    async def of_the_gcs() -> bytes:
        client = GcsClient(ray.address)
        try:
            method = gcs_stubs.method("GetTaskEvents")
            return await client.call_raw(method, method.request.FromString(question(**wanted)))
        finally:
            await client.close()

    assert answer == asyncio.run(of_the_gcs())
    reply = reply_of(answer)
    assert (len(reply.events_by_task), reply.num_truncated) == (2, 1)


def test_questions_at_the_same_time_are_each_answered_with_their_own(ray: SimulatedRay, redis_client: redis.Redis, seen: Seen) -> None:
    ids = [ray.add_task() for _ in range(5)]
    answers: dict[str, bytes] = {}

    def ask(task_id: str) -> None:
        wanted = {"task_filters": [{"task_id": bytes.fromhex(task_id)}]}
        answers[task_id] = asked(redis_client, question(filters=wanted))

    threads = [threading.Thread(target=ask, args=(task_id,)) for task_id in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    found = {task_id: [row.task_id.hex() for row in reply_of(raw).events_by_task] for task_id, raw in answers.items()}
    assert found == {task_id: [task_id] for task_id in ids}


@pytest.mark.parametrize("body", [b"\xff" * 20, b"\x0a\xff", b"[1]"], ids=["noise", "cut", "JSON"])
def test_what_is_no_question_is_refused_and_the_next_is_answered(
    body: bytes, ray: SimulatedRay, redis_client: redis.Redis, seen: Seen
) -> None:
    redis_client.rpush(keys.task_questions(CLUSTER), b"\xc1 not even msgpack")
    with pytest.raises(TaskQueryFailed, match="GetTaskEventsRequest"):
        asked(redis_client, body)

    assert asked(redis_client, question(limit=1))


def test_a_gcs_that_cannot_answer_is_said_so(ray: SimulatedRay, redis_client: redis.Redis, seen: Seen) -> None:
    ray.refuse("GetTaskEvents")
    with pytest.raises(TaskQueryFailed, match="GetTaskEvents"):
        asked(redis_client, question())
