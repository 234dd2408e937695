"""Profiles in the pages: who may ask for which processes, and what is shown of what nodes told."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import redis

from clusterstate import stacks
from clusterstate.hosts import host_id
from clusterstate.journal import Journal
from clusterstate.node_questions import NodeQuestions
from clusterstate.probes import PROFILE_KEPT_S
from clusterstate.profile_answers import Abilities, ProcessStacks, ProfileProgress, StacksPart, ThreadStack, WhyNot
from clusterstate.stacks import Frame, Merging, Thread
from clusterstate.store import keys, queues
from clusterstate.store.queues import Answer
from clusterstate.store.safe_jobs import SafeQueue
from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import Clock, Person
from webapp import background, exports

NODE = "0" * 55 + "7"
WORKER = "0" * 55 + "8"
HOST = host_id("gpu-7", "boot")
NEW = "/c/demo/profiles/new"


@pytest.fixture
def running(cluster: BuiltCluster, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> BuiltCluster:
    """A worker on a node whose host answers probes."""
    cluster.with_node(node_id=NODE, hostname="gpu-7", is_head_node=True)
    cluster.with_node_stats(NODE, hostname="gpu-7", boot_id="boot")
    cluster.with_worker(worker_id=WORKER, node_id=NODE, pid=4711)
    cluster.with_process(NODE, 4711, worker_id=WORKER, title="ray::work", start_time_ms=1_700_000_000_000, job_id="00000001")
    cluster.project()
    for kind in ("quick", "profile"):
        redis_client.set(keys.attended(queues.probe_queue(kind, "demo", HOST)), b"1")
    abilities = msgspec.to_builtins(Abilities())
    monkeypatch.setattr(NodeQuestions, "ask_each", lambda self, probes, *_: dict.fromkeys(probes, abilities))
    return cluster


def start(person: Person, **form: str) -> str:
    """Asks for a profile; answers the address of its page."""
    answer = person.post(NEW, {"worker": WORKER, **form})
    assert answer.status_code == 303, answer.text
    return str(answer.headers["Location"])


def answered(client: redis.Redis, kind: str, value: Any, parts: list[bytes]) -> None:
    """What the host's worker would answer to the one probe that waits."""
    queue = SafeQueue(queues.probe_queue(kind, "demo", HOST), client)
    [probe_id] = queue.job_ids
    for part in parts:
        queues.store_part(client, probe_id, part, PROFILE_KEPT_S)
    queues.store_answer(client, Answer(probe_id, queues.DONE, time.time(), msgspec.to_builtins(value)), kept_s=PROFILE_KEPT_S)


def hostile() -> bytes:
    merging = Merging()
    main = Thread(4711, 4711, "Main<b>Thread")
    merging.add(main, [Frame("<module>", "/app/train.py", 3), Frame("step<script>alert(1)</script>", "/app/train.py", 9)], 60)
    merging.add(main, [Frame("<module>", "/app/train.py", 3), Frame("load", "/app/data.py", 4)], 40)
    return stacks.pack(merging.samples())


def test_a_viewer_may_look_but_not_ask(vera: Person, running: BuiltCluster) -> None:
    assert vera.page("/c/demo/profiles").status_code == 200
    assert vera.page(f"{NEW}?worker={WORKER}").status_code == 403
    assert vera.post(NEW, {"worker": WORKER, "kind": "cpu"}).status_code == 403
    assert "profiles/new" not in vera.page(f"/c/demo/workers/{WORKER}").text


def test_an_operator_finds_the_way_on_the_workers_page(otto: Person, running: BuiltCluster) -> None:
    page = otto.page(f"/c/demo/workers/{WORKER}").text
    assert f"profiles/new?kind=stacks&amp;worker={WORKER}" in page or f"profiles/new?worker={WORKER}&amp;kind=stacks" in page


def test_asking_is_in_the_audit_trail(otto: Person, running: BuiltCluster, journal: Journal) -> None:
    start(otto, kind="cpu", duration="5", rate="50", idle="1")

    [record] = [one for one in journal.newest_audit_records(10) if one.action == "profile.start"]
    assert record.who == "otto"
    assert record.detail["kind"] == "cpu"
    assert record.detail["pids"] == [4711]


