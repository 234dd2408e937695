"""Submitting and stopping jobs from the pages: who may, what is refused with which words, and that what is promised is on the disk."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
import redis
from flask import Flask
from werkzeug.test import TestResponse

from clusterstate.job_request import JobRequest
from clusterstate.journal import Journal
from clusterstate.journal.records import DONE, REFUSED
from clusterstate.journal.sealing import unseal
from clusterstate.operations import SubmitJob
from clusterstate.resources import NODES
from clusterstate.settings import Settings
from clusterstate.store import operation_queue, queues, signing
from clusterstate.store.operation_queue import OperationsWorker
from clusterstate.store.safe_jobs import SafeJob, SafeQueue, verify
from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import Person, program

SUBMIT = "/c/demo/jobs/submit"
HOSTILE = "</textarea><script>alert(1)</script>\"'{{7*7}}"
DOWN = "unix:///nowhere/redis.sock"


@pytest.fixture
def worker(redis_client: redis.Redis, settings: Settings, cluster: BuiltCluster) -> OperationsWorker:
    """The worker of demo's operations says that it lives; it takes nothing up. The head node's agent takes jobs."""
    cluster.with_node(is_head_node=True, dashboard_agent_listen_port=52365)
    word = OperationsWorker("host-1", 1, signing.desk_of(signing.master_key(settings.state_dir)), "2.60.0", "3.11.7")
    operation_queue.say_alive(redis_client, "demo", word)
    return word


def submitted(person: Person, **typed: str) -> TestResponse:
    return person.post(SUBMIT, {"entrypoint": "python x.py", **typed})


def words(answer: TestResponse) -> str:
    """The page's text as it is read."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", answer.text)))


def test_a_submission_is_on_the_disk_and_in_the_queue_before_it_is_acknowledged(
    otto: Person, worker: OperationsWorker, users: Journal, settings: Settings, redis_client: redis.Redis
) -> None:
    typed = {
        "runtime_env": '{"env_vars": {"DB_PASSWORD": "hunter2-canary", "MODE": "fast-canary"}}',
        "metadata": '{"job_name": "nightly", "api_token": "meta-canary"}',
        "entrypoint": "python x.py --api-key=entry-canary",
        "entrypoint_num_cpus": "0.5",
        "entrypoint_memory": "512 MiB",
    }
    answer = submitted(otto, **typed)

    assert answer.status_code == 303
    [operation] = users.unfinished_operations("demo")
    assert answer.location == f"/c/demo/jobs/{operation.target}"
    assert re.fullmatch(r"raysubmit_[A-Za-z0-9]{16}", operation.target)
    assert (operation.who, operation.action, operation.state) == ("otto", "job.submit", "QUEUED")
    [intent] = [record for record in users.newest_audit_records() if record.action == "job.submit"]
    assert (intent.kind, intent.who, intent.detail["submission_id"], intent.detail["peer"]) == (
        "intent",
        "otto",
        operation.target,
        "127.0.0.1",
    )
    assert intent.detail["entrypoint_num_cpus"] == 0.5
    assert intent.detail["entrypoint_memory"] == 512 * 1024 * 1024

    # the worker gets the id alone, and finds the whole request sealed
    name = queues.operator_name("demo")
    queue = SafeQueue(queues.operations_queue("demo"), redis_client)
    found = SafeQueue.dequeue_any([queue], None, redis_client)
    assert found is not None
    assert isinstance(found[0], SafeJob)
    key = signing.derive(signing.master_key(settings.state_dir), name)
    assert verify(found[0], key, name, (SubmitJob,), time.time()) == SubmitJob("demo", operation.operation_id)
    taken = users.take_operation(operation.operation_id, "demo", "job.submit", time.time())
    assert taken is not None
    request = JobRequest(**json.loads(unseal(signing.sealing_key(settings), operation.operation_id, taken[1])))
    assert request.runtime_env["env_vars"] == {"DB_PASSWORD": "hunter2-canary", "MODE": "fast-canary"}
    assert request.entrypoint == typed["entrypoint"]


