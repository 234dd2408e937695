"""The GCS's task events become updates of our model: in Ray's words, texts by hash, hostile values tamed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from clusterstate.masking import REDACTED
from clusterstate.model import Task
from clusterstate.task_states import END_UNKNOWN, GCS, INFERRED, TASK_STATES
from tests.simulated_ray import SimulatedRay, hostile
from workers.sources import gcs_stubs
from workers.sources.gcs import GcsClient
from workers.sources.gcs_decode_tasks import ReplyTotals, TaskReply, task_update_of
from workers.sources.gcs_fields import CUT, MAX_TEXT
from workers.sources.gcs_wire import Rows, Unchanged
from workers.sources.task_merge import merge
from workers.sources.task_update import TaskUpdate, inference_in, text_id

NOW = 1_795_391_545_000
TASK, JOB, NODE, WORKER = b"\xab" * 8 + b"\xff" * 12 + b"\x01\0\0\0", b"\x01\0\0\0", b"\x11" * 28, b"\x22" * 28
ACTOR = b"\xcd" * 12 + JOB
JOB_IS_OVER = "Job finishes (01000000) as driver exits. Marking all non-terminal tasks as failed."
WORKER_IS_DEAD = f"Worker running the task ({'22' * 28}) died with exit_type: {{}} with error_message: why"


def row(
    states: dict[int, int] | None = None, info: dict[str, Any] | None = None, updates: dict[str, Any] | None = None, **fields: Any
) -> Any:
    """A row of the reply; states are Ray's numbers with ms after NOW."""
    times = {number: (NOW + ms) * 1_000_000 for number, ms in (states or {}).items()}
    given: dict[str, Any] = {"task_id": TASK, "job_id": JOB, "task_info": {"name": "work", "func_or_class_name": "work", **(info or {})}}
    given["state_updates"] = {"state_ts_ns": times, **(updates or {})}
    return gcs_stubs.module("gcs_pb2").TaskEvents(**{**given, **fields})


def update(*args: Any, **fields: Any) -> TaskUpdate:
    found = task_update_of(row(*args, **fields), NOW)
    assert found is not None
    return found


def task(*args: Any, **fields: Any) -> Task:
    return merge(None, update(*args, **fields))


def texts(*args: Any, **fields: Any) -> dict[str, str]:
    return {text.text_id: text.text for text in update(*args, **fields).texts}


def reply(*rows: Any, raw: bytes = b"", **totals: int) -> TaskReply:
    method = gcs_stubs.method("GetTaskEvents")
    content = method.reply(events_by_task=rows, **totals).SerializeToString() + raw
    return TaskReply(Rows(content, method.reply, "events_by_task", gcs_stubs.row_class(method, "events_by_task")), NOW)


# --- What a row says


def test_an_attempt_has_its_ids_in_hex_and_what_is_not_there_is_none() -> None:
    one = task({1: 0, 8: 5}, updates={"node_id": NODE, "worker_id": WORKER, "worker_pid": 7}, attempt_number=2)

    assert (one.task_id, one.attempt_number, one.job_id) == (TASK.hex(), 2, JOB.hex())
    assert (one.node_id, one.worker_id, one.worker_pid) == (NODE.hex(), WORKER.hex(), 7)
    assert (one.state, one.type, one.creation_time_ms, one.start_time_ms, one.end_time_ms) == ("RUNNING", "NORMAL_TASK", NOW, NOW + 5, None)
    assert (one.actor_id, one.parent_task_id, one.placement_group_id, one.error_type, one.call_site_id, one.log_files_id) == (None,) * 6


def test_every_state_of_the_installed_ray_is_known_by_its_name() -> None:
    assert {number: name for name, number in gcs_stubs.module("common_pb2").TaskStatus.items()} == TASK_STATES


def test_an_actors_task_says_which_actor() -> None:
    one = task({8: 1}, {"type": 2, "actor_id": ACTOR, "name": "C.go", "func_or_class_name": "C.go"}, task_id=b"\xab" * 8 + ACTOR)

    assert (one.actor_id, one.type, one.name) == (ACTOR.hex(), "ACTOR_TASK", "C.go")


