"""The cluster collector against a simulated GCS: what it writes, and how it gets over faults."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from clusterstate.model import NodeStats, Process
from clusterstate.resources import NODE_RESOURCES, NODE_STATS, PROCESSES, STATUS
from clusterstate.settings import Settings, read_settings
from clusterstate.store import keys
from tests.private_redis import private_redis
from tests.simulated_ray import SimulatedRay
from tests.workers.collecting import Seen, collecting, eventually
from workers.collectors import cluster_follow, cluster_nodes


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Polls faster than in life, so that the tests wait less."""
    return replace(settings, poll_interval_s=0.25)


@pytest.fixture(scope="module")
def watched(short_dirs: Path) -> Iterator[tuple[SimulatedRay, Seen]]:
    """A small cluster with a collector, for tests that only add to it."""
    with private_redis(short_dirs) as server, server.client() as client, SimulatedRay(nodes=2, jobs=1) as ray:
        quick = read_settings({}, state_dir=short_dirs, redis_url=server.url, poll_interval_s=0.25)
        with collecting(client, quick, ray.address) as seen:
            eventually(lambda: seen.as_of("actors"))
            yield ray, seen


@pytest.fixture(scope="module")
def short_dirs() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rd") as folder:
        yield Path(folder)


@pytest.fixture
def ray(watched: tuple[SimulatedRay, Seen]) -> SimulatedRay:
    return watched[0]


@pytest.fixture
def seen(watched: tuple[SimulatedRay, Seen]) -> Seen:
    return watched[1]


@pytest.fixture
def own_ray() -> Iterator[SimulatedRay]:
    """A cluster to break."""
    with SimulatedRay(nodes=2, jobs=1) as cluster:
        yield cluster


@pytest.fixture
def own_seen(own_ray: SimulatedRay, redis_client: redis.Redis, settings: Settings) -> Iterator[Seen]:
    with collecting(redis_client, settings, own_ray.address) as found:
        eventually(lambda: found.as_of("actors"))
        yield found


def test_what_is_there_at_the_start_is_written(redis_client: redis.Redis, settings: Settings) -> None:
    many: dict[str, Any] = {
        "nodes": 3,
        "dead_nodes": 1,
        "jobs": 2,
        "submissions": 3,
        "live_actors": 10,
        "dead_actors": 20,
        "placement_groups": 2,
    }
    with SimulatedRay(**many) as ray, collecting(redis_client, settings, ray.address) as seen:
        eventually(lambda: seen.as_of("placement_groups") and seen.as_of("actors") and seen.as_of("status"))

        assert sorted(node.state for node in seen.nodes.values()) == ["ALIVE", "ALIVE", "ALIVE", "DEAD"]
        assert {actor_id for actor_id, actor in seen.actors.items() if actor.state == "ALIVE"} == set(ray.actor_ids("ALIVE"))
        assert {actor_id for actor_id, actor in seen.actors.items() if actor.state == "DEAD"} == set(ray.actor_ids("DEAD"))
        assert {worker_id for worker_id, worker in seen.workers.items() if worker.is_alive} == set(ray.worker_ids())
        assert set(seen.groups) == set(ray.placement_group_ids())
        assert set(seen.rows(NODE_RESOURCES)) == set(ray.node_ids())
        assert seen.rows(STATUS)
        metadata = seen.metadata()
        assert metadata is not None
        assert metadata.ray_version == ray.ray_version


def test_an_actor_is_followed_through_its_life(ray: SimulatedRay, seen: Seen) -> None:
    actor_id = ray.add_actor(class_name="Tokenizer", name="tok", state="PENDING_CREATION", required_resources={"CPU": 1})
    eventually(lambda: seen.actors.get(actor_id) and seen.actors[actor_id].state == "PENDING_CREATION")

    ray.start_actor(actor_id)
    alive = eventually(lambda: (row := seen.actors[actor_id]).state == "ALIVE" and row)
    ray.kill_actor(actor_id, reason="OUT_OF_SCOPE", message="nobody needs it")
    dead = eventually(lambda: (row := seen.actors[actor_id]).state == "DEAD" and row)

    assert (alive.class_name, alive.name, alive.pid is not None) == ("Tokenizer", "tok", True)
    assert (dead.class_name, dead.pid, dead.death_cause, dead.exit_detail) == ("Tokenizer", alive.pid, "OUT_OF_SCOPE", "nobody needs it")
    assert dead.end_time_ms is not None
    assert dead.required_resources == {"CPU": 1.0}


