"""What Ray itself says is what Raydeck shows, within the promised time, on the demo and on clusters that others started."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import ray_environments
from clusterstate import paths
from clusterstate.store.kept_logs import KeptLogsReader
from tests.ray.timing import p95, say_times, seen_at, state_seen_at
from tests.ray.told_driver import ToldDriver, told_driver
from tests.ray.whole_picture import show_whole_picture
from tests.running import Running, raydeck_up
from tests.workers.real_ray_cluster import real_ray

pytestmark = pytest.mark.ray
ROOT = Path(__file__).resolve().parents[2]
PUBLISHED_WITHIN_S = 2.0
POLLED_WITHIN_S = 3.0
LIVES = 10
ENDS = 3


@pytest.fixture(scope="module")
def driver(demo: Running) -> Iterator[ToldDriver]:
    with told_driver(joining(demo)) as connected:
        yield connected


def joining(running: Running) -> dict[str, str]:
    """What a driver's environment needs: the ready file says it."""
    return {**running.ready["ray_env"], "HOME": str(running.folder)}


def by(rows: list[dict[str, Any]], key: str) -> dict[Any, dict[str, Any]]:
    return {row[key]: row for row in rows}


def test_nodes_are_as_ray_says(demo: Running, driver: ToldDriver) -> None:
    theirs = by(driver.ask("state")["nodes"], "NodeID")
    ours = by(demo.wait_for_rows("nodes", at_least=2), "node_id")

    assert set(ours) == set(theirs)
    assert len(ours) == 2
    for node_id, node in theirs.items():
        row = ours[node_id]
        assert (row["state"] == "ALIVE") == node["Alive"]
        assert (row["node_ip"], row["hostname"]) == (node["NodeManagerAddress"], node["NodeManagerHostname"])
        assert row["labels"] == node["Labels"]
        assert {name: row["resources_total"][name] for name in node["Resources"]} == node["Resources"]
    assert [row["node_id"] for row in ours.values() if row["is_head_node"]] == [
        node_id for node_id, node in theirs.items() if "node:__internal_head__" in node["Resources"]
    ]


def test_log_files_are_kept_as_they_are_written(demo: Running) -> None:
    raylet = next(one for one in psutil.Process(demo.process.pid).children(recursive=True) if one.name() == "raylet")
    log_dir = Path(next(word.partition("=")[2] for word in raylet.cmdline() if word.startswith("--log_dir=")))

    def kept() -> dict[str, int]:
        found = {}
        for path in paths.kept_logs_dir(demo.state_dir).glob(f"*/{log_dir.parent.name}/*.db"):
            with KeptLogsReader(path) as reader:
                found = {os.fsdecode(file.name): file.end for file in reader.files()}
        return found

    there = {path.name: path.stat().st_size for path in log_dir.glob("*.out") if path.stat().st_size}
    assert there
    seen_at(lambda: all(kept().get(name, 0) >= size for name, size in there.items()), "all that was written", 60.0)


def test_a_driver_is_a_job_with_its_process_and_its_node(demo: Running, driver: ToldDriver) -> None:
    me = driver.ask("me")
    theirs = by(driver.ask("state")["jobs"], "JobID")[me["job_id"]]
    state_seen_at(demo, "jobs", me["job_id"])
    row = demo.row("jobs", me["job_id"])

    assert row is not None
    assert (row["status"], row["type"], row["ray_namespace"]) == ("RUNNING", "DRIVER", "told")
    assert row["driver_pid"] == theirs["DriverPid"] == me["pid"]
    assert row["driver_ip"] == theirs["DriverIPAddress"]
    assert row["start_time_ms"] == theirs["StartTime"]
    seen_at(lambda: demo.row("workers", me["worker_id"]), "the driver's process")
    worker = demo.row("workers", me["worker_id"])
    assert worker is not None
    assert (worker["worker_type"], worker["is_alive"], worker["pid"]) == ("DRIVER", True, me["pid"])
    assert worker["node_id"] == me["node_id"]


def test_every_job_that_ray_remembers_is_shown(demo: Running, driver: ToldDriver) -> None:
    theirs = {job["JobID"]: job["IsDead"] for job in driver.ask("state")["jobs"]}
    shown: dict[str, Any] = {}

    def all_are_shown() -> bool:
        """A submission is listed before its driver is known, then without a job id, and runs until Ray says how its driver ended."""
        shown.update(by(demo.wait_for_rows("jobs", "?limit=500", at_least=len(theirs)), "job_id"))
        ended = [job_id for job_id, is_dead in theirs.items() if is_dead]
        return set(theirs) <= set(shown) and not any(shown[job_id]["status"] in {"PENDING", "RUNNING"} for job_id in ended)

    seen_at(all_are_shown, "every job of Ray's", 15.0)