def test_a_flame_graph_is_drawn_and_names_are_text(otto: Person, running: BuiltCluster, redis_client: redis.Redis) -> None:
    where = start(otto, kind="cpu", duration="5")
    assert "It is about to start" in otto.page(where).text

    packed = hostile()
    answered(redis_client, "profile", ProfileProgress(5.0, 5.0, 100, packed_bytes=len(packed)), [packed[:50], packed[50:]])

    page = otto.page(where).text
    assert "100" in page
    assert "<script>alert(1)" not in page
    assert "step&lt;script&gt;" in page


def test_why_not_is_said_with_the_fix(otto: Person, running: BuiltCluster, redis_client: redis.Redis) -> None:
    where = start(otto, kind="cpu")
    why_not = WhyNot("PTRACE_SCOPE", "kernel.yama.ptrace_scope is 1", "sudo sysctl kernel.yama.ptrace_scope=0")
    answered(redis_client, "profile", ProfileProgress(why_not=why_not), [])

    page = otto.page(where).text

    assert "It did not work" in page
    assert "sudo sysctl kernel.yama.ptrace_scope=0" in page
    told = otto.get(where + ".json").get_json()
    assert told["state"] == "FAILED"
    assert told["missing"] == [{"pids": [4711], "reason": "PTRACE_SCOPE", "detail": why_not.detail, "fix": why_not.fix}]


def test_how_a_process_ended_is_said_in_rays_words_and_leads_to_its_worker(
    otto: Person, running: BuiltCluster, redis_client: redis.Redis
) -> None:
    where = start(otto, kind="cpu")
    samples = stacks.pack(Merging().samples())
    answered(redis_client, "profile", ProfileProgress(ended="PROCESS_ENDED", sampled_s=1.0, packed_bytes=len(samples)), [samples])
    assert "exit code" not in otto.page(where).text

    ended = {"is_alive": False, "exit_type": "SYSTEM_ERROR", "exit_detail": "Worker exits with <b>exit code 139</b>"}
    running.with_worker(worker_id=WORKER, node_id=NODE, pid=4711, **ended)
    running.project()
    page = otto.page(where).text

    assert "SYSTEM_ERROR" in page
    assert "Worker exits with &lt;b&gt;exit code 139&lt;/b&gt;" in page
    assert f"/workers/{WORKER}" in page


def test_who_asks_too_late_is_told_how_it_ended(otto: Person, running: BuiltCluster) -> None:
    late = "0" * 55 + "9"
    running.with_worker(worker_id=late, is_alive=False, exit_type="NODE_OUT_OF_MEMORY", exit_detail="exit code None")
    running.project()

    page = otto.page(f"{NEW}?worker={late}").text

    assert "It has ended: NODE_OUT_OF_MEMORY. exit code None" in page


def test_native_frames_of_a_process_that_is_not_stopped_are_refused_and_nothing_typed_is_lost(
    otto: Person, running: BuiltCluster, redis_client: redis.Redis
) -> None:
    answer = otto.post(NEW, {"worker": WORKER, "kind": "cpu", "native": "1", "nonblocking": "1", "duration": "37"})

    assert answer.status_code == 400
    assert "native and nonblocking exclude one another" in answer.text
    assert 'value="37"' in answer.text


def test_more_samples_than_cpu_was_used_are_said_to_be_threads_that_wait(
    otto: Person, running: BuiltCluster, redis_client: redis.Redis
) -> None:
    merging = Merging()
    merging.add(Thread(4711, 1), [Frame("wait")], 400)
    packed = stacks.pack(merging.samples())
    where = start(otto, kind="cpu")
    told = ProfileProgress(sampled_s=10.0, duration_s=10.0, samples=400, cpu_s=0.2, packed_bytes=len(packed))
    answered(redis_client, "profile", told, [packed])

    page = otto.page(where).text

    assert "The kernel counted 0.2 s of CPU, but threads were seen running for longer" in page
    assert "nonblocking=1" in page