def test_secrets_of_a_submission_are_nowhere_in_clear(
    otto: Person, worker: OperationsWorker, users: Journal, settings: Settings, redis_client: redis.Redis
) -> None:
    answer = submitted(
        otto,
        runtime_env='{"env_vars": {"DB_PASSWORD": "one-canary", "MODE": "two-canary"}, "pip": ["https://u:three-canary@host/x.whl"]}',
        metadata='{"api_token": "four-canary"}',
        entrypoint="python x.py --api-key=five-canary",
    )
    kept = b"".join(path.read_bytes() for path in Path(settings.state_dir).rglob("*") if path.is_file())
    stored = b"".join(redis_client.dump(key) or b"" for key in redis_client.scan_iter())
    assert b"otto" in kept
    assert b"canary" not in kept
    assert b"canary" not in stored
    assert "canary" not in otto.page(answer.location).text


def test_the_jobs_page_follows_the_operation_until_ray_knows_the_job(
    otto: Person, worker: OperationsWorker, users: Journal, cluster: BuiltCluster
) -> None:
    path = submitted(otto, submission_id="mine-1").location
    assert path == "/c/demo/jobs/mine-1"
    [operation] = users.unfinished_operations()

    page = otto.page(path)
    assert page.status_code == 200
    assert "QUEUED" in words(page)
    assert "recorded and will be handed to Ray" in words(page)

    users.take_operation(operation.operation_id, "demo", "job.submit", 1.0)
    users.put_operation_back(operation.operation_id, "QUEUED", "The GCS does not answer.")
    assert "The GCS does not answer." in words(otto.page(path))

    users.finish_operation(operation.operation_id, DONE, "Ray has it.", 2.0)
    assert "Ray has it." in words(otto.page(path))
    cluster.with_job(job_key="mine-1", submission_id="mine-1", type="SUBMISSION", status="RUNNING", job_id=None)
    page = otto.page(path)
    assert "RUNNING" in words(page)
    assert "Asked for here" in words(page)
    assert 'href="/c/demo/jobs/mine-1/stop"' in page.text


def test_a_refused_submission_says_why(otto: Person, worker: OperationsWorker, users: Journal) -> None:
    path = submitted(otto, submission_id="mine-1").location
    users.finish_operation(users.unfinished_operations()[0].operation_id, REFUSED, f"Ray refuses it: {HOSTILE}", 2.0)

    page = otto.page(path)
    assert "Ray refuses it: </textarea>" in unescape(page.text)
    assert "<script>alert" not in page.text
    assert submitted(otto, submission_id="mine-1").status_code == 303, "a refused id may be used again"


def test_the_same_form_sent_twice_submits_once(otto: Person, worker: OperationsWorker, users: Journal) -> None:
    form = otto.page(SUBMIT).text
    found = re.search(r'name="fresh_id" value="([^"]+)"', form)
    assert found is not None
    answers = [submitted(otto, fresh_id=found[1]) for _ in range(3)]

    assert {answer.location for answer in answers} == {f"/c/demo/jobs/{found[1]}"}
    assert len(users.unfinished_operations()) == 1
    assert submitted(otto, fresh_id=found[1], entrypoint="python other.py").status_code == 422


