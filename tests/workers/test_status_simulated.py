"""The cluster's status as the collector writes it, and its history, against a simulated cluster."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest
import redis

from clusterstate.model import ClusterStatus, StatusMoment
from clusterstate.resources import NODE_RESOURCES, STATUS, STATUS_HISTORY
from clusterstate.settings import Settings
from clusterstate.store import keys
from tests.simulated_ray import SimulatedRay
from tests.workers.collecting import CLUSTER, Seen, collecting, eventually
from workers.collectors import cluster_status
from workers.sources.autoscaler_decode import ERROR_KEY, REPORT_KEY, VERSION_KEY, VERSION_NAMESPACE


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Polls faster than in life, so that the tests wait less."""
    return replace(settings, poll_interval_s=0.1)


def status(seen: Seen) -> ClusterStatus:
    found: ClusterStatus = eventually(lambda: seen.rows(STATUS).get(""))
    return found


def history(seen: Seen) -> list[StatusMoment]:
    return sorted(seen.rows(STATUS_HISTORY).values(), key=lambda row: str(row.moment))


def live(moment: StatusMoment) -> int:
    return sum(group.active + group.idle for group in moment.nodes)


def polled_again(seen: Seen, times: int = 3) -> None:
    """Waits for some more answers."""
    asked = {seen.as_of("status")}

    def is_new() -> bool:
        asked.add(seen.as_of("status"))
        return len(asked) > times

    eventually(is_new)


def announced(client: redis.Redis, session: str, *names: str) -> int:
    """How often rows of these resources were announced as changed."""
    entries: Any = client.xrange(keys.changes(CLUSTER, session))
    return sum(fields[b"r"].decode() in names for _, fields in entries)


def test_a_status_that_does_not_change_is_written_once(redis_client: redis.Redis, settings: Settings) -> None:
    with SimulatedRay(nodes=2) as ray, collecting(redis_client, settings, ray.address) as seen:
        eventually(lambda: history(seen))
        polled_again(seen, 5)
        assert seen.session is not None

        assert announced(redis_client, seen.session, STATUS.name) == 1
        assert announced(redis_client, seen.session, STATUS_HISTORY.name) == 1