def test_a_second_profile_of_a_process_is_refused_meanwhile(otto: Person, running: BuiltCluster) -> None:
    where = start(otto, kind="cpu")
    answer = otto.post(NEW, {"worker": WORKER, "kind": "cpu"})
    assert answer.status_code == 429
    assert "is profiled already" in answer.text
    assert f'href="{where}"' in answer.text  # what is in the way can be looked at


@pytest.mark.parametrize(
    "form",
    [
        {"kind": "cpu", "duration": "0"},
        {"kind": "cpu", "duration": "301"},
        {"kind": "cpu", "duration": "1e3"},
        {"kind": "cpu", "duration": "NaN"},
        {"kind": "cpu", "rate": "-1"},
        {"kind": "cpu", "rate": "5\n"},
        {"kind": "cpu", "native": "yes"},
        {"kind": "../x"},
        {"kind": ""},
        {"kind": "cpu", "worker": "", "node": NODE, "pid": "0x1"},
        {"kind": "cpu", "worker": "", "node": NODE, "pid": "1;id"},
        {"kind": "cpu", "worker": "", "node": NODE, "pid": "-1"},
        {"kind": "cpu", "worker": "", "node": NODE, "pid": "2147483648"},
        {"kind": "cpu", "worker": "", "node": NODE, "pid": "1"},
    ],
)
def test_what_is_not_allowed_is_refused_before_anything_is_asked(
    otto: Person, running: BuiltCluster, redis_client: redis.Redis, form: dict[str, str]
) -> None:
    answer = otto.post(NEW, {"worker": WORKER, **form})
    assert answer.status_code in {400, 422}, answer.text
    assert SafeQueue(queues.probe_queue("profile", "demo", HOST), redis_client).job_ids == []


def test_the_census_of_a_node_puts_one_question_to_its_host(otto: Person, running: BuiltCluster, redis_client: redis.Redis) -> None:
    running.with_process(NODE, 4712, worker_id="0" * 55 + "9", title="ray::work", start_time_ms=1_700_000_000_001)
    running.project()
    start(otto, worker="", node=NODE, kind="census", passes="2")

    assert len(SafeQueue(queues.probe_queue("profile", "demo", HOST), redis_client).job_ids) == 1


def test_the_threads_of_a_process_are_shown(otto: Person, running: BuiltCluster, redis_client: redis.Redis) -> None:
    frames = (Frame("<module>", "/app/train.py", 3), Frame("all_reduce", "/lib/dist.py", 9))
    process = ProcessStacks(4711, 1_700_000_000_000, (ThreadStack(4711, "MainThread", True, True, frames),), time.time(), title="ray::work")
    where = start(otto, kind="stacks")
    answered(redis_client, "quick", StacksPart((process,)), [])

    page = otto.page(where).text

    assert "all_reduce" in page
    assert "MainThread" in page


def test_stacks_are_json_for_programs(otto: Person, running: BuiltCluster, redis_client: redis.Redis) -> None:
    frames = (Frame("<module>", "/app/train.py", 3), Frame("wait", "", 0))
    process = ProcessStacks(4711, 1_700_000_000_000, (ThreadStack(4711, "MainThread", True, False, frames),), 5.0, title="ray::work")
    where = start(otto, kind="stacks")
    answered(redis_client, "quick", StacksPart((process,)), [])

    [told] = otto.get(f"{where}/download/json").get_json()

    assert (told["pid"], told["title"], told["why_not"]) == (4711, "ray::work", None)
    [thread] = told["threads"]
    assert (thread["name"], thread["is_active"]) == ("MainThread", True)
    assert thread["frames"] == [
        {"function": "<module>", "file": "/app/train.py", "line": 3},
        {"function": "wait", "file": None, "line": None},
    ]


def test_only_who_asked_or_an_admin_ends_it(otto: Person, ada: Person, running: BuiltCluster) -> None:
    where = start(ada, kind="cpu")
    assert otto.post(f"{where}/stop", {}).status_code == 403
    assert otto.post(f"{where}/delete", {}).status_code == 403
    assert ada.post(f"{where}/stop", {"cancel": "1"}).status_code == 303
    assert "cancelled" in ada.page(where).text
    assert ada.post(f"{where}/delete", {}).status_code == 303
    assert ada.page(where).status_code == 404


