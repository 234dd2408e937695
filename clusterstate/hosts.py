"""What a host is called: the place where one node worker answers for all raylets beside it."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path

PROC = Path("/proc")
ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


def host_id(hostname: str | None, boot_id: str | None) -> str:
    """Name of a host in queues and leases, from what its node worker reports in `NodeStats`.

    Containers of one machine share the boot id and differ in hostname; machines may share a hostname.
    """
    digest = hashlib.sha256(f"{boot_id or ''}\0{hostname or ''}".encode()).hexdigest()[:8]
    return f"{readable_name(hostname)}-{digest}"


def readable_name(hostname: str | None) -> str:
    """The part of a host's name that stays the same when the machine starts anew."""
    return "".join(letter if letter in ALLOWED else "-" for letter in hostname or "")[:40] or "host"


def boot_id(proc: Path = PROC) -> str | None:
    """The kernel's own name of this boot; None where it cannot be read."""
    try:
        return (proc / "sys/kernel/random/boot_id").read_text().strip() or None
    except OSError:
        return None


def this_host() -> str:
    """The name of the host this process runs on."""
    return host_id(socket.gethostname(), boot_id())
