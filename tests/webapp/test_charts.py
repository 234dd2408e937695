"""The small charts of pages: as long as the setting says, and the same as the figures beside them."""

from __future__ import annotations

import time
from collections.abc import Callable

from flask import Flask

from clusterstate import model
from clusterstate.journal import Journal
from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import Person


def measured(cluster: BuiltCluster) -> model.Node:
    """A node of which a node collector has reported."""
    node = cluster.with_node()
    cluster.with_node_stats(node.node_id, boot_id="boot", cpu_percent=40.0, cpu_count=8)
    now = time.time()
    cluster.writer.record_samples(
        [model.NodeSample(node.node_id, now - age, host="boot", cpu_percent=40.0, cpu_count=8) for age in (0.0, 1000.0)]
    )
    cluster.project(now)
    return node


def test_charts_are_as_long_as_history_minutes_says(make_app: Callable[..., Flask], users: Journal, cluster: BuiltCluster) -> None:
    node = measured(cluster)
    for minutes, points in ((5, 1), (30, 2)):
        person = Person(make_app(history_minutes=minutes).test_client()).sign_in("vera")
        for path in ("/c/demo/", f"/c/demo/nodes/{node.node_id}"):
            page = person.page(path).text
            chart = page.split(f'aria-label="CPU over the last {minutes} m"')[1].split("</svg>")[0]
            assert chart.count("<polyline") == points, (path, minutes)
        assert f"the last {minutes} m" in person.page("/c/demo/").text


def test_what_ran_when_its_session_ended_has_lasted_until_then(vera: Person, cluster: BuiltCluster) -> None:
    ended = time.time() - 86_400
    job = cluster.with_job(start_time_ms=int((ended - 90) * 1000))
    actor = cluster.with_actor(start_time_ms=int((ended - 90) * 1000))
    cluster.end(ended)
    for path in ("", "jobs", f"jobs/{job.job_key}", "actors", f"actors/{actor.actor_id}"):
        page = vera.page(f"/c/demo/s/session_1/{path}").text
        assert "1 m 30 s" in page, path
        assert f'data-ended="{int(ended * 1000)}"' in page, path
    assert vera.get("/c/demo/s/session_1/jobs.json").get_json()["rows"][0]["duration_ms"] == 90_000
