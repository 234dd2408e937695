"""Page latency at full size: 100 users with one poll a second each on 20 distinct views, while the cluster changes.

Starts a simulated cluster and a whole Raydeck on loopback, waits until it knows all, polls as browsers do, prints.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine, report
from benchmarks.http_client import Connection
from benchmarks.instance import raydeck_up
from benchmarks.load import Load, Plan
from benchmarks.polling import Poll, poll_of
from tests.simulated_ray import RemoteRay

KNOWN_LIMIT_S = 120.0
SEARCH_ALPHABET = "aeinorst"


@dataclass(frozen=True)
class Site:
    """The Raydeck that is measured."""

    url: str
    token: str
    cluster: str

    @property
    def base(self) -> str:
        return f"/c/{self.cluster}"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}", "Accept-Encoding": "gzip"}


def main(arguments: list[str]) -> int:
    """Run it and print. Returns 0; figures decide nothing here."""
    options = _options(arguments)
    with contextlib.ExitStack() as stack:
        ray: RemoteRay | None = None
        if options.against:
            ready = json.loads(options.against.read_text())
        else:
            ray = stack.enter_context(_cluster(options))
            started = time.monotonic()
            ready = stack.enter_context(raydeck_up(ray.address))
            sys.stdout.write(f"ready after {time.monotonic() - started:.1f} s\n")
        site = Site(ready["url"], ready["admin_token"], ready["cluster"])
        if ray is not None:
            known_s = asyncio.run(_wait_until_known(site, options.dead_actors + options.live_actors, started))
            spent = {role: cost.cpu_s for role, cost in machine.costs({**ready["pids"], "(simulated Ray)": ray.pid}).items()}
            told = ", ".join(f"{role} {cpu_s:.1f}" for role, cpu_s in spent.items() if cpu_s >= 0.1)
            sys.stdout.write(f"all actors known after {known_s:.1f} s; CPU seconds until then: {told}; load {machine.load_average()}\n")
            sys.stdout.flush()
            ray.changes_per_second(options.changes)
        result = _measure(site, ready, ray, options)
    sys.stdout.write(report.as_text(result))
    if options.json:
        options.json.write_text(json.dumps(report.as_json(result), indent=2) + "\n")
    return 0


def _measure(site: Site, ready: dict[str, Any], ray: RemoteRay | None, options: argparse.Namespace) -> report.Result:
    views = asyncio.run(find_views(site))
    plan = Plan(site.url, site.token, views, _searches(site), options.users, options.seconds, options.warm_up, options.search_share)
    load = Load(plan)
    pids = {**ready["pids"], **({"(simulated Ray)": ray.pid} if ray else {})}
    before = report.Moment(machine.costs(pids), machine.busy_seconds(), machine.load_average(), time.monotonic(), _calls(ray))
    asyncio.run(load.run())
    after = report.Moment(machine.costs(pids), machine.busy_seconds(), machine.load_average(), time.monotonic(), _calls(ray))
    return report.Result(plan, load, before, after, report.redis_memory(ready.get("redis", "")), _rows(ray))


def _cluster(options: argparse.Namespace) -> RemoteRay:
    return RemoteRay(
        nodes=options.nodes,
        dead_nodes=10,
        jobs=100,
        submissions=60,
        dead_actors=options.dead_actors,
        live_actors=options.live_actors,
        idle_workers=options.nodes,
        dead_workers=2_000,
        placement_groups=50,
    )


async def _wait_until_known(site: Site, actors: int, started: float) -> float:
    """Seconds from the start until the pages count every actor."""
    connection = Connection(site.url)
    while time.monotonic() - started < KNOWN_LIMIT_S:
        answer = await connection.get(f"{site.base}/actors.json?limit=50", site.headers)
        if answer.status == 200 and json.loads(answer.text())["total"] >= actors:
            connection.close()
            return time.monotonic() - started
        await asyncio.sleep(0.25)
    raise SystemExit(f"Only {answer.status} {answer.text()[:200]} after {KNOWN_LIMIT_S:.0f} s.")


async def find_views(site: Site) -> list[tuple[str, Poll]]:
    """Twenty pages, each with what it polls once it is open. A page that cannot be read ends the run."""
    connection = Connection(site.url)
    views: list[tuple[str, Poll]] = []
    for name, path in await _pages(site, connection):
        answer = await connection.get(path, site.headers)
        if answer.status != 200:
            raise SystemExit(f"{path} answered {answer.status}: {answer.text()[:300]}")
        poll = poll_of(path, answer.text())
        if poll is None:
            sys.stdout.write(f"note: {path} polls nothing; its fragment is asked for at its own URL\n")
        views.append((name, poll or Poll(path)))
    connection.close()
    return views


async def _pages(site: Site, connection: Connection) -> list[tuple[str, str]]:
    async def first(table: str, key: str) -> str:
        answer = await connection.get(f"{site.base}/{table}", site.headers)
        rows = json.loads(answer.text())["rows"]
        return str(rows[0][key])

    alive = await first("actors.json?state=ALIVE", "actor_id")
    dead = await first("actors.json?state=DEAD", "actor_id")
    job = await first("jobs.json", "job_key")
    node = await first("nodes.json?state=ALIVE", "node_id")
    paths = [
        ("overview", ""),
        ("actors by name", "actors?sort=name"),
        ("jobs", "jobs"),
        ("jobs running", "jobs?status=RUNNING"),
        ("job", f"jobs/{job}"),
        ("actors", "actors"),
        ("actors alive", "actors?state=ALIVE"),
        ("actors dead", "actors?state=DEAD"),
        ("actors by class", "actors?sort=class_name"),
        ("actors of a class", "actors?class_name=Tokenizer"),
        ("actors ended last", "actors?sort=-end_time_ms&limit=100"),
        ("actors of a node", f"actors?node_id={node}"),
        ("actor alive", f"actors/{alive}"),
        ("actor dead", f"actors/{dead}"),
        ("nodes", "nodes"),
        ("nodes dead", "nodes?state=DEAD"),
        ("node", f"nodes/{node}"),
        ("workers", "workers"),
        ("placement groups", "placement-groups"),
        ("cluster info", "info"),
    ]
    return [(name, f"{site.base}/{path}") for name, path in paths]


def _searches(site: Site) -> list[str]:
    """Words that nobody asked for before, each once."""
    rng = random.Random(11)
    words = {"".join(rng.choices(SEARCH_ALPHABET, k=rng.choice((3, 4)))) + rng.choice(("", "er", "-4")) for _ in range(5_000)}
    return [f"{site.base}/actors?q={word}" for word in sorted(words, key=lambda _: rng.random())]


def _calls(ray: RemoteRay | None) -> dict[str, int]:
    return dict(ray.figures()["calls"]) if ray else {}


def _rows(ray: RemoteRay | None) -> dict[str, int]:
    return dict(ray.figures()["rows"]) if ray else {}


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks pages", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long is measured, default 60, at most 600")
    parser.add_argument("--warm-up", type=float, default=5.0, help="seconds before that, default 5")
    parser.add_argument("--users", type=int, default=100, help="open tabs with one poll a second each, default 100")
    parser.add_argument("--search-share", type=float, default=0.05, help="of the requests that are new searches, default 0.05")
    parser.add_argument("--nodes", type=int, default=300)
    parser.add_argument("--dead-actors", type=int, default=100_000)
    parser.add_argument("--live-actors", type=int, default=1_000)
    parser.add_argument("--changes", type=float, default=10.0, help="changes of the cluster a second, default 10")
    parser.add_argument("--against", type=Path, metavar="READY_FILE", help="measure the Raydeck that wrote this file, start nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args(arguments)
    options.seconds = min(options.seconds, 600.0)
    options.users = max(1, min(options.users, 1_000))
    return options