def test_the_gpus_of_an_actor_are_known_soon_after_its_start(ray: SimulatedRay, seen: Seen) -> None:
    actor_id = ray.add_actor(required_resources={"CPU": 1, "GPU": 2})

    eventually(lambda: actor_id in seen.actors and seen.actors[actor_id].resource_mapping == {"GPU": [0, 1]}, within_s=3)


def test_a_restarted_actor_runs_nowhere_until_it_runs_again(ray: SimulatedRay, seen: Seen) -> None:
    actor_id = ray.add_actor(max_restarts=3)
    before = eventually(lambda: (row := seen.actors.get(actor_id)) and row.state == "ALIVE" and row)

    ray.restart_actor(actor_id, to="RESTARTING")
    between = eventually(lambda: (row := seen.actors[actor_id]).state == "RESTARTING" and row)
    ray.start_actor(actor_id)
    after = eventually(lambda: (row := seen.actors[actor_id]).state == "ALIVE" and row)

    assert (between.node_id, between.worker_id, between.pid) == (None, None, None)
    assert after.num_restarts == 1
    assert after.worker_id not in (None, before.worker_id)


def test_workers_are_born_by_poll_and_their_death_has_its_reason(ray: SimulatedRay, seen: Seen) -> None:
    worker_id = ray.add_worker()
    eventually(lambda: worker_id in seen.workers and seen.workers[worker_id].is_alive)

    ray.kill_worker(worker_id, exit_type="NODE_OUT_OF_MEMORY", exit_detail="too much memory")

    dead = eventually(lambda: not (row := seen.workers[worker_id]).is_alive and row)
    assert (dead.exit_type, dead.exit_detail) == ("NODE_OUT_OF_MEMORY", "too much memory")


def test_a_node_that_dies_stays_with_what_was_known_of_it_and_its_workers_end(ray: SimulatedRay, seen: Seen) -> None:
    node_id = ray.add_node(node_name="worker-7", labels={"zone": "b"})
    worker_id = ray.add_worker(node_id)
    eventually(lambda: node_id in seen.nodes and worker_id in seen.workers)

    ray.kill_node(node_id)

    dead = eventually(lambda: (row := seen.nodes[node_id]).state == "DEAD" and row)
    assert (dead.node_name, dead.labels.get("zone")) == ("worker-7", "b")
    assert dead.state_message
    assert dead.end_time_ms
    eventually(lambda: not seen.workers[worker_id].is_alive)
    eventually(lambda: node_id not in seen.rows(NODE_RESOURCES))


def test_placement_groups_stay_as_removed(ray: SimulatedRay, seen: Seen) -> None:
    kept, gone = ray.add_placement_group(name="kept"), ray.add_placement_group(name="gone")
    eventually(lambda: {kept, gone} <= seen.groups.keys())

    ray.remove_placement_group(kept)
    ray.forget_placement_group(gone)

    eventually(lambda: seen.groups[kept].state == seen.groups[gone].state == "REMOVED")
    assert seen.groups[gone].name == "gone"


def test_a_submission_and_its_driver_are_one_job(ray: SimulatedRay, seen: Seen) -> None:
    submission_id = ray.add_submission("raysubmit_1", status="PENDING", entrypoint="python x.py --token=abc")
    eventually(lambda: submission_id in seen.jobs)
    job_id = ray.add_job(metadata={"job_submission_id": submission_id})
    ray.set_submission(submission_id, status="RUNNING")
    eventually(lambda: (row := seen.jobs[submission_id]).job_id == job_id and row.status == "RUNNING")
    ray.finish_job(job_id)
    ray.set_submission(submission_id, status="FAILED", message="exit code 1", driver_exit_code=1)

    job = eventually(lambda: (row := seen.jobs[submission_id]).status == "FAILED" and row)
    assert (job.type, job.job_id, job.message, job.driver_exit_code) == ("SUBMISSION", job_id, "exit code 1", 1)
    assert job.entrypoint == "python x.py --token=<redacted>"
    assert job_id not in seen.jobs


