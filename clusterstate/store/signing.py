"""Keys that sign the work left for a worker: each is derived from a master key that stays on the head.

From the master key follows the key of a *scope*, all workers of one machine or the collectors of one cluster; from that
the key of a worker. A machine that is given the key of its scope (`raydeck token node`) can check what is left for it,
after a restart too, and learns nothing of any other's key.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from clusterstate import paths
from clusterstate.settings import BadSetting, Settings

KEY_BYTES = 32
WORK = b"raydeck work 1"
SCOPE = b"raydeck scope 1"
BOOT = re.compile(r"-[0-9a-f]{8}\Z")
"""How clusterstate.hosts ends the name of a host: another one after each start of the machine."""
FILE_LIMIT_BYTES = 16 * 1024


class BadKey(BadSetting):
    """A key file is missing, broken or readable by others."""


def master_key(state_dir: Path) -> bytes:
    """The master key, made at first use. Raises BadKey if the file cannot be trusted."""
    path = paths.master_key_file(state_dir)
    paths.make_private_dir(path.parent)
    if not path.exists():
        _create(path, secrets.token_hex(KEY_BYTES))
    return _read(path)


def key_for(settings: Settings, worker: str) -> bytes:
    """The key of one worker: from the key file that was given, else from this host's master key. Raises BadKey."""
    if not settings.key_file:
        return derive(master_key(settings.state_dir), worker)
    path, scope = Path(settings.key_file), scope_of(worker)
    found = _scope_keys(path)
    if scope not in found:
        raise BadKey(f"The key file {path} is for {', '.join(found) or 'nobody'}; this is {scope}. Make its key on the head: {_how(scope)}")
    return _hmac(found[scope], WORK, worker)


def derive(master: bytes, worker: str) -> bytes:
    """The key of one worker below the master key, HMAC-SHA256 twice: of its scope, then of its name."""
    return _hmac(scope_key(master, scope_of(worker)), WORK, worker)


def sealing_key(settings: Settings) -> bytes:
    """What seals the requests that wait in the journal (`clusterstate.journal.sealing`). Raises BadKey."""
    return derive(master_key(settings.state_dir), "sealed operations")


def desk_of(master: bytes) -> str:
    """A word by which the holders of one master key know each other. Nothing follows from it."""
    return derive(master, "desk of operations").hex()[:16]


def scope_key(master: bytes, scope: str) -> bytes:
    """The key from which those of a scope's workers follow."""
    return _hmac(master, SCOPE, scope)


def scope_of(worker: str) -> str:
    """Who shares a key: `prod:gpu-7-0a1b2c3d`, a host's worker, is of `prod:gpu-7`; `collector/prod` is of itself."""
    return BOOT.sub("", worker) if ":" in worker else worker


def key_line(scope: str, key: bytes) -> str:
    """A line of a key file, which may hold several."""
    return f"{scope} {key.hex()}\n"


def _hmac(key: bytes, purpose: bytes, name: str) -> bytes:
    return hmac.new(key, purpose + b"\0" + name.encode(), hashlib.sha256).digest()


def _how(scope: str) -> str:
    """The command that makes a scope's key."""
    cluster, colon, host = scope.partition(":")
    if colon:
        return f"raydeck token node {host} --cluster {cluster}"
    return f"raydeck token collector --cluster {scope.rpartition('/')[2]}"


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
    """The master key."""
    text = _private_text(path)
    try:
        return _as_key(text.strip())
    except ValueError:
        raise BadKey(f"The key file {path} must hold {KEY_BYTES * 2} hex digits.") from None


def _scope_keys(path: Path) -> dict[str, bytes]:
    text = _private_text(path)
    try:
        lines = [line.split() for line in text.splitlines() if line.strip()]
        return {scope: _as_key(digits) for scope, digits in lines}
    except ValueError:
        raise BadKey(f"The key file {path} must hold lines as `raydeck token node` writes them.") from None


def _as_key(digits: str) -> bytes:
    key = bytes.fromhex(digits)
    if len(key) != KEY_BYTES:
        raise ValueError("too short or too long")
    return key


def _private_text(path: Path) -> str:
    """What a file of our own holds. Raises BadKey unless it is one and nobody else may read it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise BadKey(f"The key file {path} cannot be read: {error.strerror}.") from None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise BadKey(f"The key file {path} must be a file of your own that nobody else may read: chmod 600 {path}")
        return file.read(FILE_LIMIT_BYTES).decode("ascii", "replace")