def test_a_list_looks_no_more_at_what_was_told_of_those_that_have_ended(
    otto: Person, running: BuiltCluster, redis_client: redis.Redis
) -> None:
    start(otto, kind="cpu")
    [row] = otto.get("/c/demo/profiles.json").get_json()["rows"]
    assert row["state"] == "WAITING"
    packed = hostile()
    answered(redis_client, "profile", ProfileProgress(5.0, 5.0, 100, packed_bytes=len(packed)), [packed])

    [row] = otto.get("/c/demo/profiles.json").get_json()["rows"]
    redis_client.delete(*redis_client.keys("rd:answer:*"))
    [after] = otto.get("/c/demo/profiles.json").get_json()["rows"]

    assert (row["state"], row["samples"]) == (after["state"], after["samples"]) == ("DONE", 100)


@pytest.mark.parametrize("kind", ["raw", "speedscope", "svg", "html", "csv"])
def test_a_profile_is_a_file(otto: Person, running: BuiltCluster, redis_client: redis.Redis, kind: str) -> None:
    where = start(otto, kind="cpu")
    assert otto.get(f"{where}/download/{kind}").status_code == 404
    packed = hostile()
    answered(redis_client, "profile", ProfileProgress(5.0, 5.0, 100, packed_bytes=len(packed)), [packed])

    answer = otto.get(f"{where}/download/{kind}")

    assert answer.status_code == 200
    assert "attachment" in answer.headers["Content-Disposition"]
    assert "<script>alert(1)" not in answer.text or kind in {"raw", "speedscope", "csv"}
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_two_profiles_are_compared_the_earlier_first(otto: Person, running: BuiltCluster, redis_client: redis.Redis, clock: Clock) -> None:
    ids = []
    for _ in range(2):
        clock.at += 1
        where = start(otto, kind="cpu")
        packed = hostile()
        answered(redis_client, "profile", ProfileProgress(5.0, 5.0, 100, packed_bytes=len(packed)), [packed])
        redis_client.delete(*redis_client.keys("rd:rq:queue:profile*"))
        ids.append(where.rpartition("/")[2])

    answer = otto.get(f"/c/demo/profiles/compare?id={ids[1]}&id={ids[0]}")

    assert answer.status_code == 303
    assert f"before={ids[0]}" in answer.headers["Location"]
    assert "100 samples" in otto.page(answer.headers["Location"]).text
    assert otto.get(f"/c/demo/profiles/compare?id={ids[1]}").status_code == 400


CHROME_TRACE = gzip.compress(b'{"traceEvents": [{"ph": "X", "name": "<script>alert(1)</script>"}]}', mtime=0)
TRACED = ProfileProgress(5.0, 5.0, packed_bytes=len(CHROME_TRACE), trace_bytes=2_500_000, profiler="dynolog")


@pytest.mark.parametrize("kind", ["gpu", "jax"])
def test_a_trace_is_a_file_with_its_size_and_no_flame_graph(
    otto: Person, running: BuiltCluster, redis_client: redis.Redis, kind: str
) -> None:
    where = start(otto, kind=kind, duration="5")
    waiting = otto.page(where).text
    assert "Stop, and keep" not in waiting
    assert "Cancel" in waiting
    assert otto.get(f"{where}/download/trace").status_code == 404
    answered(redis_client, "profile", TRACED, [CHROME_TRACE[:30], CHROME_TRACE[30:]])

    page = otto.page(where).text
    file = otto.get(f"{where}/download/trace")

    assert f"{where}/download/trace" in page
    assert "2.38 MiB unpacked" in page
    assert "Perfetto" in page
    assert 'class="boxes"' not in page
    assert "samples" not in page
    assert file.data == CHROME_TRACE
    assert file.headers["Content-Type"] == "application/gzip"
    assert file.headers["Content-Disposition"].startswith(f'attachment; filename="{kind}-')
    assert file.headers["Content-Disposition"].endswith('.trace.json.gz"')
    assert otto.get(f"{where}/download/svg").status_code == 404


