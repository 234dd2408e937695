"""What is left for a worker is small JSON, signed for it, of the closed lists, and done once."""

from __future__ import annotations

import importlib
import inspect
import json
import pickle
import time
import zlib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
import redis

from clusterstate.loops import LOOPS, CollectNode
from clusterstate.operations import OPERATIONS
from clusterstate.probes import PROBES, CheckNode, DumpManyStacks
from clusterstate.settings import Settings, read_settings
from clusterstate.store import keys, queues, signing
from clusterstate.store.safe_jobs import MAX_PAYLOAD_BYTES, Refused, SafeJob, SafeQueue, as_request, build_job, unpack, verify

MASTER = b"m" * 32
WORKER = queues.worker_name("demo", "host-1")
KEY = signing.derive(MASTER, WORKER)
PROBE = CheckNode(node_id="ab" * 28)


def enqueued(client: redis.Redis) -> tuple[SafeQueue, SafeJob]:
    """A good probe in its queue, as stored."""
    queues.ask(client, MASTER, PROBE, "demo", "host-1", time.time())
    queue = SafeQueue(queues.probe_queue("quick", "demo", "host-1"), client)
    [job_id] = queue.job_ids
    return queue, SafeJob(job_id, connection=client)


def taken(queue: SafeQueue) -> SafeJob:
    """The job as a worker gets it."""
    found = SafeQueue.dequeue_any([queue], None, queue.connection)
    assert found is not None
    job = found[0]
    assert isinstance(job, SafeJob)
    return job


def refusal(job: SafeJob, now: float | None = None, worker: str = WORKER) -> str:
    with pytest.raises(Refused) as why:
        verify(job, signing.derive(MASTER, worker), worker, PROBES, now or time.time())
    return str(why.value)


def test_a_probe_arrives_as_it_was_asked(redis_client: redis.Redis) -> None:
    queue, _ = enqueued(redis_client)

    assert verify(taken(queue), KEY, WORKER, PROBES, time.time()) == PROBE


def test_the_id_of_a_probe_begins_with_its_host(redis_client: redis.Redis) -> None:
    assert enqueued(redis_client)[1].id.startswith("host-1-")


@pytest.mark.parametrize("function", ["os.system", "builtins.eval", "subprocess.getoutput", "workers.start.answer_probe"])
def test_a_function_that_is_not_listed_is_refused(redis_client: redis.Redis, function: str) -> None:
    queue, job = enqueued(redis_client)
    fields_ = {"node_id": "x"}
    expires = int(time.time() * 1000) + 5000
    redis_client.hset(
        job.key,
        mapping={
            "data": zlib.compress(json.dumps([function, None, [], fields_]).encode()),
            "rd_expires_ms": expires,
            "rd_signature": signing.sign(KEY, job.id, function, fields_, WORKER, expires),
        },
    )

    assert refusal(taken(queue)) == "not a listed function of this worker"


def replaced(text: bytes) -> Callable[[bytes], bytes]:
    return lambda _: zlib.compress(text)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda _: pickle.dumps(["os.system", None, [], {}]), "payload is not compressed JSON"),
        (lambda _: zlib.compress(b"0" * 50_000_000, 9), "payload over its limit, or not whole"),
        (lambda _: b"x" * (MAX_PAYLOAD_BYTES + 1), "data over its limit"),
        (lambda packed: packed[:-4], "payload over its limit, or not whole"),
        (replaced(b"{"), "payload is not JSON of a call"),
        (replaced(b"[" * 20_000), "payload is not JSON of a call"),
        (replaced(b'["workers.probes.node.check_node", null, [], {"node_id": "other"}]'), "not signed for this worker"),
    ],
)
def test_a_damaged_payload_is_refused(redis_client: redis.Redis, damage: Callable[[bytes], bytes], why: str) -> None:
    queue, job = enqueued(redis_client)
    packed = redis_client.hget(job.key, "data")
    assert isinstance(packed, bytes)
    redis_client.hset(job.key, "data", damage(packed))

    assert refusal(taken(queue)).startswith(why)


@pytest.mark.parametrize(
    ("field", "value"),
    [("rd_worker", "demo:host-2"), ("rd_expires_ms", "9999999999999"), ("rd_signature", "0" * 64), ("rd_signature", "é")],
)
def test_a_changed_seal_is_refused(redis_client: redis.Redis, field: str, value: str) -> None:
    queue, job = enqueued(redis_client)
    redis_client.hset(job.key, field, value)

    assert refusal(taken(queue)) == "not signed for this worker"


@pytest.mark.parametrize(("field", "value"), [("rd_signature", None), ("status", "strange"), ("created_at", "x"), ("origin", "x" * 600)])
def test_a_job_that_cannot_be_read_is_handed_over_with_its_refusal(redis_client: redis.Redis, field: str, value: str | None) -> None:
    queue, job = enqueued(redis_client)
    if value is None:
        redis_client.hdel(job.key, field)
    else:
        redis_client.hset(job.key, field, value)

    assert refusal(taken(queue))


