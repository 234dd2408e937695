"""Which of a node's log files are meant: by what they are called, and by whose they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from clusterstate.log_names import Named, named
from workers.sources.log_listing import Entry


@dataclass(frozen=True)
class Choice:
    """Files of a group, with a part of a name in any case, of any of these workers, jobs and submissions (of all where none is named)."""

    group: str | None
    name: str
    worker_ids: tuple[str, ...] = ()
    job_ids: tuple[str, ...] = ()
    submission_ids: tuple[str, ...] = ()

    def of(self, entries: Iterable[Entry]) -> list[tuple[Entry, Named]]:
        """Those that are meant, in any order."""
        part = self.name.casefold()
        workers, jobs, submissions = frozenset(self.worker_ids), frozenset(self.job_ids), frozenset(self.submission_ids)
        found = [(entry, named(entry.name)) for entry in entries if part in entry.name.casefold()]
        if self.group is not None:
            found = [pair for pair in found if pair[1].group == self.group]
        if not (workers or jobs or submissions):
            return found
        return [
            (entry, told) for entry, told in found if told.worker_id in workers or told.job_id in jobs or told.submission_id in submissions
        ]
