"""Finding the Ray cluster that runs on this machine, as Ray's own clients do."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

CONNECT_WITHIN_S = 0.3
FILE_LIMIT_BYTES = 256
WORDS_FOR_HERE = frozenset({"", "auto", "local"})


def given_address(setting: str, environ: Mapping[str, str]) -> str:
    """The address that was named: by setting, else by RAY_ADDRESS. Empty: none, or one that names no GCS."""
    for text in (setting, environ.get("RAY_ADDRESS", "")):
        if text not in WORDS_FOR_HERE and is_gcs_address(text):
            return text
    return ""


def running_here(environ: Mapping[str, str]) -> str:
    """The address in Ray's own note of the cluster started last on this machine, if something listens there. Else empty."""
    try:
        with address_file(environ).open("rb") as file:
            text = file.read(FILE_LIMIT_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return text if is_gcs_address(text) and is_reachable(text) else ""


def address_file(environ: Mapping[str, str]) -> Path:
    """Where `ray start` notes the address: `get_ray_address_file` in `ray._common.utils`."""
    folder = environ.get("RAY_TMPDIR") or environ.get("TMPDIR") or "/tmp"  # noqa: S108 - Ray's own default
    return Path(folder) / "ray" / "ray_current_cluster"


def is_gcs_address(text: str) -> bool:
    """host:port; not ray:// or http://, which name other services."""
    host, _, port = text.rpartition(":")
    return bool(host) and "/" not in text and port.isascii() and port.isdigit() and 0 < int(port) < 65536


def is_reachable(address: str) -> bool:
    """Whether something accepts connections at host:port. Takes a third of a second at most."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), CONNECT_WITHIN_S):
            return True
    except OSError:
        return False
