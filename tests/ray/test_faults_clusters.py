"""Clusters that end, come back or are followed by another, and a start after everything was killed."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import time
from pathlib import Path

import pytest

from clusterstate.journal import Journal
from clusterstate.paths import journal_file
from clusterstate.settings import Settings
from tests.ray.killing import (
    FRESH_WITHIN_S,
    everything_of,
    fresh_after,
    kill,
)
from tests.ray.onlookers import NO_ANSWER, PAGES, Person, looking_on
from tests.ray.outside import free_port, sealed, session_of, tcp_redis
from tests.ray.timing import say_times, seen_at, state_seen_at
from tests.ray.told_driver import told_driver
from tests.running import Running, raydeck_up
from tests.workers.real_ray_cluster import RealRay, real_ray

pytestmark = pytest.mark.faults
AWAY_S = 8.0
PUBLISHED_WITHIN_S = 2.0


def says(running: Running, words: str, page: str = "") -> bool:
    try:
        status, body = running.get(f"/c/{running.ready['cluster']}/{page}")
    except OSError:
        return False
    return status == 200 and words in body


def test_after_a_kill_of_everything_all_is_there_again() -> None:
    """Users, the sealed session of before and the new one: what was promised outlives `kill -9`."""
    folder = Path(tempfile.mkdtemp(prefix="rdup"))
    port = free_port()
    try:
        with real_ray(nodes=1, gcs_port=port) as ray, raydeck_up("--address", ray.address, environ=ray.environ, folder=folder) as running:
            first = use(running, ray)
            Person(running)
            with contextlib.closing(Journal(journal_file(running.state_dir))) as journal:
                journal.add_user("vera", "a long password of hers", "viewer", "test", time.time())
            kill(everything_of(running))
            running.process.wait(10)
        with real_ray(nodes=1, gcs_port=port) as ray, raydeck_up("--address", ray.address, environ=ray.environ, folder=folder) as running:
            seen_at(lambda: first.session in sealed(running), "the session of before, sealed", 40.0)
            fresh_after(running, time.time())
            with contextlib.closing(Journal(journal_file(running.state_dir))) as journal:
                assert {user.name for user in journal.users()} == {"admin", "vera"}
            is_kept_apart(running, first)
            second = use(running, ray)
            kill(everything_of(running))
            running.process.wait(10)
            with raydeck_up("--address", ray.address, environ=ray.environ, folder=folder) as again:
                fresh_after(again, time.time())
                assert session_of(again) == second.session
                assert state_seen_at(again, "actors", second.actor_id)
                is_kept_apart(again, first)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Used:
    """A session and an actor of it."""

    def __init__(self, session: str, actor_id: str) -> None:
        self.session, self.actor_id = session, actor_id


def use(running: Running, ray: RealRay) -> Used:
    """Runs something on the cluster that will be remembered."""
    with told_driver({**ray.environ, "RAY_ADDRESS": ray.address}) as driver:
        actor_id = driver.ask("actor", "remembered")["actor_id"]
        driver.ask("wait", "remembered")
        state_seen_at(running, "actors", actor_id, "ALIVE")
    state_seen_at(running, "actors", actor_id, "DEAD")
    return Used(session_of(running), actor_id)


def is_kept_apart(running: Running, past: Used) -> None:
    """The past session is readable, and nothing of it is in the present one."""
    name = running.ready["cluster"]
    status, body = running.get(f"/c/{name}/s/{past.session}/actors.json?actor_id={past.actor_id}")
    assert status == 200
    assert json.loads(body)["matching"] == 1
    assert running.row("actors", past.actor_id) is None
    assert session_of(running) != past.session
    for page in PAGES:
        assert running.get(f"/c/{name}/s/{past.session}/{page}")[0] == 200, page


def test_a_cluster_whose_gcs_died_is_said_to_be_unreachable_and_the_next_one_there_is_another() -> None:
    port = free_port()
    with real_ray(gcs_port=port, nodes=1) as ray, raydeck_up("--address", ray.address, environ=ray.environ) as running:
        person = Person(running)
        past = use(running, ray)
        fresh_after(running, time.time())
        with looking_on(running, person) as onlookers:
            killed = time.time()
            ray.tell("kill_gcs")
            told = seen_at(lambda: says(running, "The GCS cannot be reached"), "a word on the overview") - killed
            seen_at(lambda: says(running, "cannot be reached", "info"), "a word on the cluster's page")
            seen_at(lambda: running.rows("actors")["stale"], "stale rows")
            seen_at(lambda: is_counted_as_unreachable(running), "a word to Prometheus")
            assert running.row("actors", past.actor_id) is not None
            time.sleep(2)
        assert onlookers.failures() == []
        assert onlookers.statuses().get(NO_ANSWER, 0) == 0
        assert onlookers.greatest_age_s() > Settings().stale_after_s
        ray.keeper.terminate()
        ray.keeper.wait(30)
        with real_ray(gcs_port=port, nodes=1):
            began = time.time()
            seen_at(lambda: past.session in sealed(running), "the old session sealed", 40.0)
            took = fresh_after(running, began)
            is_kept_apart(running, past)
    say_times({"unreachable said": [told], "next cluster fresh": [took]})
    assert told < FRESH_WITHIN_S


def is_counted_as_unreachable(running: Running) -> bool:
    """In what Prometheus reads."""
    status, body = running.get("/metrics")
    return status == 200 and f'raydeck_cluster_gcs_reachable{{cluster="{running.ready["cluster"]}"}} 0.0' in body


def test_a_gcs_with_a_store_outside_comes_back_as_it_was(short_dir: Path) -> None:
    with tcp_redis(short_dir) as (store, start):
        start()
        with (
            real_ray(external_store=store, gcs_port=free_port()) as ray,
            raydeck_up("--address", ray.address, environ=ray.environ) as running,
            told_driver({**ray.environ, "RAY_ADDRESS": ray.address}) as driver,
        ):
            person = Person(running)
            actor_id = driver.ask("actor", "survivor")["actor_id"]
            driver.ask("wait", "survivor")
            state_seen_at(running, "actors", actor_id, "ALIVE")
            session = session_of(running)
            fresh_after(running, time.time())
            with looking_on(running, person) as onlookers:
                ray.tell("kill_gcs")
                seen_at(lambda: says(running, "The GCS cannot be reached"), "a word on the overview")
                time.sleep(5)
                ray.tell("start_gcs")
                took = fresh_after(running, time.time())
            say_times({"fresh after the GCS came back": [took]})

            assert onlookers.failures() == []
            assert onlookers.statuses().get(NO_ANSWER, 0) == 0
            assert took < FRESH_WITHIN_S
            assert session_of(running) == session
            assert state_seen_at(running, "actors", actor_id, "ALIVE")
            assert running.rows("nodes", "?state=ALIVE")["matching"] == 2
            killed = driver.ask("kill", "survivor")["at"]
            assert state_seen_at(running, "actors", actor_id, "DEAD") - killed < 3
