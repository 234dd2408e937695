"""A supervisor with roles of a few lines, run as a program of its own by tests: what it forks must not be the test run."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import redis

from clusterstate.loops import CollectCluster, Loop
from clusterstate.settings import Settings, read_settings
from clusterstate.store import queues
from clusterstate.store.connection import UNREACHABLE
from clusterstate.store.signing import key_for
from workers import loops, redis_server, start
from workers import supervisor as supervisor_module
from workers.loops import Keeper
from workers.machine import sweep_leftovers
from workers.roles import GOES_FIRST, Role
from workers.schedule import LoopWatch
from workers.supervisor import Supervisor

LOOP = CollectCluster("tiny", "127.0.0.1:1")


def count_beats(request: Loop, keeper: Keeper, client: redis.Redis, settings: Settings) -> None:
    """Stands in for a collector: counts in Redis while it has the lease."""
    while not keeper.should_stop():
        keeper.beat()
        try:
            client.rpush("tiny:tokens", keeper.lease.token)
        except UNREACHABLE:
            pass
        time.sleep(0.1)


def sleep_on(children: int) -> None:
    for _ in range(children):
        if os.fork() == 0:
            break
    while True:
        time.sleep(1)


def roles(settings: Settings) -> list[Role]:
    engine = redis_server.find_engine()
    key = key_for(settings, queues.worker_of(LOOP))
    return [
        Role(
            "redis",
            run=lambda: redis_server.exec_server(settings, engine),
            is_ready=lambda: redis_server.is_ready(settings),
            stop_rank=3,
            orphan_signal=redis_server.ORPHAN_SIGNAL,
            nice=GOES_FIRST,
        ),
        Role(
            "collector",
            run=lambda: start.run_loop_worker(settings, LOOP, "host-1"),
            needs=("redis",),
            loop=lambda: LoopWatch(LOOP, key, "host-1"),
        ),
        Role("quick", run=lambda: start.run_probe_worker(settings, "tiny", "host-1", "quick"), needs=("redis",)),
        Role("family", run=lambda: sleep_on(children=2)),
        Role("failing", run=lambda: sys.exit(3), may_start=lambda: "--failing" in sys.argv),
        Role("stubborn", run=lambda: sleep_deaf(), may_start=lambda: "--stubborn" in sys.argv, stop_within_s=0.3),
    ]


def sleep_deaf() -> None:
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sleep_on(children=0)


def main() -> int:
    settings = read_settings({}, state_dir=sys.argv[1])
    loops.FUNCTIONS[CollectCluster] = count_beats  # type: ignore[index]  # a Mapping to all others
    supervisor_module.HOUSEKEEPING_EVERY_S = 1.0
    swept = sweep_leftovers(settings, "tiny")
    supervisor = Supervisor(settings, roles(settings), command="tiny", host="host-1", say=lambda words: print(words, file=sys.stderr))  # noqa: T201

    def note() -> None:
        ready = [name for name, one in supervisor.running.items() if one.is_ready]
        text = json.dumps({"pids": supervisor.pids(), "ready": ready, "healthy": supervisor.is_healthy(), "swept": swept})
        temporary = settings.state_dir / "note.new"
        temporary.write_text(text)
        temporary.replace(settings.state_dir / "note.json")

    supervisor.on_tick = note
    return supervisor.run()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    sys.exit(main())