def test_work_for_another_worker_and_late_work_are_refused(redis_client: redis.Redis) -> None:
    queue, _ = enqueued(redis_client)
    job = taken(queue)

    assert refusal(job, worker="demo:host-2") == "not signed for this worker"
    assert refusal(job, now=time.time() + queues.START_WITHIN_S + 1) == "expired"


def test_callbacks_webhooks_meta_and_retries_are_not_even_read(redis_client: redis.Redis) -> None:
    queue, job = enqueued(redis_client)
    redis_client.hset(
        job.key,
        mapping={
            "success_callback_name": "os.getpid",
            "failure_callback_name": "os.getpid",
            "stopped_callback_name": "os.getpid",
            "webhooks": '[{"url": "http://127.0.0.1:1/", "job_status": "finished"}]',
            "meta": pickle.dumps({"a": 1}),
            "retries_left": "5",
            "dependency_ids": '["x"]',
            "rate_limit_key": "k",
            "rate_limit_concurrency": "1",
        },
    )
    found = taken(queue)

    assert found.refusal is None
    assert (found.success_callback, found.failure_callback, found.stopped_callback) == (None, None, None)
    assert (found.webhooks, found.meta, found.retries_left, found._dependency_ids, found.has_rate_limit) == ([], {}, None, [], False)


def test_an_entry_that_is_no_id_does_not_stop_the_queue(redis_client: redis.Redis) -> None:
    queue, _ = enqueued(redis_client)
    for entry in (b"\xff\xfe", b"a:b/../c", b"gone"):
        redis_client.lpush(queue.key, entry)

    jobs = [taken(queue), taken(queue), taken(queue)]

    assert [job.refusal is None for job in jobs] == [False, False, True]


def test_a_job_does_nothing_before_it_was_verified(redis_client: redis.Redis) -> None:
    queue, _ = enqueued(redis_client)

    with pytest.raises(Refused):
        taken(queue).perform()


def test_a_request_has_exactly_its_fields_of_their_types() -> None:
    for wrong in ({}, {"node_id": 5}, {"node_id": None}, {"node_id": "a", "more": 1}, {"node_id": ["a"]}):
        with pytest.raises(Refused):
            as_request(CheckNode, wrong)
    assert as_request(CollectNode, {"cluster": "c", "host": "h", "address": "a:1"}) == CollectNode("c", "h", "a:1")


def test_every_listed_function_exists_and_takes_the_fields_of_its_request() -> None:
    for kind in (*PROBES, *OPERATIONS):
        module, _, name = kind.answered_by.rpartition(".")
        function = getattr(importlib.import_module(module), name)
        assert list(inspect.signature(function).parameters) == [field.name for field in fields(kind)]
    for loop in LOOPS:
        module, _, name = loop.answered_by.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))


def test_a_payload_is_never_unpacked_beyond_its_limit() -> None:
    with pytest.raises(Refused):
        unpack(zlib.compress(b'["' + b"a" * 10_000_000 + b'"]'))


def test_only_listed_probes_are_asked(redis_client: redis.Redis) -> None:
    with pytest.raises(TypeError):
        queues.ask(redis_client, MASTER, CollectNode("c", "h", "a"), "demo", "host-1", 0.0)


def test_a_worker_that_is_away_does_not_fill_redis(redis_client: redis.Redis) -> None:
    for _ in range(queues.QUEUE_LIMIT):
        queues.ask(redis_client, MASTER, PROBE, "demo", "host-1", time.time())

    with pytest.raises(queues.QueueFull):
        queues.ask(redis_client, MASTER, PROBE, "demo", "host-1", time.time())
    assert all(redis_client.ttl(key) > 0 for key in redis_client.scan_iter() if key != b"rd:rq:queues")


def test_a_probe_that_nobody_takes_times_out(redis_client: redis.Redis) -> None:
    probe_id = queues.ask(redis_client, MASTER, PROBE, "demo", "host-1", 100.0)

    waiting, late = queues.answer(redis_client, probe_id, 101.0), queues.answer(redis_client, probe_id, 200.0)

    assert waiting is not None
    assert waiting.state == queues.WAITING
    assert late is not None
    assert late.state == queues.TIMED_OUT
    assert queues.answer(redis_client, "never-asked") is None


def test_an_answer_over_its_limit_is_replaced_by_word_of_that(redis_client: redis.Redis) -> None:
    queues.store_answer(redis_client, queues.Answer("p", queues.DONE, 0.0, value="x" * 5000), max_bytes=1000)

    found = queues.answer(redis_client, "p")

    assert found is not None
    assert (found.state, found.value) == (queues.FAILED, None)
    assert "1000 bytes" in str(found.problem)