def test_a_method_of_an_actor_with_a_repr_is_named_as_rays_state_api_names_it() -> None:
    info = {"type": 2, "name": "C.go", "func_or_class_name": "C.go"}

    assert task({8: 1}, info, {"actor_repr_name": "C(7)"}).name == "C(7).go"
    assert task({8: 1}, {**info, "name": "mine"}, {"actor_repr_name": "C(7)"}).name == "mine"


def test_texts_that_repeat_are_kept_once_by_their_hash() -> None:
    info = {
        "required_resources": {"GPU": 1.0, "CPU_group_0_ab": 0.5, "CPU_group_ab": 0.5},
        "call_site": "here\n",
        "label_selector": {"a": "b"},
    }
    log = {"stdout_file": "/tmp/o", "stderr_file": "/tmp/e", "stdout_start": 0, "stdout_end": 9}
    one, found = task({8: 1}, info, {"task_log_info": log}), texts({8: 1}, info, {"task_log_info": log})

    assert json.loads(found[one.required_resources_id or ""]) == {"CPU": 0.5, "GPU": 1.0}
    assert json.loads(found[one.label_selector_id or ""]) == {"a": "b"}
    assert json.loads(found[one.log_files_id or ""]) == ["/tmp/o", "/tmp/e"]
    assert found[one.call_site_id or ""] == "here\n"
    assert (one.stdout_start, one.stdout_end, one.stderr_start) == (0, 9, None)
    assert one.call_site_id == text_id("here\n")
    assert len(text_id("here\n")) == 16


def test_secrets_are_masked_in_runtime_environment_and_error() -> None:
    info = {"runtime_env_info": {"serialized_runtime_env": '{"env_vars": {"TOKEN": "s3cret"}, "working_dir": "gcs://a.zip"}'}}
    error = {"error_type": 3, "error_message": "\x1b[36mray::f()\x1b[39m\npassword=hunter2"}
    one, found = task({12: 1}, info, {"error_info": error}), texts({12: 1}, info, {"error_info": error})

    assert json.loads(found[one.runtime_env_id or ""]) == {"env_vars": {"TOKEN": REDACTED}, "working_dir": "gcs://a.zip"}
    assert (one.error_type, found[one.error_message_id or ""]) == ("TASK_EXECUTION_EXCEPTION", f"ray::f()\npassword={REDACTED}")


def test_an_empty_runtime_environment_is_none() -> None:
    assert task({8: 1}, {"runtime_env_info": {"serialized_runtime_env": "{}"}}).runtime_env_id is None


def test_an_error_without_a_message_of_its_own_has_that_of_its_cause() -> None:
    cause = {"actor_died_error": {"actor_died_error_context": {"error_message": "killed by `ray.kill`"}}, "error_type": 1}

    one = task({12: 1}, updates={"error_info": cause})

    assert texts({12: 1}, updates={"error_info": cause})[one.error_message_id or ""] == "killed by `ray.kill`"
    assert task({12: 1}, updates={"error_info": {"error_type": 0}}).error_type == "WORKER_DIED"


def test_a_row_of_which_only_the_definition_is_there_has_no_state() -> None:
    message = row()
    message.ClearField("state_updates")

    found = task_update_of(message, NOW)

    assert found is not None
    assert (merge(None, found).state, merge(None, found).name) == ("NIL", "work")


# --- What the GCS only guesses


@pytest.mark.parametrize(
    ("states", "message", "expected"),
    [
        ({8: 1, 12: 9}, JOB_IS_OVER, (END_UNKNOWN, None, None, None)),
        ({8: 1, 12: 9}, WORKER_IS_DEAD.format(3), (END_UNKNOWN, None, None, None)),
        ({8: 1, 12: 9}, WORKER_IS_DEAD.format(1), (END_UNKNOWN, None, None, None)),
        ({8: 1, 12: 9}, WORKER_IS_DEAD.format(0), ("FAILED", INFERRED, NOW + 9, "WORKER_DIED")),
        ({8: 1, 12: 9}, WORKER_IS_DEAD.format(4), ("FAILED", INFERRED, NOW + 9, "WORKER_DIED")),
        ({8: 1, 11: 8, 12: 9}, JOB_IS_OVER, ("FINISHED", GCS, NOW + 8, None)),
        ({8: 1, 12: 9}, "RpcError: RPC error: Socket closed", ("FAILED", GCS, NOW + 9, "WORKER_DIED")),
        ({8: 1, 12: 9}, "", ("FAILED", GCS, NOW + 9, "WORKER_DIED")),
    ],
)
def test_a_failure_that_the_gcs_made_up_is_none(states: dict[int, int], message: str, expected: tuple[Any, ...]) -> None:
    one = task(states, updates={"error_info": {"error_type": 0, "error_message": message}})

    assert (one.state, one.end_evidence, one.end_time_ms, one.error_type) == expected


