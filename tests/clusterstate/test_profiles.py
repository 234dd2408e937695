"""Profiles are kept with what was asked, few are made at a time, and what is removed is gone with all that was told."""

from __future__ import annotations

import time
import zlib
from dataclasses import replace as changed

import msgspec
import pytest
import redis

from clusterstate import stacks
from clusterstate.probes import PROFILE_KEPT_S, DumpStacks, RecordCpu
from clusterstate.profiles import CPU, STACKS, Asked, Busy, Profile, Profiles, Question, Target
from clusterstate.settings import Settings
from clusterstate.stacks import Frame, Merging, Samples, Thread, Unreadable
from clusterstate.store import keys, queues
from clusterstate.store import profiles as kept
from clusterstate.store.connection import StoreUnavailable
from clusterstate.store.queues import Answer

NODE = "ab" * 28
HOST = "host-1"


def profile(profile_id: str = "p1", pid: int = 100, asked_at: float | None = None, kind: str = CPU) -> Profile:
    target = Target(NODE, pid, 5, label="ray::work")
    return Profile(profile_id, "demo", "session_1", kind, "otto", asked_at or time.time(), "worker ab", (target,))


def recording(pid: int = 100) -> RecordCpu:
    return RecordCpu(NODE, pid, 5, 10, 100)


@pytest.fixture
def profiles(settings: Settings, redis_client: redis.Redis) -> Profiles:
    for kind in ("quick", "profile"):
        redis_client.set(keys.attended(queues.probe_queue(kind, "demo", HOST)), b"1")
    return Profiles(settings, lambda: redis_client)


def started(profiles: Profiles, profile_id: str, pid: int) -> Profile:
    return profiles.start(profile(profile_id, pid), [Question(HOST, recording(pid), (0,))], time.time())


def test_a_profile_is_found_again_with_what_was_asked(profiles: Profiles) -> None:
    asked = started(profiles, "p1", 100)

    found = profiles.get("demo", "p1")

    assert found == asked
    assert found is not None
    assert found.asked[0].probe_id is not None
    assert found.asked[0].probe_id.startswith(HOST)
    assert profiles.newest("demo", 10) == [asked]
    assert profiles.get("other", "p1") is None


def test_a_process_is_profiled_once_at_a_time(profiles: Profiles) -> None:
    started(profiles, "p1", 100)

    with pytest.raises(Busy, match="Process 100"):
        started(profiles, "p2", 100)
    assert profiles.get("demo", "p2") is None


def test_two_profiles_are_made_on_a_host_at_a_time(profiles: Profiles, redis_client: redis.Redis) -> None:
    first = started(profiles, "p1", 100)
    started(profiles, "p2", 101)
    with pytest.raises(Busy, match="2 profiles"):
        started(profiles, "p3", 102)

    probe_id = first.asked[0].probe_id
    assert probe_id is not None
    queues.store_answer(redis_client, Answer(probe_id, queues.DONE, time.time()))

    assert started(profiles, "p3", 102).asked[0].probe_id is not None


def test_a_place_is_kept_as_long_as_its_profile_may_take_whoever_asks_after_it(profiles: Profiles, redis_client: redis.Redis) -> None:
    now = time.time()
    long = started(profiles, "p1", 100)
    kept.leave_place(redis_client, "demo", HOST, "other")
    kept.take_place(redis_client, "demo", HOST, "short", (7,), now, now + 2)

    assert long.asked[0].probe_id is not None
    assert redis_client.ttl(keys.profiling("demo", HOST)) > 600


def test_a_removed_profile_leaves_its_place(profiles: Profiles) -> None:
    profiles.delete(started(profiles, "p1", 100))

    assert started(profiles, "p2", 100).asked[0].probe_id is not None


def test_a_question_that_could_not_be_put_leaves_its_place(profiles: Profiles, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object, **__: object) -> None:
        raise redis.ConnectionError

    with monkeypatch.context() as broken:
        broken.setattr(queues, "ask", breaks)
        with pytest.raises(StoreUnavailable):
            started(profiles, "p1", 100)

    assert started(profiles, "p2", 100).asked[0].probe_id is not None


