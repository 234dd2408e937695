"""Tasks of the simulated GCS: filters, limits and what counts as lost, as in the installed Ray."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import DecodeError

from tests.simulated_ray import SimulatedRay
from tests.simulated_ray.client import Client
from tests.simulated_ray.tasks import STATES


def asked(client: Client, **request: Any) -> Any:
    return client.call("TaskInfoGcsService", "GetTaskEvents", **request)


def ids(reply: Any) -> list[str]:
    return [row.task_id.hex() for row in reply.events_by_task]


def test_the_newest_come_first_and_what_the_limit_cuts_counts_as_dropped(ray: SimulatedRay, client: Client) -> None:
    [job] = ray.job_ids()
    tasks = [ray.add_task(job_id=job) for _ in range(5)]
    ray.lose_tasks(job, attempts=3, profile_events=7)

    whole, some = asked(client), asked(client, limit=2)

    assert ids(whole) == tasks[::-1]
    assert ids(some) == tasks[:2:-1]
    assert (whole.num_total_stored, whole.num_status_task_events_dropped, whole.num_truncated) == (5, 3, 0)
    assert (some.num_total_stored, some.num_status_task_events_dropped, some.num_truncated) == (5, 6, 3)
    assert (whole.num_profile_task_events_dropped, whole.num_filtered_on_gcs) == (7, 0)


def test_a_filter_by_job_counts_that_jobs_alone(ray: SimulatedRay, client: Client) -> None:
    [one], other = ray.job_ids(), ray.add_job()
    first = ray.add_task(job_id=one)
    ray.add_task(job_id=other)
    ray.lose_tasks(other, attempts=2)

    reply = asked(client, filters={"job_filters": [{"job_id": bytes.fromhex(one)}]})

    assert (ids(reply), reply.num_total_stored, reply.num_status_task_events_dropped) == ([first], 1, 0)


def test_filters_hold_all_and_may_be_turned_round(ray: SimulatedRay, client: Client) -> None:
    running = ray.add_task(state="RUNNING", info={"name": "Work"})
    ended = ray.add_task(info={"name": "work"})
    ray.add_task(info={"name": "", "type": "DRIVER_TASK"})

    assert ids(asked(client, filters={"task_name_filters": [{"task_name": "WORK"}]})) == [ended, running]
    assert ids(asked(client, filters={"state_filters": [{"state": "finished", "predicate": 1}]})) == [running]
    assert ids(asked(client, filters={"exclude_driver": True})) == [ended, running]
    assert ids(asked(client, filters={"task_filters": [{"task_id": bytes.fromhex(ended)}]})) == [ended]
    assert asked(client, filters={"state_filters": [{"state": "RUNNING"}]}).num_filtered_on_gcs == 2
    assert asked(client, filters={"state_filters": [{"state": "x", "predicate": 5}]}).status.code == 34


def test_attempts_go_from_state_to_state(ray: SimulatedRay, client: Client) -> None:
    task = ray.add_task(state="RUNNING", at_ms=1000)
    ray.set_task(task, "FAILED", at_ms=5000, error_info={"error_type": "WORKER_DIED", "error_message": "gone"})
    ray.retry_task(task, 1, state="FINISHED")

    second, first = asked(client).events_by_task

    assert first.state_updates.state_ts_ns[STATES["FAILED"]] == 5_000_000_000
    assert first.state_updates.error_info.error_message == "gone"
    assert (second.attempt_number, second.task_info.name) == (1, first.task_info.name)


def test_at_the_end_of_a_job_what_has_no_end_is_called_failed(ray: SimulatedRay, client: Client) -> None:
    [job] = ray.job_ids()
    ray.add_task(job_id=job, state="PENDING_ARGS_AVAIL")
    running = ray.add_task(job_id=job, state="RUNNING")
    ended = ray.add_task(job_id=job)
    ray.mark_tasks_of_dead_worker(ray.task(running).state_updates.worker_id.hex(), 3, "its job has finished")
    ray.mark_tasks_of_ended_job(job)

    said = {row.task_id.hex(): row.state_updates.error_info.error_message for row in asked(client).events_by_task}

    assert said[running].endswith("died with exit_type: 3 with error_message: its job has finished")
    assert said[ended] == ""
    assert sum(message.startswith(f"Job finishes ({job})") for message in said.values()) == 1


def test_above_its_limit_the_gcs_gives_up_the_oldest_finished_attempt_and_counts_it() -> None:
    with SimulatedRay(jobs=1, max_tasks=3) as ray, Client(ray.address) as client:
        waiting = ray.add_task(state="PENDING_ARGS_AVAIL")
        ended = [ray.add_task() for _ in range(4)]

        reply = asked(client)

        assert ids(reply) == [ended[3], ended[2], waiting]
        assert (reply.num_total_stored, reply.num_status_task_events_dropped) == (3, 2)


def test_bytes_that_are_no_text_can_be_sent(ray: SimulatedRay, client: Client) -> None:
    ray.add_task(info={"name": b"\xff\xfe"})

    with pytest.raises(DecodeError):
        ray.tasks.get(next(iter(ray.tasks)))


def test_there_may_be_a_hundred_thousand() -> None:
    with SimulatedRay(nodes=3, jobs=4, tasks=100_000) as ray, Client(ray.address) as client:
        reply = asked(client, limit_s=60.0)

        assert (len(reply.events_by_task), reply.num_total_stored) == (100_000, 100_000)
        assert len({row.task_id for row in reply.events_by_task}) == 100_000
        assert {row.state_updates.state_ts_ns.keys() >= {STATES["FINISHED"]} for row in reply.events_by_task} == {True, False}
