"""The file that tells other programs that everything is up, and how to reach it."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path


class ReadyFile:
    """A new 0600 file, whole or absent, never written through a link; removed at the end if it is still ours."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._written: tuple[int, int] | None = None

    def clear(self) -> None:
        """Removes what an earlier run left, so that nobody takes it for this one's. A link goes, not what it points to."""
        self.path.unlink(missing_ok=True)

    def write(self, content: Mapping[str, object]) -> None:
        """Puts a new file in place at once."""
        temporary = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                json.dump(content, file, indent=2)
                file.write("\n")
                found = os.fstat(file.fileno())
            temporary.replace(self.path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        self._written = (found.st_dev, found.st_ino)

    def remove(self) -> None:
        """Removes the file unless another took its place."""
        if self._written is None:
            return
        try:
            found = self.path.lstat()
        except OSError:
            return
        if (found.st_dev, found.st_ino) == self._written:
            self.path.unlink(missing_ok=True)
