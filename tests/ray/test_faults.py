"""Everything is killed once: pages go on with what is known and how old it is, and all is fresh soon after its return."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusterstate.paths import processes_file
from tests.ray.killing import (
    FRESH_WITHIN_S,
    MAY_BREAK_OFF,
    children_of,
    fresh_after,
    kill,
    pid_of,
    survives,
    survives_kill,
)
from tests.ray.onlookers import NO_ANSWER, PAGES, Person, looking_on
from tests.ray.outside import sealed, session_of, tcp_redis
from tests.ray.timing import say_times, seen_at, state_seen_at
from tests.running import RAYDECK, Running, raydeck_up
from workers.machine import PROBE_ROLES
from workers.processes import read_started, read_stat

pytestmark = pytest.mark.faults
AWAY_S = 8.0
PUBLISHED_WITHIN_S = 2.0


@pytest.fixture(scope="module")
def busy() -> Iterator[Running]:
    """A demo of these tests' own: its cluster is killed too."""
    with raydeck_up("--demo") as running:
        running.wait_for_rows("actors", "?state=DEAD")
        running.wait_for_rows("jobs", at_least=3)
        yield running


@pytest.fixture(scope="module")
def person(busy: Running) -> Person:
    return Person(busy)


@pytest.mark.parametrize(
    ("role", "child"),
    [
        ("redis", False),
        ("collector", False),
        ("collector", True),
        ("node", False),
        ("node", True),
        ("quick", False),
        ("projector", False),
        ("web", True),
    ],
    ids=lambda value: {True: "what it forked", False: "itself"}.get(value, value) if isinstance(value, bool) else value,
)
def test_a_killed_process_is_hardly_noticed(busy: Running, person: Person, role: str, child: bool) -> None:
    took, onlookers = survives_kill(busy, person, role, child)
    say_times({f"fresh after {role} was killed": [took]})

    assert onlookers.failures() == []
    assert onlookers.statuses().get(NO_ANSWER, 0) <= (MAY_BREAK_OFF if role == "web" else 0)
    assert took < FRESH_WITHIN_S


def test_a_killed_web_server_is_back_at_the_same_address(busy: Running, person: Person) -> None:
    took, onlookers = survives_kill(busy, person, "web")
    say_times({"fresh after web was killed": [took], "no answer for": [onlookers.longest_silence_s()]})

    assert onlookers.failures() == []
    assert onlookers.longest_silence_s() < FRESH_WITHIN_S
    assert person.open("/")[0] == 200, "the sign-in outlives it"


@pytest.mark.parametrize("role", ["redis", "collector", "projector"])
def test_a_process_that_hangs_is_hardly_noticed(busy: Running, person: Person, role: str) -> None:
    """Stopped for a while, it keeps its connections and locks: worse than dead."""
    victims = [pid_of(busy, role), *children_of(pid_of(busy, role))]

    def hang() -> None:
        for pid in victims:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(AWAY_S)
        for pid in victims:
            if read_stat(pid) is not None:
                os.kill(pid, signal.SIGCONT)

    took, onlookers = survives(busy, person, hang, lambda: True)
    say_times({f"fresh after {role} hung": [took]})

    assert onlookers.failures() == []
    assert onlookers.statuses().get(NO_ANSWER, 0) == 0
    assert onlookers.greatest_age_s() > AWAY_S / 2
    assert took < FRESH_WITHIN_S


def test_a_killed_raylet_is_a_dead_node_and_another_one_is_seen(busy: Running, person: Person) -> None:
    before = {row["node_id"]: row for row in busy.rows("nodes", "?state=ALIVE&limit=100")["rows"]}
    [second] = [row for row in before.values() if not row["is_head_node"]]
    with looking_on(busy, person) as onlookers:
        kill([second["raylet_pid"]])
        dead = state_seen_at(busy, "nodes", second["node_id"], "DEAD", within_s=60.0)  # once Ray has noticed
        seen_at(lambda: set(ids_of(busy)) - set(before), "another node", 60.0)
        fresh_after(busy, time.time())

    assert onlookers.failures() == []
    assert onlookers.statuses().get(NO_ANSWER, 0) == 0
    row = busy.row("nodes", second["node_id"])
    assert row is not None
    say_times({"node dead, after Ray's word": [dead - row["end_time_ms"] / 1000]})
    assert row["state_message"]
    assert dead - row["end_time_ms"] / 1000 < PUBLISHED_WITHIN_S
    alive = busy.rows("actors", f"?node_id={second['node_id']}&state=ALIVE")
    assert alive["matching"] == 0
    show_kept_logs(busy, busy.cluster_path, second["node_id"])


