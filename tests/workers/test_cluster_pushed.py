"""Tasks that Ray's agents push, from the spool to the session's rows: nothing lost, nothing twice, whatever comes beside it."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis

from clusterstate.model import PushReport, Task
from clusterstate.resources import TASKS, TEXTS
from clusterstate.settings import Settings
from clusterstate.spool import JSON, PROTOBUF, SET_ASIDE
from clusterstate.task_states import PUSHED
from tests.simulated_ray import SimulatedRay, hostile
from tests.simulated_ray.tasks import STATES
from tests.workers.collecting import Seen, collecting, eventually
from tests.workers.pushing import TASK, Spooling, binary, event, exported, reached, told_of
from workers.collectors import cluster_follow, cluster_pushed, cluster_tasks
from workers.sources import events_decode

BIG = 64 * 1024 * 1024


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, poll_interval_s=0.25)


@pytest.fixture(autouse=True)
def _in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_follow, "TASKS_EVERY_S", 0.25)
    monkeypatch.setattr(cluster_follow, "TASKS_SHARE", 1.0)  # on a busy machine a poll seems dear, and would come minutes later
    monkeypatch.setattr(cluster_pushed, "EVERY_S", 0.05)


@pytest.fixture
def ray() -> Iterator[SimulatedRay]:
    with SimulatedRay(nodes=2, jobs=2) as cluster:
        yield cluster


@pytest.fixture
def spool(settings: Settings) -> Iterator[Spooling]:
    writer = Spooling(settings.state_dir)
    yield writer
    writer.close()


@pytest.fixture
def seen(ray: SimulatedRay, redis_client: redis.Redis, settings: Settings) -> Iterator[Seen]:
    """A collector that learns of tasks by what is pushed alone."""
    ray.refuse("GetTaskEvents")
    with collecting(redis_client, settings, ray.address) as found:
        eventually(lambda: found.session is not None)
        yield found


def tasks(seen: Seen) -> dict[str, Task]:
    return seen.rows(TASKS)


def told(seen: Seen) -> dict[str, dict[str, Any]]:
    """All that rows say but for who says it, and in which order attempts were heard of."""
    names = [f.name for f in dataclasses.fields(Task) if f.name not in ("end_evidence", "sequence")]
    return {key: {name: getattr(task, name) for name in names} for key, task in tasks(seen).items()}


def pushed(seen: Seen) -> PushReport:
    """The counts, zero before anything came."""
    return (seen.report and seen.report.pushed) or PushReport()


def source(seen: Seen) -> str | None:
    return next((one.source for one in seen.report.sources if one.resource == "tasks"), None) if seen.report else None


def fill(ray: SimulatedRay) -> list[str]:
    """Tasks of many kinds and states, retries among them."""
    job, other = ray.job_ids()
    actor = ray.add_actor(job_id=job, class_name="Counter")
    ids = [ray.add_task(state=state, job_id=each) for state in STATES for each in (job, other)]
    ids += [ray.add_task(state=state, actor_id=actor) for state in ("FINISHED", "RUNNING", "FAILED", "SUBMITTED_TO_WORKER")]
    for task_id, state in zip(ids[:6], ("FINISHED", "FAILED", "RUNNING") * 2, strict=True):
        ray.retry_task(task_id, 1, state=state)
    ids.append(ray.add_task(state="RUNNING", parent_task_id=ids[0], info={"label_selector": {"zone": "x"}}))
    return ids


def polled(redis_client: redis.Redis, settings: Settings, ray: SimulatedRay) -> dict[str, dict[str, Any]]:
    """What a collector that only polls makes of this cluster."""
    settings = replace(settings, state_dir=settings.state_dir.parent / "elsewhere")
    ray.allow("GetTaskEvents")
    redis_client.flushall()
    with collecting(redis_client, settings, ray.address) as seen:
        return eventually(lambda: len(told(seen)) == len(ray.tasks) and told(seen))  # type: ignore[no-any-return]


# --- Nothing lost, nothing twice


@pytest.mark.parametrize("seed", range(3))
def test_what_is_pushed_in_any_order_and_doubled_makes_the_rows_that_a_poll_makes(
    seed: int, ray: SimulatedRay, redis_client: redis.Redis, settings: Settings, spool: Spooling
) -> None:
    fill(ray)
    by_poll = polled(redis_client, settings, ray)
    ray.refuse("GetTaskEvents")
    redis_client.flushall()
    rng = random.Random(seed)
    events = told_of(ray)
    events += rng.choices(events, k=50)
    rng.shuffle(events)

    with collecting(redis_client, settings, ray.address) as seen:
        while events:
            some, events = events[: (size := rng.randrange(1, 60))], events[size:]
            rng.choice((spool.put, spool.put_exported))(*some)
        eventually(lambda: told(seen) == by_poll)
        ended = [task for task in tasks(seen).values() if task.end_time_ms is not None]
        assert {task.end_evidence for task in ended} == {PUSHED}
        assert sorted(task.sequence for task in tasks(seen).values()) == list(range(1, len(by_poll) + 1))
        named = {getattr(task, name) for task in tasks(seen).values() for name in ("required_resources_id", "runtime_env_id")} - {None}
        assert named <= seen.rows(TEXTS).keys()


def test_a_task_is_followed_while_its_events_come(ray: SimulatedRay, seen: Seen, spool: Spooling) -> None:
    task_id = ray.add_task(state="PENDING_NODE_ASSIGNMENT", info={"name": "resize"})
    spool.put(*told_of(ray, [task_id]))
    eventually(lambda: task_id in tasks(seen) and tasks(seen)[task_id].state == "PENDING_NODE_ASSIGNMENT")
    spool.put(reached(ray, task_id, "RUNNING", worker_pid=77))
    eventually(lambda: tasks(seen)[task_id].state == "RUNNING")
    spool.put_exported(reached(ray, task_id, "FINISHED"))
    eventually(lambda: tasks(seen)[task_id].state == "FINISHED")

    assert (tasks(seen)[task_id].name, tasks(seen)[task_id].worker_pid) == ("resize", 77)
    eventually(lambda: source(seen) == "push+poll" and seen.as_of("tasks"))
    eventually(lambda: pushed(seen).bodies == 3 and pushed(seen).waiting_bytes == 0)


def test_ways_that_are_switched_while_it_runs_lose_and_double_nothing(
    ray: SimulatedRay, redis_client: redis.Redis, settings: Settings, spool: Spooling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_pushed, "IN_FORCE_S", 1.0)
    with collecting(redis_client, settings, ray.address) as seen:
        began_polled = [ray.add_task(state="RUNNING") for _ in range(20)]
        eventually(lambda: set(began_polled) <= tasks(seen).keys())

        for task_id in began_polled[:10]:  # pushed and polled
            spool.put(reached(ray, task_id, "FINISHED"))
            ray.set_task(task_id, "FINISHED")
        eventually(lambda: source(seen) == "push+poll")
        both = [ray.add_task(state=state) for state in ("RUNNING", "FINISHED", "FAILED") * 5]
        for task_id in both:
            spool.put_exported(*told_of(ray, [task_id]))
        only_polled = ray.add_task(state="FINISHED")  # its agent pushes nothing
        eventually(lambda: {*both, only_polled} <= tasks(seen).keys())

        eventually(lambda: source(seen) == "poll")  # and nothing is pushed any more
        for task_id in began_polled[10:]:
            ray.set_task(task_id, "FINISHED")
        for task_id in both[::3]:
            ray.set_task(task_id, "FAILED")
        eventually(lambda: all(tasks(seen)[task_id].state == "FINISHED" for task_id in began_polled[10:]))
        eventually(lambda: all(tasks(seen)[task_id].state == "FAILED" for task_id in both[::3]))
        numbers = [task.sequence for task in tasks(seen).values()]
        assert len(set(numbers)) == len(numbers)
        of_all = told(seen)

    assert of_all == polled(redis_client, settings, ray)


def test_while_events_are_pushed_the_gcs_is_only_asked_for_its_counts(
    ray: SimulatedRay, redis_client: redis.Redis, settings: Settings, spool: Spooling
) -> None:
    ids = fill(ray)
    with collecting(redis_client, settings, ray.address) as seen:
        spool.put(*told_of(ray))
        eventually(lambda: source(seen) == "push+poll" and len(tasks(seen)) == len(ray.tasks))
        ray.reset_figures()
        eventually(lambda: ray.calls["GetTaskEvents"] >= 6)
        assert ray.sent_bytes["GetTaskEvents"] / ray.calls["GetTaskEvents"] < 100
        assert set(ids) <= tasks(seen).keys()


def test_what_was_taken_and_not_written_is_taken_again(
    ray: SimulatedRay, redis_client: redis.Redis, settings: Settings, spool: Spooling
) -> None:
    ray.refuse("GetTaskEvents")
    with collecting(redis_client, settings, ray.address) as seen:
        first = ray.add_task(state="RUNNING")
        spool.put(*told_of(ray, [first]))
        eventually(lambda: first in tasks(seen))
        redis_client.flushall()  # with what was written, and the lease
        second = ray.add_task(state="RUNNING")
        spool.put(*told_of(ray, [second]))

        eventually(lambda: second in tasks(seen))


# --- What does not belong


def test_events_of_another_session_are_counted_and_left_out(ray: SimulatedRay, seen: Seen, spool: Spooling) -> None:
    ours, lost = ray.add_task(state="RUNNING"), bytes.fromhex(ray.add_task(state="RUNNING"))
    theirs = [event("definition", session="session_of_old", task_id=b"\xcd" * 20 + lost[20:]) for _ in range(3)]
    spool.put(*theirs, dropped=[(lost, 0)])  # of the same agent
    spool.put_exported(*theirs, *told_of(ray, [ours]))
    eventually(lambda: ours in tasks(seen) and pushed(seen).bodies == 2)

    assert list(tasks(seen)) == [ours]
    assert (pushed(seen).of_other_sessions, pushed(seen).dropped, pushed(seen).unreadable) == (6, 0, 0)


def test_what_pushes_for_another_session_alone_is_no_source(ray: SimulatedRay, seen: Seen, spool: Spooling) -> None:
    spool.put(event("definition", session="session_of_old"))
    eventually(lambda: pushed(seen).of_other_sessions == 1)

    assert source(seen) == "poll"


def test_attempts_that_workers_lost_events_of_are_rows_that_say_so(ray: SimulatedRay, seen: Seen, spool: Spooling) -> None:
    known, unknown = ray.add_task(state="RUNNING", info={"name": "known"}), bytes.fromhex(ray.add_task())
    spool.put(*told_of(ray, [known]), dropped=[(bytes.fromhex(known), 0), (unknown, 2), (unknown, 2)])
    eventually(lambda: len(tasks(seen)) == 2)

    rows = {(task.task_id, task.attempt_number): task for task in tasks(seen).values()}
    assert (rows[known, 0].is_dropped, rows[known, 0].name, rows[known, 0].state) == (True, "known", "RUNNING")
    assert (rows[unknown.hex(), 2].is_dropped, rows[unknown.hex(), 2].name, rows[unknown.hex(), 2].state) == (True, None, "NIL")
    eventually(lambda: pushed(seen).dropped == 3)


def test_a_lost_attempt_whose_job_is_over_has_an_unknown_end(
    ray: SimulatedRay, redis_client: redis.Redis, settings: Settings, spool: Spooling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_tasks, "LAST_WORD_S", 0.5)
    monkeypatch.setattr(cluster_tasks, "SETTLED_EVERY_S", 0.1)
    ray.refuse("GetTaskEvents")
    job_id = ray.job_ids()[0]
    lost = ray.add_task(state="RUNNING", job_id=job_id)
    with collecting(redis_client, settings, ray.address) as seen:
        spool.put(dropped=[(bytes.fromhex(lost), 0)])
        eventually(lambda: lost in tasks(seen))
        ray.finish_job(job_id)
        eventually(lambda: tasks(seen)[lost].state == "END_UNKNOWN")

        spool.put(*told_of(ray, [lost]), reached(ray, lost, "FINISHED"))  # a late word
        eventually(lambda: tasks(seen)[lost].state == "FINISHED")
        assert tasks(seen)[lost].is_dropped


def test_the_drivers_own_task_is_no_row(ray: SimulatedRay, seen: Seen, spool: Spooling) -> None:
    job_id, other = bytes.fromhex(ray.job_ids()[0]), ray.add_task(state="RUNNING")
    driver = b"\xff" * 20 + job_id
    spool.put(
        event("definition", session=ray.session_name, task_id=driver, job_id=job_id, task_type=3),
        reached(ray, driver.hex(), "RUNNING"),
        *told_of(ray, [other]),
        dropped=[(driver, 0)],
    )
    eventually(lambda: other in tasks(seen))

    assert list(tasks(seen)) == [other]


# --- A collector that comes back


def test_attempts_that_were_open_before_a_restart_end_unknown_once_their_job_is_over(
    ray: SimulatedRay, redis_client: redis.Redis, settings: Settings, spool: Spooling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_tasks, "LAST_WORD_S", 0.5)
    job_id = ray.job_ids()[0]
    running, ended = ray.add_task(state="RUNNING", job_id=job_id), ray.add_task(state="FINISHED", job_id=job_id)
    with collecting(redis_client, settings, ray.address) as seen:
        spool.put(*told_of(ray))
        eventually(lambda: {running, ended} == tasks(seen).keys())
        spool.close()
        eventually(lambda: spool.is_taken)
    ray.forget_task(running)
    ray.forget_task(ended)
    ray.finish_job(job_id)
    with collecting(redis_client, settings, ray.address) as seen:
        eventually(lambda: tasks(seen)[running].state == "END_UNKNOWN")

        assert tasks(seen)[ended].state == "FINISHED"
        assert [task.sequence for task in tasks(seen).values()] == [1, 2]


def test_what_comes_again_after_a_restart_is_not_there_twice(
    ray: SimulatedRay, redis_client: redis.Redis, settings: Settings, spool: Spooling
) -> None:
    fill(ray)
    ray.refuse("GetTaskEvents")
    with collecting(redis_client, settings, ray.address) as seen:
        spool.put(*told_of(ray))
        eventually(lambda: len(tasks(seen)) == len(ray.tasks))
        before = tasks(seen)
    with collecting(redis_client, settings, ray.address) as seen:  # the receiver's file is still open: it is read from its beginning
        eventually(lambda: pushed(seen).bodies == 1)

        assert tasks(seen) == before


# --- Hostile


def hostile_bodies(session: str) -> list[tuple[str, int, bytes]]:
    """(what is wrong, kind, body): nothing in them is an event of a task of this session."""
    good = event("lifecycle", session=session, state_transitions=[{"state": 8, "timestamp": {"seconds": 1_795_000_000}}])
    raw = binary(good)
    wrong_ids = [event("lifecycle", session=session, task_id=task_id) for task_id in (b"", b"short", b"\xff" * 24, b"\xab" * 25)]
    rng = random.Random(5)
    return [
        ("nothing", PROTOBUF, b""),
        ("no protobuf", PROTOBUF, b"\xff" * 100),
        ("noise", PROTOBUF, rng.randbytes(3000)),
        ("cut in its only event", PROTOBUF, raw[:-5]),
        ("JSON as protobuf", PROTOBUF, exported(good)),
        ("wrong ids", PROTOBUF, binary(*wrong_ids)),
        ("wrong ids in JSON", JSON, exported(*wrong_ids)),
        ("lost attempts without ids", PROTOBUF, binary(dropped=[(b"", 0), (b"\xff" * 24, 0), (TASK, -1)])),
        ("protobuf as JSON", JSON, raw),
        ("no list", JSON, b'{"eventType": "TASK_LIFECYCLE_EVENT"}'),
        ("no objects", JSON, b'[1, null, "x", [[]], {}]'),
        ("no text", JSON, b'["\xff\xfe"]'),
        ("deep", JSON, b"[" * 100_000),
        ("cut", JSON, exported(good)[:-1]),
        ("too big to keep", SET_ASIDE, b"99999999"),
        ("64 MB of nothing", PROTOBUF, bytes(BIG)),
        ("64 MB of fields", PROTOBUF, b"\x18\x01" * (BIG // 2)),
        ("64 MB of empty events", PROTOBUF, b"\x0a\xfb\xff\xff\x1f" + b"\x0a\x00" * (BIG // 2)),
        ("64 MB of values", JSON, b"[" + b"0," * (BIG // 2) + b"0]"),
        ("64 MB of values in one", JSON, b"[[" + b"0," * (BIG // 2) + b"0]]"),
        ("64 MB of brackets", JSON, b"[" + (b"[" * 500 + b"]" * 500 + b",") * (BIG // 1001) + b"0]"),
    ]


def test_a_good_body_after_each_bad_one_arrives(ray: SimulatedRay, seen: Seen, spool: Spooling) -> None:
    expected = []
    for _, kind, body in hostile_bodies(ray.session_name):
        spool.put_body(body, kind)
        expected.append(ray.add_task(state="RUNNING"))
        spool.put(*told_of(ray, expected[-1:]))

    eventually(lambda: set(expected) <= tasks(seen).keys(), within_s=60)
    assert tasks(seen).keys() == set(expected)
    bad = hostile_bodies(ray.session_name)
    eventually(lambda: pushed(seen).bodies == len(bad) - 1 + len(expected))
    assert pushed(seen).set_aside == 1
    assert pushed(seen).unreadable >= len(bad) - 2  # but for the one that is empty
    assert seen.report is not None
    assert seen.report.gcs_reachable


def test_a_huge_body_costs_no_more_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_decode, "PARSED_AT_ONCE", 100)
    monkeypatch.setattr(events_decode, "MAX_EVENTS", 10)
    good = event("lifecycle", state_transitions=[{"state": 8, "timestamp": {"seconds": 1_795_000_000}}])
    body = events_decode.PushedBody(binary(*[good] * 30), 1_795_400_000_000)

    assert (len(list(body.updates())), body.read, body.unreadable) == (10, 10, 1)


@pytest.mark.parametrize("at_ms", [0, 4_102_444_800_000], ids=["1970", "2100"])
def test_a_moment_that_cannot_be_is_unknown_and_the_state_holds(at_ms: int, ray: SimulatedRay, seen: Seen, spool: Spooling) -> None:
    task_id = ray.add_task()
    spool.put(reached(ray, task_id, "RUNNING", "FINISHED", at_ms=at_ms))
    eventually(lambda: task_id in tasks(seen))

    task = tasks(seen)[task_id]
    assert (task.state, task.start_time_ms, task.end_time_ms) == ("FINISHED", None, None)


def test_numbers_and_texts_that_nobody_knows_are_kept(ray: SimulatedRay, seen: Seen, spool: Spooling) -> None:
    ids = [ray.add_task() for _ in hostile.TEXTS]
    told = [{"state": 99, "timestamp": {"seconds": ray.now_ms() // 1000}}]
    for task_id, text in zip(ids, hostile.TEXTS, strict=True):
        its: dict[str, Any] = {"session": ray.session_name, "task_id": bytes.fromhex(task_id)}
        spool.put(event("definition", **its, task_name=text.text, task_type=99))
        spool.put_exported(event("lifecycle", **its, state_transitions=told, worker_pid=-1))
    spool.close()
    eventually(lambda: spool.is_taken)

    rows = [tasks(seen)[task_id] for task_id in ids]
    assert [(row.name, row.type, row.state) for row in rows] == [
        (text.text or None, "UNKNOWN(99)", "UNKNOWN(99)") for text in hostile.TEXTS
    ]


# --- One body at a time


def test_other_rows_are_written_between_the_parts_of_a_huge_body(
    ray: SimulatedRay, redis_client: redis.Redis, settings: Settings, spool: Spooling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_pushed, "JOINED_AT_ONCE", 2)
    taken: list[int] = []
    take: Callable[..., Any] = cluster_tasks.Tasks.take

    def counted(self: Any, writer: Any, updates: Any) -> Any:
        some = list(updates)
        taken.append(len(some))
        return take(self, writer, iter(some))

    monkeypatch.setattr(cluster_tasks.Tasks, "take", counted)
    ray.refuse("GetTaskEvents")
    ids = [ray.add_task(state="PENDING_ARGS_AVAIL") for _ in range(4)]
    spool.put(*told_of(ray))
    with collecting(redis_client, settings, ray.address) as seen:
        eventually(lambda: set(ids) == tasks(seen).keys())

    assert max(taken) == 2
    assert sum(taken) == 8


def test_what_the_gcs_gives_up_of_pushed_tasks_is_lost_to_nobody(
    ray: SimulatedRay, redis_client: redis.Redis, settings: Settings, spool: Spooling
) -> None:
    job = ray.job_ids()[0]
    ids = [ray.add_task(state="FINISHED", job_id=job) for _ in range(3)]
    with collecting(redis_client, settings, ray.address) as seen:
        eventually(lambda: seen.session is not None)
        spool.put(*told_of(ray, ids[:1]))
        eventually(lambda: pushed(seen).events)
        eventually(lambda: set(ids) <= tasks(seen).keys(), within_s=60)
        ray.forget_task(ids[0])
        ray.forget_task(ids[1])
        ray.refuse("GetTaskEvents", "INTERNAL")  # an error that passes
        another = ray.add_task(state="FINISHED", job_id=job)
        ray.forget_task(another)  # nobody told of this one
        ray.allow("GetTaskEvents")

        eventually(lambda: (seen.report and seen.report.tasks_dropped) == 1, within_s=60)


def test_a_job_is_not_settled_while_the_gcs_counts_more_than_came(
    ray: SimulatedRay, redis_client: redis.Redis, settings: Settings, spool: Spooling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_tasks, "LAST_WORD_S", 0.2)
    monkeypatch.setattr(cluster_tasks, "QUIET_S", 3.0)
    job = ray.add_job()
    came, missing = (ray.add_task(state="FINISHED", job_id=job) for _ in range(2))
    ray.refuse("GetTaskEvents", "INTERNAL")  # an error that passes
    with collecting(redis_client, settings, ray.address) as seen:
        eventually(lambda: seen.session is not None)
        spool.put(*told_of(ray, [came]))
        eventually(lambda: came in tasks(seen))
        ray.finish_job(job)
        ray.allow("GetTaskEvents")

        eventually(lambda: missing in tasks(seen), within_s=60)  # beside what is pushed the GCS is asked seldom
        assert tasks(seen)[missing].state == "FINISHED"
