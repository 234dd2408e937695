"""What needs somebody is said; what was meant is not."""

from __future__ import annotations

import time

import pytest

from clusterstate import model
from clusterstate.resources import COLLECTOR, NODE_STATS
from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import Person
from webapp.attention import find_attention

NOW = time.time()
NOW_MS = int(NOW * 1000)


def said(cluster: BuiltCluster) -> str:
    reader = cluster.reader
    stats = reader.all(NODE_STATS)
    freshness = reader.freshness("nodes", now=NOW, nodes_matter=True)
    return "\n".join(one.text for one in find_attention(reader, stats, freshness, NOW))


def test_a_healthy_cluster_needs_nobody(cluster: BuiltCluster) -> None:
    cluster.with_actor()
    cluster.with_job(status="SUCCEEDED", end_time_ms=NOW_MS)
    assert said(cluster) == ""


@pytest.mark.parametrize(("cause", "told"), [("WORKER_DIED", True), ("RAY_KILL", False), ("OUT_OF_SCOPE", False), (None, True)])
def test_only_actors_that_were_not_meant_to_die_are_told(cluster: BuiltCluster, cause: str | None, told: bool) -> None:
    cluster.with_actor(state="DEAD", death_cause=cause, end_time_ms=NOW_MS)
    assert ("1 actor died of an error" in said(cluster)) is told


def test_the_last_hour_of_an_ended_session_is_before_its_end(cluster: BuiltCluster, vera: Person) -> None:
    ended = NOW - 86_400
    cluster.with_job(status="FAILED", end_time_ms=int(ended * 1000) - 60_000)
    cluster.end(ended)
    assert "1 job failed in the last hour of the session." in vera.page("/c/demo/s/session_1/").text


def test_old_failures_are_left_to_the_lists(cluster: BuiltCluster) -> None:
    cluster.with_job(status="FAILED", end_time_ms=NOW_MS - 2 * 3600 * 1000)
    assert said(cluster) == ""


def test_failed_jobs_dead_nodes_full_memory_and_waiting_work_are_told(cluster: BuiltCluster) -> None:
    cluster.with_job(status="FAILED", end_time_ms=NOW_MS)
    cluster.with_node(state="DEAD", end_time_ms=NOW_MS)
    node = cluster.with_node()
    cluster.with_node_stats(node.node_id, hostname="full-host", memory_used_bytes=95, memory_total_bytes=100)
    cluster.with_actor(state="PENDING_CREATION")
    cluster.with_placement_group(state="PENDING")
    text = said(cluster)
    for words in (
        "1 job failed",
        "1 node died",
        "memory of full-host",
        "1 actor waits to be placed: ",
        "1 placement group waits",
        "cannot be measured",
    ):
        assert words in text


def test_a_gcs_that_is_away_comes_first(cluster: BuiltCluster) -> None:
    cluster.with_placement_group(state="PENDING")
    cluster.with_rows(COLLECTOR, model.CollectorReport(NOW, gcs_reachable=False))
    assert said(cluster).startswith("The GCS cannot be reached")


def test_the_warning_of_dead_actors_leads_to_those_that_died_so(cluster: BuiltCluster, vera: Person) -> None:
    for cause in ("WORKER_DIED", "NODE_DIED", "RAY_KILL", "OUT_OF_SCOPE"):
        cluster.with_actor(state="DEAD", death_cause=cause, class_name=cause, end_time_ms=NOW_MS)
    cluster.project()
    reader = cluster.reader
    [told] = [one for one in find_attention(reader, [], reader.freshness("nodes", now=NOW), NOW) if one.endpoint == "actors"]

    rows = vera.get("/c/demo/actors.json", query_string=dict(told.arguments)).get_json()["rows"]

    assert {row["class_name"] for row in rows} == {"WORKER_DIED", "NODE_DIED"}
