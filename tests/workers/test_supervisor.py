"""What a supervisor started goes on, whoever is killed; and nothing of it is left at the end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from clusterstate import paths
from clusterstate.hosts import boot_id
from clusterstate.probes import CheckNode
from clusterstate.settings import Settings, read_settings
from clusterstate.store import fleet, keys, queues, signing
from clusterstate.store.connection import connect
from workers.processes import Started, read_stat, session_members, sweep, write_started
from workers.roles import GOES_FIRST

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = "tests/workers/tiny_machine.py"


class Tiny:
    """A running tiny machine."""

    def __init__(self, settings: Settings, *options: str) -> None:
        self.settings = settings
        paths.make_state_dir(settings.state_dir)
        self.note_file = settings.state_dir / "note.json"
        self.note_file.unlink(missing_ok=True)
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, PROGRAM, str(settings.state_dir), *options], cwd=ROOT, env=environ, stderr=subprocess.PIPE
        )

    def note(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self.note_file.read_text()))
        except FileNotFoundError:
            return {"pids": {}, "ready": [], "healthy": False}

    def pid(self, role: str) -> int:
        return int(self.note()["pids"][role])

    def wait_until_healthy(self) -> None:
        wait_until(lambda: self.note()["healthy"], "all roles are healthy")

    def wait_for_another(self, role: str, than: int, within_s: float = 5.0) -> None:
        wait_until(lambda: self.note()["pids"].get(role, than) != than and role in self.note()["ready"], f"another {role}", within_s)

    def client(self) -> redis.Redis:
        return connect(self.settings)

    def stop(self) -> tuple[int, float]:
        """(exit code, seconds it took)"""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(15)
        return code, time.monotonic() - begun

    def all_processes(self) -> list[int]:
        """Everything below the supervisor, children's children too."""
        return [stat.pid for pid in self.note()["pids"].values() if pid != self.process.pid for stat in session_members(pid)]

    def close(self) -> None:
        if self.process.poll() is None:
            self.stop()
        assert self.process.stderr is not None
        self.process.stderr.close()


@pytest.fixture
def own(state_dir: Path) -> Settings:
    return read_settings({}, state_dir=state_dir)


@pytest.fixture(scope="module")
def shared() -> Iterator[Tiny]:
    """One machine for all tests that leave it running; it heals from what they do to it."""
    folder = Path(tempfile.mkdtemp(prefix="rd"))
    machine = Tiny(read_settings({}, state_dir=folder / "state"))
    try:
        yield machine
    finally:
        machine.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def tiny(shared: Tiny) -> Tiny:
    shared.wait_until_healthy()
    return shared


def wait_until(claim: Callable[[], object], what: str, within_s: float = 10.0) -> None:
    give_up = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < give_up, f"waited {within_s:g} s in vain until: {what}"
        time.sleep(0.05)


def alive(pids: list[int]) -> list[int]:
    stats = [read_stat(pid) for pid in pids]
    return [stat.pid for stat in stats if stat is not None and stat.state not in "ZX"]


def newest_token(client: redis.Redis) -> int:
    found = client.lrange("tiny:tokens", -1, -1)
    assert isinstance(found, list)
    return int(found[0]) if found else 0


def test_a_killed_role_is_started_again_and_the_others_go_on(tiny: Tiny) -> None:
    before = tiny.note()["pids"]
    os.kill(before["family"], signal.SIGKILL)

    tiny.wait_for_another("family", before["family"])

    assert {name: pid for name, pid in tiny.note()["pids"].items() if name != "family"} == {
        name: pid for name, pid in before.items() if name != "family"
    }


def test_a_killed_redis_comes_back_with_its_data_and_the_loop_has_gone_on(tiny: Tiny) -> None:
    with tiny.client() as client:
        client.set("kept", "yes")
        token = newest_token(client)
        time.sleep(1.2)  # the append-only file is synced each second
        collector = tiny.pid("collector")
        killed = tiny.pid("redis")
        os.kill(killed, signal.SIGKILL)
        tiny.wait_for_another("redis", killed)
        tiny.wait_until_healthy()

        assert client.get("kept") == b"yes"
        count = client.llen("tiny:tokens")
        wait_until(lambda: client.llen("tiny:tokens") > count, "the loop writes again")
        assert newest_token(client) == token
    assert tiny.pid("collector") == collector


def test_a_killed_loop_runs_again_within_two_seconds_under_a_greater_token(tiny: Tiny) -> None:
    with tiny.client() as client:
        word = json.loads(client.get(keys.heartbeat("cluster:tiny")) or b"{}")
        before = newest_token(client)
        os.kill(word["pid"], signal.SIGKILL)

        wait_until(lambda: newest_token(client) > before, "another loop", within_s=4.0)

        assert alive([word["pid"]]) == []