def test_a_further_driver_of_a_submission_is_a_job_of_its_own(ray: SimulatedRay, seen: Seen) -> None:
    submission_id = ray.add_submission("raysubmit_2", status="RUNNING", driver=True)
    first = eventually(lambda: submission_id in seen.jobs and seen.jobs[submission_id].job_id)

    second = ray.add_job(metadata={"job_submission_id": submission_id})

    further = eventually(lambda: seen.jobs.get(second))
    assert (further.type, further.submission_id) == ("DRIVER", submission_id)
    assert seen.jobs[submission_id].job_id == first


def test_a_driver_that_names_a_submission_before_its_record_is_there_joins_it_later(ray: SimulatedRay, seen: Seen) -> None:
    job_id = ray.add_job(metadata={"job_submission_id": "raysubmit_late"})
    eventually(lambda: job_id in seen.jobs)

    ray.add_submission("raysubmit_late", status="RUNNING")

    eventually(lambda: "raysubmit_late" in seen.jobs and seen.jobs["raysubmit_late"].job_id == job_id and job_id not in seen.jobs)


def test_a_deleted_submission_is_gone(ray: SimulatedRay, seen: Seen) -> None:
    submission_id = ray.add_submission("raysubmit_3", status="SUCCEEDED")
    eventually(lambda: submission_id in seen.jobs)

    ray.forget_submission(submission_id)

    eventually(lambda: submission_id not in seen.jobs)


def test_a_submission_id_that_looks_like_another_drivers_id_hides_neither(ray: SimulatedRay, seen: Seen) -> None:
    job_id = ray.add_job()
    eventually(lambda: job_id in seen.jobs)

    ray.add_submission(job_id, status="RUNNING", entrypoint="echo me")

    submission = eventually(lambda: seen.jobs.get(f"submission:{job_id}"))
    assert submission.entrypoint == "echo me"
    assert seen.jobs[job_id].type == "DRIVER"


def test_after_a_gcs_restart_all_is_followed_again_and_nothing_running_has_failed(own_ray: SimulatedRay, own_seen: Seen) -> None:
    actor_id = own_ray.add_actor()
    [job_id] = own_ray.job_ids()
    eventually(lambda: actor_id in own_seen.actors and own_seen.actors[actor_id].state == "ALIVE")

    own_ray.stop()
    report = eventually(lambda: (row := own_seen.report) and not row.gcs_reachable and row)
    during = (own_seen.actors[actor_id].state, own_seen.jobs[job_id].status)
    own_ray.start()
    eventually(lambda: (row := own_seen.report) and row.gcs_reachable and row.sources, within_s=5)
    own_ray.kill_actor(actor_id)

    assert report.gcs_unreachable_since is not None
    assert during == ("ALIVE", "RUNNING")
    eventually(lambda: own_seen.actors[actor_id].state == "DEAD", within_s=5)
    assert own_seen.jobs[job_id].status == "RUNNING"


def test_what_happened_while_the_gcs_was_away_is_caught_up(own_ray: SimulatedRay, own_seen: Seen) -> None:
    killed, forgotten = own_ray.add_actor(), own_ray.add_actor()
    eventually(lambda: {killed, forgotten} <= own_seen.actors.keys())

    own_ray.stop()
    own_ray.kill_actor(killed, message="died in the gap")
    own_ray.forget_actor(forgotten)
    own_ray.start()

    eventually(lambda: own_seen.actors[killed].state == own_seen.actors[forgotten].state == "DEAD", within_s=8)
    assert own_seen.actors[killed].exit_detail == "died in the gap"
    assert "no longer knows" in (own_seen.actors[forgotten].exit_detail or "")


def test_a_lost_subscription_is_noticed_by_the_repair_of_what_lives(
    own_ray: SimulatedRay, redis_client: redis.Redis, settings: Settings
) -> None:
    """Nothing says that a GCS forgot its subscriber: the list of the living does."""
    actor_id = own_ray.add_actor()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster_follow, "ACTORS_REPAIRED_EVERY_S", 1.0)
        with collecting(redis_client, settings, own_ray.address) as seen:
            eventually(lambda: actor_id in seen.actors and seen.as_of("actors"))
            own_ray.drop_subscriptions()
            own_ray.kill_actor(actor_id)

            eventually(lambda: seen.actors[actor_id].state == "DEAD", within_s=5)


