"""The worker that does a cluster's operations, one after the other, on the machine that has the journal.

There is one for each cluster, by a lock beside the journal. It does what its queue says, and what the journal says and the
queue has lost.
"""

from __future__ import annotations

import fcntl
import logging
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from clusterstate import paths
from clusterstate.journal import Journal, JournalUnavailable
from clusterstate.journal.records import QUEUED, SENDING, UNKNOWN
from clusterstate.operations import BY_ACTION, OPERATIONS
from clusterstate.settings import Settings
from clusterstate.store import operation_queue, queues
from clusterstate.store.connection import UNREACHABLE, connect
from clusterstate.store.operation_queue import OperationsWorker
from clusterstate.store.safe_jobs import SafeJob
from clusterstate.store.signing import derive, desk_of, master_key, sealing_key
from workers.operations.running import Surroundings, set_surroundings
from workers.queue_worker import SafeWorker

log = logging.getLogger("raydeck.operations")

LISTEN_S = 3
"""How long one blocking read waits: it says that it lives in between."""
AGAIN_AFTER_S = 5.0
"""What the cluster was not ready for is tried again after this."""
SETTLED_AFTER_S = 20.0
"""After something was sent without an answer: by then Ray has it or will not get it any more."""
LOST_AFTER_S = 150.0
"""No operation takes that long: see the limits in `clusterstate.operations`."""
WAIT_FOR_LOCK_S = 1.0
WATCH_EVERY_S = 60.0
INTERRUPTED = "Raydeck was interrupted while it was sent. Whether Ray has it is being looked up."


class OperationsSafeWorker(SafeWorker):
    """Says that it lives, and sees to what the journal holds."""

    def __init__(self, *args: Any, desk: Desk, **named: Any) -> None:
        self._desk = desk
        super().__init__(*args, **named)

    @property
    def dequeue_timeout(self) -> int:
        return LISTEN_S

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        super().heartbeat(timeout, pipeline)
        if pipeline is None:
            self._desk.say_alive()
            self._desk.see_to_unfinished(time.time())
            self._desk.see_to_watch(time.time())

    def maintain_heartbeats(self, job: Any, execution: Any) -> None:
        super().maintain_heartbeats(job, execution)
        try:
            self._desk.say_alive()
        except UNREACHABLE:
            pass  # said in the log already


class Desk:
    """What the worker of one cluster keeps an eye on."""

    def __init__(
        self, client: redis.Redis, journal: Journal, cluster: str, key: bytes, word: OperationsWorker, watch: Callable[[], object]
    ) -> None:
        """`watch` sees to it that somebody watches over submissions where Ray has nobody for that (`driver.watch_again`)."""
        self._watch = watch
        self._next_watch = 0.0
        self._client = client
        self._journal = journal
        self._cluster = cluster
        self._key = key
        self._word = word
        self._left_at: dict[str, float] = {}  # operation id → when it was last put into the queue by us

    def say_alive(self) -> None:
        operation_queue.say_alive(self._client, self._cluster, self._word)

    def see_to_unfinished(self, now: float) -> None:
        """Puts into the queue what is due. An operation is done once, however often it is there. Costs one read of the journal."""
        try:
            unfinished = self._journal.unfinished_operations(self._cluster)
        except JournalUnavailable as problem:
            log.warning("%s", problem)
            return
        for operation in unfinished:
            if operation.state == SENDING and now > (operation.started_at or 0.0) + LOST_AFTER_S:
                self.interrupted(operation.operation_id)  # whoever was at it could not write how it ended
            since = operation.asked_at if operation.started_at is None else operation.started_at
            wait_s = {QUEUED: AGAIN_AFTER_S, UNKNOWN: SETTLED_AFTER_S}.get(operation.state)
            if wait_s is None or now < since + wait_s or now < self._left_at.get(operation.operation_id, 0.0) + AGAIN_AFTER_S:
                continue
            self._left_at[operation.operation_id] = now
            kind = BY_ACTION.get(operation.action)
            if kind is not None:
                operation_queue.leave(self._client, self._key, kind(self._cluster, operation.operation_id), now)
        waiting = {operation.operation_id for operation in unfinished}
        self._left_at = {name: at for name, at in self._left_at.items() if name in waiting}

    def see_to_watch(self, now: float) -> None:
        """At the start and each minute: a look at a file and its lock."""
        if now >= self._next_watch:
            self._next_watch = now + WATCH_EVERY_S
            self._watch()

    def interrupted(self, operation_id: str | None = None) -> None:
        """Whoever was at it died: one operation, or whatever was under way when we began."""
        self._journal.interrupt_operations(self._cluster, operation_id, INTERRUPTED)


def run_operations_worker(settings: Settings, cluster: str, host: str, address: str, *, timeout_s: float) -> None:
    """Does the operations of a cluster until SIGTERM. Waits while another process of this machine does."""
    lock = _wait_for_lock(settings, cluster)
    journal = Journal(paths.journal_file(settings.state_dir))
    client = connect(settings, timeout_s=timeout_s)
    name = queues.operator_name(cluster)
    master = master_key(settings.state_dir)
    key = derive(master, name)
    around = surroundings_of(settings, cluster, address, journal)
    desk = Desk(client, journal, cluster, key, _word(host, master), lambda: _watch_again(around))
    desk.interrupted()
    worker = OperationsSafeWorker(
        client,
        queues.operations_queue(cluster),
        desk=desk,
        key=key,
        worker=name,
        allowed=OPERATIONS,
        run=lambda job, operation: _do(around, job, operation),
        ended=lambda job, operation: desk.interrupted(operation.operation_id),
        check_every_s=LISTEN_S,
    )
    try:
        worker.work(logging_level=None)
    finally:
        _say_gone(client, cluster)
        os.close(lock)


def surroundings_of(settings: Settings, cluster: str, address: str, journal: Journal) -> Surroundings:
    """Where operations of a cluster are done."""
    return Surroundings(
        cluster=cluster,
        address=address,
        journal=journal,
        sealing_key=sealing_key(settings),
        watch_file=_folder(settings) / f"{cluster}.watch",
        environ=dict(os.environ),
    )


def _do(around: Surroundings, job: SafeJob, operation: Any) -> None:
    """In the forked child. gRPC is imported here alone."""
    from workers.start import function_of

    set_surroundings(around)
    function_of(type(operation))(operation.cluster, operation.operation_id)


def _watch_again(around: Surroundings) -> None:
    from workers.operations.driver import watch_again

    if watch_again(around):
        log.info("%s: the driver that watched over submissions had died; another one does now.", around.cluster)


def _wait_for_lock(settings: Settings, cluster: str) -> int:
    """Held until this process ends: two that submit at once could both be refused by Ray."""
    path = _folder(settings) / f"{cluster}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            time.sleep(WAIT_FOR_LOCK_S)


def _folder(settings: Settings) -> Path:
    return paths.make_private_dir(paths.operations_dir(settings.state_dir))


def _word(host: str, master: bytes) -> OperationsWorker:
    from workers.operations.driver import own_ray_version

    return OperationsWorker(host, os.getpid(), desk_of(master), own_ray_version(), platform.python_version())


def _say_gone(client: redis.Redis, cluster: str) -> None:
    try:
        operation_queue.say_gone(client, cluster)
    except UNREACHABLE:
        pass  # it expires
