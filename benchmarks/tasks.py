"""Tasks at the full rate of this machine: what Raydeck in the dashboard's place costs, how late it is, whether it is exact.

`python -m benchmarks tasks --tasks 1000000`. A real cluster of two raylets with Ray's default install; an actor on each is called
as fast as one driver can. First without and with Raydeck in turns, each time in a new cluster; then all tasks, with Raydeck, and
the pages asked over them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import machine, report
from benchmarks.in_place import DEFAULT_INSTALL, Watched, driving, watched_in_place
from benchmarks.load import Figures, Load, Plan
from benchmarks.pages import Site
from benchmarks.polling import Poll, poll_of
from benchmarks.site import Asked, ask, rows
from clusterstate.store.reader import SessionReader
from tests.ray.told_driver import ToldDriver
from tests.workers.real_ray_cluster import real_ray
from webapp.tables.tasks import TASKS

ROUND_TASKS = 50_000
WARM_UP_TASKS = 2_000
LAG_EVERY_S = 0.25
LAG_FROM_S = 3.0
"""Ray's workers and agents send their events each second: the first are on their way."""
DRAINED_WITHIN_S = 900.0
REBUILT_WITHIN_S = 900.0
TRICKLE_A_SECOND = 10.0
JSON_EVERY_S = 0.05


@dataclass
class Measured:
    """All that was measured, by what it is called."""

    figures: dict[str, Any] = field(default_factory=dict)

    def note(self, name: str, value: Any, text: str) -> None:
        self.figures[name] = value
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """Run it and print. Returns 0, or 2 when there is no default install of Ray; figures decide nothing here."""
    options = _options(arguments)
    if not options.python.exists():
        sys.stderr.write(f"There is no {options.python}: `make test-versions` makes it, or name another with --python.\n")
        return 2
    measured = Measured()
    measured.note("load before", machine.load_average(), f"load {machine.load_average()}")
    _compare_rates(measured, options)
    with watched_in_place(options.python) as watched:
        _follow(measured, watched, options)
        _show(measured, watched, options)
        _rebuild(measured, watched)
    measured.note("load after", machine.load_average(), f"load {machine.load_average()}")
    if options.json:
        options.json.write_text(json.dumps(measured.figures, indent=2) + "\n")
    return 0


# --- What it costs Ray


def _compare_rates(measured: Measured, options: argparse.Namespace) -> None:
    """In turns: the machine's other work comes and goes."""
    count = min(options.tasks, ROUND_TASKS)
    without: list[float] = []
    with_raydeck: list[float] = []
    for _ in range(options.rounds):
        with real_ray(python=options.python, nodes=2) as ray, driving(ray, options.python) as driver:
            without.append(_rate(driver, count))
        with watched_in_place(options.python) as watched:
            with_raydeck.append(_rate(watched.driver, count))
    if not without:
        return
    ratio = sum(with_raydeck) / sum(without)
    measured.note("rates without", without, f"tasks a second without Raydeck: {_rates(without)}")
    measured.note("rates with", with_raydeck, f"and with it in place: {_rates(with_raydeck)}; {ratio:.2f} of that, {count:,} tasks a time")


def _rates(rates: list[float]) -> str:
    return ", ".join(f"{rate:,.0f}" for rate in rates)


def _rate(driver: ToldDriver, count: int) -> float:
    driver.ask("calls", WARM_UP_TASKS)
    return float(count / driver.ask("calls", count)["seconds"])


# --- How late and how right it is


def _follow(measured: Measured, watched: Watched, options: argparse.Namespace) -> None:
    """All tasks, while somebody looks at the newest."""
    redis_before, index_before = report.redis_memory(watched.ready["redis"]) or 0, _size(watched.index)
    costs_before = machine.costs(watched.ready["pids"])
    stop = threading.Event()
    ages: list[float] = []
    looking = threading.Thread(target=lambda: ages.extend(_ages(watched.site, stop)))
    looking.start()
    done = watched.driver.ask("calls", options.tasks)
    ended = time.monotonic()
    stop.set()
    looking.join()
    made, rate = int(done["made"]), options.tasks / done["seconds"]
    measured.note("rate", rate, f"{options.tasks:,} tasks at {rate:,.0f} a second")
    lag = Figures(latencies_s=ages)
    text = f"the newest event that is shown is {lag.percentile_ms(0.5):,.0f} ms old, p95 {lag.percentile_ms(0.95):,.0f} ms (n {lag.count})"
    measured.note("lag p95 ms", lag.percentile_ms(0.95), text + "; Ray sends each second")
    states = _drained(watched, made)
    measured.note("drained s", time.monotonic() - ended, f"all there {time.monotonic() - ended:.1f} s after the end")
    is_exact = states == {"FINISHED": made}
    measured.note("states", states, f"made {made:,}, counted {states}: {'exact' if is_exact else 'NOT exact'}")
    _sizes(measured, watched, made, redis_before, index_before)
    _costs(measured, watched, costs_before, done["seconds"])