def test_a_stack_takes_no_place(profiles: Profiles) -> None:
    started(profiles, "p1", 100)
    started(profiles, "p2", 101)

    asked = profiles.start(profile("p3", 103, kind=STACKS), [Question(HOST, DumpStacks(NODE, 103, 5), (0,))], time.time())

    assert asked.asked[0].probe_id is not None


def test_a_host_without_a_worker_is_said_to_have_none(profiles: Profiles) -> None:
    asked = profiles.start(profile(), [Question("host-2", recording(), (0,))], time.time())

    assert asked.asked == (Asked("host-2", (0,), problem="Nobody answers on host-2: its profile worker does not run."),)


def test_the_oldest_go_first(settings: Settings, redis_client: redis.Redis) -> None:
    few = Profiles(changed(settings, max_profiles=2), lambda: redis_client)
    began = time.time() - 10_000
    for number in range(4):
        few.start(profile(f"p{number}", 100 + number, began + number), [], began + 5_000)

    assert [one.profile_id for one in few.newest("demo", 10)] == ["p3", "p2"]
    assert few.get("demo", "p0") is None


def test_what_may_still_run_stays_and_stack_traces_go_before_what_took_longer(settings: Settings, redis_client: redis.Redis) -> None:
    few = Profiles(changed(settings, max_profiles=30), lambda: redis_client)
    now = time.time()
    few.start(profile("old", 100, now - 5_000), [], now)
    few.start(profile("runs", 101, now - 100), [], now)
    for number in range(80):
        few.start(profile(f"stack{number}", 200 + number, now + number / 100, kind=STACKS), [], now)
    found = [one.profile_id for one in few.newest("demo", 100)]

    assert len(found) == 30
    assert found[:20] == [f"stack{number}" for number in range(79, 59, -1)]
    assert found[-2:] == ["runs", "old"]


def test_a_stack_trace_that_was_just_asked_for_stays_among_many_profiles(settings: Settings, redis_client: redis.Redis) -> None:
    few = Profiles(changed(settings, max_profiles=5), lambda: redis_client)
    now = time.time()
    for number in range(5):
        few.start(profile(f"long{number}", 100 + number, now - 5_000 + number), [], now)
    few.start(profile("stack0", 200, now, kind=STACKS), [], now)
    few.start(profile("stack1", 201, now + 1, kind=STACKS), [], now + 1)

    assert [one.profile_id for one in few.newest("demo", 10)] == ["stack1", "stack0", "long4", "long3", "long2"]


def test_those_that_are_too_old_go(profiles: Profiles) -> None:
    now = time.time()
    profiles.start(profile("old", asked_at=now - 31 * 24 * 3600), [], now)
    profiles.start(profile("new"), [], now)

    assert [one.profile_id for one in profiles.newest("demo", 10)] == ["new"]


def test_a_removed_profile_is_gone_with_all_that_was_told(profiles: Profiles, redis_client: redis.Redis) -> None:
    asked = started(profiles, "p1", 100)
    probe_id = asked.asked[0].probe_id
    assert probe_id is not None
    queues.store_part(redis_client, probe_id, b"told", PROFILE_KEPT_S)

    profiles.delete(asked)

    assert profiles.get("demo", "p1") is None
    assert profiles.newest("demo", 10) == []
    assert not redis_client.exists(keys.answer(probe_id), keys.answer_parts(probe_id))


def test_what_was_told_of_a_profile_is_kept_as_long_as_it(redis_client: redis.Redis) -> None:
    queues.store_part(redis_client, "host-1-x", b"told", queues.kept_s(recording()))

    assert redis_client.ttl(keys.answer_parts("host-1-x")) > 80 * 24 * 3600


def test_samples_come_as_they_were_told(profiles: Profiles, redis_client: redis.Redis) -> None:
    asked = started(profiles, "p1", 100)
    probe_id = asked.asked[0].probe_id
    assert probe_id is not None
    merging = Merging()
    merging.add(Thread(100, 101, "MainThread"), [Frame("main", "a.py", 1), Frame("work", "a.py", 7)], 12)
    packed = stacks.pack(merging.samples())
    for start in range(0, len(packed), 10):
        queues.store_part(redis_client, probe_id, packed[start : start + 10])

    found = stacks.unpack(profiles.packed(asked.asked[0]))

    assert found == merging.samples()
    assert found.total == 12


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"no zlib",
        stacks.pack(Samples())[:-3],
        stacks.pack(Samples(stacks=(stacks.Stack(0, (0,), 1),))),
        stacks.pack(Samples(threads=(Thread(1, 1),), stacks=(stacks.Stack(0, (-1,), 1),))),
    ],
)
def test_what_is_no_packed_samples_is_refused(packed: bytes) -> None:
    with pytest.raises(Unreadable):
        stacks.unpack(packed)


