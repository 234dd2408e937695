"""Room for kept logs: the limit of a cluster holds, they stop growing on a disk that is nearly full, and old sessions go."""

from __future__ import annotations

import logging
from pathlib import Path

from clusterstate.settings import Settings
from clusterstate.store import kept_space

log = logging.getLogger("raydeck.log_keeper")

CHECK_EVERY_S = 60.0
GROWN_SHARE = 0.01
"""Of the limit: after so much more was kept it is looked at again, so that it is exceeded by no more."""
DAY_S = 86_400.0


class Space:
    """What is kept of one cluster, on this disk."""

    def __init__(self, settings: Settings, cluster: str) -> None:
        self._settings = settings
        self._cluster = cluster
        self._most = int(settings.kept_logs_gb * 1e9)
        self._most_while_low: int | None = None
        self._next_check = 0.0
        self._grown = 0
        self.disk = kept_space.disk_of(settings.state_dir)

    def look(self) -> None:
        """How much of the disk is free now."""
        self.disk = kept_space.disk_of(self._settings.state_dir)
        if not self.disk.is_low:
            self._most_while_low = None

    def grew(self, by_bytes: int) -> None:
        self._grown += by_bytes

    def is_due(self, now: float) -> bool:
        """Whether `make` is to be called. `now` is of the monotonic clock."""
        return now >= self._next_check or self._grown > self._most * GROWN_SHARE

    def make(self, now: float, wall: float, spared: frozenset[Path]) -> dict[Path, float]:
        """Deletes what is too old or too much, but for what is `spared`; of which, if that is too much, so large a part may stay."""
        self._next_check, self._grown = now + CHECK_EVERY_S, 0
        files = kept_space.files_of(self._settings.state_dir, self._cluster)
        old = kept_space.delete_before(files, wall - self._settings.session_retention_days * DAY_S, spared)
        files = [path for path in files if path not in old]
        most = self._allowed(sum(map(kept_space.size_of, files)))
        for path in [*old, *(beyond := kept_space.delete_beyond(files, most, spared))]:
            log.warning("Kept logs went, for their age or the limit of %g GB: %s", most / 1e9, path)
        sizes = {path: kept_space.size_of(path) for path in files if path not in beyond}
        level = kept_space.level(sizes.values(), most)
        return {} if level is None else {path: level / size for path, size in sizes.items() if size > level}

    def _allowed(self, total: int) -> int:
        if self.disk.is_low and self._most_while_low is None:
            self._most_while_low = total
        return self._most if self._most_while_low is None else min(self._most, self._most_while_low)

    @property
    def problem(self) -> str | None:
        """Why not all is kept, in a sentence."""
        free = f"{self.disk.free / 1e9:.1f} GB are free on the disk of the head's state folder"
        if self.disk.is_full:
            return f"No log files are kept now: only {free}."
        return (
            f"What is kept of log files does not grow, the newest takes the place of the oldest: only {free}." if self.disk.is_low else None
        )