def show_kept_logs(running: Running, base: str, node_id: str) -> None:
    """The logs of a node that is gone are listed and read."""
    status, listed = running.get(f"{base}/logs?node={node_id}&name=raylet")
    assert status == 200
    assert "as they were sent to the head in time" in listed
    file_id = re.findall(rf"/logs/{node_id}/([A-Za-z0-9_-]+)", listed)[0]
    status, page = running.get(f"{base}/logs/{node_id}/{file_id}")
    assert status == 200
    assert "This is what was sent to the head in time" in page
    assert re.search(r"raylet|Raylet", page[page.index('class="log"') :])


def ids_of(running: Running) -> list[str]:
    return [row["node_id"] for row in running.rows("nodes", "?state=ALIVE&limit=100")["rows"]]


def test_a_second_start_on_the_same_folder_is_refused(busy: Running) -> None:
    command = [str(RAYDECK), "up", "--port", "0", "--state-dir", str(busy.state_dir)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert second.returncode == 1
    assert f"already runs on {busy.state_dir}: process {busy.process.pid}, {busy.url}" in second.stderr


def test_when_the_demos_cluster_dies_its_session_is_kept_and_a_new_one_followed(busy: Running, person: Person) -> None:
    first = session_of(busy)
    [head] = [row for row in busy.rows("nodes", "?state=ALIVE&limit=100")["rows"] if row["is_head_node"]]
    old_actors = {row["actor_id"] for row in busy.rows("actors", "?limit=500")["rows"]}
    with looking_on(busy, person) as onlookers:
        killed = time.time()
        kill([head["raylet_pid"]])
        took = seen_at(lambda: first in sealed(busy), "the old session sealed", 90.0) - killed
        fresh_after(busy, time.time())
    say_times({"a new demo cluster followed": [took]})

    assert onlookers.failures() == []
    assert session_of(busy) != first
    status, body = busy.get(f"/c/demo/s/{first}/actors.json?limit=500")
    assert status == 200
    assert old_actors <= {row["actor_id"] for row in json.loads(body)["rows"]}
    assert head["node_id"] not in {row["node_id"] for row in busy.rows("nodes", "?limit=500")["rows"]}
    assert old_actors.isdisjoint(row["actor_id"] for row in busy.rows("actors", "?limit=500")["rows"])
    for page in PAGES:
        assert busy.get(f"/c/demo/s/{first}/{page}")[0] == 200, page
    show_kept_logs(busy, f"/c/demo/s/{first}", head["node_id"])


@pytest.mark.parametrize("with_data", [True, False], ids=["with its data", "empty"])
def test_a_redis_that_is_away_is_waited_for(busy: Running, short_dir: Path, with_data: bool) -> None:
    environ = {**busy.ready["ray_env"], "HOME": str(short_dir)}
    address = current_address(busy)
    with tcp_redis(short_dir) as (store, start):
        server = start()
        with raydeck_up("--address", address, "--redis-url", f"redis://{store}", environ={**environ, "RAY_ADDRESS": address}) as running:
            person = Person(running)
            fresh_after(running, time.time())
            whole = {table: running.rows(table, "?limit=1")["total"] for table in ("nodes", "jobs")}
            with looking_on(running, person) as onlookers:
                server.kill()
                server.wait(5)
                time.sleep(AWAY_S)
                assert running.get("/readyz")[0] == 503
                assert running.get("/healthz")[0] == 200
                assert running.rows("actors", "?limit=1")["stale"]
                least = min(running.rows(table, "?limit=1")["total"] - count for table, count in whole.items())
                assert least >= 0
                if not with_data:
                    shutil.rmtree(short_dir / "appendonlydir")
                start()
                back = time.time()
                took = fresh_after(running, back)
                seen_at(lambda: running.get("/readyz")[0] == 200, "ready again")
            say_times({"fresh after Redis came back": [took]})

            may_be = set() if with_data else {401}  # sign-ins are kept in Redis: once it is empty, people sign in again
            assert {status for _, status in onlookers.failures()} <= may_be
            assert onlookers.statuses().get(NO_ANSWER, 0) == 0
            assert onlookers.greatest_age_s() > AWAY_S / 2
            assert took < FRESH_WITHIN_S
            assert all(running.rows(table, "?limit=1")["total"] >= count for table, count in whole.items())
            assert person.is_signed_in() or not with_data


def current_address(running: Running) -> str:
    """Of the demo's cluster, which may be another than at the start."""
    found: str = json.loads((running.state_dir / "demo.json").read_text())["address"]
    return found


def test_nothing_of_all_this_is_left_running(busy: Running) -> None:
    """Each role once, whatever was killed: no second one was left behind by a restart."""
    roles = {one.pid for one in read_started(processes_file(busy.state_dir, "up"))}

    assert set(children_of(busy.process.pid)) == roles
    answering = {name for name, _ in PROBE_ROLES}
    others = {"redis", "demo", "collector", "operations", "keeper", "node", "follower", "projector", "web"}
    assert answering | others == set(busy.ready["pids"]) - {"supervisor"}
    assert len(roles) == len(busy.ready["pids"]) - 1
