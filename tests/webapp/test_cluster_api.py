"""The cluster listener: what Ray's agents push is let in by token or secret alone, kept as it came, and answered at once."""

from __future__ import annotations

import base64
import io
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from clusterstate import ingest, paths
from clusterstate.settings import Settings
from clusterstate.spool import JSON, PROTOBUF, SET_ASIDE, Record, SpoolReader
from clusterstate.store import task_queries
from clusterstate.store.task_queries import Reply
from webapp import cluster_api
from webapp.cluster_api import create_cluster_api

WRONG = "/r/prod/k/wrong"
TOKEN = "the cluster's own token"


@pytest.fixture
def state(settings: Settings, tmp_path: Path) -> Settings:
    return replace(settings, state_dir=paths.make_state_dir(tmp_path / "receiver"), cluster_name="prod", spool_mb=1)


@pytest.fixture
def app(state: Settings, redis_client: redis.Redis) -> Flask:
    return create_cluster_api(state, lambda: redis_client)


@pytest.fixture
def agent(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def secret(state: Settings) -> str:
    return ingest.secret_of(state.state_dir, "prod")


@pytest.fixture
def token(redis_client: redis.Redis) -> Iterator[dict[str, str]]:
    ingest.note_ray_token(redis_client, "prod", TOKEN)
    yield {"Authorization": f"Bearer {TOKEN}"}
    ingest.note_ray_token(redis_client, "prod", None)


def kept(state: Settings) -> list[Record]:
    return SpoolReader(paths.spool_dir(state.state_dir, "prod")).read(10_000_000)


def basic(password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"raydeck:{password}".encode()).decode()}


def test_a_body_is_kept_as_it_came_and_answered_as_rays_dashboard_does(agent: FlaskClient, state: Settings, token: dict[str, str]) -> None:
    answer = agent.post("/api/task_events", data=b"\x0a\x00\xff", headers=token)
    assert (answer.status_code, answer.get_json()) == (200, {"result": True, "msg": "", "data": {}})
    [record] = kept(state)
    assert (record.kind, record.body) == (PROTOBUF, b"\x0a\x00\xff")


def test_every_way_that_ray_sends_a_credential_lets_in(agent: FlaskClient, state: Settings, secret: str, token: dict[str, str]) -> None:
    ways: list[tuple[str, dict[str, str]]] = [
        ("/api/task_events", token),
        ("/r/prod/api/task_events", token),
        ("/r/prod/api/task_events", {"X-Ray-Authorization": f"Bearer {TOKEN}"}),
        (f"/r/prod/k/{secret}/api/task_events", {}),
        ("/api/task_events", basic(secret)),
        ("/ingest/prod", basic(secret)),
        ("/ingest/prod", token),
    ]
    for path, headers in ways:
        assert agent.post(path, data=b"[]", headers=headers).status_code == 200, path
    assert [record.kind for record in kept(state)] == [PROTOBUF] * 5 + [JSON] * 2


def test_nobody_else_is_let_in_and_nothing_of_theirs_is_kept(
    agent: FlaskClient, state: Settings, secret: str, token: dict[str, str]
) -> None:
    strangers: list[dict[str, str]] = [
        {},
        basic("wrong"),
        basic(""),
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": "Bearer " + "x" * 5000},
        {"Authorization": "Basic ====="},
        {"Cookie": f"session={secret}"},
    ]
    for path in (
        "/api/task_events",
        "/api/task_events/query",
        "/r/prod/api/task_events",
        "/ingest/prod",
        "/r/prod/k/wrong/api/task_events",
    ):
        for headers in strangers:
            answer = agent.post(path, data=b"x", headers=headers)
            assert answer.status_code == 401, (path, headers)
            assert answer.get_json()["result"] is False
    assert kept(state) == []


def test_a_token_that_was_changed_is_no_longer_right(
    agent: FlaskClient, redis_client: redis.Redis, token: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_api, "KNOWN_FOR_S", 0.0)
    assert agent.post("/api/task_events", data=b"", headers=token).status_code == 200
    ingest.note_ray_token(redis_client, "prod", "another")
    assert agent.post("/api/task_events", data=b"", headers=token).status_code == 401


@pytest.mark.parametrize(
    "path", ["/r/other/api/task_events", "/ingest/other", "/ingest/..%2f", "/r/prod/api/task_events/", "/jobs", "/login"]
)
def test_other_clusters_and_pages_are_not_there(agent: FlaskClient, secret: str, path: str) -> None:
    assert agent.post(path, data=b"x", headers=basic(secret)).status_code in (404, 405)


def test_what_ray_asks_a_dashboard_and_is_not_here_is_said_so(agent: FlaskClient) -> None:
    for path in ("/api/v0/tasks?limit=10", "/r/prod/k/x/api/v0/tasks", "/api/version"):
        answer = agent.get(path)
        assert (answer.status_code, answer.get_json()["msg"]) == (404, cluster_api.NOT_HERE)