def test_a_waiting_probe_can_be_canceled(redis_client: redis.Redis) -> None:
    probe_id = queues.ask(redis_client, MASTER, PROBE, "demo", "host-1", time.time())
    queues.cancel(redis_client, probe_id)

    found = queues.answer(redis_client, probe_id)

    assert found is not None
    assert found.state == queues.CANCELED
    assert redis_client.exists(keys.canceled(probe_id))


def test_a_probe_that_lasts_can_be_told_to_end_with_what_it_has(redis_client: redis.Redis) -> None:
    probe_id = queues.ask(redis_client, MASTER, PROBE, "demo", "host-1", time.time())
    assert not queues.is_stopped(redis_client, probe_id)

    queues.stop(redis_client, probe_id)

    assert queues.is_stopped(redis_client, probe_id)
    assert not queues.is_canceled(redis_client, probe_id)


def test_the_most_processes_that_may_be_asked_for_fit_a_payload(redis_client: redis.Redis) -> None:
    probe = DumpManyStacks("ab" * 28, (1 << 22,) * 2000, (1 << 41,) * 2000, (63,) * 2000, ("ab" * 28,) * 64)
    queues.ask(redis_client, MASTER, probe, "demo", "host-1", time.time())
    queue = SafeQueue(queues.probe_queue("profile", "demo", "host-1"), redis_client)

    assert verify(taken(queue), KEY, WORKER, PROBES, time.time()) == probe


def test_a_nodes_key_tells_nothing_of_another_nodes_or_the_master_key(state_dir: Path) -> None:
    master = signing.master_key(state_dir)
    key_file = state_dir / "keys" / "master.key"

    assert signing.master_key(state_dir) == master
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert len({signing.derive(master, "a:h1"), signing.derive(master, "a:h2"), signing.derive(master, "collector/a"), master}) == 4


def test_a_key_that_others_can_read_or_that_is_a_link_is_refused(state_dir: Path) -> None:
    signing.master_key(state_dir)
    key_file = state_dir / "keys" / "master.key"
    key_file.chmod(0o644)
    with pytest.raises(signing.BadKey, match="chmod 600"):
        signing.master_key(state_dir)
    key_file.rename(state_dir / "keys" / "other")
    key_file.symlink_to(state_dir / "keys" / "other")
    with pytest.raises(signing.BadKey):
        signing.master_key(state_dir)


def key_file(state_dir: Path, *scopes: str) -> Settings:
    """A node's settings, with a key file for these scopes as the head wrote it."""
    path = state_dir / "node.key"
    path.write_text("".join(signing.key_line(scope, signing.scope_key(MASTER, scope)) for scope in scopes))
    path.chmod(0o600)
    return read_settings({}, state_dir=state_dir, key_file=str(path))


def test_a_node_with_a_key_of_its_own_needs_no_master_key_also_after_its_machine_started_anew(state_dir: Path) -> None:
    settings = key_file(state_dir, "demo:gpu-7", "collector/demo")

    for worker in ("demo:gpu-7-0a1b2c3d", "demo:gpu-7-ffffffff", "collector/demo"):
        assert signing.key_for(settings, worker) == signing.derive(MASTER, worker)
    assert not (state_dir / "keys").exists()


@pytest.mark.parametrize("worker", ["demo:gpu-8-0a1b2c3d", "other:gpu-7-0a1b2c3d", "collector/demo", "demo:gpu-7-0a1b2c3-ffffffff"])
def test_a_nodes_key_is_for_nobody_else(state_dir: Path, worker: str) -> None:
    with pytest.raises(signing.BadKey, match=r"is for demo:gpu-7; .*raydeck token "):
        signing.key_for(key_file(state_dir, "demo:gpu-7"), worker)


@pytest.mark.parametrize("text", ["demo:gpu-7", "demo:gpu-7 abc", "a b c", "demo:gpu-7 " + "z" * 64])
def test_a_key_file_that_is_none_is_refused_by_name(state_dir: Path, text: str) -> None:
    settings = key_file(state_dir)
    Path(settings.key_file).write_text(text)

    with pytest.raises(signing.BadKey, match=r"node\.key must hold lines"):
        signing.key_for(settings, "demo:gpu-7-0a1b2c3d")


def test_a_job_built_for_a_loop_is_verified_by_its_worker(redis_client: redis.Redis) -> None:
    loop = CollectNode("demo", "host-1", "127.0.0.1:1")
    job = build_job(redis_client, KEY, loop, queues.new_job_id("host-1"), queues.worker_of(loop), int(time.time() * 1000) + 1000)

    assert verify(job, KEY, WORKER, LOOPS, time.time()) == loop