def test_an_actor_that_waits_to_be_placed_is_not_one_whose_arguments_are_missing(
    own_ray: SimulatedRay, redis_client: redis.Redis, settings: Settings
) -> None:
    """The GCS's table does not know PENDING_CREATION; its memory and its messages do."""
    before = own_ray.add_actor(state="PENDING_CREATION")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster_follow, "ACTORS_REPAIRED_EVERY_S", 0.2)
        with collecting(redis_client, settings, own_ray.address) as seen:
            eventually(lambda: before in seen.actors and seen.as_of("actors"))
            states = {seen.actors[before].state}
            published = own_ray.add_actor(state="PENDING_CREATION")
            eventually(lambda: published in seen.actors and seen.actors[published].state == "PENDING_CREATION")
            give_up = time.monotonic() + 1
            while time.monotonic() < give_up:
                states |= {seen.actors[before].state, seen.actors[published].state}

            assert states == {"PENDING_CREATION"}


def test_another_cluster_at_the_address_is_another_session(own_ray: SimulatedRay, own_seen: Seen) -> None:
    first = own_seen.session
    assert first

    own_ray.new_session()

    eventually(lambda: own_seen.session not in (None, first))
    ended = own_seen.metadata(first)
    assert ended is not None
    assert ended.ended_ms is not None
    assert "new session" in (ended.end_reason or "")
    eventually(lambda: len(own_seen.nodes) == 2)


def test_an_emptied_redis_is_filled_again(own_ray: SimulatedRay, own_seen: Seen) -> None:
    actor_id = own_ray.add_actor()
    eventually(lambda: actor_id in own_seen.actors)
    own_seen.redis.flushall()

    eventually(lambda: own_seen.session and actor_id in own_seen.actors and len(own_seen.nodes) == 2, within_s=8)
    eventually(lambda: own_seen.as_of("actors"))


def test_a_redis_that_was_killed_and_comes_back_empty_is_filled_again(own_ray: SimulatedRay, short_dir: Path, settings: Settings) -> None:
    with private_redis(short_dir) as server:
        own = replace(settings, redis_url=server.url)
        with server.client() as client, collecting(client, own, own_ray.address) as seen:
            eventually(lambda: seen.as_of("actors"))
            os.kill(server.pid, signal.SIGKILL)
            actor_id = own_ray.add_actor()
            time.sleep(0.5)
            (short_dir / "redis.sock").unlink(missing_ok=True)
            with private_redis(short_dir):
                eventually(lambda: seen.session and actor_id in seen.actors and len(seen.nodes) == 2, within_s=8)
                eventually(lambda: seen.as_of("actors"))


def test_without_a_token_the_report_says_what_to_do(redis_client: redis.Redis, settings: Settings) -> None:
    with SimulatedRay(token="s3cret") as ray:
        with collecting(redis_client, settings, ray.address, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "s3cret"}) as seen:
            eventually(lambda: seen.as_of("actors"))
            metadata = seen.metadata()
            assert metadata is not None
            assert metadata.token_auth is True
        with collecting(redis_client, settings, ray.address, {"RAY_AUTH_MODE": "token", "HOME": "/nonexistent"}) as seen:
            report = eventually(lambda: (row := seen.report) and not row.gcs_reachable and row)
            assert "wants a token" in report.problems[0]
            assert "RAY_AUTH_TOKEN" in report.problems[0]
        with collecting(redis_client, settings, ray.address, {"RAY_AUTH_TOKEN": "wrong"}) as seen:
            report = eventually(lambda: (row := seen.report) and row.problems and "refuses our token" in row.problems[0] and row)
            assert "wrong" not in report.problems[0].replace("a wrong one", "")


def test_a_cluster_of_another_release_is_polled_and_the_report_says_so(redis_client: redis.Redis, settings: Settings) -> None:
    with SimulatedRay(nodes=1, jobs=1, ray_version="2.48.0") as ray, collecting(redis_client, settings, ray.address) as seen:
        eventually(lambda: seen.as_of("actors"))
        actor_id = ray.add_actor(class_name="Polled")
        eventually(lambda: actor_id in seen.actors)
        ray.kill_actor(actor_id)
        dead = eventually(lambda: (row := seen.actors[actor_id]).state == "DEAD" and row)

        report = seen.report
        assert report is not None
        assert not report.pubsub_supported
        assert any("2.48.0" in problem for problem in report.problems)
        assert {source.source for source in report.sources} == {"poll"}
        assert dead.death_cause == "RAY_KILL"
        assert ray.calls["GcsSubscriberPoll"] == 0