def _ages(site: Site, stop: threading.Event) -> Iterator[float]:
    """Seconds since the newest end of a task that is shown, again and again."""
    stop.wait(LAG_FROM_S)
    while not stop.wait(LAG_EVERY_S):
        shown = rows(site, "tasks.json?limit=1&sort=-end_time_ms&columns=end_time_ms")
        if shown and shown[0]["end_time_ms"] is not None:
            yield time.time() - shown[0]["end_time_ms"] / 1000


def _drained(watched: Watched, made: int) -> dict[str, int]:
    """The states once every attempt has ended, or nothing more came of them."""
    give_up = time.monotonic() + DRAINED_WITHIN_S
    while (states := watched.states()) != {"FINISHED": made} and time.monotonic() < give_up:
        time.sleep(0.2)
    return states


def _sizes(measured: Measured, watched: Watched, made: int, redis_before: int, index_before: int) -> None:
    redis_bytes = (report.redis_memory(watched.ready["redis"]) or 0) - redis_before
    index_bytes = _size(watched.index) - index_before
    kept = _kept(watched.site)
    measured.note("rows", kept, f"rows {kept['total']:,}, given up {kept['given_up']:,}")
    pushed = _collector(watched)
    measured.note("pushed", pushed, f"pushed: {', '.join(f'{name} {value}' for name, value in pushed.items())}")
    each = f"Redis {redis_bytes / made:,.0f} B a task, index {index_bytes / made:,.0f} B a task"
    measured.note("bytes a task", {"redis": redis_bytes / made, "index": index_bytes / made}, each)


def _costs(measured: Measured, watched: Watched, before: dict[str, machine.Cost], seconds: float) -> None:
    after = machine.costs(watched.ready["pids"])
    spent = {role: cost.cpu_s - before[role].cpu_s for role, cost in after.items() if role in before}
    told = ", ".join(f"{role} {cpu_s:.1f} s {after[role].pss_bytes / 1e6:.0f} MB" for role, cpu_s in spent.items() if cpu_s >= 0.1)
    measured.note("cpu s", spent, f"CPU and PSS of {seconds:.0f} s and the time after: {told}")


def _kept(site: Site) -> dict[str, Any]:
    answer = ask(site, "tasks.json?limit=1").content()
    return {name: answer[name] for name in ("total", "given_up", "source", "exact")}


def _collector(watched: Watched) -> dict[str, Any]:
    """What the collector says of what was pushed and lost."""
    found = SessionReader(watched.index, watched.site.cluster, watched.index.stem).collector()
    if found is None:
        return {}
    pushed = found.pushed
    told = {"lost by Ray": found.tasks_dropped}
    return told if pushed is None else {"bodies": pushed.bodies, "events": pushed.events, "lost": pushed.dropped, **told}


# --- What is shown of it


def _show(measured: Measured, watched: Watched, options: argparse.Namespace) -> None:
    """Open pages of many users, one poll a second each; beside them questions for JSON, one after another; a few tasks come in."""
    row = rows(watched.site, "tasks.json?limit=1&columns=task_id,job_id,node_id,actor_id")[0]
    queries = {f"sort {sort}": f"sort={sort}" for sort in _sorts()} | _filters(row)
    plan = Plan(watched.site.url, watched.site.token, _views(watched.site, row), (), options.users, options.seconds, options.warm_up, 0.0)
    load = Load(plan)
    lasts_s = options.seconds + options.warm_up
    changing = threading.Thread(target=lambda: watched.driver.ask("trickle", lasts_s + 1, TRICKLE_A_SECOND))
    asked: dict[str, Figures] = {}
    asking = threading.Thread(target=lambda: asked.update(_asked(watched.site, queries, lasts_s)))
    before = _moment(watched)
    for thread in (changing, asking):
        thread.start()
    asyncio.run(load.run())
    for thread in (changing, asking):
        thread.join()
    result = report.Result(plan, load, before, _moment(watched), report.redis_memory(watched.ready["redis"]), {})
    measured.note("pages", report.as_json(result), report.as_text(result))
    for name, figures in asked.items():
        p50, p95 = figures.percentile_ms(0.5), figures.percentile_ms(0.95)
        text = f"tasks.json, {name:<22} p50 {p50:7.1f} ms, p95 {p95:7.1f} ms, n {figures.count}"
        measured.note(f"json {name}", {"p50_ms": p50, "p95_ms": p95, "errors": figures.errors}, text)