def test_the_history_has_the_nodes_that_went_and_what_waited(
    redis_client: redis.Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clusterstate.status_history.EVENTS_APART_S", 0.1)
    monkeypatch.setattr("clusterstate.status_history.POINTS_APART_S", 0.1)
    with SimulatedRay(nodes=2) as ray, collecting(redis_client, settings, ray.address) as seen:
        eventually(lambda: history(seen))
        ray.kill_node(ray.node_ids()[-1])
        eventually(lambda: live(history(seen)[-1]) == 1 and history(seen)[-1].failed)
        ray.add_actor(state="PENDING_CREATION", required_resources={"GPU": 64.0})
        waiting = eventually(lambda: (last := history(seen)[-1]).demands and last)

        assert waiting.is_event
        assert waiting.waiting == {"TASK_ACTOR": 1}
        assert [one.shape for one in waiting.demands] == [{"GPU": 64.0}]
        assert live(history(seen)[0]) == 2
        [demand] = status(seen).demands
        assert demand.since_ms is not None
        assert abs(demand.since_ms / 1000 - time.time()) < 60


def test_a_collector_that_comes_back_goes_on_and_says_how_long_nobody_watched(
    redis_client: redis.Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SimulatedRay(nodes=1) as ray:
        ray.add_actor(state="PENDING_CREATION", required_resources={"GPU": 64.0})
        with collecting(redis_client, settings, ray.address) as seen:
            [first] = eventually(lambda: history(seen))
            [demand] = status(seen).demands
            polled_again(seen)
        with collecting(redis_client, settings, ray.address) as seen:
            polled_again(seen)
            assert history(seen) == [first], "a short break is none, and nothing has changed"
            assert status(seen).demands[0].since_ms == demand.since_ms
            last = seen.as_of("status")
        monkeypatch.setattr(cluster_status, "GAP_S", 0.0)
        with collecting(redis_client, settings, ray.address) as seen:
            _, again = eventually(lambda: len(rows := history(seen)) == 2 and rows)

            assert again.unknown_since is not None
            assert last <= again.unknown_since < again.at
            assert again.is_event


def test_no_more_moments_are_kept_than_may_be(redis_client: redis.Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("EVENTS_APART_S", 0.0), ("POINTS_APART_S", 0.0), ("EVENTS_KEPT", 2), ("POINTS_KEPT", 2)):
        monkeypatch.setattr(f"clusterstate.status_history.{name}", value)
    with SimulatedRay(nodes=1) as ray, collecting(redis_client, settings, ray.address) as seen:
        [first] = eventually(lambda: history(seen))
        [node_id] = ray.node_ids()
        for left in range(6):
            ray.set_available(node_id, {"CPU": float(left)})
            polled_again(seen, 2)
        eventually(lambda: first.moment not in {row.moment for row in history(seen)} or len(history(seen)) == 3)

        assert sum(not row.is_event for row in history(seen)) == 2
        assert sum(row.is_event for row in history(seen)) <= 2


def test_the_first_autoscaler_is_read_where_it_reports(redis_client: redis.Redis, settings: Settings) -> None:
    with SimulatedRay(nodes=1) as ray:
        summary = {"pending_launches": {"gpu": 2}, "failed_nodes": [["10.0.0.7", "cpu"]], "node_type_mapping": {}}
        load = {"request_demand": [[{"CPU": 1}, 1]]}
        report = {"autoscaler_report": summary, "load_metrics_report": load, "time": 1_700_000_000.0}
        ray.put_kv("", REPORT_KEY, json.dumps(report).encode())
        ray.put_kv("", ERROR_KEY, b"it stopped")
        with collecting(redis_client, settings, ray.address) as seen:
            found = status(seen)
            polled_again(seen)

            assert found.autoscaler_version == "v1"
            assert [(one.node_type, one.count) for one in found.pending_nodes] == [("gpu", 2)]
            assert [(one.kind, one.shape) for one in found.demands] == [("REQUEST_RESOURCES", {"CPU": 1.0})]
            assert found.failed_nodes[0].node_type == "cpu"
            assert found.autoscaler_error == "it stopped"
            assert found.silent_since_ms == 1_700_000_000_000, "its report was old when it was read first"
            assert eventually(lambda: seen.as_of("autoscaler")) == 1_700_000_000.0


def test_the_second_autoscaler_is_known_by_its_reports(redis_client: redis.Redis, settings: Settings) -> None:
    with SimulatedRay(nodes=1) as ray:
        ray.put_kv(VERSION_NAMESPACE, VERSION_KEY, b"1")
        ray.put_kv("", REPORT_KEY, json.dumps({"autoscaler_report": {"pending_launches": {"old": 1}}}).encode())
        with collecting(redis_client, settings, ray.address) as seen:
            assert status(seen).autoscaler_version == "v2"
            assert status(seen).pending_nodes == []
            assert not seen.as_of("autoscaler")
            ray.set_autoscaling(autoscaler_state_version=1)
            heard = eventually(lambda: seen.as_of("autoscaler"))
            assert abs(heard - time.time()) < 60
            ray.set_autoscaling(autoscaler_state_version=2)
            eventually(lambda: seen.as_of("autoscaler") > heard)
            assert status(seen).silent_since_ms is None


def test_what_a_node_is_called_is_written_with_what_it_has(redis_client: redis.Redis, settings: Settings) -> None:
    with SimulatedRay(nodes=1) as ray, collecting(redis_client, settings, ray.address) as seen:
        [row] = eventually(lambda: seen.rows(NODE_RESOURCES)).values()
        [node] = eventually(lambda: seen.nodes).values()

        assert row.node_type == node.node_type_name
        assert row.instance_id == node.instance_id
