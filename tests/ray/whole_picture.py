"""What must be seen of any supported Ray cluster: its nodes, jobs, an actor's life, a placement group, its processes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.ray.told_driver import ToldDriver
from tests.running import Running

PATIENCE_S = 90.0


def show_whole_picture(running: Running, driver: ToldDriver, *, dashboard: bool, token: str | None) -> dict[str, float]:
    """What was seen → seconds from Ray's word to ours. Fails when something is not seen, or seen wrongly."""
    took: dict[str, float] = {}

    def see(what: str, since: float, look: Callable[[], object]) -> None:
        while not look():
            assert time.time() - since < PATIENCE_S, f"not seen within {PATIENCE_S:g} s: {what}"
            time.sleep(0.05)
        took[what] = round(time.time() - since, 2)

    me = driver.ask("me")
    begun = time.time()
    _nodes(running, driver, see, begun)
    see("job", begun, lambda: (row := running.row("jobs", me["job_id"])) and row["status"] == "RUNNING" and row["driver_pid"] == me["pid"])
    _actor(running, driver, me["job_id"], see)
    group = driver.ask("group", "picture", [{"CPU": 0.01}], "PACK")
    group_id = group["placement_group_id"]
    see("group", group["at"], lambda: (row := running.row("placement-groups", group_id)) and row["state"] == "CREATED")
    removed = driver.ask("remove_group", "picture")["at"]
    see("group removed", removed, lambda: (row := running.row("placement-groups", group_id)) and row["state"] == "REMOVED")
    driver.end()
    see("job ended", time.time(), lambda: (row := running.row("jobs", me["job_id"])) and row["status"] == "SUCCEEDED")
    _pages(running, me["ray_version"], dashboard, token)
    sys.stdout.write("\n" + ", ".join(f"{what} {seconds:.1f} s" for what, seconds in took.items()) + "\n")
    return took


def _nodes(running: Running, driver: ToldDriver, see: Callable[[str, float, Callable[[], object]], None], begun: float) -> None:
    theirs = {node["NodeID"]: node["Resources"] for node in driver.ask("state")["nodes"] if node["Alive"]}
    see("nodes", begun, lambda: {row["node_id"] for row in running.rows("nodes")["rows"]} == set(theirs))
    for row in running.rows("nodes")["rows"]:
        assert {name: row["resources_total"].get(name) for name in theirs[row["node_id"]]} == theirs[row["node_id"]]
    see("measured", begun, lambda: all(row["memory_used_bytes"] and row["raylet_pid"] for row in running.rows("nodes")["rows"]))


def _actor(running: Running, driver: ToldDriver, job_id: str, see: Callable[[str, float, Callable[[], object]], None]) -> None:
    asked = driver.ask("actor", "picture", 1)
    actor_id = asked["actor_id"]
    answered = driver.ask("wait", "picture")
    see("actor alive", answered["at"], lambda: (row := running.row("actors", actor_id)) and row["state"] == "ALIVE")
    row = running.row("actors", actor_id)
    assert row is not None
    assert (row["class_name"], row["name"], row["pid"], row["job_id"]) == ("Told", "picture", answered["pid"], job_id)
    see("its process", answered["at"], lambda: (row := running.row("actors", actor_id)) and row["rss_bytes"])
    see("its worker", answered["at"], lambda: running.rows("workers", f"?actor_id={actor_id}")["matching"] == 1)
    driver.ask("leave", "picture")
    again = driver.ask("wait", "picture")["at"]
    see("actor restarted", again, lambda: (row := running.row("actors", actor_id)) and row["num_restarts"] == 1 and row["state"] == "ALIVE")
    killed = driver.ask("kill", "picture")["at"]
    see("actor dead", killed, lambda: (row := running.row("actors", actor_id)) and row["state"] == "DEAD")
    row = running.row("actors", actor_id)
    assert row is not None
    assert row["death_cause"] == "RAY_KILL"


def _pages(running: Running, ray_version: str, dashboard: bool, token: str | None) -> None:
    """Every page answers; the cluster's own says what it is. A dashboard's drivers are Ray's own, not a person's."""
    name = running.ready["cluster"]
    for page in ("", "jobs", "actors", "nodes", "workers", "placement-groups", "info"):
        status, body = running.get(f"/c/{name}/{page}")
        assert status == 200, (page, status, log_of_web(running))
    status, body = running.get(f"/c/{name}/info")
    assert ray_version in body
    assert token is None or token not in "".join([body, running.output(), *(path.read_text(errors="replace") for path in _logs(running))])
    own = [row for row in running.rows("jobs")["rows"] if row["is_internal"]]
    assert dashboard or own == []
    assert all(json.dumps(row) for row in own)


def log_of_web(running: Running) -> str:
    """Its last words: a 500 is our own mistake, and this says which."""
    return "".join(path.read_text(errors="replace")[-3000:] for path in _logs(running) if path.name == "web.log")


def _logs(running: Running) -> list[Path]:
    return [path for path in running.state_dir.rglob("*.log") if path.is_file()]
