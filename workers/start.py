"""Starting one role in this process: a collector's worker, a node's probe worker, the projector."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import redis

from clusterstate.loops import LOOPS, Loop
from clusterstate.probes import PROBES
from clusterstate.settings import Settings
from clusterstate.store import leases, queues
from clusterstate.store.connection import UNREACHABLE, connect
from clusterstate.store.queues import Answer
from clusterstate.store.safe_jobs import JobTimeoutException, SafeJob
from clusterstate.store.signing import key_for
from clusterstate.store.writer import current_session
from workers.loops import LoopContext, run_loop
from workers.probes.running import CannotAnswer, Running, set_running
from workers.queue_worker import SafeWorker
from workers.sources import profile_notes

WORKER_TIMEOUT_S = 5.0
CHECK_PROBES_EVERY_S = 1
REDIS_BACK_WITHIN_S = 20.0
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def set_up_logging(settings: Settings) -> None:
    """To standard error, which the supervisor leads into the role's log file."""
    level = settings.log_level.upper()
    logging.basicConfig(stream=sys.stderr, level=level, format=LOG_FORMAT, force=True)
    logging.getLogger("rq").setLevel(max(logging.WARNING, logging.getLevelName(level)))


def run_loop_worker(settings: Settings, loop: Loop, host: str) -> None:
    """Runs the worker of one loop's queue on `host`, this one, until SIGTERM."""
    set_up_logging(settings)
    pid = os.getpid()
    client = connect(settings, timeout_s=WORKER_TIMEOUT_S)

    def run(job: SafeJob, request: Any) -> None:
        run_loop(request, LoopContext(settings, leases.holder(host, pid, job.id), worker.stopping))

    worker = SafeWorker(
        client,
        loop.queue,
        key=key_for(settings, queues.worker_of(loop)),
        worker=queues.worker_of(loop),
        allowed=LOOPS,
        run=run,
        ended=lambda job, request: leases.release_of_worker(client, request.name, host, pid),
    )
    worker.work(logging_level=None)


def run_probe_worker(settings: Settings, cluster: str, host: str, kind: str) -> None:
    """Answers the quick or the long probes of this host, or its profiles, until SIGTERM."""
    set_up_logging(settings)
    client = connect(settings, timeout_s=WORKER_TIMEOUT_S)
    profile_notes.tidy(settings.state_dir)  # of a worker that was killed
    name = queues.worker_name(cluster, host)
    worker = SafeWorker(
        client,
        queues.probe_queue(kind, cluster, host),
        key=key_for(settings, name),
        worker=name,
        allowed=tuple(probe for probe in PROBES if probe.queue == kind),
        run=lambda job, probe: answer_probe(client, job.id, probe, settings, cluster, host),
        ended=lambda job, probe: _note_interruption(client, settings, job.id, probe),
        check_every_s=CHECK_PROBES_EVERY_S,
    )
    worker.work(logging_level=None)


def run_operations(settings: Settings, cluster: str, host: str, address: str) -> None:
    """Does what was asked of a cluster, on the machine that has the journal, until SIGTERM."""
    set_up_logging(settings)
    from workers.operations.worker import run_operations_worker

    run_operations_worker(settings, cluster, host, address, timeout_s=WORKER_TIMEOUT_S)


def run_projector(settings: Settings) -> None:
    """Keeps this host's index up to date until SIGTERM."""
    set_up_logging(settings)
    from workers.projector import run_projector as run

    stop = StopFlag.on_sigterm()
    run(settings, stop.is_set)


def run_follower(settings: Settings, cluster: str, host: str) -> None:
    """Reads on in the log files that somebody follows until SIGTERM."""
    set_up_logging(settings)
    from workers.follower import run_follower as run

    stop = StopFlag.on_sigterm()
    run(settings, cluster, host, stop.is_set)


def run_keeper(settings: Settings, cluster: str) -> None:
    """Keeps what nodes send of their log files until SIGTERM."""
    set_up_logging(settings)
    from workers.log_keeper import run_keeper as run

    stop = StopFlag.on_sigterm()
    run(settings, cluster, stop.is_set)


@dataclass
class StopFlag:
    """Set by SIGTERM."""

    value: bool = False

    @classmethod
    def on_sigterm(cls) -> StopFlag:
        flag = cls()
        signal.signal(signal.SIGTERM, lambda *_: flag.set())
        return flag

    def set(self) -> None:
        self.value = True

    def is_set(self) -> bool:
        return self.value


def answer_probe(client: redis.Redis, probe_id: str, probe: Any, settings: Settings, cluster: str, host: str) -> None:
    """Answers one probe into its own key. Every end has an answer, also a failure."""
    found = queues.answer(client, probe_id) or Answer(probe_id, queues.RUNNING, asked_at=time.time())
    found = dataclasses.replace(found, state=queues.RUNNING)
    queues.store_answer(client, found)

    def report(words: str) -> None:
        with contextlib.suppress(*UNREACHABLE):
            queues.store_answer(client, dataclasses.replace(found, progress=words[:200]))

    kept_s = queues.kept_s(probe)

    def should_stop() -> bool:
        try:
            return queues.is_stopped(client, probe_id)
        except UNREACHABLE:
            return False

    def tell(part: bytes) -> None:
        until_redis_is_back(lambda: queues.store_part(client, probe_id, part, kept_s))

    set_running(Running(settings, cluster, host, report, tell, lambda: current_session(client, cluster), should_stop))
    final = dataclasses.replace(_outcome(found, probe), answered_at=time.time())
    until_redis_is_back(lambda: queues.store_answer(client, final, type(probe).max_answer_bytes, kept_s))


def until_redis_is_back(store: Callable[[], None]) -> None:
    """What took minutes to find out is not lost with a restart of Redis."""
    give_up = time.monotonic() + REDIS_BACK_WITHIN_S
    while True:
        try:
            return store()
        except UNREACHABLE:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.5)


def _outcome(found: Answer, probe: Any) -> Answer:
    try:
        value = function_of(type(probe))(**{f.name: getattr(probe, f.name) for f in fields(probe)})
    except CannotAnswer as reason:
        return dataclasses.replace(found, state=queues.FAILED, problem=str(reason)[:500])
    except JobTimeoutException:
        return dataclasses.replace(found, state=queues.TIMED_OUT, problem=f"No answer within {type(probe).time_limit_s} s.")
    except Exception as error:  # our bug: the asker is told, the log has the whole of it
        logging.getLogger("raydeck.probe").exception("The probe %s failed.", type(probe).__name__)
        return dataclasses.replace(found, state=queues.FAILED, problem=f"The probe failed: {type(error).__name__}.")
    return dataclasses.replace(found, state=queues.DONE, value=value)


def function_of(kind: type[Any]) -> Callable[..., Any]:
    """The function that a listed request names."""
    module, _, name = kind.answered_by.rpartition(".")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def _note_interruption(client: redis.Redis, settings: Settings, probe_id: str, probe: Any) -> None:
    profile_notes.tidy(settings.state_dir)
    found = queues.answer(client, probe_id)
    if found is None or found.is_final:
        return
    canceled = queues.is_canceled(client, probe_id)
    state, why = (queues.CANCELED, None) if canceled else (queues.INTERRUPTED, "The node worker ended before it had answered.")
    ended = dataclasses.replace(found, state=state, problem=why, answered_at=time.time())
    queues.store_answer(client, ended, kept_s=queues.kept_s(probe))