def test_a_killed_collector_takes_its_loop_with_it_and_another_follows(tiny: Tiny) -> None:
    with tiny.client() as client:
        word = json.loads(client.get(keys.heartbeat("cluster:tiny")) or b"{}")
        before = newest_token(client)
        os.kill(tiny.pid("collector"), signal.SIGKILL)

        wait_until(lambda: newest_token(client) > before, "another loop", within_s=5.0)

        assert alive([word["pid"]]) == []
        tokens = [int(token) for token in client.lrange("tiny:tokens", 0, -1)]
        assert tokens == sorted(tokens)


def test_a_lost_heartbeat_key_does_not_start_a_second_loop(tiny: Tiny) -> None:
    with tiny.client() as client:
        before = newest_token(client)
        client.delete(keys.heartbeat("cluster:tiny"))
        time.sleep(1.5)
        count = client.llen("tiny:tokens")
        wait_until(lambda: client.llen("tiny:tokens") > count + 5, "the loop writes")

        assert newest_token(client) == before


def test_the_loop_outlives_the_loss_of_all_redis_data(tiny: Tiny) -> None:
    with tiny.client() as client:
        loop = json.loads(client.get(keys.heartbeat("cluster:tiny")) or b"{}")["pid"]
        client.flushall()

        wait_until(lambda: client.get(keys.heartbeat("cluster:tiny")), "the loop beats")

        assert json.loads(client.get(keys.heartbeat("cluster:tiny")) or b"{}")["pid"] == loop


def test_it_is_known_whether_anybody_answers(tiny: Tiny) -> None:
    with tiny.client() as client:
        client.flushall()
        wait_until(lambda: queues.is_answered(client, "quick", "tiny", "host-1"), "the quick worker says again that it is there")
        assert not queues.is_answered(client, "long", "tiny", "host-1")
        assert not queues.is_answered(client, "quick", "tiny", "host-2")


def test_a_question_is_answered_by_the_node_worker(tiny: Tiny) -> None:
    master = signing.master_key(tiny.settings.state_dir)
    with tiny.client() as client:
        asked = time.monotonic()
        probe_id = queues.ask(client, master, CheckNode("ab"), "tiny", "host-1", time.time())
        wait_until(lambda: (found := queues.answer(client, probe_id)) is not None and found.is_final, "an answer")
        took = time.monotonic() - asked
        found = queues.answer(client, probe_id)

        assert found is not None
        assert (found.state, found.problem) == (queues.DONE, None)
        assert found.value["host"] == "host-1"
        assert took < 2.0


def test_refused_work_is_noted_and_the_worker_goes_on(tiny: Tiny) -> None:
    worker = tiny.pid("quick")
    with tiny.client() as client:
        client.delete(keys.refused())
        for _ in range(3):
            queues.ask(client, b"another master key", CheckNode("ab"), "tiny", "host-1", time.time())
        wait_until(lambda: client.llen(keys.refused()) == 3, "three refusals are noted")
        notes = [json.loads(note) for note in client.lrange(keys.refused(), 0, -1)]

        assert {note["why"] for note in notes} == {"not signed for this worker"}
        assert tiny.pid("quick") == worker


def test_work_is_started_once_even_if_it_is_enqueued_again(tiny: Tiny) -> None:
    master = signing.master_key(tiny.settings.state_dir)
    with tiny.client() as client:
        probe_id = queues.ask(client, master, CheckNode("ab"), "tiny", "host-1", time.time())
        job = client.hgetall(f"rd:rq:job:{probe_id}")
        wait_until(lambda: (found := queues.answer(client, probe_id)) is not None and found.is_final, "an answer")
        wait_until(lambda: not client.exists(f"rd:rq:job:{probe_id}"), "the job is forgotten")
        client.hset(f"rd:rq:job:{probe_id}", mapping=job)
        client.delete(keys.refused())
        client.rpush("rd:rq:queue:quick.tiny.host-1", probe_id)
        wait_until(lambda: client.llen(keys.refused()) == 1, "the replay is refused")

        assert json.loads(client.lrange(keys.refused(), 0, 0)[0])["why"] == "started before"


