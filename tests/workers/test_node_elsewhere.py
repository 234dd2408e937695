"""A node on another machine: a state folder of its own, the head's Redis, and the key that the head made for it."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from clusterstate import paths
from clusterstate.hosts import this_host
from clusterstate.journal import Journal
from clusterstate.probes import CheckNode
from clusterstate.store import keys, queues, signing
from clusterstate.store.queues import Answer
from tests.private_redis import PrivateRedis, private_redis
from workers.processes import all_stats

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "webapp.cli"]
CLUSTER = "prod"


class Head:
    """The head's state folder; what its commands say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state_dir = folder / "head"
        self.raydeck("user", "add", "ada", "--no-password")

    def raydeck(self, *words: str) -> str:
        done = subprocess.run(
            [*COMMAND, *words, "--state-dir", str(self.state_dir)], cwd=ROOT, env=environ(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def master(self) -> bytes:
        return signing.master_key(self.state_dir)

    def ask(self, client: redis.Redis, within_s: float) -> Answer | None:
        """The final answer of the node here to a question of the head's; None if there is none in time."""
        probe_id = queues.ask(client, self.master(), CheckNode("ab"), CLUSTER, this_host(), time.time())
        give_up = time.monotonic() + within_s
        while time.monotonic() < give_up:
            found = queues.answer(client, probe_id)
            if found is not None and found.is_final:
                return found
            time.sleep(0.05)
        return None


def environ() -> dict[str, str]:
    return {**{name: value for name, value in os.environ.items() if not name.startswith("RAY")}, "PYTHONPATH": str(ROOT)}


@contextmanager
def node(folder: Path, server: PrivateRedis, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`raydeck node` with a state folder of its own. The cluster it watches is away; it is told by question what it is."""
    given = ["--state-dir", str(folder / "node"), "--redis-url", server.url, "--cluster-name", CLUSTER, "--address", "127.0.0.1:1"]
    process = subprocess.Popen(
        [*COMMAND, "node", *given, *options], cwd=ROOT, env=environ(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


@pytest.fixture
def head(short_dir: Path) -> Head:
    return Head(short_dir)


def test_a_node_with_the_heads_key_answers_and_needs_no_master_key(
    head: Head, short_dir: Path, redis_server: PrivateRedis, redis_client: redis.Redis
) -> None:
    key_file = short_dir / "node.key"
    head.raydeck("token", "node", socket.gethostname(), "--cluster", CLUSTER, "--out", str(key_file))

    with node(short_dir, redis_server, "--key-file", str(key_file)):
        found = head.ask(redis_client, within_s=30)

    assert found is not None
    assert (found.state, found.problem) == (queues.DONE, None)
    assert found.value["host"] == this_host()
    assert not paths.master_key_file(short_dir / "node").exists()


def test_a_node_without_a_key_says_what_to_do_and_refuses(
    head: Head, short_dir: Path, redis_server: PrivateRedis, redis_client: redis.Redis
) -> None:
    with node(short_dir, redis_server) as process:
        assert process.stdout is not None
        warning = process.stdout.readline()
        probe = head.ask(redis_client, within_s=0)
        give_up = time.monotonic() + 30
        while not redis_client.llen(keys.refused()) and time.monotonic() < give_up:
            time.sleep(0.05)
        [note] = redis_client.lrange(keys.refused(), 0, -1)

    assert probe is None
    assert "raydeck token node" in warning
    assert f"--cluster {CLUSTER}" in warning
    assert b"not signed for this worker" in note


def command_lines(process: int) -> list[str]:
    """Of a process and everything below it."""
    stats = all_stats()
    family = {process}
    while True:
        more = family | {stat.pid for stat in stats if stat.ppid in family}
        if more == family:
            return [Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode() for pid in sorted(family)]
        family = more


@pytest.mark.parametrize("option", [["--redis-url", "{}"], ["--redis-url={}"]])
def test_a_redis_password_that_was_typed_is_in_no_command_line(head: Head, short_dir: Path, option: list[str]) -> None:
    with private_redis(short_dir) as server:
        with server.client() as client:
            client.config_set("requirepass", "hunter2")
        address = f"unix://:hunter2@{server.socket}"
        with node(short_dir, server, *[word.format(address) for word in option]) as process:
            give_up = time.monotonic() + 30
            while len(found := command_lines(process.pid)) < 4 and time.monotonic() < give_up:
                time.sleep(0.1)

            assert len(found) >= 4
            assert [line for line in found if "hunter2" in line] == []
            assert all("--cluster-name prod" in line for line in found)


def test_the_key_of_another_host_stops_the_start(
    head: Head, short_dir: Path, redis_server: PrivateRedis, redis_client: redis.Redis
) -> None:
    key_file = short_dir / "other.key"
    head.raydeck("token", "node", "another-host", "--cluster", CLUSTER, "--out", str(key_file))

    with node(short_dir, redis_server, "--key-file", str(key_file)) as process:
        said, _ = process.communicate(timeout=30)

    assert process.returncode == 78
    assert f"is for {CLUSTER}:another-host" in said


def test_a_key_is_written_to_a_new_private_file_and_its_making_is_recorded(head: Head, short_dir: Path) -> None:
    key_file = short_dir / "node.key"
    printed = head.raydeck("token", "node", "gpu 7.example", "--cluster", CLUSTER)
    head.raydeck("token", "node", "gpu 7.example", "--cluster", CLUSTER, "--out", str(key_file))
    collector = head.raydeck("token", "collector", "--cluster", CLUSTER)

    assert key_file.read_text() == printed == signing.key_line("prod:gpu-7-example", signing.scope_key(head.master(), "prod:gpu-7-example"))
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert collector.startswith("collector/prod ")
    again = subprocess.run(
        [*COMMAND, "token", "node", "gpu-7", "--out", str(key_file), "--state-dir", str(head.state_dir)],
        cwd=ROOT,
        env=environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (again.returncode, "Name a new file" in again.stderr) == (1, True)
    journal = Journal(paths.journal_file(head.state_dir))
    recorded = [(record.action, record.detail) for record in journal.audit_records() if record.action.startswith("token.")]
    journal.close()
    assert recorded[0] == ("token.node", {"scope": "prod:gpu-7-example"})
    assert recorded[2] == ("token.collector", {"scope": "collector/prod"})
    assert signing.scope_key(head.master(), "prod:gpu-7-example").hex() not in str(recorded)