def _asked(site: Site, queries: dict[str, str], seconds: float) -> dict[str, Figures]:
    """What each query of tasks.json takes, in turns."""
    found = {name: Figures() for name in queries}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for name, query in queries.items():
            answer = ask(site, f"tasks.json?{query}&limit=100")
            found[name].latencies_s.append(answer.seconds)
            found[name].statuses[answer.status] += 1
            time.sleep(JSON_EVERY_S)
    return found


def _moment(watched: Watched) -> report.Moment:
    return report.Moment(machine.costs(watched.ready["pids"]), machine.busy_seconds(), machine.load_average(), time.monotonic(), {})


def _views(site: Site, row: dict[str, Any]) -> list[tuple[str, Poll]]:
    """Each declared sort, two equality filters in the default order, and the fragments that other open pages poll."""
    job = rows(site, f"jobs.json?job_id={row['job_id']}")[0]["job_key"]
    pages = {f"sort {sort}": f"tasks?sort={sort}" for sort in _sorts()}
    pages |= {name: f"tasks?{query}" for name, query in _filters(row).items()}
    pages |= {
        "tasks": "tasks",
        "tasks failed": "tasks?state=FAILED",
        "tasks of a node": f"tasks?node_id={row['node_id']}",
        "task": f"tasks/{row['task_id']}",
        "progress of a job": f"jobs/{job}",
        "tasks of a job": f"jobs/{job}?tab=tasks",
        "overview": "",
    }
    return [(name, _polled(site, f"{site.base}/{path}")) for name, path in pages.items()]


def _filters(row: dict[str, Any]) -> dict[str, str]:
    """Two equalities each: most match, half, all of an actor, none."""
    return {
        "state, type": "state=FINISHED&type=ACTOR_TASK",
        "state, node": f"state=FINISHED&node_id={row['node_id']}",
        "job, actor": f"job_id={row['job_id']}&actor_id={row['actor_id']}",
        "state, type: none": "state=FAILED&type=NORMAL_TASK",
    }


def _sorts() -> list[str]:
    """Each sort that the table declares, in both directions."""
    return [sign + column.key for column in TASKS.columns if column.sort for sign in ("", "-")]


def _polled(site: Site, path: str) -> Poll:
    page = ask(site, path)
    return poll_of(path, page.text) or Poll(path)


# --- The index, made again


def _rebuild(measured: Measured, watched: Watched) -> None:
    """The file is deleted, and pages are asked for until all is there again."""
    wanted, index = sum(watched.states().values()), watched.index
    for file in index.parent.glob(index.name + "*"):
        file.unlink()
    began = time.monotonic()
    answers: list[Asked] = []
    while time.monotonic() - began < REBUILT_WITHIN_S:
        answers.append(ask(watched.site, f"{watched.site.base}/tasks"))
        if answers[-1].status == 200 and sum(watched.states().values()) >= wanted:
            break
        time.sleep(0.2)
    took_s = time.monotonic() - began
    statuses = {status: sum(answer.status == status for answer in answers) for status in sorted({answer.status for answer in answers})}
    slowest = max(answer.seconds for answer in answers)
    text = f"index of {wanted:,} made again in {took_s:.1f} s; pages meanwhile: {statuses}, the slowest {slowest * 1000:,.0f} ms"
    measured.note("rebuilt", {"seconds": took_s, "statuses": statuses, "slowest_ms": slowest * 1000}, text)


def _size(index: Path) -> int:
    """Bytes of the database; beside it is a log of some megabytes, whatever its size."""
    return index.stat().st_size


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks tasks", description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000, help="calls of actors, default 100,000; at most 5,000,000")
    parser.add_argument("--rounds", type=int, default=2, help=f"in turns without and with Raydeck, {ROUND_TASKS:,} tasks each at most")
    parser.add_argument("--seconds", type=float, default=30.0, help="that pages are asked for, default 30, at most 600")
    parser.add_argument("--warm-up", type=float, default=5.0, help="seconds before that, default 5")
    parser.add_argument("--users", type=int, default=100, help="open tabs with one poll a second each, default 100")
    parser.add_argument("--python", type=Path, default=DEFAULT_INSTALL, help="of an environment with ray[default] 2.60 or newer")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args(arguments)
    options.tasks = max(1_000, min(options.tasks, 5_000_000))
    options.rounds = max(0, min(options.rounds, 20))
    options.seconds = min(options.seconds, 600.0)
    options.users = max(1, min(options.users, 1_000))
    return options
