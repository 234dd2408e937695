"""Asking for an operation: into the journal first, then into the queue of the worker that does it.

When this returns the operation is on the disk with its audit record. The queue only makes it quick: if Redis loses it, the
worker finds it in the journal.
"""

from __future__ import annotations

import hmac
import json
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace

import redis

from clusterstate.job_request import JobRequest
from clusterstate.journal import Journal, Operation, OperationExists
from clusterstate.journal.sealing import seal
from clusterstate.operations import BY_ACTION, StopJob, SubmitJob
from clusterstate.settings import Settings
from clusterstate.store import operation_queue, queues
from clusterstate.store.connection import StoreUnavailable, store_errors
from clusterstate.store.operation_queue import OperationsWorker
from clusterstate.store.signing import derive, desk_of, master_key, sealing_key

SHOWN = 20


class OperationRequests:
    """The web app's side of operations. Methods raise StoreUnavailable when Redis is away, JournalUnavailable for the journal."""

    def __init__(self, settings: Settings, journal: Journal, redis_connect: Callable[[], redis.Redis]) -> None:
        self._journal = journal
        self._connect = redis_connect
        self._master_key = master_key(settings.state_dir)
        self._sealing_key = sealing_key(settings)
        self._client: redis.Redis | None = None
        self._lock = threading.Lock()

    def worker(self, cluster: str) -> OperationsWorker | None:
        """The worker that does this cluster's operations; None when none lives."""
        with store_errors():
            return operation_queue.operations_worker(self._redis(), cluster)

    def is_ours(self, worker: OperationsWorker) -> bool:
        """Whether it reads the journal that this web app writes."""
        return worker.desk == desk_of(self._master_key)

    def of(self, cluster: str, session: str, submission_id: str) -> list[Operation]:
        """What was asked of a submission, newest first."""
        return self._journal.operations_of(cluster, session, submission_id, SHOWN)

    def submit(
        self, cluster: str, session: str, submission_id: str, request: JobRequest, who: str, detail: Mapping[str, object], now: float
    ) -> Operation:
        """Records a submission. The same one by the same person again is the one that there is; raises OperationExists for another."""
        plain = json.dumps(asdict(request), sort_keys=True).encode()
        mark = hmac.new(self._sealing_key, b"raydeck mark 1\0" + plain, "sha256").hexdigest()
        asked = replace(_new(SubmitJob, cluster, session, submission_id, who, request.masked(), now), mark=mark)
        try:
            return self._ask(asked, plain, detail, now)
        except OperationExists:
            known = self._unrefused_submission(asked)
            if known is None or (known.who, known.request, known.mark or mark) != (asked.who, asked.request, mark):
                raise
            return known

    def stop(self, cluster: str, session: str, submission_id: str, who: str, detail: Mapping[str, object], now: float) -> Operation:
        """Records the wish to stop a submission; one that is under way already is the one that there is."""
        for known in self.of(cluster, session, submission_id):
            if known.action == StopJob.audit_action and not known.is_final:
                return known
        return self._ask(_new(StopJob, cluster, session, submission_id, who, {}, now), b"{}", detail, now)

    def _ask(self, asked: Operation, plain: bytes, detail: Mapping[str, object], now: float) -> Operation:
        recorded = self._journal.record_operation(asked, seal(self._sealing_key, asked.operation_id, plain), detail)
        try:
            with store_errors():
                key = derive(self._master_key, queues.operator_name(asked.cluster))
                operation_queue.leave(self._redis(), key, BY_ACTION[asked.action](asked.cluster, asked.operation_id), now)
        except StoreUnavailable:
            pass  # it is promised: the worker looks in the journal
        return recorded

    def _unrefused_submission(self, asked: Operation) -> Operation | None:
        found = self.of(asked.cluster, asked.session, asked.target)
        return next((one for one in found if one.action == asked.action and one.state != "REFUSED"), None)

    def _redis(self) -> redis.Redis:
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client


def _new(
    kind: type[SubmitJob | StopJob], cluster: str, session: str, submission_id: str, who: str, request: dict[str, object], now: float
) -> Operation:
    return Operation(
        operation_id=secrets.token_hex(12),
        cluster=cluster,
        session=session,
        action=kind.audit_action,
        target=submission_id,
        who=who,
        asked_at=now,
        request=request,
    )
