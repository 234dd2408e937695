"""The private Redis: found, private, durable, and started again whatever happened to it."""

from __future__ import annotations

import os
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from clusterstate import paths
from clusterstate.settings import Settings, read_settings
from clusterstate.store.connection import connect
from workers import redis_server
from workers.redis_server import Engine, NoRedis

Start = Callable[[], int]


@pytest.fixture
def own(state_dir: Path) -> Settings:
    """Settings that ask for a private server."""
    paths.make_private_dir(paths.log_dir(state_dir))
    return read_settings({}, state_dir=state_dir)


@pytest.fixture
def start(own: Settings) -> Iterator[Start]:
    """Starts the private server as its role does; whatever was started is ended."""
    pids: list[int] = []

    def begin() -> int:
        pid = os.fork()
        if pid == 0:
            try:
                log = os.open(paths.log_dir(own.state_dir) / "redis.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                os.dup2(log, 1)
                os.dup2(log, 2)
                redis_server.exec_server(own, redis_server.find_engine())
            finally:
                os._exit(1)
        pids.append(pid)
        wait_until(lambda: redis_server.is_ready(own) or has_ended(pid))
        return pid

    yield begin
    for pid in pids:
        if not has_ended(pid):
            end(pid, signal.SIGKILL)


def has_ended(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def end(pid: int, signum: signal.Signals) -> int:
    os.kill(pid, signum)
    return os.waitpid(pid, 0)[1]


def wait_until(claim: Callable[[], bool], within_s: float = 8.0) -> None:
    give_up = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.02)


def program(folder: Path, name: str, says: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)


def test_only_its_owner_can_reach_the_server(own: Settings, start: Start) -> None:
    start()
    sock = paths.redis_socket(own.state_dir)

    assert stat.S_IMODE(sock.stat().st_mode) == 0o600
    assert stat.S_IMODE(sock.parent.stat().st_mode) == 0o700
    with connect(own) as client:
        assert client.config_get("port") == {"port": "0"}


def test_nothing_is_evicted_and_every_write_is_on_disk_within_a_second(own: Settings, start: Start) -> None:
    start()
    with connect(own) as client:
        asked = client.config_get("maxmemory-policy", "appendonly", "appendfsync", "save", "aof-load-truncated", "hash-max-listpack-value")

    assert asked == {
        "maxmemory-policy": "noeviction",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "aof-load-truncated": "yes",
        "hash-max-listpack-value": "1024",
    }


def test_data_survives_kill_9(own: Settings, start: Start) -> None:
    pid = start()
    with connect(own) as client:
        client.set("kept", "yes")
        client.execute_command("WAITAOF", 1, 0, 2000) if redis_server.find_engine().version >= (7, 2) else time.sleep(1.2)
    end(pid, signal.SIGKILL)

    start()

    with connect(own) as client:
        assert client.get("kept") == b"yes"


def test_a_torn_last_write_does_not_keep_it_from_starting(own: Settings, start: Start) -> None:
    pid = start()
    with connect(own) as client:
        client.set("kept", "yes")
    end(pid, signal.SIGTERM)
    [log] = paths.redis_dir(own.state_dir, redis_server.find_engine().data_name).glob("appendonlydir/*.incr.aof")
    with log.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$4\r\nhal")

    start()

    with connect(own) as client:
        assert client.get("kept") == b"yes"


def test_data_that_cannot_be_read_is_set_aside_and_the_server_starts_empty(own: Settings, start: Start) -> None:
    pid = start()
    end(pid, signal.SIGTERM)
    data = paths.redis_dir(own.state_dir, redis_server.find_engine().data_name)
    [log] = data.glob("appendonlydir/*.incr.aof")
    log.write_bytes(b"this is no append-only file\r\n" * 10)
    assert has_ended(start())

    start()

    with connect(own) as client:
        assert client.dbsize() == 0
    assert (data / redis_server.SET_ASIDE).is_dir()


def test_two_servers_never_use_one_folder(own: Settings, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    start()
    monkeypatch.setattr(redis_server, "LOCK_WITHIN_S", 0.1)

    with pytest.raises(NoRedis, match="Another Redis"):
        redis_server._lock(paths.redis_dir(own.state_dir, redis_server.find_engine().data_name))


def test_a_long_state_folder_has_its_socket_in_a_short_private_one(short_dir: Path) -> None:
    long = short_dir / ("x" * 60) / ("y" * 60)
    settings = read_settings({}, state_dir=long)
    sock = redis_server.prepare(settings)

    assert len(os.fsencode(sock)) <= paths.SOCKET_PATH_BYTES
    assert stat.S_IMODE(sock.parent.stat().st_mode) == 0o700
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(sock))
    sock.unlink()
    sock.parent.rmdir()


def test_a_short_folder_that_is_a_link_or_open_to_others_is_refused(short_dir: Path) -> None:
    target = short_dir / "target"
    target.mkdir(mode=0o700)
    (short_dir / "link").symlink_to(target)
    (short_dir / "open").mkdir(mode=0o755)

    for name in ("link", "open"):
        with pytest.raises(paths.BadFolder):
            paths.make_private_dir(short_dir / name)


def test_a_filled_folder_that_others_may_enter_is_no_state_folder(short_dir: Path) -> None:
    state = short_dir / "state"
    state.mkdir()
    state.chmod(0o755)
    assert stat.S_IMODE(paths.make_state_dir(state).stat().st_mode) == 0o700

    state.chmod(0o755)
    (state / "file").touch()
    with pytest.raises(paths.BadFolder, match="chmod 700"):
        paths.make_state_dir(state)


@pytest.mark.parametrize(
    ("says", "engine"),
    [
        ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64", ("redis", (7, 0))),
        ("Redis server v=8.2.3 sha=0", ("redis", (8, 2))),
        ("Valkey server v=9.1.2 sha=0", ("valkey", (9, 1))),
    ],
)
def test_a_server_on_the_path_is_used(short_dir: Path, says: str, engine: tuple[str, tuple[int, int]]) -> None:
    program(short_dir, "redis-server", says)

    found = redis_server.find_engine(path=str(short_dir))

    assert (found.name, found.version) == engine
    assert found.program == str(short_dir / "redis-server")


@pytest.mark.parametrize("says", ["Redis server v=6.2.14 sha=0", "nonsense"])
def test_without_a_usable_server_on_the_path_the_bundled_one_is_used(short_dir: Path, says: str) -> None:
    program(short_dir, "redis-server", says)

    found = redis_server.find_engine(path=str(short_dir))

    assert found.name == "valkey"
    assert found.version >= redis_server.OLDEST


def test_each_engine_has_data_of_its_own() -> None:
    assert Engine("", "redis", (7, 0)).data_name == "redis-7"
    assert Engine("", "valkey", (9, 1)).data_name == "valkey-9"


def test_a_given_redis_is_checked(settings: Settings, redis_client: redis.Redis) -> None:
    assert redis_server.check_given(settings) == []

    redis_client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        [warning] = redis_server.check_given(settings)
    finally:
        redis_client.config_set("maxmemory-policy", "noeviction")
    assert "noeviction" in warning


def test_a_given_redis_that_is_not_there_stops_the_start(settings: Settings) -> None:
    with pytest.raises(NoRedis, match="RAYDECK_REDIS_URL"):
        redis_server.check_given(replace(settings, redis_url="unix:///nowhere/redis.sock"))


def test_the_server_gets_no_secrets_of_our_environment(own: Settings, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    pid = start()

    assert b"RAY_AUTH_TOKEN" not in Path(f"/proc/{pid}/environ").read_bytes()