def test_samples_that_unpack_to_more_than_is_taken_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "MOST_BYTES", 1000)

    with pytest.raises(Unreadable, match="larger than 1000 bytes"):
        stacks.unpack(zlib.compress(msgspec.json.encode(Samples(frames=tuple(Frame(f"function_{number}") for number in range(1000))))))


def test_what_is_packed_can_be_unpacked_however_much_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "MOST_BYTES", 20_000)
    merging = stacks.Merging()
    for number in range(3_000):
        merging.add(Thread(7, 1), [Frame("main"), Frame(f"function_{number}")], number + 1)
    found = stacks.unpack(stacks.pack(merging.samples()))

    assert found.total == merging.samples().total
    assert max(found.stacks, key=lambda stack: stack.count).count > 3_000
    assert stacks.TRUNCATED in found.frames
    assert 100 < len(found.stacks) < 3_000


@pytest.mark.parametrize("what", ["stacks", "frames", "threads"])
def test_beyond_what_is_kept_counts_still_add_up_and_travel(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    for name in ("MOST_STACKS", "MOST_FRAMES", "MOST_THREADS"):
        monkeypatch.setattr(stacks, name, 30)
    monkeypatch.setattr(stacks, "ROOM", 10)
    merging = stacks.Merging()
    for number in range(100):
        thread = number if what == "threads" else 1
        frames = [Frame(f"f{number}")] if what != "threads" else [Frame("f")]
        merging.add(Thread(number % 50 if what == "stacks" else 7, thread, "t"), frames * 2, 2)
    both = stacks.Merging()
    for _ in range(2):
        both.add_samples(merging.samples())
    found = both.samples()

    assert found.total == 400
    assert max(len(found.stacks), len(found.frames), len(found.threads)) <= 30
    assert stacks.unpack(stacks.pack(found)) == found


def test_a_stack_without_python_code_is_said_to_be_one() -> None:
    merging = stacks.Merging()
    merging.add(Thread(7, 1), [], 3)
    assert merging.samples().frames == (stacks.NO_PYTHON,)


def test_the_sum_of_samples_is_exact() -> None:
    merging = Merging()
    one = Samples(frames=(Frame("a"), Frame("b")), threads=(Thread(1, 1),), stacks=(stacks.Stack(0, (0, 1), 3), stacks.Stack(0, (0,), 2)))
    other = Samples(frames=(Frame("b"), Frame("a")), threads=(Thread(1, 1),), stacks=(stacks.Stack(0, (1, 0), 5),))
    merging.add_samples(one)
    merging.add_samples(other)

    found = merging.samples()

    assert found.total == one.total + other.total == 10
    assert sorted(stack.count for stack in found.stacks) == [2, 8]


def test_a_record_of_another_version_is_none(redis_client: redis.Redis, profiles: Profiles) -> None:
    redis_client.set(keys.profile("demo", "p9"), msgspec.json.encode({"profile_id": 7}))
    redis_client.zadd(keys.profiles("demo"), {"p9": 1.0})

    assert kept.get(redis_client, "demo", "p9") is None
    assert profiles.newest("demo", 10) == []


def test_what_a_node_tells_without_end_is_not_read_to_its_end(
    profiles: Profiles, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = started(profiles, "p1", 100).asked[0]
    assert asked.probe_id is not None
    for _ in range(100):
        queues.store_part(redis_client, asked.probe_id, b"x" * 1000)
    read: list[int] = []
    real = queues.parts_of

    def seen(client: redis.Redis, probe_id: str, first: int = 0, last: int = -1) -> list[bytes]:
        read.append(first)
        return real(client, probe_id, first, last)

    monkeypatch.setattr(queues, "parts_of", seen)
    monkeypatch.setattr("clusterstate.profiles.MOST_BYTES", 20_000)

    with pytest.raises(Unreadable, match="larger than 20000 bytes"):
        profiles.packed(asked)
    assert read == [0, 16]