def test_traces_are_not_compared(otto: Person, running: BuiltCluster, redis_client: redis.Redis) -> None:
    where = start(otto, kind="gpu")
    answered(redis_client, "profile", TRACED, [CHROME_TRACE])
    assert 'name="id"' not in otto.page("/c/demo/profiles").text
    name = where.rpartition("/")[2]
    assert otto.get(f"/c/demo/profiles/compare?before={name}&after={name}").status_code == 400


def test_what_is_no_gzip_file_is_not_handed_out(otto: Person, running: BuiltCluster, redis_client: redis.Redis) -> None:
    where = start(otto, kind="jax")
    answered(redis_client, "profile", ProfileProgress(packed_bytes=6), [b"<html>"])
    answer = otto.get(f"{where}/download/trace")
    assert answer.status_code == 404
    assert "<html>" not in answer.headers.get("Content-Disposition", "")


def test_a_trace_is_cancelled_not_kept_in_part(otto: Person, running: BuiltCluster) -> None:
    where = start(otto, kind="gpu")
    assert otto.post(f"{where}/stop", {}).status_code == 400
    assert otto.post(f"{where}/stop", {"cancel": "1"}).status_code == 303


@pytest.mark.parametrize("duration", ["0", "61", "x"])
def test_a_trace_lasts_a_minute_at_most(otto: Person, running: BuiltCluster, duration: str) -> None:
    assert otto.post(NEW, {"worker": WORKER, "kind": "gpu", "duration": duration}).status_code == 400


