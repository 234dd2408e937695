"""The cluster itself, and how well our own processes see it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class ClusterMetadata:
    """Which Ray this is. One session of a named cluster."""

    cluster: str  # the name given with --cluster-name
    session: str  # Ray's session name
    gcs_address: str
    cluster_id: str | None = None
    ray_version: str | None = None
    python_version: str | None = None
    ray_commit: str | None = None
    os: str | None = None
    started_ms: int | None = None
    token_auth: bool | None = None
    ended_ms: int | None = None  # set when the session is over
    end_reason: str | None = None


@dataclass(frozen=True, slots=True)
class SourceReport:
    """How one resource is being learnt."""

    resource: str
    source: str  # pubsub, poll, pubsub+poll, push+poll
    interval_s: float | None = None  # of the poll in force
    as_of: float | None = None  # last time it was known right, Unix seconds
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class PushReport:
    """What Ray's agents pushed to this host, counted since the collector's present watch began."""

    bodies: int = 0
    events: int = 0  # that told something of a task of this session
    unreadable: int = 0  # events, or bodies of which nothing could be read
    of_other_sessions: int = 0  # events
    dropped: int = 0  # attempts that workers said they lost events of; one may be named more than once
    set_aside: int = 0  # bodies too big to keep
    broken: int = 0  # records that were cut short on their way
    waiting_bytes: int = 0  # received and not read yet
    last_at: float | None = None  # when the newest that was read was received, Unix seconds

    def plus(self, last_at: float | None = None, **more: int) -> PushReport:
        """With these counts added, and this as it is now."""
        counts = {name: getattr(self, name) + number for name, number in more.items()}
        return replace(self, **counts, last_at=self.last_at if last_at is None else last_at)


@dataclass(frozen=True, slots=True)
class CollectorReport:
    """The cluster collector's own word on itself."""

    collected_at: float
    gcs_reachable: bool
    gcs_unreachable_since: float | None = None
    sources: list[SourceReport] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    requests_total: int = 0  # gRPC calls to Ray since the collector started
    requests_per_s: float | None = None
    received_bytes_per_s: float | None = None
    actors_evicted: int = 0  # dead actors given up for the limit
    pubsub_supported: bool = True
    nodes_evicted: int = 0  # dead or finished ones given up for their limits
    jobs_evicted: int = 0
    workers_evicted: int = 0
    tasks_evicted: int = 0
    tasks_dropped: int = 0  # attempts that Ray itself lost, or lost something of, and that nobody pushed
    tasks_not_kept: int = 0  # reports of attempts that had not ended, beyond the limit of those, in the present watch
    pushed: PushReport | None = None  # None: nothing was


@dataclass(frozen=True, slots=True)
class RoleCost:
    """What one of Raydeck's own processes costs."""

    role: str  # redis, collector, node, projector, web, supervisor
    host: str
    pid: int
    collected_at: float
    pss_bytes: int | None = None
    cpu_percent: float | None = None  # of one core
    state: str = "RUNNING"  # RUNNING, RESTARTING, STOPPED
    restarts: int = 0