def test_a_form_whose_secret_was_corrected_is_another_one(otto: Person, worker: OperationsWorker, users: Journal) -> None:
    """Masked they look alike."""
    first, second = (json.dumps({"env_vars": {"DB_PASSWORD": word}}) for word in ("wrong", "right"))
    assert submitted(otto, submission_id="nightly-1", runtime_env=first).status_code == 303
    assert submitted(otto, submission_id="nightly-1", runtime_env=first).status_code == 303
    assert submitted(otto, submission_id="nightly-1", runtime_env=second).status_code == 422
    assert len(users.unfinished_operations()) == 1


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ({"entrypoint": " "}, "An entrypoint is needed"),
        ({"entrypoint": "x" * 70_000}, "longer than 64 KiB"),
        ({"entrypoint": "a\0b"}, "NUL"),
        ({"submission_id": "a b"}, "A submission id has 1 to 128"),
        ({"submission_id": "../x"}, "A submission id has 1 to 128"),
        ({"submission_id": "submit"}, "name of a page"),
        ({"runtime_env": "{"}, "must be a JSON object"),
        ({"runtime_env": "[1]"}, "must be a JSON object"),
        ({"runtime_env": '{"env_vars": {"A B": "x"}}'}, "a name has letters"),
        ({"runtime_env": '{"env_vars": {"A": 1}}'}, "write it in double quotes"),
        ({"runtime_env": '{"env_vars": {"A": "x\\u0000"}}'}, "NUL"),
        ({"runtime_env": '{"container": {}}'}, "Allowed are: env_vars"),
        ({"runtime_env": '{"py_executable": "sh"}'}, "Allowed are: env_vars"),
        ({"runtime_env": '{"working_dir": "/etc"}'}, "working_dir must be a URI"),
        ({"runtime_env": '{"config": {"setup_timeout_seconds": 1e999}}'}, "too large"),
        ({"runtime_env": '{"config": NaN}'}, "must be a JSON object"),
        ({"runtime_env": '{"pip": ' + "[" * 20_000}, "must be a JSON object"),
        ({"metadata": '{"a": 1}'}, "write it in double quotes"),
        ({"metadata": '{"raydeck_submitted_by": "ada"}'}, "written by Ray or Raydeck"),
        ({"metadata": '{"job_submission_id": "other"}'}, "written by Ray or Raydeck"),
        ({"entrypoint_num_cpus": "-1"}, "CPUs must be a number from 0"),
        ({"entrypoint_num_gpus": "nan"}, "GPUs must be a number from 0"),
        ({"entrypoint_num_gpus": "1e99"}, "GPUs must be a number from 0"),
        ({"entrypoint_memory": "lots"}, "Memory must be bytes"),
        ({"entrypoint_memory": "-5"}, "Memory must be bytes"),
        ({"entrypoint_memory": "9" * 60}, "Memory must be bytes"),
    ],
)
def test_what_cannot_be_is_refused_with_what_is_allowed_and_kept_as_typed(
    otto: Person, worker: OperationsWorker, users: Journal, typed: dict[str, str], sentence: str
) -> None:
    answer = submitted(otto, **{"metadata": '{"kept": "as typed"}'} | typed)

    assert answer.status_code == 422
    assert sentence in words(answer)
    [(name, text)] = typed.items()
    kept = unescape(re.search(rf'id="{name}"[^>]*?(?: value="([^"]*)"|>\n([^<]*)<)', answer.text, re.DOTALL).expand(r"\1\2"))  # type: ignore[union-attr]
    assert kept == text or "\0" in text
    if name != "metadata":
        assert "as typed" in unescape(answer.text)
    assert users.unfinished_operations() == []


def test_hostile_text_is_text(otto: Person, worker: OperationsWorker, users: Journal) -> None:
    refused = submitted(otto, entrypoint=HOSTILE, metadata=HOSTILE, submission_id=HOSTILE)
    assert refused.status_code == 422
    path = submitted(otto, entrypoint=HOSTILE, metadata=json.dumps({HOSTILE: HOSTILE})).location
    for text in (refused.text, otto.page(path).text):
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert(1)" in text


def test_a_megabyte_is_refused_with_a_sentence(otto: Person, worker: OperationsWorker, users: Journal) -> None:
    for name in ("entrypoint", "metadata", "runtime_env"):
        answer = submitted(otto, **{name: "x" * 1_000_000})
        assert answer.status_code == 413
        assert "larger than any form" in words(answer)
    assert users.unfinished_operations() == []


def test_only_operators_and_admins_may(
    vera: Person, otto: Person, ada: Person, anybody: Person, worker: OperationsWorker, users: Journal, cluster: BuiltCluster
) -> None:
    cluster.with_job(job_key="mine-1", submission_id="mine-1", type="SUBMISSION", status="RUNNING")
    stop = "/c/demo/jobs/mine-1/stop"
    for path in (SUBMIT, stop):
        for answer in (vera.page(path), vera.post(path, {"entrypoint": "x"})):
            assert answer.status_code == 403
            assert "This needs the role operator; yours is viewer." in words(answer)
        assert anybody.post(path, {"entrypoint": "x"}).status_code in (401, 403)
    assert users.unfinished_operations() == []
    assert SUBMIT not in vera.page("/c/demo/jobs").text
    assert stop not in vera.page("/c/demo/jobs/mine-1").text
    for person in (otto, ada):
        assert person.page(SUBMIT).status_code == 200
        assert SUBMIT in person.page("/c/demo/jobs").text
        assert stop in person.page("/c/demo/jobs/mine-1").text