def test_what_is_in_the_way_of_a_trace_is_said_before_it_is_tried(
    otto: Person, running: BuiltCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = WhyNot("UNSUPPORTED", "started without KINETO_USE_DAEMON=1", "start the worker with runtime_env=<x>")
    jax = WhyNot("NO_PROGRAM", "", "pip install jax xprof")
    abilities = msgspec.to_builtins(Abilities(gpu=gpu, jax=jax))
    monkeypatch.setattr(NodeQuestions, "ask_each", lambda self, probes, *_: dict.fromkeys(probes, abilities))

    assert "This will probably fail" not in otto.page(f"{NEW}?worker={WORKER}&kind=cpu").text
    assert "start the worker with runtime_env=&lt;x&gt;" in otto.page(f"{NEW}?worker={WORKER}&kind=gpu").text
    page = otto.page(f"{NEW}?worker={WORKER}&kind=jax").text
    assert "pip install jax xprof" in page
    assert "kind=gpu" in page
    assert "kind=gpu" not in otto.page(f"{NEW}?node={NODE}").text


def test_what_is_in_the_way_on_one_of_two_nodes_is_said_with_its_name(
    otto: Person, running: BuiltCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "0" * 54 + "77"
    running.with_node(node_id=other, hostname="gpu-77")
    running.with_node_stats(other, hostname="gpu-77", boot_id="boot")
    running.with_worker(worker_id="a" * 56, node_id=other, pid=12)
    running.with_process(other, 12, worker_id="a" * 56, title="ray::work", start_time_ms=1_700_000_000_000, job_id="00000001")
    running.project()
    why_not = WhyNot("PTRACE_SCOPE", "kernel.yama.ptrace_scope is 1", "sudo sysctl kernel.yama.ptrace_scope=0")
    told = {NODE: msgspec.to_builtins(Abilities()), other: msgspec.to_builtins(Abilities(stacks=why_not))}
    monkeypatch.setattr(NodeQuestions, "ask_each", lambda self, probes, *_: {name: told[name] for name in probes})

    page = otto.page(f"{NEW}?workers=sort%3Dpid&kind=merged")

    assert "This will probably fail on gpu-77 (1 of 2 processes)." in " ".join(page.text.split())


def test_a_node_that_does_not_answer_in_time_leaves_it_unknown(
    otto: Person, running: BuiltCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    page = otto.page(f"{NEW}?worker={WORKER}").text

    assert "Whether it will work is not known: The node did not answer within 2 s" in page


def test_the_workers_of_a_query_are_asked_together(otto: Person, running: BuiltCluster, redis_client: redis.Redis) -> None:
    for number, job in ((1, "00000001"), (2, "00000002")):
        worker = f"{number:056x}"
        running.with_worker(worker_id=worker, node_id=NODE, pid=4800 + number, job_id=job)
        running.with_process(NODE, 4800 + number, worker_id=worker, title="ray::other", start_time_ms=5, job_id=job)
    running.project()
    assert "workers=q%3Djob" in otto.page("/c/demo/workers?q=job:00000001").text

    where = start(otto, worker="", workers="q=job:00000001&limit=1", kind="census")

    told = otto.get(where + ".json").get_json()
    assert told["about"] == "workers: job:00000001"
    assert told["processes"] == 2
    assert otto.page(f"{NEW}?workers=q%3Dklass:x").status_code == 400


def test_the_actors_of_a_class_are_asked_together(otto: Person, running: BuiltCluster) -> None:
    running.with_actor(class_name="Trainer", worker_id=WORKER, node_id=NODE, state="ALIVE")
    running.with_actor(class_name="Trainer", state="DEAD")
    running.project()

    told = otto.get(start(otto, **{"worker": "", "class": "Trainer", "kind": "merged"}) + ".json").get_json()

    assert (told["about"], told["processes"]) == ("actors of class Trainer", 1)


def test_the_actors_of_a_class_are_those_of_one_job_where_it_is_named(otto: Person, running: BuiltCluster) -> None:
    other = "b" * 56
    running.with_process(NODE, 4712, worker_id=other, title="ray::Trainer", start_time_ms=1_700_000_000_001)
    for job_id, worker_id in (("00000001", WORKER), ("00000002", other)):
        running.with_job(job_id=job_id)
        running.with_actor(class_name="Trainer", worker_id=worker_id, node_id=NODE, state="ALIVE", job_id=job_id)
    running.project()

    told = otto.get(start(otto, **{"worker": "", "class": "Trainer", "job": "00000002", "kind": "merged"}) + ".json").get_json()

    assert (told["about"], told["processes"]) == ("actors of class Trainer of job 00000002", 1)


def test_a_task_that_ended_before_it_was_sampled_is_not_said_to_have_samples(
    otto: Person, running: BuiltCluster, redis_client: redis.Redis
) -> None:
    where = start(otto, kind="cpu")
    answered(redis_client, "profile", ProfileProgress(ended="TASK_ENDED"), [])

    assert "The task ended before anything was sampled." in otto.page(where).text
    told = otto.get(where + ".json").get_json()
    assert (told["state"], told["samples"]) == ("FAILED", None)


def test_a_worker_is_called_what_it_called_itself_as_it_was_looked_at(
    otto: Person, running: BuiltCluster, redis_client: redis.Redis
) -> None:
    thread = ThreadStack(1, "MainThread", True, False, (Frame("main", "/app/a.py", 1),))
    where = start(otto, worker="", node=NODE, kind="census", passes="2")
    looks = [ProcessStacks(4711, 1, (thread,), at=float(1 + place), title="ray::later", in_pass=1 + place) for place in range(2)]
    answered(redis_client, "profile", StacksPart(()), [msgspec.json.encode(StacksPart((one,))) for one in looks])

    page = otto.page(where).text

    assert "ray::later" in page
    assert "looked at 2 times in 1.0 s" in page


@pytest.mark.parametrize("duration", ["000000010999999", "00000000" + "1" + "0" * 5000, "\u0661", " 5", "5.0"])
def test_a_number_is_taken_as_it_is_typed_or_not_at_all(otto: Person, running: BuiltCluster, duration: str) -> None:
    assert otto.post(NEW, {"worker": WORKER, "kind": "cpu", "duration": duration}).status_code == 400


def test_a_query_of_too_many_arguments_is_refused(otto: Person, running: BuiltCluster) -> None:
    answer = otto.get(f"{NEW}?workers={'a%3D1%26' * 900}")
    assert answer.status_code == 400
    assert "more than 100 arguments" in answer.text


def test_a_file_is_made_a_piece_at_a_time_beside_other_requests() -> None:
    made: list[int] = []

    def pieces() -> Iterator[bytes]:
        for number in range(3):
            made.append(number)
            yield b"x" * exports.PIECE_BYTES * 2

    found = exports.sliced(background.each(pieces()))
    assert len(next(found)) == exports.PIECE_BYTES
    assert made == [0]
    assert (len(list(found)), made) == (5, [0, 1, 2])