def test_actors_are_as_ray_says(demo: Running, driver: ToldDriver) -> None:
    actor_id = driver.ask("actor", "as ray says", 2)["actor_id"]
    pid = driver.ask("wait", "as ray says")["pid"]
    state_seen_at(demo, "actors", actor_id, "ALIVE")
    theirs = by(driver.ask("state")["actors"], "ActorID")[actor_id]
    row = demo.row("actors", actor_id)

    assert row is not None
    assert (row["class_name"], row["name"], row["ray_namespace"]) == ("Told", "as ray says", "told")
    assert (row["pid"], row["job_id"], row["num_restarts"]) == (pid, theirs["JobID"], theirs["NumRestarts"])
    assert (row["node_id"], row["ip"]) == (theirs["Address"]["NodeID"], theirs["Address"]["IPAddress"])
    assert (row["max_restarts"], row["start_time_ms"]) == (2, theirs["StartTime"])

    driver.ask("leave", "as ray says")
    seen_at(lambda: (now := demo.row("actors", actor_id)) and now["num_restarts"] == 1 and now["state"] == "ALIVE", "its second life", 60.0)
    again = demo.row("actors", actor_id)
    assert again is not None
    assert again["pid"] != pid
    driver.ask("kill", "as ray says")
    state_seen_at(demo, "actors", actor_id, "DEAD")


def test_live_actors_agree_with_ray(demo: Running, driver: ToldDriver) -> None:
    def agree() -> bool:
        theirs = {actor["ActorID"]: actor["State"] for actor in driver.ask("state")["actors"]}
        ours = {row["actor_id"]: row["state"] for row in demo.rows("actors", "?limit=500")["rows"]}
        return {key: ours.get(key) for key in theirs} == theirs

    seen_at(agree, "the same actors in the same states as Ray's")


def test_placement_groups_are_as_ray_says(demo: Running, driver: ToldDriver) -> None:
    group_id = driver.ask("group", "small", [{"CPU": 0.01}, {"CPU": 0.01}], "PACK")["placement_group_id"]
    asked = time.time()
    seen = state_seen_at(demo, "placement-groups", group_id, "CREATED")
    theirs = by(driver.ask("state")["placement_groups"], "placement_group_id")[group_id]
    row = demo.row("placement-groups", group_id)

    assert row is not None
    assert (row["name"], row["strategy"], row["creator_job_id"]) == ("small", theirs["strategy"], driver.ask("me")["job_id"])
    assert {bundle["node_id"] for bundle in row["bundles"]} == set(theirs["bundles_to_node_id"].values())
    assert [bundle["unit_resources"] for bundle in row["bundles"]] == [{"CPU": 0.01}] * 2
    assert seen - asked < POLLED_WITHIN_S

    removed = driver.ask("remove_group", "small")["at"]
    gone = state_seen_at(demo, "placement-groups", group_id, "REMOVED")
    assert gone - removed < POLLED_WITHIN_S


def test_an_actors_life_is_seen_within_two_seconds(demo: Running, driver: ToldDriver) -> None:
    asked, alive, dead = [], [], []
    for number in range(LIVES):
        name = f"life {number}"
        actor = driver.ask("actor", name)
        actor_id = actor["actor_id"]
        asked.append(state_seen_at(demo, "actors", actor_id) - actor["at"])
        answered = driver.ask("wait", name)["at"]
        alive.append(state_seen_at(demo, "actors", actor_id, "ALIVE") - answered)
        killed = driver.ask("kill", name)["at"]
        dead.append(state_seen_at(demo, "actors", actor_id, "DEAD") - killed)
    say_times({"actor asked for": asked, "actor alive": alive, "actor dead": dead})

    assert max(p95(asked), p95(alive), p95(dead)) < PUBLISHED_WITHIN_S


def test_the_end_of_a_job_is_seen_within_three_seconds(demo: Running) -> None:
    took = []
    for _ in range(ENDS):
        with told_driver(joining(demo)) as short:
            job_id = short.ask("me")["job_id"]
            short.end()
            ended = time.time()
            took.append(state_seen_at(demo, "jobs", job_id, "SUCCEEDED") - ended)
    say_times({"job ended": took})

    assert max(took) < POLLED_WITHIN_S


def test_answers_say_how_old_they_are(demo: Running) -> None:
    def is_fresh() -> bool:
        answer = demo.rows(table, "?limit=1")
        return (answer["exact"], answer["partial"], answer["stale"]) == (True, [], False) and 0 <= answer["age_s"] < 5

    for table in ("nodes", "jobs", "actors", "workers", "placement-groups"):
        seen_at(is_fresh, f"fresh {table}")


@pytest.mark.parametrize(
    ("environment", "token", "dashboard"),
    [("2.60-default", "a-token-of-this-test", True), (ray_environments.MINIMAL, None, False)],
    ids=["Ray 2.60 default install with token and dashboard", "Ray 2.60 minimal install without token and dashboard"],
)
def test_a_cluster_that_others_started_is_shown(environment: str, token: str | None, dashboard: bool) -> None:
    python = ray_environments.python(ROOT, environment)
    with (
        real_ray(token, python=python, dashboard=dashboard, nodes=1) as ray,
        raydeck_up("--address", ray.address, environ=ray.environ, python=python) as running,
        told_driver({**ray.environ, "RAY_ADDRESS": ray.address}, python) as driver,
    ):
        took = show_whole_picture(running, driver, dashboard=dashboard, token=token)

        assert max(took.values()) < 10