def test_a_form_of_another_site_submits_and_stops_nothing(
    otto: Person, worker: OperationsWorker, users: Journal, cluster: BuiltCluster
) -> None:
    cluster.with_job(job_key="mine-1", submission_id="mine-1", type="SUBMISSION", status="RUNNING")
    for path in (SUBMIT, "/c/demo/jobs/mine-1/stop"):
        for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
            assert otto.post(path, {"entrypoint": "x"}, headers).status_code == 403
        assert otto.post(path, {"entrypoint": "x", "csrf_token": ""}).status_code == 403
        assert otto.open("POST", path, {"HX-Request": "true"}, data={"entrypoint": "x"}).status_code == 403
        assert otto.get(path + "?entrypoint=x").status_code == 200, "a link asks, it does nothing"
    assert users.unfinished_operations() == []


def test_a_program_is_answered_in_json_and_needs_the_role_too(
    app: Flask, users: Journal, worker: OperationsWorker, cluster: BuiltCluster
) -> None:
    operators = program(app, users, "otto", "operator", time.time())
    answer = operators.open("POST", SUBMIT, data={"entrypoint": "python x.py", "submission_id": "mine-1"})
    assert answer.status_code == 202
    assert answer.json == {"submission_id": "mine-1", "operation_id": users.unfinished_operations()[0].operation_id, "state": "QUEUED"}
    wrong = operators.open("POST", SUBMIT, data={"entrypoint": ""})
    assert wrong.status_code == 422
    assert wrong.json is not None
    assert set(wrong.json["fields"]) == {"entrypoint"}
    limited = program(app, users, "otto", "viewer", time.time())
    assert limited.open("POST", SUBMIT, data={"entrypoint": "x"}).status_code == 403
    [intent] = [record for record in users.newest_audit_records() if record.action == "job.submit"]
    assert intent.detail["by"] == "token"


def test_a_running_submission_is_stopped_after_one_more_question(
    otto: Person, worker: OperationsWorker, users: Journal, cluster: BuiltCluster
) -> None:
    cluster.with_job(job_key="mine-1", submission_id="mine-1", type="SUBMISSION", status="RUNNING", entrypoint="sleep 9")
    question = otto.page("/c/demo/jobs/mine-1/stop")
    assert "Stop this job?" in words(question)
    assert "sleep 9" in words(question)
    for _ in range(2):
        answer = otto.post("/c/demo/jobs/mine-1/stop")
        assert (answer.status_code, answer.location) == (303, "/c/demo/jobs/mine-1")
    [operation] = users.unfinished_operations()
    assert (operation.action, operation.target, operation.who) == ("job.stop", "mine-1", "otto")
    page = words(otto.page("/c/demo/jobs/mine-1"))
    assert "Stop QUEUED otto" in page


def test_what_ray_cannot_stop_has_a_reason_in_place_of_the_button(
    otto: Person, worker: OperationsWorker, users: Journal, cluster: BuiltCluster
) -> None:
    cluster.with_job(job_key="0a000000", job_id="0a000000", submission_id=None, type="DRIVER", status="RUNNING")
    cluster.with_job(job_key="done-1", submission_id="done-1", type="SUBMISSION", status="SUCCEEDED")
    page = otto.page("/c/demo/jobs/0a000000")
    assert "/stop" not in page.text
    assert "Ray stops submissions only" in words(page)
    assert "/stop" not in otto.page("/c/demo/jobs/done-1").text
    for key in ("0a000000", "done-1"):
        assert '<form method="post" action="/c' not in otto.page(f"/c/demo/jobs/{key}/stop").text
        assert otto.post(f"/c/demo/jobs/{key}/stop").status_code == 400
    assert otto.post("/c/demo/jobs/nothing/stop").status_code == 404
    assert users.unfinished_operations() == []


def test_without_a_worker_nothing_is_offered_and_the_reason_said(
    otto: Person, users: Journal, cluster: BuiltCluster, redis_client: redis.Redis
) -> None:
    cluster.with_job(job_key="mine-1", submission_id="mine-1", type="SUBMISSION", status="RUNNING")
    for path in (SUBMIT, "/c/demo/jobs/mine-1", "/c/demo/jobs/mine-1/stop"):
        page = otto.page(path)
        assert page.status_code == 200
        assert "Nobody does operations for this cluster now." in words(page)
        assert "<textarea" not in page.text
    answer = submitted(otto)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert users.unfinished_operations() == []
    operation_queue.say_alive(redis_client, "demo", OperationsWorker("host-2", 1, "another desk"))
    assert "recorded by another Raydeck" in words(otto.page(SUBMIT))
    assert submitted(otto).status_code == 503


