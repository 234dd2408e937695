"""`raydeck up`: what it starts, says and leaves behind; what it refuses."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from clusterstate import paths
from clusterstate.journal import Journal
from workers.processes import read_stat

ROOT = Path(__file__).resolve().parents[2]
EVERYWHERE = "0.0.0.0"  # noqa: S104 - given to a command that refuses it
COMMAND = [sys.executable, "-m", "webapp.cli"]


def environ(home: Path) -> dict[str, str]:
    """An environment without a cluster, and a home that is not the user's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY")}
    return {**kept, "HOME": str(home), "RAY_TMPDIR": str(home), "PYTHONPATH": str(ROOT)}


class Up:
    """A running `raydeck up` that no cluster is there for."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.state_dir = folder / "state"
        self.ready_file = folder / "ready.json"
        given = ["--state-dir", str(self.state_dir), "--port", "0", "--ready-file", str(self.ready_file), *options]
        self.process = subprocess.Popen(
            [*COMMAND, "up", *given], cwd=ROOT, env=environ(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def wait_until_ready(self) -> dict[str, object]:
        wait_until(lambda: self.ready_file.exists() or self.process.poll() is not None, "the ready file")
        assert self.process.poll() is None, self.process.communicate()[0]
        return dict(json.loads(self.ready_file.read_text()))

    def stop(self) -> tuple[int, str]:
        """(exit code, all it said)"""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        said = self.process.communicate(timeout=15)[0]
        return self.process.returncode, said


@pytest.fixture
def up(short_dir: Path) -> Iterator[Up]:
    running = Up(short_dir)
    try:
        yield running
    finally:
        running.stop()


def wait_until(claim: Callable[[], object], what: str, within_s: float = 20.0) -> None:
    give_up = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < give_up, f"waited in vain for {what}"
        time.sleep(0.05)


def raydeck(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words], cwd=ROOT, env={**environ(folder), **variables}, capture_output=True, text=True, timeout=30, check=False
    )


def answer(url: str, token: str | None = None) -> int:
    """Status of a GET."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=5)
    try:
        connection.request("GET", parts.path or "/", headers={"Authorization": f"Bearer {token}"} if token else {})
        return connection.getresponse().status
    finally:
        connection.close()


def test_one_command_brings_everything_up_and_takes_it_down(up: Up) -> None:
    ready = up.wait_until_ready()
    url, token = str(ready["url"]), str(ready["admin_token"])
    pids = ready["pids"]
    assert isinstance(pids, dict)

    assert stat.S_IMODE(up.ready_file.stat().st_mode) == 0o600
    assert set(ready) == {"url", "sign_in_url", "admin_token", "pids", "redis", "cluster", "ray_address", "ray_env"}
    assert {"supervisor", "redis", "projector", "web"} <= set(pids)
    assert str(ready["sign_in_url"]).startswith(url + "/login?")
    assert (ready["cluster"], ready["ray_address"], ready["ray_env"]) == ("default", None, {})
    assert (answer(url + "/healthz"), answer(url + "/readyz"), answer(url + "/readyz", token)) == (200, 401, 200)

    second = raydeck(up.state_dir.parent, "up", "--state-dir", str(up.state_dir))
    assert second.returncode == 1
    assert f"process {up.process.pid}, {url}" in second.stderr

    begun = time.monotonic()
    code, said = up.stop()

    assert code == 0
    assert time.monotonic() - begun < 10
    assert not up.ready_file.exists()
    assert [pid for pid in pids.values() if (found := read_stat(pid)) is not None and found.state != "Z"] == []
    assert "No Ray cluster runs here. Waiting for one" in said
    assert f"Raydeck is at {url}/" in said
    assert f"Sign in (works once, for 10 minutes): {url}/login?token=" in said
    journal = Journal(paths.journal_file(up.state_dir))
    assert journal.verify_token(token, time.time()) is None
    journal.close()


