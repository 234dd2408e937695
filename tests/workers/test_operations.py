"""Operations as their worker does them: looked up first, sent once, refused in words, and resolved when something dies."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import redis

from clusterstate import paths
from clusterstate.job_request import OPERATION_ID, SUBMITTED_BY, JobRequest
from clusterstate.journal import Journal, Operation
from clusterstate.journal.records import DONE, QUEUED, REFUSED, SENDING, UNKNOWN
from clusterstate.journal.sealing import seal
from clusterstate.operations import OPERATIONS, StopJob, SubmitJob
from clusterstate.probes import CheckNode
from clusterstate.settings import Settings
from clusterstate.store import keys, operation_queue, queues, signing
from clusterstate.store.operation_queue import OperationsWorker
from clusterstate.store.safe_jobs import JSONSerializer, SafeJob, SafeQueue, build_job
from tests.simulated_ray import SimulatedRay
from tests.workers.stub_agent import StubAgent, stub_agent
from workers.operations import driver, jobs, ray_side
from workers.operations.agent import last_line
from workers.operations.running import Refusal, Surroundings, Unsure, set_surroundings
from workers.operations.worker import AGAIN_AFTER_S, LOST_AFTER_S, SETTLED_AFTER_S, Desk, OperationsSafeWorker, surroundings_of

NO_TOKEN = {"RAY_AUTH_MODE": "disabled"}
REQUEST = JobRequest("python x.py", {"env_vars": {"DB_PASSWORD": "hunter2"}}, {"job_name": "nightly"}, 0.5, None, 1024)


@pytest.fixture
def ray() -> Iterator[SimulatedRay]:
    with SimulatedRay(nodes=1) as cluster:
        yield cluster


@pytest.fixture
def agent(ray: SimulatedRay) -> Iterator[StubAgent]:
    """The head node's agent; what it is given gets a record in the GCS, as Ray's does."""
    with stub_agent() as found:
        announce(ray, found.port)
        found.accept = lambda body: ray.add_submission(body["submission_id"], metadata=body["metadata"]) if "entrypoint" in body else None
        yield found


def announce(ray: SimulatedRay, port: Any, ip: str = "127.0.0.1") -> None:
    [node_id] = ray.node_ids()
    ray.put_kv("dashboard", f"DASHBOARD_AGENT_ADDR_NODE_ID_PREFIX:{node_id}", json.dumps([ip, port, -1]))


@pytest.fixture
def journal(settings: Settings) -> Iterator[Journal]:
    opened = Journal(paths.journal_file(settings.state_dir))
    yield opened
    opened.close()


@pytest.fixture
def around(settings: Settings, journal: Journal, ray: SimulatedRay) -> Surroundings:
    found = replace(surroundings_of(settings, "demo", ray.address, journal), environ=NO_TOKEN)
    set_surroundings(found)
    return found


def session_of(ray: SimulatedRay) -> str:
    return ray.kv[b"session"][b"session_name"].decode()


def asked(around: Surroundings, ray: SimulatedRay, kind: type[Any] = SubmitJob, target: str = "mine-1", **changed: Any) -> Operation:
    """An operation as the web app records it."""
    operation_id = f"{kind.audit_action}-{target}-{time.time_ns()}"
    operation = Operation(operation_id, "demo", session_of(ray), kind.audit_action, target, "otto", time.time())
    plain = json.dumps(asdict(REQUEST)).encode() if kind is SubmitJob else b"{}"
    return around.journal.record_operation(replace(operation, **changed), seal(around.sealing_key, operation_id, plain), {})


def done(around: Surroundings, operation: Operation) -> Operation:
    """Carried out; as the journal has it then."""
    function = jobs.submit_job if operation.action == "job.submit" else jobs.stop_job
    function("demo", operation.operation_id)
    found = around.journal.operation(operation.operation_id)
    assert found is not None
    return found


def test_a_job_is_handed_to_the_head_nodes_agent_with_who_asked(around: Surroundings, ray: SimulatedRay, agent: StubAgent) -> None:
    operation = asked(around, ray)
    ended = done(around, operation)

    assert (ended.state, ended.outcome) == (DONE, "Ray has it.")
    [(path, body, headers)] = agent.calls
    assert path == "/api/job_agent/jobs/"
    assert body == {
        "entrypoint": "python x.py",
        "submission_id": "mine-1",
        "runtime_env": {"env_vars": {"DB_PASSWORD": "hunter2"}},
        "metadata": {"job_name": "nightly", SUBMITTED_BY: "otto", OPERATION_ID: operation.operation_id},
        "entrypoint_num_cpus": 0.5,
        "entrypoint_memory": 1024,
    }
    assert "Authorization" not in headers
    [result] = [record for record in around.journal.audit_records() if record.kind == "result"]
    assert result.detail == {"state": DONE, "outcome": "Ray has it."}
    assert done(around, operation).tries == 1, "a second order for the same operation does nothing"
    assert len(agent.calls) == 1


def test_the_clusters_token_goes_to_the_agent(settings: Settings, journal: Journal) -> None:
    with SimulatedRay(nodes=1, token="t0ken") as ray, stub_agent() as agent:
        announce(ray, agent.port)
        around = replace(
            surroundings_of(settings, "demo", ray.address, journal), environ={"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "t0ken"}
        )
        set_surroundings(around)
        assert done(around, asked(around, ray)).state == DONE
        assert agent.calls[0][2]["Authorization"] == "Bearer t0ken"
        agent.answer = lambda path: (401, b"no")
        refused = done(around, asked(around, ray, target="mine-2"))
        assert refused.state == REFUSED
        assert "refuses our token" in str(refused.outcome)


def test_work_and_token_go_to_the_nodes_own_address_alone(around: Surroundings, ray: SimulatedRay, agent: StubAgent) -> None:
    for ip in ("127.0.0.2", "169.254.169.254", "evil.example"):
        announce(ray, agent.port, ip)
        refused = done(around, asked(around, ray))
        assert refused.state == REFUSED
        assert "not the node's own" in str(refused.outcome)
    assert agent.calls == []


EVERYWHERE = "0.0.0.0"  # noqa: S104 - compared, not bound


@pytest.mark.parametrize("address", ["169.254.169.254", EVERYWHERE, "224.0.0.1", "fe80::1", "::", "localhost", "127.1", ""])
def test_no_node_has_such_an_address(address: str) -> None:
    assert not ray_side.is_node_address(address)
    with pytest.raises(Refusal):
        ray_side.agent_of(json.dumps([address, 80, 1]).encode(), address)


@pytest.mark.parametrize(
    "entry", ["{}", "[1]", '["127.0.0.1", -1, -1]', '["127.0.0.1", true]', '["127.0.0.1", 99999]', '["127.0.0.1", "80"]', "\xff"]
)
def test_an_agent_that_serves_no_http_is_none(entry: str) -> None:
    assert ray_side.agent_of(entry.encode("latin-1"), "127.0.0.1") is None


def test_redirects_are_not_followed(around: Surroundings, ray: SimulatedRay, agent: StubAgent) -> None:
    with stub_agent() as elsewhere:
        agent.accept = lambda body: None
        agent.headers = {"Location": f"http://127.0.0.1:{elsewhere.port}/"}
        agent.answer = lambda path: (307, b"over there")
        ended = done(around, asked(around, ray))
        assert (ended.state, ended.outcome) == (REFUSED, "Ray refuses it: over there")
        assert elsewhere.calls == []


def test_what_ray_refuses_is_said_in_its_last_line(around: Surroundings, ray: SimulatedRay, agent: StubAgent) -> None:
    agent.accept = lambda body: None
    agent.answer = lambda path: (400, b'Traceback (most recent call last):\n  File "x", line 1\nValueError: no such thing\n')
    ended = done(around, asked(around, ray))
    assert (ended.state, ended.outcome) == (REFUSED, "Ray refuses it: ValueError: no such thing")
    assert len(last_line(b"x" * 100_000)) <= 500
    assert last_line(b"\xff\n\n") == "\\xff"


def test_an_error_after_the_job_was_taken_is_no_refusal(around: Surroundings, ray: SimulatedRay, agent: StubAgent) -> None:
    agent.answer = lambda path: (500, b"late")
    assert done(around, asked(around, ray)).state == DONE


def test_an_id_that_somebody_else_has_is_refused(around: Surroundings, ray: SimulatedRay, agent: StubAgent) -> None:
    ray.add_submission("mine-1", metadata={OPERATION_ID: "another"})
    ended = done(around, asked(around, ray))
    assert ended.state == REFUSED
    assert "submitted elsewhere" in str(ended.outcome)
    assert agent.calls == []


def test_an_operation_for_an_earlier_session_is_refused(around: Surroundings, ray: SimulatedRay, agent: StubAgent) -> None:
    for kind in OPERATIONS:
        ended = done(around, asked(around, ray, kind, session="session_before"))
        assert ended.state == REFUSED
        assert "started anew" in str(ended.outcome)
    assert agent.calls == []


def test_a_request_that_was_changed_in_the_journal_is_refused(around: Surroundings, ray: SimulatedRay, agent: StubAgent) -> None:
    operation = Operation("one", "demo", session_of(ray), "job.submit", "mine-1", "otto", time.time())
    around.journal.record_operation(operation, seal(b"x" * 32, "one", b"{}"), {})
    assert done(around, operation).state == REFUSED
    assert agent.calls == []


def test_no_answer_is_looked_into_before_anything_is_sent_again(around: Surroundings, ray: SimulatedRay, agent: StubAgent) -> None:
    agent.answer = lambda path: None
    operation = asked(around, ray)
    assert done(around, operation).state == UNKNOWN
    assert done(around, operation).state == DONE, "Ray's record says that it has it"
    assert len(agent.submitted) == 1

    agent.accept = lambda body: None
    lost = asked(around, ray, target="mine-2")
    assert done(around, lost).state == UNKNOWN
    agent.accept, agent.answer = (lambda body: None), (lambda path: (200, b"{}"))
    assert done(around, lost).state == DONE, "Ray was seen not to have it, and takes an id once"
    assert [body["submission_id"] for body in agent.submitted] == ["mine-1", "mine-2", "mine-2"]


def test_what_was_asked_for_long_ago_is_not_sent_again(around: Surroundings, ray: SimulatedRay, agent: StubAgent) -> None:
    agent.accept, agent.answer = (lambda body: None), (lambda path: None)
    operation = asked(around, ray, asked_at=time.time() - jobs.RESENT_FOR_S - 1)
    assert done(around, operation).state == UNKNOWN
    ended = done(around, operation)
    assert ended.state == REFUSED
    assert "too long ago" in str(ended.outcome)
    assert len(agent.submitted) == 1


def test_a_cluster_that_does_not_answer_is_waited_for(around: Surroundings, ray: SimulatedRay, agent: StubAgent) -> None:
    announce(ray, 9)  # nobody listens there
    operation = asked(around, ray)
    waiting = done(around, operation)
    assert waiting.state == QUEUED
    assert "does not answer at 127.0.0.1:9" in str(waiting.outcome)
    announce(ray, agent.port)
    assert done(around, operation).state == DONE
    announce(ray, 9)
    late = done(around, asked(around, ray, target="mine-2", asked_at=time.time() - jobs.TRIED_FOR_S - 1))
    assert late.state == REFUSED
    assert str(late.outcome).startswith("Given up after 120 s.")


def test_a_gcs_that_is_away_is_waited_for(around: Surroundings, ray: SimulatedRay) -> None:
    operation = asked(around, ray)
    set_surroundings(replace(around, address="127.0.0.1:9"))
    assert done(around, operation).state == QUEUED


def test_what_may_have_been_sent_is_never_called_refused_because_nobody_answers(
    around: Surroundings, ray: SimulatedRay, agent: StubAgent
) -> None:
    agent.accept, agent.answer = (lambda body: None), (lambda path: None)
    operation = asked(around, ray, asked_at=time.time() - jobs.TRIED_FOR_S - 1)
    assert done(around, operation).state == UNKNOWN
    set_surroundings(replace(around, address="127.0.0.1:9"))
    for _ in range(2):
        waiting = done(around, operation)
        assert waiting.state == UNKNOWN
        assert "whether Ray took it cannot be told yet" in str(waiting.outcome)
    set_surroundings(around)
    ray.add_submission("mine-1", metadata={OPERATION_ID: operation.operation_id})
    assert done(around, operation).state == DONE


def test_a_stop_whose_answer_was_lost_is_not_taken_for_an_end_of_its_own(around: Surroundings, ray: SimulatedRay, agent: StubAgent) -> None:
    ray.add_submission("runs", status="RUNNING")
    operation = asked(around, ray, StopJob, "runs")
    agent.answer = lambda path: None
    assert done(around, operation).state == UNKNOWN
    ray.add_submission("runs", status="STOPPED")
    assert done(around, operation).outcome == "Ray was told to stop it, and it is stopped."


def test_a_running_submission_is_told_to_stop(around: Surroundings, ray: SimulatedRay, agent: StubAgent) -> None:
    ray.add_submission("runs", status="RUNNING")
    ray.add_submission("done", status="SUCCEEDED")
    assert done(around, asked(around, ray, StopJob, "runs")).outcome == "Ray was told to stop it."
    assert agent.calls[0][0] == "/api/job_agent/jobs/runs/stop"
    assert done(around, asked(around, ray, StopJob, "done")).outcome == "It had ended by itself: SUCCEEDED."
    assert done(around, asked(around, ray, StopJob, "none")).state == REFUSED
    agent.answer = lambda path: (200, b'{"stopped": false}')
    assert done(around, asked(around, ray, StopJob, "runs")).state == REFUSED
    assert len(agent.calls) == 2


def test_a_path_is_not_made_of_an_id(around: Surroundings, ray: SimulatedRay, agent: StubAgent) -> None:
    ray.add_submission("../../x?y", status="RUNNING")
    done(around, asked(around, ray, StopJob, "../../x?y"))
    assert agent.calls[0][0] == "/api/job_agent/jobs/..%2F..%2Fx%3Fy/stop"


def test_without_a_job_api_the_cluster_needs_our_own_ray(around: Surroundings, ray: SimulatedRay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "own_ray_version", lambda: "1.0.0")
    ended = done(around, asked(around, ray))
    assert ended.state == REFUSED
    assert "install ray[default] there" in str(ended.outcome)


def test_a_driver_is_given_nothing_of_ours() -> None:
    given = {
        "PATH": "/bin",
        "RAY_AUTH_TOKEN": "t",
        "RAY_TMPDIR": "/x",
        "RAYDECK_REDIS_URL": "redis://:secret@h",
        "RAY_REDIS_PASSWORD": "p",
        "AWS_SECRET_ACCESS_KEY": "s",
    }
    assert driver.bare_environ(given) == {"PATH": "/bin", "RAY_AUTH_TOKEN": "t", "RAY_TMPDIR": "/x"}


@pytest.mark.parametrize("said", [b"", b"{", b'{"done": 1}\n', b"x" * 70_000, b"[]\n"])
def test_a_drivers_answer_is_small_json_or_none(said: bytes) -> None:
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(said)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        with pytest.raises(Unsure):
            driver.read_answer(reading, 5.0)
    finally:
        os.close(reading)
        thread.join()


def test_a_driver_that_says_nothing_is_not_waited_for_without_end() -> None:
    reading, writing = os.pipe()
    with pytest.raises(Unsure, match="no answer within"):
        driver.read_answer(reading, 0.05)
    os.close(reading)
    os.close(writing)


def test_a_watch_is_missing_when_its_file_says_so_and_nobody_holds_it(tmp_path: Path) -> None:
    import fcntl

    watch = tmp_path / "demo.watch"
    assert not driver.is_watch_missing(watch)
    watch.touch()
    assert not driver.is_watch_missing(watch)
    watch.write_text("1")
    assert driver.is_watch_missing(watch)
    with watch.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert not driver.is_watch_missing(watch)


# --- the queue ---


@pytest.fixture
def desk(settings: Settings, journal: Journal, redis_client: redis.Redis) -> Desk:
    return Desk(redis_client, journal, "demo", key_of(settings), OperationsWorker("host-1", 1, "desk"), lambda: None)


def key_of(settings: Settings) -> bytes:
    return signing.derive(signing.master_key(settings.state_dir), queues.operator_name("demo"))


def worker_of(settings: Settings, client: redis.Redis, desk: Desk, around: Surroundings) -> OperationsSafeWorker:
    def run(job: SafeJob, operation: Any) -> None:
        with (around.journal.path.parent / "ran").open("a") as file:
            file.write(operation.operation_id + "\n")

    return OperationsSafeWorker(
        client,
        queues.operations_queue("demo"),
        desk=desk,
        key=key_of(settings),
        worker=queues.operator_name("demo"),
        allowed=OPERATIONS,
        run=run,
    )


def ran(around: Surroundings) -> list[str]:
    path = around.journal.path.parent / "ran"
    return path.read_text().splitlines() if path.exists() else []


def test_an_operation_from_the_queue_is_done_once(settings: Settings, redis_client: redis.Redis, desk: Desk, around: Surroundings) -> None:
    job_id = operation_queue.leave(redis_client, key_of(settings), SubmitJob("demo", "one"), time.time())
    job_key = SafeJob(job_id, connection=redis_client).key
    stored = redis_client.hgetall(job_key)
    worker_of(settings, redis_client, desk, around).work(burst=True)
    assert ran(around) == ["one"]

    redis_client.hset(job_key, mapping=stored)  # type: ignore[arg-type]  # as it was read
    redis_client.rpush(SafeQueue(queues.operations_queue("demo"), redis_client).key, job_id)
    worker_of(settings, redis_client, desk, around).work(burst=True)
    assert ran(around) == ["one"], "put into the queue again while its signature is valid"
    assert b"started before" in redis_client.lrange(keys.refused(), 0, 0)[0]


def test_an_operation_that_was_made_up_in_redis_is_refused(
    settings: Settings, redis_client: redis.Redis, desk: Desk, around: Surroundings
) -> None:
    """With a key of a node, of the collector, or none; of another cluster; of a kind that is no operation."""
    master = signing.master_key(settings.state_dir)
    queue = SafeQueue(queues.operations_queue("demo"), redis_client)
    name = queues.operator_name("demo")
    expires = int((time.time() + 30) * 1000)
    forged = [
        (signing.derive(master, queues.worker_name("demo", "host-1")), SubmitJob("demo", "one"), name),
        (signing.derive(master, queues.collector_name("demo")), StopJob("demo", "one"), name),
        (b"guessed" * 5, SubmitJob("demo", "one"), name),
        (signing.derive(master, queues.operator_name("other")), SubmitJob("demo", "one"), queues.operator_name("other")),
        (key_of(settings), CheckNode("ab" * 28), name),
    ]
    for number, (key, request, worker) in enumerate(forged):
        queue.enqueue_job(build_job(redis_client, key, request, f"forged-{number}", worker, expires))
    worker_of(settings, redis_client, desk, around).work(burst=True)
    assert ran(around) == []
    assert redis_client.llen(keys.refused()) == len(forged)


def test_what_a_worker_is_signed_to_do_must_be_in_the_journal(around: Surroundings, ray: SimulatedRay, agent: StubAgent) -> None:
    jobs.submit_job("demo", "nobody asked for this")
    operation = asked(around, ray)
    jobs.submit_job("other", operation.operation_id)
    jobs.stop_job("demo", operation.operation_id)
    found = around.journal.operation(operation.operation_id)
    assert found is not None
    assert found.state == QUEUED
    assert agent.calls == []


def test_what_redis_lost_is_put_into_the_queue_again(
    around: Surroundings, ray: SimulatedRay, desk: Desk, redis_client: redis.Redis
) -> None:
    now = time.time()
    queue = SafeQueue(queues.operations_queue("demo"), redis_client)
    fresh, old, unknown, ended = (
        asked(around, ray, target=name, asked_at=now - age) for name, age in (("a", 0), ("b", 60), ("c", 60), ("d", 60))
    )
    around.journal.take_operation(unknown.operation_id, "demo", "job.submit", now)
    around.journal.put_operation_back(unknown.operation_id, UNKNOWN, "?")
    around.journal.finish_operation(ended.operation_id, DONE, "", now)

    desk.see_to_unfinished(now)
    desk.see_to_unfinished(now + 1)
    assert left(queue) == [old.operation_id]
    desk.see_to_unfinished(now + AGAIN_AFTER_S + 1)
    assert left(queue) == [old.operation_id, old.operation_id, fresh.operation_id]
    desk.see_to_unfinished(now + SETTLED_AFTER_S + 1)
    assert unknown.operation_id in left(queue)


def left(queue: SafeQueue) -> list[str]:
    found = [SafeJob(job_id, connection=queue.connection, serializer=JSONSerializer) for job_id in queue.job_ids]
    for job in found:
        job.refresh()
    return [str(job.kwargs["operation_id"]) for job in found]


def test_what_was_under_way_when_a_worker_died_is_looked_into(
    around: Surroundings, ray: SimulatedRay, desk: Desk, agent: StubAgent
) -> None:
    operation = asked(around, ray)
    around.journal.take_operation(operation.operation_id, "demo", "job.submit", time.time())
    assert around.journal.unfinished_operations()[0].state == SENDING
    desk.interrupted()
    assert around.journal.unfinished_operations()[0].state == UNKNOWN
    assert done(around, operation).state == DONE


def test_an_end_that_could_not_be_written_is_looked_into(around: Surroundings, ray: SimulatedRay, desk: Desk, agent: StubAgent) -> None:
    operation = asked(around, ray)
    now = time.time()
    around.journal.take_operation(operation.operation_id, "demo", "job.submit", now)
    desk.see_to_unfinished(now + LOST_AFTER_S - 1)
    assert around.journal.unfinished_operations()[0].state == SENDING
    desk.see_to_unfinished(now + LOST_AFTER_S + 1)
    assert around.journal.unfinished_operations()[0].state == UNKNOWN


def test_whoever_watches_over_submissions_is_looked_for_each_minute(
    settings: Settings, journal: Journal, redis_client: redis.Redis
) -> None:
    looks: list[int] = []
    desk = Desk(redis_client, journal, "demo", key_of(settings), OperationsWorker("host-1", 1, "desk"), lambda: looks.append(1))
    for now, expected in ((1000.0, 1), (1003.0, 1), (1059.0, 1), (1060.0, 2)):
        desk.see_to_watch(now)
        assert len(looks) == expected


def test_a_worker_says_that_it_lives_and_that_it_goes(redis_client: redis.Redis, desk: Desk) -> None:
    assert operation_queue.operations_worker(redis_client, "demo") is None
    desk.say_alive()
    assert operation_queue.operations_worker(redis_client, "demo") == OperationsWorker("host-1", 1, "desk")
    assert 0 < redis_client.ttl(keys.operations_worker("demo")) <= operation_queue.WORKER_KEPT_S
    for odd in (b"{", b"[]", b'{"host": 1}', b"x" * 10_000):
        redis_client.set(keys.operations_worker("demo"), odd)
        assert operation_queue.operations_worker(redis_client, "demo") is None
    operation_queue.say_gone(redis_client, "demo")
    assert operation_queue.operations_worker(redis_client, "demo") is None
