"""Keys that sign the work left for a node: each node's key is derived from a master key that nodes never see."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from clusterstate import paths
from clusterstate.settings import BadSetting

KEY_BYTES = 32
PURPOSE = b"raydeck work 1"


class BadKey(BadSetting):
    """A key file is missing, broken or readable by others."""


def master_key(state_dir: Path) -> bytes:
    """The master key, made at first use. Raises BadKey if the file cannot be trusted."""
    path = paths.master_key_file(state_dir)
    paths.make_private_dir(path.parent)
    if not path.exists():
        _create(path, secrets.token_hex(KEY_BYTES))
    return _read(path)


def key_for(state_dir: Path, worker: str) -> bytes:
    """The key of one worker: its own file where there is one (a host without the master key), else derived."""
    path = paths.node_key_file(state_dir, worker)
    return _read(path) if path.exists() else derive(master_key(state_dir), worker)


def derive(master: bytes, worker: str) -> bytes:
    """HMAC-SHA256 of the worker's name (`cluster:<cluster>` or `<cluster>:<host>`) below the master key."""
    return hmac.new(master, PURPOSE + b"\0" + worker.encode(), hashlib.sha256).digest()


def sign(key: bytes, job_id: str, function: str, fields: Mapping[str, object], worker: str, expires_ms: int) -> str:
    """Hex HMAC-SHA256 over everything that decides what is done, by whom and until when."""
    text = json.dumps([job_id, function, fields, worker, expires_ms], sort_keys=True, separators=(",", ":"))
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def is_signature(given: str, expected: str) -> bool:
    """Compares in constant time; foreign letters are simply wrong."""
    return hmac.compare_digest(given.encode(), expected.encode())


def _create(path: Path, text: str) -> None:
    """Writes a whole new 0600 file or nothing; when another process was first, its file stays."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
    finally:
        temporary.unlink()


def _read(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise BadKey(f"The key file {path} cannot be read: {error.strerror}.") from None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise BadKey(f"The key file {path} must be a file of your own that nobody else may read: chmod 600 {path}")
        text = file.read(KEY_BYTES * 4)
    try:
        key = bytes.fromhex(text.decode().strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise BadKey(f"The key file {path} must hold {KEY_BYTES * 2} hex digits.")
    return key