def test_an_error_of_a_user_that_speaks_like_the_gcs_is_an_error() -> None:
    assert inference_in("TASK_EXECUTION_EXCEPTION", JOB_IS_OVER) is None
    assert inference_in("WORKER_DIED", "x" + JOB_IS_OVER) is None


# --- Hostile values


@pytest.mark.parametrize("task_id", [b"", b"\x01", TASK + b"\0", b"\xff" * 24])
def test_an_attempt_without_a_valid_id_is_unreadable(task_id: bytes) -> None:
    assert task_update_of(row({8: 1}, task_id=task_id), NOW) is None


def test_a_negative_attempt_is_unreadable() -> None:
    assert task_update_of(row({8: 1}, attempt_number=-1), NOW) is None


def test_other_ids_of_a_wrong_length_are_unknown() -> None:
    one = task({8: 1}, {"parent_task_id": b"\x01", "placement_group_id": b"\x02" * 19}, {"node_id": b"x" * 27, "worker_id": b"\xff" * 28})

    assert (one.parent_task_id, one.placement_group_id, one.node_id, one.worker_id) == (None,) * 4


@pytest.mark.parametrize("ns", [0, -1, 1, 4_102_444_800 * 10**9, 2**63 - 1, -(2**63)])
def test_a_moment_that_cannot_be_is_unknown_and_the_state_still_reached(ns: int) -> None:
    one = task(updates={"state_ts_ns": {8: ns, 1: NOW * 1_000_000}})
    ended = task(updates={"state_ts_ns": {11: ns, 8: NOW * 1_000_000}})

    assert (one.state, one.start_time_ms, one.creation_time_ms) == ("RUNNING", None, NOW)
    assert (ended.state, ended.end_time_ms) == ("FINISHED", None)


def test_numbers_that_a_later_ray_invents_are_shown_as_numbers() -> None:
    one = task({8: 1, 77: 2}, {"type": 9}, {"error_info": {"error_type": 99, "error_message": "new"}})

    assert (one.state, one.type, one.error_type, one.other_states_ms) == (
        "UNKNOWN(77)",
        "UNKNOWN(9)",
        "UNKNOWN(99)",
        {"UNKNOWN(77)": NOW + 2},
    )


@pytest.mark.parametrize("text", hostile.params())
def test_hostile_texts_are_kept_as_text(text: str) -> None:
    error = {"error_type": 3, "error_message": text}
    found = update(
        {12: 1}, {"name": text, "call_site": text, "required_resources": {text: 1.0}}, {"error_info": error, "actor_repr_name": text}
    )

    assert merge(None, found).name == (text or None)
    assert all(one.text == one.text.encode().decode() for one in found.texts)


def test_an_endless_text_is_cut() -> None:
    one, found = (
        task({12: 1}, {"name": "x" * 3 * MAX_TEXT, "call_site": "y" * 3 * MAX_TEXT}),
        texts({12: 1}, {"call_site": "y" * 3 * MAX_TEXT}),
    )

    assert len(one.name or "") == MAX_TEXT
    assert [(len(text), text.endswith(CUT)) for text in found.values()] == [(MAX_TEXT, True)]


# --- Whole replies


def test_one_bad_record_costs_one_record() -> None:
    number = gcs_stubs.method("GetTaskEvents").reply.DESCRIPTOR.fields_by_name["events_by_task"].number
    bad = bytes([number << 3 | 2, 4]) + b"\xff\xff\xff\xff"
    found = reply(row({8: 1}), row({8: 1}, task_id=b"short"), raw=bad + reply_bytes(row({11: 1}, attempt_number=1)), num_total_stored=4)

    attempts = [one.attempt_number for one in found.updates()]

    assert (attempts, found.unreadable, found.totals.num_total_stored) == ([1, 0], 2, 4)