def test_a_killed_web_server_keeps_its_port(up: Up) -> None:
    ready = up.wait_until_ready()
    pids = ready["pids"]
    assert isinstance(pids, dict)
    os.kill(pids["web"], signal.SIGKILL)

    wait_until(lambda: answer_or_none(str(ready["url"]) + "/healthz") == 200, "the pages at the same address")


def answer_or_none(url: str) -> int | None:
    try:
        return answer(url)
    except OSError:
        return None


def test_the_ready_file_is_never_written_through_a_link(short_dir: Path) -> None:
    victim = short_dir / "victim"
    victim.write_text("untouched")
    (short_dir / "ready.json").symlink_to(victim)
    running = Up(short_dir)
    try:
        wait_until(lambda: not running.ready_file.is_symlink() and running.ready_file.exists(), "the ready file")
        assert victim.read_text() == "untouched"
    finally:
        running.stop()
    assert victim.read_text() == "untouched"


def test_nothing_beyond_this_machine_without_tls_and_users(short_dir: Path) -> None:
    state = ["--state-dir", str(short_dir / "state")]

    bare = raydeck(short_dir, "up", *state, "--host", EVERYWHERE, "--port", "0")
    assert (bare.returncode, "RAYDECK_BEHIND_TLS_PROXY" in bare.stderr) == (78, True)

    without_users = raydeck(short_dir, "up", *state, "--host", EVERYWHERE, "--port", "0", "--behind-tls-proxy")
    assert without_users.returncode == 78
    assert "raydeck user add" in without_users.stderr


@pytest.mark.parametrize(
    ("words", "variables", "code", "names"),
    [
        (["--port", "many"], {}, 78, "RAYDECK_PORT"),
        (["--redis-url", "unix:///nowhere/redis.sock"], {}, 78, "RAYDECK_REDIS_URL"),
        (["--cluster-name", "a/b"], {}, 78, "RAYDECK_CLUSTER_NAME"),
        ([], {"RAYDECK_PORTT": "1"}, 78, "RAYDECK_PORTT"),
        (["--state-dir", "/dev/null/x"], {}, 78, "RAYDECK_STATE_DIR"),
        (["--no-such-option"], {}, 2, "--no-such-option"),
        (["--demo", "--address", "127.0.0.1:1"], {}, 2, "--demo"),
    ],
)
def test_what_cannot_work_is_refused_with_its_name_and_its_exit_code(
    short_dir: Path, words: list[str], variables: dict[str, str], code: int, names: str
) -> None:
    refused = raydeck(short_dir, "up", *(words if "--state-dir" in words else ["--state-dir", str(short_dir / "s"), *words]), **variables)

    assert (refused.returncode, names in refused.stderr) == (code, True), refused.stderr


def test_a_port_that_is_taken_is_named(short_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = raydeck(short_dir, "up", "--state-dir", str(short_dir / "s"), "--port", str(port))

    assert refused.returncode == 1
    assert f"127.0.0.1:{port}" in refused.stderr
    assert "--port" in refused.stderr


def test_every_setting_is_an_option() -> None:
    from clusterstate.settings import describe
    from webapp.commands.run import commands

    for command in commands:
        options = {word for parameter in command.params for word in parameter.opts}
        assert {option for _, option, _, _ in describe()} <= options


def test_the_command_says_its_version(short_dir: Path) -> None:
    shown = raydeck(short_dir, "--version")

    assert shown.returncode == 0
    assert shown.stdout.startswith("raydeck, version ")


def test_packages_of_another_program_are_noticed(short_dir: Path) -> None:
    other = short_dir / "other" / "workers"
    other.mkdir(parents=True)
    (other / "__init__.py").touch()
    environment = {**environ(short_dir), "PYTHONPATH": f"{other.parent}:{ROOT}"}
    program = "import webapp.cli; webapp.cli.main()"
    shown = subprocess.run(
        [sys.executable, "-c", program, "up"], cwd=short_dir, env=environment, capture_output=True, text=True, timeout=30, check=False
    )

    assert shown.returncode == 78
    assert "different places" in shown.stderr
