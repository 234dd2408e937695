"""How long the timeline takes at a million tasks, without a cluster: rows go into an index in bulk, and pages are asked of the app.

`python -m benchmarks timeline --tasks 1000000 --workers 320`. What is measured is the whole answer, compressed, in this process.
"""

from __future__ import annotations

import argparse
import dataclasses
import heapq
import random
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import machine
from clusterstate import model, paths
from clusterstate.journal import Journal
from clusterstate.resources import METADATA, NODES, RESOURCES, TASKS
from clusterstate.settings import read_settings
from clusterstate.store.connection import connect
from clusterstate.store.fleet_index import FleetIndex, session_file
from clusterstate.store.index import Index
from tests.private_redis import private_redis
from webapp.app import create_app

CLUSTER, SESSION, HOST = "bench", "session_1", "127.0.0.1:8270"
HOUR_MS = 3_600_000
WORKERS_OF_A_NODE = 16
LONG_MS = 1_200_000
NAMES = tuple(f"stage_{number}.transform" for number in range(30))
TIMES = 5


def main(arguments: list[str]) -> int:
    """Run it and print. Returns 0; figures decide nothing here."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks timeline", description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000_000, help="within one hour, default 1,000,000")
    parser.add_argument("--workers", type=int, default=320, help="that ran them, 16 on a node, default 320")
    options = parser.parse_args(arguments)
    tasks, workers = max(1000, options.tasks), max(1, min(options.workers, 10_000))
    with tempfile.TemporaryDirectory(prefix="rdb") as name, private_redis(Path(name)) as server:
        state = Path(name) / "state"
        state.mkdir(mode=0o700)
        settings = read_settings({"RAYDECK_STATE_DIR": str(state), "RAYDECK_REDIS_URL": server.url})
        began_ms = int(time.time() * 1000) - HOUR_MS
        size = fill(paths.index_dir(state), tasks, workers, began_ms)
        sys.stdout.write(f"{tasks:,} tasks on {workers:,} workers, {size / tasks:.0f} B of index a task; {machine.load_average()}\n")
        journal = Journal(paths.journal_file(state))
        journal.add_user("bench", secrets.token_urlsafe(), "viewer", "cli:bench", time.time())
        token = journal.new_token("bench", "bench", "viewer", time.time())
        app = create_app(
            settings, index_dir=paths.index_dir(state), journal=journal, redis_connect=lambda: connect(settings, timeout_s=1.0)
        )
        client = app.test_client(use_cookies=False)
        headers = {"Host": HOST, "Authorization": f"Bearer {token}", "Accept": "text/html", "Accept-Encoding": "gzip"}
        for label, query in windows(began_ms):
            _tell(label, [_timed(client, f"/c/{CLUSTER}/timeline{query}", headers) for _ in range(TIMES)])
        journal.close()
    return 0


def windows(began_ms: int) -> list[tuple[str, str]]:
    """(name, query string) of what is asked."""
    middle = began_ms + HOUR_MS // 2
    return [
        ("the whole hour", ""),
        ("by state", "?colour=state"),
        ("all nodes folded", "?closed=all"),
        ("ten minutes of it", f"?from={middle}&to={middle + 600_000}"),
        ("ten seconds of it", f"?from={middle}&to={middle + 10_000}"),
        ("the last minute", "?span=60000"),
        ("a word in the whole hour", "?q=stage_13"),
        ("one job", "?job_id=01000000"),
    ]


def fill(folder: Path, tasks: int, workers: int, began_ms: int) -> int:
    """An index of one session as a projector would leave it. Returns its bytes."""
    path = session_file(folder, CLUSTER, SESSION)
    path.parent.mkdir(parents=True)
    index = Index(path, in_bulk=True)
    index.begin()
    nodes = [model.Node(f"{number:056x}", "ALIVE", node_ip=f"10.0.0.{number}") for number in range(-(-workers // WORKERS_OF_A_NODE))]
    index.put(NODES, ((node.node_id, _values(node)) for node in nodes))
    index.put(METADATA, [("", _values(model.ClusterMetadata(CLUSTER, SESSION, "127.0.0.1:6379", started_ms=began_ms)))])
    index.put(TASKS, ((task.attempt_id, _values(task)) for task in _tasks(tasks, workers, began_ms)))
    index.bump([TASKS.name, NODES.name, METADATA.name])
    index.set_fresh({}, {resource.name: time.time() + HOUR_MS for resource in RESOURCES})
    index.commit()
    index.make_sorts()
    index.close()
    index = Index(path)
    index.tune()
    index.close()
    fleet = FleetIndex(folder / "fleet.db")
    fleet.write({CLUSTER: SESSION}, [], time.time())
    fleet.close()
    return path.stat().st_size


def _tasks(number: int, workers: int, began_ms: int) -> Iterator[model.Task]:
    """One after another on each worker; one in a hundred fails, and now and then one lasts twenty minutes."""
    chance = random.Random(3)
    each_ms = HOUR_MS * workers / number
    free = [(began_ms + chance.randrange(1000), worker) for worker in range(workers)]
    heapq.heapify(free)
    for count in range(number):
        start, worker = heapq.heappop(free)
        lasted = LONG_MS if count % 100_000 == 7 else int(chance.expovariate(1 / (each_ms * 0.8)))
        end = start + lasted
        job = "01000000" if worker % 3 else "02000000"
        name = NAMES[int(chance.random() ** 2 * len(NAMES))]
        yield model.Task(
            f"{count:040x}{job}",
            state="FAILED" if count % 97 == 0 else "FINISHED",
            name=name,
            func_or_class_name=name,
            type="NORMAL_TASK",
            job_id=job,
            node_id=f"{worker // WORKERS_OF_A_NODE:056x}",
            worker_id=f"{worker:056x}",
            worker_pid=1000 + worker,
            creation_time_ms=start - 50,
            start_time_ms=start,
            end_time_ms=end,
            end_evidence="GCS",
            sequence=count + 1,
        )
        heapq.heappush(free, (end + chance.randrange(int(each_ms * 0.3) + 1), worker))


def _values(row: Any) -> list[Any]:
    return [getattr(row, field.name) for field in dataclasses.fields(row)]


def _timed(client: Any, path: str, headers: dict[str, str]) -> tuple[float, float, int]:
    """Seconds, seconds of CPU and bytes of one answer."""
    wall, cpu = time.perf_counter(), time.process_time()
    answer = client.get(path, headers=headers)
    took = time.perf_counter() - wall, time.process_time() - cpu, len(answer.data)
    if answer.status_code != 200:
        raise RuntimeError(f"{path} was answered {answer.status_code}")
    return took


def _tell(label: str, answers: list[tuple[float, float, int]]) -> None:
    walls, cpus, sizes = (sorted(values) for values in zip(*answers, strict=True))
    middle = len(answers) // 2
    sys.stdout.write(f"{label:28} {1000 * walls[middle]:6.0f} ms, {1000 * cpus[middle]:6.0f} ms CPU, {sizes[middle] / 1000:5.0f} kB\n")
