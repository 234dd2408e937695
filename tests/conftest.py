"""What every level of tests stands on: a real Redis, a state directory, settings. Nothing outside is touched or reached."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from clusterstate.settings import Settings, read_settings
from tests.built_cluster import BuiltCluster
from tests.private_redis import PrivateRedis, private_redis

for _name in [name for name in os.environ if name.startswith("RAYDECK_")]:
    del os.environ[_name]  # what is set in the shell that runs the tests must not change what they see


@pytest.fixture(scope="session", autouse=True)
def _only_this_machine() -> Iterator[None]:
    """A test that reaches beyond this machine fails, whatever it wanted there."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_here(str(address[0])):
            raise RuntimeError(f"A test tried to reach {address[0]}: tests stay on this machine.")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield


def _is_here(host: str) -> bool:
    return host in {"", "localhost", "::1", "0.0.0.0"} or host.startswith("127.")  # noqa: S104 - compared, not bound


@pytest.fixture(autouse=True)
def _close_built_clusters() -> Iterator[None]:
    yield
    while BuiltCluster.opened:
        BuiltCluster.opened.pop().projection.close()


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """An empty folder (0700) whose path is short enough for unix sockets, which pytest's tmp_path is not."""
    folder = Path(tempfile.mkdtemp(prefix="rd"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[PrivateRedis]:
    """One real Redis for the whole run, on a unix socket."""
    folder = Path(tempfile.mkdtemp(prefix="rdt"))
    try:
        with private_redis(folder) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def redis_client(redis_server: PrivateRedis) -> Iterator[redis.Redis]:
    """A client of an empty Redis."""
    with redis_server.client() as client:
        client.flushall()
        yield client


@pytest.fixture
def state_dir(short_dir: Path) -> Path:
    """A state directory that no other test sees."""
    folder = short_dir / "state"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def settings(state_dir: Path, redis_server: PrivateRedis, redis_client: redis.Redis) -> Settings:
    """Settings as read from an empty environment, with the tests' Redis (emptied) and a state directory of their own."""
    return read_settings({}, state_dir=state_dir, redis_url=redis_server.url)


@pytest.fixture
def cluster(redis_client: redis.Redis, settings: Settings) -> BuiltCluster:
    """A cluster called `demo`, empty until the test adds rows."""
    return BuiltCluster(redis_client, settings)