def test_a_call_that_the_cluster_does_not_have_costs_its_resource_alone(redis_client: redis.Redis, settings: Settings) -> None:
    with SimulatedRay(nodes=1) as ray:
        ray.refuse("GetAllPlacementGroup")
        ray.refuse("GetClusterStatus")
        with collecting(redis_client, settings, ray.address) as seen:
            eventually(lambda: seen.as_of("jobs") and seen.as_of("actors"))
            actor_id = ray.add_actor()
            eventually(lambda: actor_id in seen.actors)

            report = eventually(lambda: (row := seen.report) and sum(source.problem is not None for source in row.sources) == 2 and row)
            problems = {source.resource: source.problem for source in report.sources}
            assert "GetAllPlacementGroup" in (problems["placement_groups"] or "")
            assert "GetClusterStatus" in (problems["status"] or "")


def test_a_name_that_is_not_text_leaves_out_its_row_alone(own_ray: SimulatedRay, own_seen: Seen) -> None:
    bad = own_ray.add_actor(name=b"\xff\xfe")
    good = own_ray.add_actor(name="fine")

    eventually(lambda: good in own_seen.actors)
    assert bad not in own_seen.actors or own_seen.actors[bad].name is None


def test_of_the_dead_only_the_newest_are_kept_and_the_evicted_are_counted(redis_client: redis.Redis, settings: Settings) -> None:
    with SimulatedRay(nodes=1, dead_actors=30, live_actors=3) as ray:
        newest = ray.actor_ids("DEAD")[-10:]
        with collecting(redis_client, replace(settings, max_dead_actors=10), ray.address) as seen:
            report = eventually(lambda: (row := seen.report) and row.actors_evicted == 20 and row)

            assert {actor_id for actor_id, actor in seen.actors.items() if actor.state == "DEAD"} == set(newest)
            assert report.actors_evicted == 20


def test_freshness_advances_while_nothing_happens_and_rows_do_not_change(own_ray: SimulatedRay, own_seen: Seen) -> None:
    names = ("actors", "nodes", "jobs", "workers", "placement_groups", "status", "node_resources", "tasks")
    eventually(lambda: all(own_seen.as_of(name) for name in names))
    before = {name: own_seen.as_of(name) for name in names}
    told_before = _told(own_seen)

    eventually(lambda: all(own_seen.as_of(name) > before[name] for name in names), within_s=5)

    assert set(_told(own_seen)[len(told_before) :]) <= {b"collector"}


def _told(seen: Seen) -> list[bytes]:
    """The resources of all changes announced so far, in order."""
    entries: Any = seen.redis.xrange(keys.changes("test", seen.session or ""))
    return [fields[b"r"] for _, fields in entries]


def test_what_a_dead_node_left_is_cleared_away_though_its_collector_died_with_it(
    own_ray: SimulatedRay, redis_client: redis.Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_nodes, "LEAVES_WITHIN_S", 0.2)
    monkeypatch.setattr(cluster_follow, "TRIM_EVERY_S", 0.2)
    lost, kept = own_ray.node_ids()
    with collecting(redis_client, replace(settings, max_dead_nodes=0), own_ray.address) as seen:
        eventually(lambda: seen.as_of("nodes"))
        writer = seen.writer()
        for node_id in (lost, kept):
            writer.record(NODE_STATS, [NodeStats(node_id, 1.0)], 1.0)
            writer.record(PROCESSES, [Process(f"{node_id}:7", node_id, 7, "WORKER")], 1.0)
            writer.confirm({f"node:{node_id}": 1.0})

        own_ray.kill_node(lost)

        eventually(lambda: {row.node_id for row in seen.rows(PROCESSES).values()} == set(seen.rows(NODE_STATS)) == {kept}, within_s=8)
        assert seen.as_of(f"node:{kept}") == 1.0
        eventually(lambda: not seen.as_of(f"node:{lost}"))
        eventually(lambda: seen.report and seen.report.nodes_evicted == 1)
