"""From the GCS to the sentence: tasks of each kind that wait, collected from a simulated cluster by the real collector."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import redis

from clusterstate import paths
from clusterstate.resources import TASKS
from clusterstate.settings import Settings
from clusterstate.store.fleet_index import session_file
from clusterstate.store.projection import Projection
from clusterstate.store.reader import SessionReader
from tests.simulated_ray import SimulatedRay
from tests.workers.collecting import CLUSTER, Seen, collecting, eventually
from webapp.task_reasons import why_task_waits
from webapp.waiting_tasks import waiting_tasks
from workers.collectors import cluster_follow

PLACE = "PENDING_NODE_ASSIGNMENT"


@pytest.fixture
def ray() -> Iterator[SimulatedRay]:
    with SimulatedRay(nodes=1, jobs=1) as cluster:
        yield cluster


def reader_of(seen: Seen, settings: Settings) -> SessionReader:
    """The index as it is now."""
    session = str(seen.session)
    path = session_file(paths.index_dir(settings.state_dir), CLUSTER, session)
    path.parent.mkdir(parents=True, exist_ok=True)
    projection = Projection(seen.redis, path, CLUSTER, session, 60)
    projection.catch_up()
    projection.close()
    return SessionReader(path, CLUSTER, session, deadline_ms=5000)


def test_each_kind_of_wait_is_told_from_what_the_gcs_says(
    ray: SimulatedRay, redis_client: redis.Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_follow, "TASKS_EVERY_S", 0.25)
    waiting = ray.add_actor(state="PENDING_CREATION", name="big", required_resources={"CPU": 5000.0})
    alive = ray.add_actor(state="ALIVE", name="busy", required_resources={})
    ray.add_task(state="RUNNING", actor_id=alive, info={"name": "work", "type": "ACTOR_TASK"})
    huge = {"name": "huge", "required_resources": {"CPU": 99_000.0}}
    bundle = {"CPU_group_0_" + "ab" * 18: 1.0, "bundle_group_" + "ab" * 18: 0.001}
    grouped = {"name": "grouped", "placement_group_id": bytes.fromhex("ab" * 18), "required_resources": bundle}
    tasks = {
        "No node is large enough": ray.add_task(state=PLACE, info=huge),
        "No node has the labels": ray.add_task(state=PLACE, info={"name": "zoned", "label_selector": {"zone": "moon"}}),
        "Its placement group is gone": ray.add_task(state=PLACE, info=grouped),
        "Ray does not tell which one": ray.add_task(state="PENDING_ARGS_AVAIL"),
        "Its actor big is PENDING_CREATION": ray.add_task(state=PLACE, actor_id=waiting),
        "Its actor busy runs work first": ray.add_task(state="SUBMITTED_TO_WORKER", actor_id=alive),
        "the object store of its node": ray.add_task(state="PENDING_OBJ_STORE_MEM_AVAIL"),
        "its arguments are on their way": ray.add_task(state="PENDING_ARGS_FETCH"),
        "handed to a worker process": ray.add_task(state="SUBMITTED_TO_WORKER"),
    }
    with collecting(redis_client, replace(settings, poll_interval_s=0.25), ray.address) as seen:
        eventually(lambda: set(tasks.values()) <= seen.rows(TASKS).keys() and seen.as_of("node_resources") and seen.as_of("actors"))
        reader = reader_of(seen, settings)
        for words, task_id in tasks.items():
            task = reader.get(TASKS, task_id)
            assert task is not None
            reason = why_task_waits(reader, task)
            assert reason is not None
            assert words in reason.sentence
        told = waiting_tasks(reader, 0.0)
        assert told.total == sum(one.count for one in told.groups) == len(tasks)
        assert all(any(words in one.sentence for one in told.groups) for words in tasks)
