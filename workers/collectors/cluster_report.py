"""The cluster collector's word on itself: what it knows since when, what it costs Ray, and what is wrong."""

from __future__ import annotations

import time

from clusterstate.model import CollectorReport
from clusterstate.resources import COLLECTOR
from clusterstate.store.writer import SessionWriter
from workers.collectors.cluster_follow import Following
from workers.collectors.cluster_store import Store, StoreAway
from workers.sources.gcs import Traffic

REPORT_EVERY_S = 1.0


class Reporter:
    """Writes a report each second, and confirms what is known right."""

    def __init__(self, store: Store, traffic: Traffic) -> None:
        self.unreachable_since: float | None = None
        self.trouble: str | None = None  # why there is no connection, as a sentence
        self._evicted: dict[str, int] = {}
        self._store = store
        self._traffic = traffic
        self._before = (time.monotonic(), traffic.calls, traffic.received_bytes)
        self._rates: tuple[float, float] | None = None

    def lost(self, sentence: str, now: float) -> None:
        self.trouble = sentence
        if self.unreachable_since is None:
            self.unreachable_since = now

    def found(self) -> None:
        self.trouble = self.unreachable_since = None

    async def write(self, following: Following | None, now: float) -> None:
        """One report. Raises StoreAway, also when Redis lost what was written: then everything is written anew."""
        report = self.report(following, now)
        known = following.watch.sources.to_confirm() if following is not None and following.complete.is_set() else {}

        def tell(writer: SessionWriter) -> bool:
            if following is not None and not writer.is_known():
                return False
            writer.record(COLLECTOR, [report], now)
            writer.confirm({**known, "collector": now})
            return True

        if not await self._store.run(tell):
            raise StoreAway("Redis lost what was written: it is written anew.")

    def report(self, following: Following | None, now: float) -> CollectorReport:
        self._measure()
        if following is not None and following.complete.is_set():
            self._evicted = {
                "actors_evicted": following.actors.evicted,
                "nodes_evicted": following.nodes.evicted,
                "jobs_evicted": following.jobs.evicted,
                "workers_evicted": following.workers.evicted,
                "tasks_evicted": following.tasks.evicted,
                "tasks_dropped": following.tasks.dropped,
                "tasks_not_kept": following.tasks.not_kept,
            }
        pushed = following.pushed.report() if following is not None else None
        calls, received = self._rates or (None, None)
        return CollectorReport(
            collected_at=now,
            gcs_reachable=self.trouble is None,
            gcs_unreachable_since=self.unreachable_since,
            sources=following.watch.sources.reports(following.polls, following.followed, following.pushed_to_us) if following else [],
            problems=self._problems(following),
            requests_total=self._traffic.calls,
            requests_per_s=calls,
            received_bytes_per_s=received,
            pubsub_supported=following is None or following.only_polled is None,
            pushed=pushed if pushed is not None and pushed.bodies else None,
            **self._evicted,
        )

    def _problems(self, following: Following | None) -> list[str]:
        problems = [self.trouble] if self.trouble else []
        if following is not None:
            problems += [following.only_polled] if following.only_polled else []
            problems += [following.unreadable] if following.unreadable else []
            problems += [] if following.complete.is_set() else ["The first snapshot is being written."]
        return problems

    def _measure(self) -> None:
        """Rates over the seconds since the last measurement, at least one."""
        at, calls, received = self._before
        now = time.monotonic()
        if now - at >= REPORT_EVERY_S * 0.9:
            spent = now - at
            self._rates = (round((self._traffic.calls - calls) / spent, 1), round((self._traffic.received_bytes - received) / spent))
            self._before = (now, self._traffic.calls, self._traffic.received_bytes)