def test_what_people_wait_for_goes_first_where_this_user_may_say_so(tiny: Tiny) -> None:
    status = Path("/proc/self/status").read_text()
    may = bool(int(status.partition("CapEff:")[2].split()[0], 16) & 1 << 23)  # CAP_SYS_NICE
    ours = os.getpriority(os.PRIO_PROCESS, tiny.process.pid)
    assert os.getpriority(os.PRIO_PROCESS, tiny.pid("redis")) == (max(-20, ours + GOES_FIRST) if may else ours)
    assert os.getpriority(os.PRIO_PROCESS, tiny.pid("quick")) == ours


def test_what_each_role_costs_is_recorded_with_all_its_processes(tiny: Tiny) -> None:
    with tiny.client() as client:
        wait_until(lambda: len(fleet.costs(client)) >= 5, "costs are recorded", within_s=15.0)
        costs = {cost.role: cost for cost in fleet.costs(client)}

    assert {"redis", "collector", "quick", "family", "supervisor"} <= set(costs)
    assert all(cost.pss_bytes and cost.pss_bytes > 100_000 for cost in costs.values())


def test_stopping_takes_all_with_it_within_ten_seconds_also_what_does_not_listen(own: Settings) -> None:
    machine = Tiny(own, "--stubborn")
    try:
        machine.wait_until_healthy()
        everything = machine.all_processes()
        assert len(everything) >= 8
        code, took = machine.stop()
    finally:
        machine.close()

    assert code == 0
    assert took < 10
    assert alive(everything) == []
    assert not paths.processes_file(own.state_dir, "tiny").exists()


def test_a_role_that_fails_again_and_again_is_tried_ever_more_slowly(own: Settings) -> None:
    machine = Tiny(own, "--failing")
    try:
        assert machine.process.stderr is not None
        said = [machine.process.stderr.readline().decode().strip() for _ in range(3)]
    finally:
        machine.close()

    assert said == [f"failing ended (exit code 3); it is started again in {wait} s." for wait in ("0.2", "0.4", "0.8")]


def test_nothing_outlives_a_killed_supervisor_for_long_and_the_next_start_sweeps_the_rest(own: Settings) -> None:
    machine = Tiny(own)
    machine.wait_until_healthy()
    everything = machine.all_processes()
    with machine.client() as client:
        client.set("kept", "yes")
    time.sleep(1.2)
    machine.process.kill()
    machine.process.wait(5)
    machine.close()

    following = Tiny(own)
    try:
        following.wait_until_healthy()
        assert alive(everything) == []
        with following.client() as client:
            assert client.get("kept") == b"yes"
    finally:
        following.close()


def test_a_sweep_never_touches_a_process_that_got_an_old_pid(own: Settings) -> None:
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        stat = read_stat(stranger.pid)
        assert stat is not None
        note = paths.processes_file(own.state_dir, "up")
        write_started(note, [Started("old", stranger.pid, stat.start_ticks - 1000, boot_id() or "")])
        assert sweep(note) == 0
        write_started(note, [Started("old", stranger.pid, stat.start_ticks, "another boot")])
        assert sweep(note) == 0
        assert stranger.poll() is None

        write_started(note, [Started("old", stranger.pid, stat.start_ticks, boot_id() or "")])
        assert sweep(note) == 1
        assert stranger.wait(5) == -signal.SIGTERM
    finally:
        stranger.kill()
        stranger.wait(5)


FAMILY = """
import os, subprocess, sys
child = subprocess.Popen(["sleep", "60"], stdin=subprocess.DEVNULL, stdout=open(sys.argv[1], "a"), stderr=subprocess.DEVNULL, cwd="/")
print(os.getpid(), child.pid, flush=True)
"""


def orphan(log: str) -> tuple[int, int]:
    """A session's leader, which is gone, and the one process left of it, which writes to `log`."""
    said = subprocess.run([sys.executable, "-c", FAMILY, log], stdout=subprocess.PIPE, start_new_session=True, check=True).stdout
    leader, child = map(int, said.split())
    return leader, child


def test_a_daemon_that_once_had_an_old_pid_as_its_session_is_left_alone(own: Settings, tmp_path: Path) -> None:
    """A daemon's session leader ends at once, as a role that was killed has ended: what tells them apart is where they write."""
    leader, stranger = orphan(str(tmp_path / "log"))
    led, ours = orphan(str(own.state_dir / "role.log"))
    try:
        note = paths.processes_file(own.state_dir, "up")
        write_started(note, [Started("old", leader, 1, boot_id() or ""), Started("role", led, 1, boot_id() or "")])

        assert sweep(note) == 1
        assert alive([stranger, ours]) == [stranger]
    finally:
        for pid in alive([stranger, ours]):
            os.kill(pid, signal.SIGKILL)
