"""The projector: sessions that end, are left, or live again; names it cannot use; indexes it finds."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
import redis

from clusterstate import model, paths
from clusterstate.resources import NODES, RESOURCES
from clusterstate.settings import Settings
from clusterstate.store.fleet_index import is_sealed, session_file
from clusterstate.store.fleet_reader import Fleet
from clusterstate.store.kept_logs import KeptLogsWriter, host_file
from clusterstate.store.writer import SessionWriter
from workers import projector as module
from workers.projector import Projector


@pytest.fixture(autouse=True)
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_MS", 10)
    monkeypatch.setattr(module, "LOOK_AROUND_S", 0.0)


def watched(client: redis.Redis, cluster: str, session: str) -> SessionWriter:
    writer = SessionWriter(client, cluster, session)
    writer.begin(model.ClusterMetadata(cluster, session, ""))
    writer.record(NODES, [model.Node("aa" * 28, "ALIVE")], 1.0)
    writer.confirm(dict.fromkeys(("nodes", "actors", "jobs"), time.time()))
    return writer


def run(client: redis.Redis, settings: Settings, steps: int = 5) -> Fleet:
    projector = Projector(client, settings)
    for _ in range(steps):
        projector.step(time.time())
    projector.close()
    return Fleet(paths.index_dir(settings.state_dir))


def test_a_session_that_another_followed_while_no_projector_ran_is_sealed_at_the_next_start(
    redis_client: redis.Redis, settings: Settings
) -> None:
    watched(redis_client, "demo", "s1")
    run(redis_client, settings)
    watched(redis_client, "demo", "s2")
    fleet = run(redis_client, settings)
    assert is_sealed(session_file(paths.index_dir(settings.state_dir), "demo", "s1"))
    assert fleet.reader("demo", "s1").freshness("nodes", now=time.time()).word == "past"
    assert fleet.reader("demo").session == "s2"
    assert len(fleet.reader("demo").all(NODES)) == 1


def test_a_session_that_is_watched_again_is_shown_live(redis_client: redis.Redis, settings: Settings) -> None:
    watched(redis_client, "demo", "s1").end(time.time(), "another cluster is watched")
    watched(redis_client, "demo", "s2")
    run(redis_client, settings)
    watched(redis_client, "demo", "s1")
    fleet = run(redis_client, settings)
    assert fleet.reader("demo").session == "s1"
    assert fleet.reader("demo").freshness("nodes", now=time.time()).word == "fresh"


def test_a_name_that_cannot_be_a_file_stops_nobody_else(redis_client: redis.Redis, settings: Settings) -> None:
    watched(redis_client, "odd", "../../etc")
    watched(redis_client, "demo", "s1")
    fleet = run(redis_client, settings)
    assert fleet.names() == ["demo"]
    assert len(fleet.reader("demo").all(NODES)) == 1


def test_a_new_index_is_read_before_its_sorts_are_made_and_gets_them_all(redis_client: redis.Redis, settings: Settings) -> None:
    watched(redis_client, "demo", "s1")
    file = session_file(paths.index_dir(settings.state_dir), "demo", "s1")
    run(redis_client, settings, steps=1)
    file.unlink()
    fleet = run(redis_client, settings, steps=1)
    declared = {(resource.name, listed) for resource in RESOURCES for listed in resource.indexed}
    assert len(fleet.reader("demo").all(NODES)) == 1
    assert 0 < len(sorts(file)) < len(declared)

    run(redis_client, settings, steps=1)  # one that is found unfinished is finished at once
    assert len(sorts(file)) == len(declared)

    file.unlink()
    run(redis_client, settings, steps=len(declared) + 1)
    assert len(sorts(file)) == len(declared)


def test_an_index_that_is_deleted_while_it_is_shown_is_made_again(redis_client: redis.Redis, settings: Settings) -> None:
    writer = watched(redis_client, "demo", "s1")
    file = session_file(paths.index_dir(settings.state_dir), "demo", "s1")
    projector = Projector(redis_client, settings)
    projector.step(time.time())
    for each in file.parent.glob(file.name + "*"):
        each.unlink()
    writer.record(NODES, [model.Node("bb" * 28, "ALIVE")], 1.0)
    for _ in range(3):
        projector.step(time.time())

    assert len(Fleet(paths.index_dir(settings.state_dir)).reader("demo").all(NODES)) == 2
    projector.close()


def sorts(file: Path) -> set[str]:
    tables = {resource.name for resource in RESOURCES}
    with closing(sqlite3.connect(file)) as db:
        found = db.execute("SELECT name, tbl_name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL").fetchall()
    return {name for name, table in found if table in tables}


def test_a_session_that_is_no_longer_readable_takes_its_kept_logs_along(redis_client: redis.Redis, settings: Settings) -> None:
    watched(redis_client, "demo", "s1")
    run(redis_client, settings)
    watched(redis_client, "demo", "s2")
    run(redis_client, settings)
    kept = {session: host_file(settings.state_dir, "demo", session, "h1") for session in ("s1", "s2")}
    for path in kept.values():
        KeptLogsWriter(path, 1 << 20).close()
    index = session_file(paths.index_dir(settings.state_dir), "demo", "s1")
    os.utime(index, (time.time() - 31 * 86_400,) * 2)
    run(redis_client, settings)
    assert not index.exists()
    assert [session for session, path in kept.items() if path.exists()] == ["s2"]
