"""What collectors write is what the web app reads, whatever happens to Redis or the index in between."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
import time
from contextlib import closing
from typing import Any

import msgspec
import pytest
import redis

from clusterstate import model
from clusterstate.query import Condition, Selection, View
from clusterstate.resources import ACTORS, BY_NAME, COLLECTOR, JOBS, METADATA, NODES, RESOURCES, TASKS
from clusterstate.store import keys, leases
from clusterstate.store.encoding import codec, field_to_id, id_to_field
from clusterstate.store.fleet_index import is_sealed
from clusterstate.store.index import Index
from clusterstate.store.projection import Projection
from clusterstate.store.upgrade import bring_up_to_date
from clusterstate.store.writer import LeaseLost, SessionWriter, current_session
from tests.built_cluster import BuiltCluster
from tests.open_files import open_files

ODD_TEXTS = ["", "ab", "AB", "abc", "<b>", "x" * 100_000, "\u202e\x1b[31m\x00", "naïve 日本"]


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_any_text_survives_the_way_to_redis_and_back(text: str) -> None:
    actor = model.Actor(actor_id=text, state=text, name=text, label_selector={text: text}, exit_detail=text)
    rows = codec(model.Actor)
    assert rows.decode(rows.encode(actor)) == actor
    assert field_to_id(id_to_field(text)) == text


def test_rows_written_before_a_field_was_added_are_read_with_its_default() -> None:
    blob = codec(model.Bundle).encode(model.Bundle(3))
    assert codec(dataclasses.make_dataclass("Longer", [*_fields(model.Bundle), ("new", int, 7)])).decode(blob).new == 7


def test_moments_of_a_task_are_stored_as_times_from_its_creation_and_older_rows_are_read_as_they_were() -> None:
    rows = codec(model.Task)
    created = 1_795_414_457_659
    task = model.Task(
        "ab" * 24,
        worker_pid=7,
        creation_time_ms=created,
        start_time_ms=created - 3,
        end_time_ms=created + 80_000,
        debugger_changed_ms=created,
    )
    assert rows.decode(rows.encode(task)) == task
    assert len(rows.encode(task)) < len(rows.encode(dataclasses.replace(task, creation_time_ms=None)))
    older = msgspec.msgpack.encode([getattr(task, f.name) for f in dataclasses.fields(task)])
    assert rows.decode(older) == task
    unknown = dataclasses.replace(task, creation_time_ms=None)
    assert rows.decode(rows.encode(unknown)) == unknown


def _fields(row_class: type) -> list[tuple[str, object, object]]:
    kinds = {"bundle_index": int, "unit_resources": dict, "node_id": object, "label_selector": dict}
    return [(f.name, kinds[f.name], None) for f in dataclasses.fields(row_class)]


def test_every_kind_of_row_comes_back_from_the_index_as_it_was(cluster: BuiltCluster) -> None:
    node = cluster.with_node(labels={"zone": "a"}, resources_total={"CPU": 2.0}, is_head_node=True)
    group = cluster.with_placement_group(bundles=[model.Bundle(0, {"CPU": 1.0}, node.node_id)])
    stats = cluster.with_node_stats(node.node_id, gpus=[model.Gpu(0, processes=[model.GpuProcess(7)])], gpu_count=1)
    assert cluster.reader.get(NODES, node.node_id) == node
    assert cluster.reader.get(BY_NAME["placement_groups"], group.placement_group_id) == group
    assert cluster.reader.get(BY_NAME["node_stats"], node.node_id) == stats
    metadata = cluster.reader.metadata()
    assert metadata is not None
    assert metadata.ray_version == "2.60.0"


def test_only_what_differs_is_announced(cluster: BuiltCluster) -> None:
    actor = cluster.with_actor()
    before = cluster.reader.version("actors")
    assert cluster.writer.record(ACTORS, [actor], 1.0) == 0
    cluster.refresh()
    assert cluster.reader.version("actors") == before
    assert cluster.writer.record(ACTORS, [dataclasses.replace(actor, state="DEAD")], 1.0) == 1
    cluster.refresh()
    assert cluster.reader.version("actors") != before


def test_a_change_of_one_resource_leaves_the_version_of_others(cluster: BuiltCluster) -> None:
    before = cluster.reader.version("jobs")
    cluster.with_actor()
    assert cluster.reader.version("jobs") == before


def test_replace_forgets_what_is_not_there_any_more_but_only_within_its_bounds(cluster: BuiltCluster) -> None:
    mine = cluster.with_process("a" * 56, 1)
    other = cluster.with_process("b" * 56, 2)
    cluster.writer.replace(BY_NAME["processes"], [], 1.0, within=lambda row: row.node_id == mine.node_id)
    cluster.refresh()
    assert cluster.reader.all(BY_NAME["processes"]) == [other]


def test_of_big_entries_the_change_stream_keeps_fewer(
    cluster: BuiltCluster, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "CHANGED_IDS_KEPT", 2_000)
    for number in range(12):
        cluster.writer.record(TASKS, [model.Task(f"{number:024x}{row:024x}") for row in range(400)], 1.0)
    for number in range(300):  # small ones are all kept
        cluster.writer.record(TASKS, [model.Task(f"{number:024x}{'f' * 24}")], 1.0)
    entries: Any = redis_client.xrange(keys.changes(cluster.writer.cluster, cluster.writer.session))
    sizes = [len(msgspec.msgpack.decode(fields[b"u"])) for _, fields in entries]
    assert sizes.count(1) >= 300
    assert sum(sizes) <= 2_000


def test_the_oldest_dead_actors_are_given_up_first_and_counted(cluster: BuiltCluster) -> None:
    alive = cluster.with_actor()
    dead = [cluster.with_actor(state="DEAD", end_time_ms=moment) for moment in (10, 20, 30)]
    assert cluster.writer.trim_dead(ACTORS, 1, 1.0) == 2
    cluster.refresh()
    assert {row.actor_id for row in cluster.reader.all(ACTORS)} == {alive.actor_id, dead[-1].actor_id}
    assert cluster.writer.evicted(ACTORS) == 2


def test_an_end_by_a_clock_that_runs_ahead_does_not_keep_later_rows_out(cluster: BuiltCluster) -> None:
    cluster.with_actor(state="DEAD", end_time_ms=90_000_000)
    assert cluster.writer.trim_dead(ACTORS, 0, now=1.0) == 1
    later = cluster.with_actor(state="DEAD", end_time_ms=2_000)
    cluster.refresh()
    assert cluster.reader.get(ACTORS, later.actor_id) is not None


def test_a_row_that_dies_twice_is_listed_once(cluster: BuiltCluster) -> None:
    actor = cluster.with_actor(state="DEAD")
    cluster.writer.record(ACTORS, [dataclasses.replace(actor, exit_detail="more")], 1.0)
    assert cluster.writer.trim_dead(ACTORS, 1, 1.0) == 0


def test_a_writer_whose_lease_went_to_another_writes_nothing(redis_client: redis.Redis) -> None:
    old = leases.acquire(redis_client, "loop", "first", 10)
    assert old is not None
    writer = SessionWriter(redis_client, "demo", "s", old)
    writer.begin(model.ClusterMetadata("demo", "s", ""))
    leases.release(redis_client, old)
    new = leases.acquire(redis_client, "loop", "second", 10)
    assert new is not None
    with pytest.raises(LeaseLost):
        writer.record(NODES, [model.Node("aa", "ALIVE")], 1.0)
    assert list(SessionWriter(redis_client, "demo", "s", new).rows(NODES)) == []


def test_two_clusters_and_two_sessions_share_a_redis_without_mixing(redis_client: redis.Redis) -> None:
    writers = [SessionWriter(redis_client, cluster, session) for cluster in ("a", "b") for session in ("s1", "s2")]
    for number, writer in enumerate(writers):
        writer.begin(model.ClusterMetadata(writer.cluster, writer.session, ""))
        writer.record(NODES, [model.Node(f"{number:056x}", "ALIVE")], 1.0)
    assert [[row.node_id[-1] for row in writer.rows(NODES)] for writer in writers] == [["0"], ["1"], ["2"], ["3"]]
    assert current_session(redis_client, "a") == "s2"


def test_a_flushed_redis_is_noticed_and_what_is_known_stays_readable_until_all_is_written_anew(
    cluster: BuiltCluster, redis_client: redis.Redis
) -> None:
    actor = cluster.with_actor()
    metadata = cluster.reader.metadata()
    assert metadata is not None
    redis_client.flushall()
    assert not cluster.writer.is_known()
    cluster.project()
    assert cluster.reader.get(ACTORS, actor.actor_id) == actor
    cluster.writer.begin(metadata)
    fresh = dataclasses.replace(actor, actor_id="ff" * 16)
    cluster.with_rows(ACTORS, fresh)
    cluster.project()
    assert cluster.reader.all(ACTORS) == [fresh]


def test_a_redis_that_went_back_in_time_is_noticed_by_writer_and_index(cluster: BuiltCluster, redis_client: redis.Redis) -> None:
    kept = cluster.with_actor()
    dump = {key: redis_client.dump(key) for key in redis_client.scan_iter()}
    later = cluster.with_actor()
    cluster.refresh()
    redis_client.flushall()
    for key, blob in dump.items():
        assert isinstance(blob, bytes)
        redis_client.restore(key, 0, blob)
    assert not cluster.writer.is_known()
    cluster.project()
    assert cluster.reader.all(ACTORS) == [kept]
    assert cluster.reader.get(ACTORS, later.actor_id) is None


def test_a_missing_or_torn_index_is_rebuilt(cluster: BuiltCluster, redis_client: redis.Redis) -> None:
    actor = cluster.with_actor()
    cluster.projection.close()
    cluster.path.write_bytes(b"not a database" * 100)
    cluster.projection = Projection(redis_client, cluster.path, cluster.name, cluster.session, 1800)
    cluster.project()
    assert cluster.reader.all(ACTORS) == [actor]


def test_an_index_behind_a_trimmed_stream_is_rebuilt(cluster: BuiltCluster, redis_client: redis.Redis) -> None:
    cluster.writer.record(ACTORS, [model.Actor("aa" * 16, "ALIVE")], 1.0)
    cluster.writer.record(ACTORS, [model.Actor("bb" * 16, "ALIVE")], 1.0)

    redis_client.xtrim(keys.changes(cluster.name, cluster.session), maxlen=1, approximate=False)
    cluster.project()
    assert len(cluster.reader.all(ACTORS)) == 2


def test_an_ended_session_is_sealed_and_stays_readable_without_redis(cluster: BuiltCluster, redis_client: redis.Redis) -> None:
    job = cluster.with_job(status="SUCCEEDED")
    assert cluster.reader.all(JOBS) == [job]  # and the connection stays open
    cluster.end(now=2_000.0)
    redis_client.flushall()
    reader = cluster.reader
    assert reader.all(JOBS) == [job]
    assert is_sealed(cluster.path)
    assert reader.freshness("jobs", now=9_000.0).word == "past"
    assert os.stat(cluster.path).st_mode & 0o222 == 0


def test_freshness_says_how_old_the_oldest_part_is_and_which_nodes_are_silent(cluster: BuiltCluster) -> None:
    node = cluster.with_node()
    now = time.time()
    cluster.writer.confirm({"jobs": now - 60})
    cluster.project(now)
    freshness = cluster.reader.freshness("nodes", "jobs", now=now, nodes_matter=True)
    assert freshness.stale
    assert freshness.age_s == pytest.approx(60, abs=1)
    assert [partial.node_id for partial in freshness.partial] == [node.node_id]
    assert cluster.reader.freshness("nodes", now=now).word == "fresh"
    assert cluster.reader.freshness("node_stats", now=now).word == "unknown"


def test_confirming_does_not_change_a_version(cluster: BuiltCluster) -> None:
    names = [resource.name for resource in RESOURCES]
    before = cluster.reader.version(*names)
    cluster.refresh()
    assert cluster.reader.version(*names) == before


def test_samples_are_kept_for_a_while_only(cluster: BuiltCluster) -> None:
    now = time.time()
    cluster.writer.record_samples([model.NodeSample("n", now - 7200, cpu_percent=1.0), model.NodeSample("n", now - 5, cpu_percent=2.0)])
    cluster.project(now)
    assert [value for value in cluster.reader.history("n", now, 180).cpu.values if value is not None] == [2.0]


def test_the_metadata_row_is_single(cluster: BuiltCluster) -> None:
    assert len(cluster.reader.all(METADATA)) == 1


def test_what_was_given_up_stays_so_when_ray_lists_it_again(cluster: BuiltCluster) -> None:
    dead = [model.Actor(f"{number:032x}", "DEAD", end_time_ms=number * 10) for number in range(1, 6)]
    for _ in range(3):
        cluster.writer.record(ACTORS, dead, 1.0)
        assert cluster.writer.trim_dead(ACTORS, 2, 1.0) == 3
    assert sorted(row.end_time_ms for row in cluster.writer.rows(ACTORS)) == [40, 50]


def test_a_session_that_is_watched_again_lives_again(cluster: BuiltCluster, redis_client: redis.Redis) -> None:
    metadata = cluster.reader.metadata()
    assert metadata is not None
    cluster.with_actor()
    cluster.writer.end(5_000.0, "another cluster is watched")
    assert redis_client.ttl(keys.epoch(cluster.name, cluster.session)) > 0
    again = SessionWriter(redis_client, cluster.name, cluster.session)
    again.begin(metadata)
    assert redis_client.ttl(keys.epoch(cluster.name, cluster.session)) == -1
    assert list(again.rows(ACTORS)) == []
    [kept] = again.get(METADATA, ["-"])
    assert kept.ended_ms is None


def test_freshness_ages_while_redis_has_not_been_filled_again(cluster: BuiltCluster, redis_client: redis.Redis) -> None:
    actor = cluster.with_actor()
    now = time.time()
    cluster.refresh(now - 60)
    redis_client.flushall()
    metadata = cluster.reader.metadata()
    assert metadata is not None
    cluster.writer.begin(metadata)
    cluster.writer.confirm({"collector": now})
    cluster.project(now)
    freshness = cluster.reader.freshness("actors", now=now)
    assert freshness.word == "stale"
    assert freshness.age_s == pytest.approx(60, abs=1)
    assert cluster.reader.get(ACTORS, actor.actor_id) == actor


def test_a_session_that_an_older_raydeck_sealed_is_read_with_the_defaults_of_what_it_did_not_know(
    cluster: BuiltCluster, redis_client: redis.Redis
) -> None:
    actor = cluster.with_actor(name="kept", state="DEAD")
    cluster.writer.record(COLLECTOR, [model.CollectorReport(1.0, True, actors_evicted=3)], 1.0)
    cluster.refresh()
    cluster.projection.seal(time.time())
    cluster.path.chmod(0o600)
    with closing(sqlite3.connect(cluster.path, isolation_level=None)) as db:
        db.execute("ALTER TABLE collector DROP COLUMN jobs_evicted")
        db.execute("ALTER TABLE collector DROP COLUMN problems")
        db.execute("DROP TABLE actors_counts")
        db.execute("UPDATE meta SET value = '2' WHERE name = 'schema'")
    cluster.path.chmod(0o400)
    sealed_at = cluster.path.stat().st_mtime_ns

    bring_up_to_date(cluster.path)

    report = cluster.reader.collector()
    assert report is not None
    assert (report.actors_evicted, report.jobs_evicted, report.problems) == (3, 0, [])
    assert cluster.reader.get(ACTORS, actor.actor_id) == actor
    page = cluster.reader.page(
        View(ACTORS), Selection(("actor_id",), "start_time_ms", where=(Condition("state", "is", "DEAD"),)), time.time()
    )
    assert (page.total, page.matching) == (1, 1)
    assert is_sealed(cluster.path)
    assert cluster.path.stat().st_mtime_ns == sealed_at


def test_the_index_of_a_newer_raydeck_is_left_to_it(cluster: BuiltCluster) -> None:
    with closing(sqlite3.connect(cluster.path, isolation_level=None)) as db:
        db.execute("UPDATE meta SET value = '999' WHERE name = 'schema'")
    cluster.projection.close()
    with pytest.raises(sqlite3.DatabaseError, match="999") as refused:
        Index(cluster.path)
    assert refused.tb, "whoever looks at the error does not keep the file open"
    assert open_files(cluster.path) == []
