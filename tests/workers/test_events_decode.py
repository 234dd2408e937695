"""Pushed events, binary and JSON, become the same updates as the GCS's own answer; what is made up or broken is counted."""

from __future__ import annotations

import copy
import dataclasses
import json
import multiprocessing
import random
import re
import resource
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from clusterstate.masking import REDACTED
from clusterstate.model import Task
from clusterstate.task_states import END_UNKNOWN, PUSHED
from tests.simulated_ray import hostile
from tests.workers.pushing import NOW, SESSION, TASK, binary, event, exported
from workers.sources import events_decode, gcs_stubs
from workers.sources.events_decode import PushedBody
from workers.sources.events_decode_json import ExportedBody, _without_halves
from workers.sources.gcs_decode_tasks import task_update_of
from workers.sources.task_merge import merge

RECORDED = Path(__file__).resolve().parents[1] / "recorded" / "tasks"
LATER_FIELDS = frozenset(
    {"name", "actor_repr_name", "is_named_by_repr", "call_site_id", "label_selector_id"}
    | {"log_files_id", "stdout_start", "stdout_end", "stderr_start", "stderr_end"}
)
"""What events of Ray 2.53 do not tell."""


def recorded(version: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RECORDED / f"ray-{version}.json").read_text("utf-8"))
    return content


