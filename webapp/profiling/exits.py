"""How the workers of a profile ended, as Ray says it: type, exit code and words, for a process that is gone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from clusterstate import model
from clusterstate.profile_answers import ENDED, PROCESS_ENDED
from clusterstate.resources import WORKERS
from clusterstate.store.reader import SessionReader
from webapp.profiling.standing import ProfileStanding
from webapp.scope import href

MOST_SHOWN = 20
MOST_WORDS = 1_000


@dataclass(frozen=True)
class Exit:
    """A worker that has ended."""

    label: str
    pid: int
    href: str
    at_ms: int | None  # None: not known
    exit_type: str | None  # INTENDED_USER_EXIT, SYSTEM_ERROR, ...
    detail: str | None  # Ray's words, with the exit code


def exits_of(reader: SessionReader, standing: ProfileStanding) -> tuple[Exit, ...]:
    """Of the processes that were gone before or while they were looked into, as far as the GCS knows by now."""
    return tuple(_exits(reader, standing))[:MOST_SHOWN]


def exit_in_words(reader: SessionReader, worker_id: str) -> str:
    """For who asks too late; empty: it is not known that this worker has ended."""
    worker: model.Worker | None = reader.get(WORKERS, worker_id)
    if worker is None or worker.is_alive:
        return ""
    return f"It has ended: {worker.exit_type or 'of unknown cause'}. {(worker.exit_detail or '')[:MOST_WORDS]}".strip()


def _exits(reader: SessionReader, standing: ProfileStanding) -> Iterator[Exit]:
    targets = standing.profile.targets
    gone = {target for missing in standing.missing if missing.why_not and missing.why_not.reason == ENDED for target in missing.targets}
    for host in standing.hosts:
        if host.progress is not None and host.progress.ended == PROCESS_ENDED:
            gone.update(targets[place] for place in host.asked.targets if place < len(targets))
    for target in targets:
        worker: model.Worker | None = reader.get(WORKERS, target.worker_id) if target in gone and target.worker_id else None
        if worker is not None and not worker.is_alive:
            page = href("worker", worker_id=worker.worker_id)
            yield Exit(target.label, target.pid, page, worker.end_time_ms, worker.exit_type, worker.exit_detail)
