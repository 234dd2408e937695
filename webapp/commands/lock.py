"""One `raydeck up` on a state folder at a time."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path

from clusterstate import paths

NOTE_LIMIT_BYTES = 4096


class AlreadyRunning(Exception):
    """Another process has the state folder; the message names it."""


class InstanceLock:
    """Held while this process lives. The file's text tells others who holds it."""

    def __init__(self, state_dir: Path, command: str) -> None:
        """Takes the lock. Raises AlreadyRunning."""
        self._command = command
        self._path = paths.lock_file(state_dir, command)
        self.descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = self._holder()
            os.close(self.descriptor)
            raise AlreadyRunning(
                f"raydeck {command} already runs on {state_dir}{holder}. Stop it first, or give this one another --state-dir."
            ) from None

    def note(self, url: str) -> None:
        """Says who holds the lock, and where it serves."""
        text = json.dumps({"pid": os.getpid(), "url": url})
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, text.encode(), 0)

    def release(self) -> None:
        """Lets go. The file stays: removing it would let two processes lock two files of one name."""
        with contextlib.suppress(OSError):
            os.ftruncate(self.descriptor, 0)
            os.close(self.descriptor)

    def _holder(self) -> str:
        pid, url = _noted(os.pread(self.descriptor, NOTE_LIMIT_BYTES, 0))
        return (f": process {pid}" if pid else "") + (f", {url}" if url else "")


def running_url(state_dir: Path) -> str:
    """Where the Raydeck of this state folder serves its pages; empty when none runs or it serves none."""
    for command in ("up", "web"):
        path = paths.lock_file(state_dir, command)
        if path.exists():
            _, url = _noted(path.read_bytes()[:NOTE_LIMIT_BYTES])
            if url:
                return url
    return ""


def _noted(text: bytes) -> tuple[int, str]:
    """(pid, URL) as the holder noted them; 0 and an empty text when nobody did."""
    try:
        noted = json.loads(text)
        pid, url = int(noted["pid"]), str(noted["url"])
    except (ValueError, KeyError, TypeError):
        return 0, ""
    return pid, url if url.isprintable() else ""
