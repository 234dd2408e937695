"""Where things lie below the state folder, and that nobody else can reach them."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from clusterstate.settings import BadSetting, variable

SOCKET_PATH_BYTES = 107
"""Longest path a unix socket may have on Linux: `sun_path` holds 108 bytes with its closing zero."""
SHORT_ROOT = Path("/tmp")  # noqa: S108 - short by need; what we make there is 0700 and its owner is checked


class BadFolder(BadSetting):
    """A folder cannot be trusted: it belongs to somebody else, or others may enter it."""


def index_dir(state_dir: Path) -> Path:
    """The disposable SQLite index of this host."""
    return state_dir / "index"


def journal_file(state_dir: Path) -> Path:
    """Users, tokens, audit: what must survive a lost Redis."""
    return state_dir / "journal.db"


def keys_dir(state_dir: Path) -> Path:
    return state_dir / "keys"


def master_key_file(state_dir: Path) -> Path:
    """The key that node keys are derived from; nodes never see it."""
    return keys_dir(state_dir) / "master.key"


def lock_file(state_dir: Path, command: str = "up") -> Path:
    """Held by the supervisor of `command`; says its pid and URL."""
    return state_dir / f"{command}.lock"


def processes_file(state_dir: Path, command: str = "up") -> Path:
    """The processes that a supervisor started, so that the next one can sweep what a kill left behind."""
    return state_dir / f"{command}.processes.json"


def ingest_secret_file(state_dir: Path, cluster: str) -> Path:
    """What Ray's agents of a cluster send to be let in with task events."""
    return keys_dir(state_dir) / f"ingest-{cluster}.secret"


def spool_dir(state_dir: Path, cluster: str) -> Path:
    """Task events that were pushed and not read yet."""
    return state_dir / "spool" / cluster


def kept_logs_dir(state_dir: Path) -> Path:
    """Log files of the cluster's nodes, which outlive them."""
    return state_dir / "kept-logs"


def log_dir(state_dir: Path) -> Path:
    return state_dir / "log"


def operations_dir(state_dir: Path) -> Path:
    """Locks of those who do operations, one for each cluster."""
    return state_dir / "operations"


def profiling_dir(state_dir: Path) -> Path:
    """Notes of processes that are looked into now."""
    return state_dir / "profiling"


def redis_dir(state_dir: Path, engine: str) -> Path:
    """Data of the private Redis. One folder per engine and major version: `redis-7`, `valkey-9`."""
    return state_dir / "redis" / engine


def short_dir(state_dir: Path) -> Path:
    """A private folder with a short path, for what a unix socket path is too short for."""
    digest = hashlib.sha256(os.fsencode(state_dir)).hexdigest()[:6]
    return SHORT_ROOT / f"raydeck-{os.geteuid()}-{digest}"


def redis_socket(state_dir: Path) -> Path:
    """The private Redis' socket: in the state folder where the path limit allows it, else in the short folder."""
    wanted = state_dir / "redis" / "redis.sock"
    return wanted if len(os.fsencode(wanted)) <= SOCKET_PATH_BYTES else short_dir(state_dir) / "redis.sock"


def demo_dir(state_dir: Path) -> Path:
    """The demo cluster's folder: at most 35 characters, or Ray's own socket paths grow too long."""
    return short_dir(state_dir) / "demo"


def make_state_dir(state_dir: Path) -> Path:
    """The state folder, made if it is missing. Raises BadFolder unless it is ours alone.

    An empty folder of ours that others may enter is closed; a filled one is refused, because it may be used by others.
    """
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = state_dir.stat()
    except OSError as error:
        raise BadFolder(f"{variable('state_dir')} is {state_dir}; it cannot be made: {error.strerror}.") from None
    if found.st_uid != os.geteuid():
        raise BadFolder(f"{variable('state_dir')} is {state_dir}; it must belong to you.")
    if found.st_mode & 0o077:
        if any(state_dir.iterdir()):
            raise BadFolder(f"{variable('state_dir')} is {state_dir}; others may enter it. Close it with: chmod 700 {state_dir}")
        state_dir.chmod(0o700)
    return state_dir


def make_private_dir(path: Path) -> Path:
    """A folder of ours alone, made if it is missing; its parent exists. Raises BadFolder if it is a link or not ours."""
    try:
        path.mkdir(mode=0o700, parents=False, exist_ok=True)
    except OSError as error:
        raise BadFolder(f"The folder {path} cannot be made: {error.strerror}.") from None
    return check_private_dir(path)


def check_private_dir(path: Path) -> Path:
    """`path`, if it is a folder (no link) that only we may enter. Else BadFolder."""
    try:
        found = path.lstat()
    except OSError as error:
        raise BadFolder(f"The folder {path} cannot be used: {error.strerror}.") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise BadFolder(f"The folder {path} must be a folder of your own that nobody else may enter.")
    return path
