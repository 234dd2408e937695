"""What a host is called: the place where one node worker answers for all raylets beside it."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


def host_id(hostname: str | None, boot_id: str | None) -> str:
    """Name of a host in queues and leases, from what its node worker reports in `NodeStats`.

    Containers of one machine share the boot id and differ in hostname; machines may share a hostname.
    """
    name = hostname or ""
    digest = hashlib.sha256(f"{boot_id or ''}\0{name}".encode()).hexdigest()[:8]
    readable = "".join(letter if letter in ALLOWED else "-" for letter in name)[:40] or "host"
    return f"{readable}-{digest}"


def boot_id() -> str | None:
    """The kernel's own name of this boot; None where it cannot be read."""
    try:
        return BOOT_ID.read_text().strip() or None
    except OSError:
        return None


def this_host() -> str:
    """The name of the host this process runs on."""
    return host_id(socket.gethostname(), boot_id())