def lifecycle(*states: tuple[int, int], **fields: Any) -> Any:
    """States are Ray's numbers with seconds after NOW."""
    told = [{"state": state, "timestamp": {"seconds": NOW // 1000 + at, "nanos": 5_999_999}} for state, at in states]
    return event("lifecycle", state_transitions=told, **fields)


def both(*events: Any) -> list[PushedBody]:
    return [PushedBody(binary(*events), NOW, SESSION), ExportedBody(exported(*events), NOW, SESSION)]


def joined(*bodies: PushedBody) -> dict[str, Task]:
    tasks: dict[str, Task] = {}
    for body in bodies:
        for update in body.updates():
            tasks[update.attempt_id] = merge(tasks.get(update.attempt_id), update)
    return tasks


def row_of(*events: Any) -> Task:
    """The row that binary and JSON both make of them."""
    binary_rows, json_rows = (joined(body) for body in both(*events))
    assert binary_rows == json_rows
    [row] = binary_rows.values()
    return row


# --- Recorded from real clusters: every kind of task, its retries, errors and a job's end


@pytest.mark.parametrize("version", ["2.53", "2.60"])
def test_recorded_events_make_the_rows_that_the_gcs_has(version: str) -> None:
    recording = recorded(version)
    pushed = joined(*(ExportedBody(json.dumps(body).encode(), NOW) for body in recording["pushed"]))
    row = gcs_stubs.module("gcs_pb2").TaskEvents
    polled = {}
    for one in recording["polled"]["job_done"]["events_by_task"]:
        update = task_update_of(json_format.ParseDict(one, row()), NOW)
        assert update is not None
        polled[update.attempt_id] = merge(None, update)

    without = {"end_evidence", *(LATER_FIELDS if version == "2.53" else ())}
    unended = {task_id for task_id, task in polled.items() if task.state == END_UNKNOWN}
    assert pushed.keys() == polled.keys()
    assert len(unended) == 5
    for task_id, task in polled.items():
        allowed = {*without, "state"} if task_id in unended else without
        assert told(pushed[task_id], allowed) == told(task, allowed)


def told(task: Task, but: set[str]) -> dict[str, Any]:
    return {f.name: getattr(task, f.name) for f in dataclasses.fields(Task) if f.name not in but}


@pytest.mark.parametrize("version", ["2.53", "2.60"])
def test_what_a_real_cluster_did_is_what_is_told(version: str) -> None:
    tasks = joined(*(ExportedBody(json.dumps(body).encode(), NOW) for body in recorded(version)["pushed"])).values()
    attempts = {(task.name, task.attempt_number): task for task in tasks}

    assert [(attempts["flaky", n].state, attempts["flaky", n].error_type) for n in range(3)] == [("FAILED", "TASK_EXECUTION_EXCEPTION")] * 3
    assert attempts["dies", 1].error_type == "WORKER_DIED"
    assert (attempts["cancelled", 0].error_type, attempts["Broken.hello", 0].error_type) == ("TASK_CANCELLED", "ACTOR_DIED")
    assert (attempts["adder", 0].func_or_class_name, attempts["adder", 0].type) == ("Counter.add", "ACTOR_TASK")
    assert (attempts["never", 0].state, attempts["dependent", 0].state) == ("PENDING_NODE_ASSIGNMENT", "PENDING_ARGS_AVAIL")
    assert attempts["inner", 0].parent_task_id == attempts["waits", 0].task_id
    assert attempts["Counter.__init__", 0].type == "ACTOR_CREATION_TASK"


@pytest.mark.parametrize("seed", range(20))
def test_shuffled_doubled_and_regrouped_batches_make_the_same_rows(seed: int) -> None:
    rng = random.Random(seed)
    bodies = recorded("2.60")["pushed"]
    expected = joined(*(ExportedBody(json.dumps(body).encode(), NOW) for body in bodies))
    events = [one for body in bodies for one in body]
    events += rng.choices(events, k=30)
    rng.shuffle(events)
    size = rng.randrange(1, 40)

    batches = [events[at : at + size] for at in range(0, len(events), size)]

    assert joined(*(ExportedBody(json.dumps(batch).encode(), NOW) for batch in batches)) == expected


# --- What an event says


def test_a_definition_and_its_lifecycle_are_one_row() -> None:
    function = {"python_function_descriptor": {"module_name": "m", "class_name": "a.b.C", "function_name": "C.go"}}
    defined: dict[str, Any] = {
        "task_name": "go",
        "task_func": function,
        "required_resources": {"CPU": 0.5},
        "label_selector": {"my_zone": "x"},
    }
    row = row_of(event("definition", **defined), lifecycle((1, 0), (8, 2), worker_pid=7), lifecycle((11, 3), node_id=b"\x11" * 28))

    assert (row.name, row.func_or_class_name, row.type, row.state, row.end_evidence) == ("go", "C.go", "NORMAL_TASK", "FINISHED", PUSHED)
    assert (row.creation_time_ms, row.start_time_ms, row.end_time_ms) == (NOW + 5, NOW + 2005, NOW + 3005)
    assert (row.worker_pid, row.node_id, row.job_id) == (7, "11" * 28, "01000000")
    assert row.label_selector_id is not None


def test_names_kept_as_in_the_protocol_are_read_too() -> None:
    events = [event("definition", required_resources={"my_resource": 1.0}), lifecycle((8, 1), worker_pid=7)]

    kept = joined(ExportedBody(exported(*events, preserving_proto_field_name=True), NOW, SESSION))

    assert kept == joined(ExportedBody(exported(*events), NOW, SESSION))


def test_secrets_in_events_are_masked() -> None:
    environment = '{"env_vars": {"TOKEN": "s3cret"}}'
    for body in both(event("definition", serialized_runtime_env=environment)):
        [update] = body.updates()
        assert [json.loads(text.text) for text in update.texts] == [{"env_vars": {"TOKEN": REDACTED}}]


def test_profiles_and_other_kinds_are_passed_over_and_counted() -> None:
    other = gcs_stubs.module("events_base_event_pb2").RayEvent(event_type=9, session_name=SESSION)
    unknown = gcs_stubs.module("events_base_event_pb2").RayEvent(event_type=999, session_name=SESSION)
    for body in both(event("profile"), other, unknown, lifecycle((8, 1))):
        assert (len(list(body.updates())), body.read, body.skipped, body.unreadable) == (1, 1, 3, 0)


def test_what_ray_itself_dropped_is_listed() -> None:
    body = PushedBody(binary(lifecycle((8, 1)), dropped=[(TASK, 3), (b"short", 0), (TASK, -1)]), NOW)

    assert len(list(body.updates())) == 1
    assert (body.dropped, body.unreadable) == ([(TASK.hex(), 3)], 2)


def test_events_of_another_session_are_left_out_and_counted() -> None:
    for body in both(lifecycle((8, 1)), lifecycle((8, 1), session="session_2")):
        assert (len(list(body.updates())), body.of_other_sessions, body.sessions) == (1, 1, {"session_1", "session_2"})


# --- Made up and broken


@pytest.mark.parametrize("bad", [{"task_id": b"short"}, {"task_id": b"\xff" * 24}, {"task_id": b""}, {"task_attempt": -1}])
def test_events_of_no_valid_attempt_are_unreadable(bad: dict[str, Any]) -> None:
    for body in both(lifecycle((8, 1), **bad), event("definition", **bad), event("actor_definition", **bad), lifecycle((8, 1))):
        assert (len(list(body.updates())), body.unreadable) == (1, 3)


@pytest.mark.parametrize("at_s", [-NOW // 1000, 3_000_000_000, 2**50, -(2**50)], ids=["zero", "far", "farther", "negative"])
def test_a_moment_that_cannot_be_is_unknown(at_s: int) -> None:
    [row] = joined(PushedBody(binary(lifecycle((11, at_s), (8, 0))), NOW)).values()

    assert (row.state, row.end_time_ms, row.start_time_ms) == ("FINISHED", None, NOW + 5)


def test_numbers_that_a_later_ray_invents_are_kept() -> None:
    row = row_of(lifecycle((55, 1), ray_error_info={"error_type": 99, "error_message": "new"}), event("definition", task_type=9))

    assert (row.state, row.error_type, row.type) == ("UNKNOWN(55)", "UNKNOWN(99)", "UNKNOWN(9)")


@pytest.mark.parametrize("text", hostile.params())
def test_hostile_texts_are_kept_as_text(text: str) -> None:
    row = row_of(event("definition", task_name=text, call_site=text, serialized_runtime_env=text, required_resources={text: 1.0}))

    assert row.name == (text or None)


@pytest.mark.parametrize("one", hostile.LONE_SURROGATES, ids=lambda one: one.name)
def test_half_a_character_costs_that_character(one: hostile.Hostile) -> None:
    [good] = json.loads(exported(event("definition", task_name="good")))
    bad = copy.deepcopy(good)
    bad["taskDefinitionEvent"]["taskName"] = one.text
    bad["taskDefinitionEvent"]["taskAttempt"] = 1

    rows = joined(ExportedBody(json.dumps([bad, good]).encode(), NOW))

    assert sorted(row.name or "" for row in rows.values()) == sorted(["good", one.text.encode("utf-8", "replace").decode()])


def test_one_bad_record_costs_one_record_however_the_body_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    good = binary(lifecycle((8, 1)), event("definition", task_name="work"), dropped=[(TASK, 1)])
    data = gcs_stubs.module("events_event_aggregator_service_pb2").AddEventsRequest.FromString(good).events_data.SerializeToString()
    bad = b"\x0a\x04\xff\xff\xff\xff"
    broken = PushedBody(b"\x0a" + bytes([len(data + bad) & 0x7F | 0x80, len(data + bad) >> 7]) + data + bad, NOW)
    monkeypatch.setattr(events_decode, "PARSED_AT_ONCE", 0)
    walked = PushedBody(good, NOW)

    assert (list(joined(broken)), broken.read, broken.unreadable, broken.dropped) == ([TASK.hex()], 2, 1, [(TASK.hex(), 1)])
    assert (len(list(walked.updates())), walked.read, walked.unreadable, walked.dropped) == (2, 2, 0, [(TASK.hex(), 1)])


def _field(number: int, content: bytes) -> bytes:
    length, size = len(content), b""
    while length > 0x7F:
        size, length = size + bytes([length & 0x7F | 0x80]), length >> 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + content


def _hollow() -> dict[str, bytes]:
    """4 MB of nothing, in the places where it takes most room."""
    module, many = gcs_stubs.module("events_event_aggregator_service_pb2"), 2 * 1024 * 1024
    number = {
        (kind.DESCRIPTOR.name, name): kind.DESCRIPTOR.fields_by_name[name].number
        for kind, name in (
            (module.AddEventsRequest, "events_data"),
            (module.RayEventsData, "events"),
            (module.RayEventsData, "task_events_metadata"),
            (module.TaskEventsMetadata, "dropped_task_attempts"),
            (gcs_stubs.module("events_base_event_pb2").RayEvent, "task_lifecycle_event"),
        )
    }
    lifecycle_event = gcs_stubs.module("events_base_event_pb2").RayEvent().task_lifecycle_event
    transition = lifecycle_event.DESCRIPTOR.fields_by_name["state_transitions"].number
    states = _field(number["RayEvent", "task_lifecycle_event"], _field(transition, b"") * many)
    inside = {
        "events": _field(number["RayEventsData", "events"], b"") * many,
        "states of one event": _field(number["RayEventsData", "events"], states),
        "lost attempts": _field(
            number["RayEventsData", "task_events_metadata"], _field(number["TaskEventsMetadata", "dropped_task_attempts"], b"") * many
        ),
    }
    return {name: _field(number["AddEventsRequest", "events_data"], content) for name, content in inside.items()}


@pytest.mark.parametrize("name", ["events", "states of one event", "lost attempts"])
def test_four_megabytes_of_nothing_take_no_more_memory_than_other_bodies(name: str) -> None:
    raw = _hollow()[name]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        grown, unreadable = pool.apply(_memory_of_reading, (raw,))
    assert unreadable >= 1
    assert grown < 120 * 1024 * 1024


def _memory_of_reading(raw: bytes) -> tuple[int, int]:
    """Bytes that this process grew by at most, and what it could not read."""
    list(PushedBody(binary(lifecycle((8, 1))), NOW).updates())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    body = PushedBody(raw, NOW)
    assert list(body.updates()) == []
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024, body.unreadable


@pytest.mark.parametrize("size", [1, 700, 100_000])
def test_events_are_read_once_each_however_many_are_parsed_at_once(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(events_decode, "PARSED_AT_ONCE", size)
    body = PushedBody(binary(*(lifecycle((8, 1), task_attempt=number) for number in range(100)), dropped=[(TASK, 7)]), NOW)
    assert [update.attempt_number for update in body.updates()] == list(range(100))
    assert (body.read, body.unreadable, body.dropped) == (100, 0, [(TASK.hex(), 7)])


@pytest.mark.parametrize("seed", range(60))
def test_bodies_that_are_cut_or_garbled_never_break(seed: int) -> None:
    rng = random.Random(seed)
    events = [lifecycle((8, 1), task_attempt=number) for number in range(20)]
    for raw, kind in ((binary(*events), PushedBody), (exported(*events), ExportedBody)):
        garbled = bytearray(raw[: rng.randrange(len(raw))])
        for _ in range(rng.choice((0, 1, 20))):
            if garbled:
                garbled[rng.randrange(len(garbled))] = rng.randrange(256)
        body = kind(bytes(garbled), NOW)
        assert len(list(body.updates())) <= 20
        assert body.read <= 20


def test_a_body_cut_short_gives_what_was_whole() -> None:
    whole = binary(*(lifecycle((8, 1), task_attempt=number) for number in range(20)))
    body = PushedBody(whole[: len(whole) // 2], NOW)

    assert (len(list(body.updates())), body.unreadable) == (10, 1)


@pytest.mark.parametrize("raw", [b"", b"{}", b"null", b'"x"', b"[", b"\xff", b"[" * 100_000, b'{"a":' * 100_000])
def test_a_json_body_that_is_no_list_is_one_bad_event(raw: bytes) -> None:
    body = ExportedBody(raw, NOW)

    assert (list(body.updates()), body.unreadable) == ([], 1)


VALUES: tuple[Any, ...] = (None, True, 0, -1, 1.5, 2**70, "", "x", "é", [], [[]], {}, {"a": {}}, "1e9", "NaN", ["x", None, 3])


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_json_values_of_a_wrong_type_are_as_if_they_were_not_there(value: Any) -> None:
    for kind in ("definition", "actor_definition", "lifecycle"):
        whole = lifecycle((8, 1), worker_pid=7, ray_error_info={"error_type": 1}) if kind == "lifecycle" else event(kind, task_id=TASK)
        [good] = json.loads(exported(whole))
        for path in paths(good):
            bad = copy.deepcopy(good)
            at = bad
            for name in path[:-1]:
                at = at[name]
            at[path[-1]] = value
            body = ExportedBody(json.dumps([bad, value]).encode(), NOW)
            assert body.read + body.skipped + body.unreadable == 0
            assert len(list(body.updates())) <= 1
            assert body.read + body.skipped + body.unreadable == 2


def paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON tree."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for name, item in entries for path in ((*here, name), *paths(item, (*here, name)))]


@pytest.mark.parametrize("number", ["--5", "-", "", "5-", "٣", "9" * 30, "1_0"])
def test_a_number_that_is_none_costs_no_other_event(number: str) -> None:
    events = json.loads(exported(*(event("lifecycle", task_attempt=attempt) for attempt in range(3))))
    events[1]["taskLifecycleEvent"]["workerPid"] = number
    events[1]["taskLifecycleEvent"]["taskAttempt"] = number
    body = ExportedBody(json.dumps(events).encode(), NOW, SESSION)
    assert len(list(body.updates())) == 3


@pytest.mark.parametrize("seed", range(20))
def test_escapes_in_runs_are_mended_as_one_by_one(seed: int) -> None:
    chosen = random.Random(seed)
    parts = ["\\n", "\\\\", '\\"', "\\u0041", "\\ud83d\\ude00", "\\ud83d", "\\ude00", "a", "\\uDBFF", "ud800", "\\\\ud800"]
    text = "".join(chosen.choice(parts) * chosen.randrange(1, 700 if seed < 3 else 4) for _ in range(40))
    mended = _without_halves(b'"' + text.encode() + b'"').decode()
    assert json.loads(mended) == re.sub("[\ud800-\udfff]", "?", json.loads('"' + text + '"'))