def test_without_redis_nothing_is_promised(make_app: Callable[..., Flask], otto: Person, worker: OperationsWorker, users: Journal) -> None:
    operator = program(make_app(redis_url=DOWN), users, "otto", "operator", time.time())
    page = operator.page(SUBMIT)
    assert "Redis cannot be reached" in words(page)
    assert "<textarea" not in page.text
    answer = operator.open("POST", SUBMIT, data={"entrypoint": "x"})
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert users.unfinished_operations() == []


def test_a_cluster_without_a_job_api_needs_its_own_ray_and_says_so_before_the_form(
    otto: Person, worker: OperationsWorker, cluster: BuiltCluster, users: Journal, redis_client: redis.Redis
) -> None:
    assert "The head node's agent takes it." in words(otto.page(SUBMIT))
    [head] = cluster.reader.all(NODES)
    cluster.with_node(node_id=head.node_id, is_head_node=True, dashboard_agent_listen_port=None)
    assert "a Ray driver of Raydeck's takes it" in words(otto.page(SUBMIT))
    operation_queue.say_alive(redis_client, "demo", replace(worker, ray_version="2.53.0"))
    page = otto.page(SUBMIT)
    assert "Install ray[default] there" in words(page)
    assert "2.60.0; it has 2.53.0" in words(page)
    assert "<textarea" not in page.text
    assert submitted(otto).status_code == 503
    assert users.unfinished_operations() == []


def test_nothing_is_asked_of_an_ended_session(otto: Person, worker: OperationsWorker, cluster: BuiltCluster, users: Journal) -> None:
    cluster.with_job(job_key="mine-1", submission_id="mine-1", type="SUBMISSION", status="RUNNING")
    base = f"/c/demo/s/{cluster.session}/jobs"
    assert "This session has ended" in words(otto.page(f"{base}/submit"))
    assert "/submit" not in otto.page(base).text
    assert "/stop" not in otto.page(f"{base}/mine-1").text
    assert otto.post(f"{base}/submit", {"entrypoint": "x"}).status_code == 400
    assert otto.post(f"{base}/mine-1/stop").status_code == 400
    assert users.unfinished_operations() == []


def test_an_id_that_is_a_pages_name_has_a_link_of_its_own(otto: Person, worker: OperationsWorker, cluster: BuiltCluster) -> None:
    cluster.with_job(job_key="submit", submission_id="submit", type="SUBMISSION", status="RUNNING")
    assert 'href="/c/demo/jobs/~73ubmit"' in otto.page("/c/demo/jobs").text
    assert "RUNNING" in words(otto.page("/c/demo/jobs/~73ubmit"))


def test_an_id_of_somebody_elses_job_is_not_taken(otto: Person, worker: OperationsWorker, cluster: BuiltCluster, users: Journal) -> None:
    cluster.with_job(job_key="theirs", submission_id="theirs", type="SUBMISSION", status="RUNNING")
    answer = submitted(otto, submission_id="theirs")
    assert answer.status_code == 422
    assert "There is a job with the submission id theirs already." in words(answer)


def test_a_driver_that_died_is_not_simply_succeeded(vera: Person, cluster: BuiltCluster) -> None:
    evidence = f"The driver's process died (SYSTEM_ERROR). {HOSTILE}"
    job = {"type": "DRIVER", "status": "SUCCEEDED", "submission_id": None}
    cluster.with_job(job_key="0a000000", job_id="0a000000", driver_evidence=evidence, **job)
    cluster.with_job(job_key="0b000000", job_id="0b000000", **job)

    rows = {row["job_id"]: row for row in (vera.get("/c/demo/jobs.json").json or {})["rows"]}
    assert {(row["status"], row["driver_evidence"]) for row in rows.values()} == {("SUCCEEDED", evidence), ("SUCCEEDED", None)}
    assert words(vera.page("/c/demo/jobs")).count("driver died") == 1
    page = vera.page("/c/demo/jobs/0a000000")
    assert "SUCCEEDED, says Ray" in words(page)
    assert "SYSTEM_ERROR" in words(page)
    assert "<script>alert" not in page.text
    assert "it ended; Ray does not record a driver's exit code" in words(vera.page("/c/demo/jobs/0b000000"))
    found = vera.get("/c/demo/jobs.json?q=driver_evidence:SYSTEM_ERROR").json
    assert [row["job_id"] for row in (found or {})["rows"]] == ["0a000000"]
