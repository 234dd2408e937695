"""What README.md tells people to type is run as they would type it; only names of other machines are this one's."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shlex
import socket
import subprocess
import time
from pathlib import Path

import pytest
import redis

from clusterstate import paths
from clusterstate.settings import Settings, read_settings
from tests.architecture.repository import read
from tests.built_cluster import BuiltCluster
from tests.deploy.running import RAYDECK, running
from tests.private_redis import PrivateRedis
from tests.simulated_ray.remote import RemoteRay

ROLES = ("up", "node", "collect", "projector", "web")
ELSEWHERE = "make", "cd", "python3", "pip"
"""Run by test_make_run.py and test_installed_wheel.py, or, as the other targets of make, by who changes Raydeck."""
PASSWORD = "correct horse battery"
TOKEN = "0" * 64


def lines(text: str) -> list[tuple[dict[str, str], list[str]]]:
    """(variables, words) of each command in the fenced `sh` blocks; what a block exports holds for its later lines."""
    found = []
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        exported: dict[str, str] = {}
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            given = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
            words = [word for word in words if not re.match(r"[A-Z_]+=", word)]
            if words[:1] == ["export"]:
                exported |= given
            elif words:
                found.append(({**exported, **given}, words))
    return found


COMMANDS = lines(read("README.md"))


@pytest.fixture
def home(short_dir: Path) -> Path:
    """A home folder in which Raydeck keeps its state as it does by itself."""
    (short_dir / ".local" / "state").mkdir(parents=True)
    (short_dir / ".ray").mkdir()
    (short_dir / ".ray" / "auth_token").write_text(TOKEN)
    return short_dir


@pytest.fixture
def here(home: Path, redis_server: PrivateRedis, redis_client: redis.Redis) -> Settings:
    """The settings of what runs from that home, on the tests' Redis."""
    del redis_client  # which it empties
    return read_settings({}, state_dir=home / ".local/state/raydeck", redis_url=redis_server.url)


def local(word: str, server: PrivateRedis, home: Path, address: str = "") -> str:
    """A word of the documentation with the names of other machines replaced."""
    for there, this in (
        ("rediss://:PASSWORD@redis.internal:6379/0", server.url),
        ("10.0.0.5:6379", address),
        ("gpu-7.key", str(home / "node.key")),
        ("gpu-7", socket.gethostname()),
        ("~/", f"{home}/"),
    ):
        word = word.replace(there, this)
    return word


def environ(home: Path, variables: dict[str, str]) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "RAY_TMPDIR": str(home), **variables}


def typed(words: list[str], home: Path, variables: dict[str, str]) -> str:
    """What a command says that is run at a terminal; asked for a password, twice, it is given one."""
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        words, cwd=home, env=environ(home, variables), stdin=inside, stdout=inside, stderr=inside, start_new_session=True
    )
    os.close(inside)
    said = b""
    give_up = time.monotonic() + 60
    with contextlib.suppress(OSError):  # the terminal is closed at the end
        while time.monotonic() < give_up and (more := os.read(terminal, 4096)):
            said += more
            if more.rstrip().endswith(b":"):
                os.write(terminal, f"{PASSWORD}\n".encode())
    os.close(terminal)
    assert process.wait(10) == 0, said.decode()
    return said.decode()


def test_every_documented_command_is_run_here_or_elsewhere() -> None:
    programs = {Path(words[0]).name for _, words in COMMANDS}

    assert programs == {"raydeck", "curl", *ELSEWHERE}
    assert len([words for _, words in COMMANDS if Path(words[0]).name == "raydeck"]) >= 10


def started() -> list[tuple[dict[str, str], list[str]]]:
    """The commands that go on until they are stopped. The demo is started by tests/ray."""
    return [(variables, words) for variables, words in COMMANDS if words[1:2] and words[1] in ROLES and "--demo" not in words]


@pytest.mark.parametrize(("variables", "words"), started(), ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_a_documented_role_starts_and_is_healthy(
    variables: dict[str, str], words: list[str], home: Path, here: Settings, redis_server: PrivateRedis
) -> None:
    with contextlib.ExitStack() as stack:
        address = ""
        if "--address" in words:
            token = TOKEN if variables.get("RAY_AUTH_MODE") == "token" else None
            address = stack.enter_context(RemoteRay(nodes=2, token=token)).address
        if "--key-file" in words:
            typed([RAYDECK, "user", "add", "ada", "--no-password"], home, {})
            typed([RAYDECK, "token", "node", socket.gethostname(), "--out", str(home / "node.key")], home, {})
        given = {name: local(value, redis_server, home) for name, value in variables.items()}
        command = [RAYDECK, *(local(word, redis_server, home, address) for word in words[1:])]
        if words[1] in {"up", "web"}:
            command += ["--port", "0"]

        run = stack.enter_context(running(command, home, {"RAY_TMPDIR": str(home), **given}))
        assert {"supervisor"} < set(run.ready["pids"])
        assert (run.ready["ray_address"] or "") == address
        assert run.stop() == 0


def test_what_is_documented_on_people_works_as_it_is_typed(home: Path, here: Settings, redis_server: PrivateRedis) -> None:
    """Users, tokens, the request with curl, keys for nodes and the backup: in the order of the document, beside a running Raydeck."""
    token, done = "", []
    with running([RAYDECK, "up", "--port", "0", "--redis-url", redis_server.url], home, {"RAY_TMPDIR": str(home)}) as run:
        with redis.Redis.from_url(redis_server.url) as client:
            shown = BuiltCluster(client, read_settings({}, state_dir=home / "other", redis_url=redis_server.url), name="default")
            dead = shown.with_actor(state="DEAD")
            shown.with_actor(state="ALIVE")
        for variables, given in COMMANDS:
            words = [local(word, redis_server, home) for word in given]
            if Path(words[0]).name == "raydeck" and words[1] not in ROLES:
                given_too = {"RAYDECK_REDIS_URL": redis_server.url} if words[1] == "doctor" else {}  # beside the one above
                environ = {name: local(value, redis_server, home) for name, value in variables.items()} | given_too
                said = typed([RAYDECK, *words[1:]], home, environ)
                token = next(iter(re.findall(r"rd_[A-Za-z0-9]+_\S+", said)), token)
                done.append(words[1])
            elif words[0] == "curl":
                assert token
                words = [word.replace("rd_…", token).replace("http://127.0.0.1:8270", run.ready["url"]) for word in words]
                assert wait_for_rows(words) == [dead.actor_id]
                done.append("curl")
    assert {"user", "token", "curl", "backup"} <= set(done)
    assert (home / "raydeck-backup.tar").stat().st_mode & 0o777 == 0o600
    assert paths.journal_file(here.state_dir).exists()


def wait_for_rows(command: list[str]) -> list[str]:
    """Ids that the request brings, once the projector has seen them."""
    give_up = time.monotonic() + 20
    while True:
        said = subprocess.run([*command, "--silent", "--noproxy", "*"], capture_output=True, text=True, timeout=20, check=True).stdout
        rows = json.loads(said).get("rows", [])
        if rows or time.monotonic() > give_up:
            return [row["actor_id"] for row in rows]
        time.sleep(0.3)
