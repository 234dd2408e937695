"""The autoscaler's cluster status: one cheap call a second that also says which session answers, and its history."""

from __future__ import annotations

from dataclasses import replace

from clusterstate.model import ClusterStatus, NodeResources, StatusMoment
from clusterstate.resources import NODE_RESOURCES, STATUS, STATUS_HISTORY
from clusterstate.status_history import GAP_S, moment_of, to_give_up, worth_keeping
from clusterstate.store.row_ids import SINGLE_ROW_ID
from clusterstate.store.writer import SessionWriter
from workers.collectors.cluster_nodes import Nodes
from workers.collectors.cluster_watch import Watch
from workers.sources.autoscaler_decode import ERROR_KEY, REPORT_KEY, VERSION_KEY, VERSION_NAMESPACE, AutoscalerReport, error_of, report_of
from workers.sources.gcs_decode_status import cluster_status_of, node_resources_of, settled, sighted

AUTOSCALER_EVERY_S = 5.0
"""As often as an autoscaler reports."""
SILENT_AFTER_S = 60.0
REPORTED = "autoscaler"
"""Among what is known right as of a moment: when the autoscaler reported last."""


class SessionChanged(Exception):
    """Another session answers at the same address: the watched one is over."""


class Status:
    """Writes what changed since its last answer."""

    def __init__(self, watch: Watch, nodes: Nodes) -> None:
        self._watch = watch
        self._nodes = nodes
        self._known: dict[str, NodeResources] | None = None
        self._status: ClusterStatus | None = None
        self._history = StatusHistory()
        self._autoscaler = Autoscaler(watch)

    async def poll(self) -> None:
        """Raises SessionChanged when the answer comes from another session."""
        if not self._autoscaler.is_asked:
            await self._autoscaler.ask()
        started = self._watch.now()
        reply = await self._watch.gcs.cluster_status()
        session = reply.cluster_resource_state.cluster_session_name
        if session and session != self._watch.session:
            raise SessionChanged(session)
        report = self._autoscaler.report
        known = self._known or {}
        rows = {row.node_id: settled(known.get(row.node_id), row) for row in node_resources_of(reply, started, report)}
        status = cluster_status_of(reply, self._nodes.failed, started, report, self._autoscaler.version)
        self._autoscaler.note(reply.autoscaling_state.autoscaler_state_version, started)
        status = replace(status, silent_since_ms=self._autoscaler.silent_since_ms(started), autoscaler_error=self._autoscaler.error)
        await self._watch.store.run(lambda writer: self._write(writer, rows, status))
        self._known = rows
        self._watch.sources.right("node_resources", started)
        self._watch.sources.right("status", started)

    async def ask_autoscaler(self) -> None:
        """What the first autoscaler reports."""
        await self._autoscaler.ask()

    def _write(self, writer: SessionWriter, rows: dict[str, NodeResources], status: ClusterStatus) -> None:
        now = status.collected_at
        if self._known is None:
            writer.replace(NODE_RESOURCES, rows.values(), now)
        else:
            changed = [row for node_id, row in rows.items() if row != self._known.get(node_id)]
            gone = [node_id for node_id in self._known if node_id not in rows]
            if changed:
                writer.record(NODE_RESOURCES, changed, now)
            if gone:
                writer.forget(NODE_RESOURCES, gone, now)
        before = self._status if self._status is not None else writer.get(STATUS, [SINGLE_ROW_ID])[0]
        status = sighted(status, before)
        if self._status is None or replace(status, collected_at=self._status.collected_at) != self._status:
            writer.record(STATUS, [status], now)
            self._status = status
        self._history.offer(writer, self._status, now)


class StatusHistory:
    """Keeps moments of the status: those that `clusterstate.status_history` thinks worth it, and not too many."""

    def __init__(self) -> None:
        self._last: StatusMoment | None = None
        self._kept: list[tuple[str, bool]] | None = None  # (moment, is_event), oldest first; None: not read yet

    def offer(self, writer: SessionWriter, status: ClusterStatus, now: float) -> None:
        """Writes a moment if it tells something new. The first one says how long nobody had watched."""
        moment = moment_of(status, now)
        if self._kept is None:
            moment = self._begin(writer, moment)
        kept = worth_keeping(self._last, moment)
        if kept is None or self._kept is None:
            return
        writer.record(STATUS_HISTORY, [kept], now)
        self._last = kept
        self._kept.append((kept.moment, kept.is_event))
        if over := to_give_up(self._kept):
            writer.forget(STATUS_HISTORY, over, now)
            given_up = set(over)
            self._kept = [one for one in self._kept if one[0] not in given_up]

    def _begin(self, writer: SessionWriter, moment: StatusMoment) -> StatusMoment:
        """Reads what an earlier watch of the session left."""
        rows: list[StatusMoment] = sorted(writer.rows(STATUS_HISTORY), key=lambda row: row.moment)
        self._last = rows[-1] if rows else None
        self._kept = [(row.moment, row.is_event) for row in rows]
        seen = writer.confirmed(STATUS.name)
        is_gap = self._last is not None and seen is not None and moment.at - seen > GAP_S
        return replace(moment, unknown_since=seen) if is_gap else moment


class Autoscaler:
    """Which autoscaler runs, and what it reported last."""

    def __init__(self, watch: Watch) -> None:
        self.report: AutoscalerReport | None = None  # of the first one
        self.version: str | None = None
        self.error: str | None = None
        self.is_asked = False
        self._watch = watch
        self._reported: object = None  # what tells one report from the next
        self._heard_at: float | None = None

    async def ask(self) -> None:
        """Reads what the first autoscaler leaves in the KV. The second one reports to the GCS itself."""
        kv = self._watch.gcs
        self.version = "v2" if await kv.kv_get(VERSION_NAMESPACE, VERSION_KEY) == b"1" else None
        found = await kv.kv_multi_get("", [REPORT_KEY.encode(), ERROR_KEY.encode()])
        self.error = error_of(found.get(ERROR_KEY.encode()))
        self.report = report_of(found.get(REPORT_KEY.encode())) if self.version is None else None
        self.is_asked = True
        if self.report is not None:
            self._heard(self.report.at, self._watch.now(), self.report.at)

    def note(self, state_version: int, now: float) -> None:
        """The second autoscaler counts its reports up."""
        if state_version:
            self._heard(state_version, now, now)

    def silent_since_ms(self, now: float) -> int | None:
        """When it was heard last, if that is long ago."""
        if self._heard_at is None or now - self._heard_at <= SILENT_AFTER_S:
            return None
        return int(self._heard_at * 1000)

    def _heard(self, what: object, now: float, said_at: float | None) -> None:
        if what != self._reported:
            is_first = self._reported is None  # it may have been silent for long
            self._reported, self._heard_at = what, said_at if is_first and said_at is not None else now
            self._watch.sources.right(REPORTED, now if said_at is None else said_at)