def test_no_cookie_is_set_and_nothing_redirects(agent: FlaskClient, app: Flask) -> None:
    answers: list[TestResponse] = [
        agent.get(path) for path in ("/", "/api/gcs_healthz", "/api/authentication_mode", "/nothing", "/api//gcs_healthz")
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 404, 404]
    assert not any("Set-Cookie" in answer.headers or "Location" in answer.headers for answer in answers)
    open_ones = {rule.rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ())}
    assert {rule.rpartition("/api/")[2] for rule in open_ones} == {"/", "gcs_healthz", "authentication_mode"}


def test_clients_learn_whether_to_send_the_token(agent: FlaskClient, redis_client: redis.Redis) -> None:
    assert agent.get("/api/authentication_mode").get_json() == {"authentication_mode": "disabled"}
    ingest.note_ray_token(redis_client, "prod", TOKEN)
    assert agent.get("/r/prod/api/authentication_mode").get_json() == {"authentication_mode": "token"}
    ingest.note_ray_token(redis_client, "prod", None)


def test_a_full_spool_asks_to_come_again(agent: FlaskClient, state: Settings, secret: str) -> None:
    whole = b"x" * 600_000
    assert agent.post("/ingest/prod", data=whole, headers=basic(secret)).status_code == 200
    answer = agent.post("/ingest/prod", data=whole, headers=basic(secret))
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "2"
    assert len(kept(state)) == 1


def test_a_body_that_is_too_big_is_counted_and_not_asked_for_again(
    agent: FlaskClient, state: Settings, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_api, "MAX_BODY_BYTES", 1000)
    assert agent.post("/ingest/prod", data=b"x" * 300_000, headers=basic(secret)).status_code == 200
    [record] = kept(state)
    assert (record.kind, record.body) == (SET_ASIDE, b"300000")


def test_more_than_may_be_held_at_once_is_asked_for_again(
    agent: FlaskClient, state: Settings, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_api, "MAX_HELD_BYTES", 1000)
    assert agent.post("/ingest/prod", data=b"x" * 2000, headers=basic(secret)).status_code == 503
    assert agent.post("/ingest/prod", data=b"x" * 900, headers=basic(secret)).status_code == 200, "what was held was let go"
    assert len(kept(state)) == 1


@pytest.mark.parametrize("said", [True, False], ids=["length said", "in chunks"])
def test_a_question_that_is_too_long_reaches_nobody(said: bool, agent: FlaskClient, redis_client: redis.Redis, secret: str) -> None:
    body = b"x" * (1024 * 1024 + 1)
    given: dict[str, Any] = (
        {"data": body} if said else {"input_stream": io.BytesIO(body), "environ_overrides": {"wsgi.input_terminated": True}}
    )
    answer = agent.post(f"/r/prod/k/{secret}/api/task_events/query", **given)
    assert answer.status_code == 413
    assert task_queries.next_question(redis_client, "prod", time.time(), 0.1) is None


def test_with_redis_away_the_secret_still_opens_and_a_token_waits(state: Settings, secret: str, token: dict[str, str]) -> None:
    away = redis.Redis(unix_socket_path=str(state.state_dir / "nobody.sock"))
    agent = create_cluster_api(state, lambda: away).test_client()
    assert agent.post("/ingest/prod", data=b"[]", headers=basic(secret)).status_code == 200
    assert agent.post("/api/task_events", data=b"", headers=token).status_code == 503
    away.close()


def test_a_question_is_answered_by_the_collector(agent: FlaskClient, redis_client: redis.Redis, secret: str) -> None:
    seen: list[bytes] = []

    def collector() -> None:
        for reply in (Reply(b"\x0a\x01"), Reply(b"", "The GCS does not answer.")):
            question = task_queries.next_question(redis_client, "prod", time.time(), 5.0)
            assert question is not None
            seen.append(question.body)
            task_queries.answer(redis_client, question, reply)

    thread = threading.Thread(target=collector)
    thread.start()
    path = f"/r/prod/k/{secret}/api/task_events/query"
    right, wrong = agent.post(path, data=b"question"), agent.post(path, data=b"other")
    thread.join()
    assert (right.status_code, right.data, right.content_type) == (200, b"\x0a\x01", "application/octet-stream")
    assert (wrong.status_code, wrong.get_json()["msg"]) == (503, "The GCS does not answer.")
    assert seen == [b"question", b"other"]


def test_a_question_that_nobody_takes_is_given_up(
    agent: FlaskClient, redis_client: redis.Redis, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_queries, "ANSWER_WITHIN_S", 0.1)
    answer = agent.post("/api/task_events/query", data=b"q", headers=basic(secret))
    assert answer.status_code == 503
    assert agent.post("/api/task_events/query", data=b"q" * 2_000_000, headers=basic(secret)).status_code == 413


def test_the_secret_is_made_once_and_is_its_owners_alone(state: Settings, secret: str) -> None:
    path = paths.ingest_secret_file(state.state_dir, "prod")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(secret) == 64
    assert ingest.secret_of(state.state_dir, "prod") == secret
    assert ingest.secret_of(state.state_dir, "other") != secret