def reply_bytes(*rows: Any) -> bytes:
    return bytes(gcs_stubs.method("GetTaskEvents").reply(events_by_task=rows).SerializeToString())


@pytest.mark.parametrize("share", [0.0, 0.21, 0.53, 0.91, 0.999])
def test_a_reply_that_is_cut_short_is_read_as_far_as_it_goes(share: float) -> None:
    whole = reply_bytes(*(row({8: 1}, attempt_number=number) for number in range(50)))
    method = gcs_stubs.method("GetTaskEvents")
    cut = TaskReply(Rows(whole[: int(len(whole) * share)], method.reply, "events_by_task", method.reply), NOW)

    read = len(list(cut.updates()))

    assert read == int(50 * share)
    assert cut.unreadable == (1 if share else 0)


def test_bytes_that_are_no_message_are_unreadable_and_no_more() -> None:
    method = gcs_stubs.method("GetTaskEvents")
    for raw in (b"\xff" * 100, b"\x80" * 50, b"\x00", b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7fabc", bytes(range(256))):
        found = TaskReply(Rows(raw, method.reply, "events_by_task", method.reply), NOW)
        assert list(found.updates()) == []
        assert found.unreadable >= 1


def test_totals_say_what_ray_lost_apart_from_what_the_limit_cut_off() -> None:
    found = reply(row(), num_total_stored=9, num_status_task_events_dropped=7, num_truncated=5, num_profile_task_events_dropped=-3)
    list(found.updates())

    assert found.totals == ReplyTotals(9, 7, 0, 0, 5)
    assert found.totals.num_attempts_dropped == 2


def test_an_attempt_whose_bytes_did_not_change_is_not_read_again() -> None:
    """A poll brings everything anew: only what is new may cost a merge."""
    first, later, seen = row({8: 1}), row({8: 1, 11: 9}), Unchanged()
    other = row({8: 2}, attempt_number=1)

    def read(*rows: Any, commit: bool = True) -> list[tuple[int, int | None]]:
        method = gcs_stubs.method("GetTaskEvents")
        found = TaskReply(Rows(reply_bytes(*rows), method.reply, "events_by_task", method.reply), NOW, seen)
        got = [(one.attempt_number, one.end_time_ms) for one in found.updates()]
        if commit:
            seen.commit()
        return got

    assert len(read(first, other, commit=False)) == 2
    assert len(read(first, other)) == 2, "what was read but not written is read again"
    assert read(first, other) == []
    assert read(later, other) == [(0, NOW + 9)]


# --- Asking a GCS


def asked(ray: SimulatedRay, **filters: Any) -> tuple[list[Task], TaskReply]:
    async def ask() -> TaskReply:
        client = GcsClient(ray.address)
        try:
            return TaskReply(await client.task_events(**filters), ray.now_ms())
        finally:
            await client.close()

    found = asyncio.run(ask())
    return [merge(None, one) for one in found.updates()], found


Filter = Callable[[Task], bool]


def test_the_gcs_is_asked_for_all_or_for_what_is_meant() -> None:
    with SimulatedRay(jobs=3, tasks=300) as ray:
        everything, whole = asked(ray)
        one = everything[7]
        cases: dict[str, tuple[dict[str, Any], Filter]] = {
            "job": ({"job_id": one.job_id}, lambda task: task.job_id == one.job_id),
            "task": ({"task_id": one.task_id}, lambda task: task.task_id == one.task_id),
            "name": ({"name": one.name}, lambda task: task.name == one.name),
            "state": ({"state": "FAILED"}, lambda task: task.state == "FAILED"),
            "both": ({"state": "FINISHED", "job_id": one.job_id}, lambda task: task.state == "FINISHED" and task.job_id == one.job_id),
        }
        assert (len(everything), whole.unreadable, whole.totals.num_total_stored) == (300, 0, 300)
        for name, (filters, is_meant) in cases.items():
            shown, _ = asked(ray, **filters)
            assert {task.attempt_id for task in shown} == {task.attempt_id for task in everything if is_meant(task)}, name
        limited, cut = asked(ray, limit=10)
        assert (limited, cut.totals.num_truncated, cut.totals.num_attempts_dropped) == (everything[-10:], 290, 0)
