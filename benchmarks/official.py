"""The same answers from the official dashboard and from Raydeck, on one unconfigured cluster, in turns; and what it costs the GCS.

`python -m benchmarks official --tasks 100000`. A real cluster of two raylets with Ray's default install and its own dashboard;
nothing is set for Raydeck, which stands beside it and asks the GCS for tasks. Then both are asked what their pages ask.
"""

from __future__ import annotations

import argparse
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from benchmarks import machine
from benchmarks.in_place import DEFAULT_INSTALL, driving
from benchmarks.instance import raydeck_up
from benchmarks.load import Figures
from benchmarks.pages import Site
from benchmarks.polling import poll_of
from benchmarks.site import ask, rows
from tests.simulated_ray.client import Client
from tests.workers.real_ray_cluster import RealRay, real_ray

GCS_KEEPS = 100_000
"""Attempts that a GCS has by default; those that it had to give up are counted, and have no rows."""
OFFICIAL_LIMIT = 10_000
"""What the official page asks for, whatever it shows."""
ANSWERED_WITHIN_S = 120.0
KNOWN_WITHIN_S = 900.0
SETTLE_S = 10.0


@dataclass(frozen=True)
class Pair:
    """One question: what the official page requests for it, and what Raydeck's does."""

    name: str
    official: str
    ours: str


def main(arguments: list[str]) -> int:
    """Run it and print. Returns 0, or 2 when there is no default install of Ray; figures decide nothing here."""
    options = _options(arguments)
    if not options.python.exists():
        sys.stderr.write(f"There is no {options.python}: `make test-versions` makes it, or name another with --python.\n")
        return 2
    _tell(f"load {machine.load_average()}")
    with real_ray(python=options.python, dashboard=True, nodes=2) as ray, driving(ray, options.python) as driver:
        gcs = machine.descendant(ray.keeper.pid, "gcs_server")
        made = int(driver.ask("calls", options.tasks)["made"])
        _tell(f"made {made:,}")
        time.sleep(SETTLE_S)
        shares = {"without Raydeck": machine.share_of_core(gcs, options.seconds)}
        with raydeck_up(ray.address) as ready:
            site = Site(ready["url"], ready["admin_token"], ready["cluster"])
            _tell(f"counted by Raydeck after {_known(site, min(made, GCS_KEEPS)):.1f} s from its start: {_said(site)}")
            time.sleep(SETTLE_S)
            shares["with Raydeck"] = machine.share_of_core(gcs, options.seconds)
            _tell(f"then: {_said(site)}")
            _compare(site, _dashboard(ray), options.times)
        shares["without Raydeck again"] = machine.share_of_core(gcs, options.seconds)
    for name, share in shares.items():
        _tell(f"the GCS {name}: {share:.2%} of a core for {options.seconds:.0f} s")
    _tell(f"load {machine.load_average()}")
    return 0


def _compare(site: Site, dashboard: str, times: int) -> None:
    """Each question in turns, so that the machine's other work meets both."""
    for pair in _pairs(site):
        official, ours = Figures(), Figures()
        sizes = [0, 0]
        for _ in range(times):
            seconds, sizes[0] = _took(dashboard + pair.official)
            official.latencies_s.append(seconds)
            answer = ask(site, pair.ours)
            if answer.status != 200:
                raise RuntimeError(f"{pair.ours} answered {answer.status}")
            ours.latencies_s.append(answer.seconds)
            sizes[1] = len(answer.text)
        theirs_ms, ours_ms = official.percentile_ms(0.5), ours.percentile_ms(0.5)
        told = f"official {theirs_ms:,.0f} ms and {sizes[0] / 1000:,.0f} kB, Raydeck {ours_ms:.1f} ms and {sizes[1] / 1000:,.0f} kB"
        _tell(f"{pair.name}: {told}; {theirs_ms / ours_ms:,.0f} times as fast (medians of {times})")


def _pairs(site: Site) -> Iterator[Pair]:
    """What the open pages request again and again: the official one's requests are of its 2.60 client."""
    job_id = rows(site, "tasks.json?limit=1&columns=job_id")[0]["job_id"]
    job = rows(site, f"jobs.json?job_id={job_id}")[0]["job_key"]
    of_job = [("filter_keys", "job_id"), ("filter_predicates", "="), ("filter_values", job_id)]
    listed = urlencode([("detail", 1), ("limit", OFFICIAL_LIMIT), *of_job])
    yield Pair("the tasks of a job", f"/api/v0/tasks?{listed}", _polled(site, f"jobs/{job}?tab=tasks"))
    of_state = [("filter_keys", "state"), ("filter_predicates", "="), ("filter_values", "FAILED")]
    failed = urlencode([("detail", 1), ("limit", OFFICIAL_LIMIT), *of_job, *of_state])
    yield Pair("those of them that failed", f"/api/v0/tasks?{failed}", _polled(site, f"jobs/{job}?tab=tasks&state=FAILED"))
    yield Pair("its progress", f"/api/v0/tasks/summarize?{urlencode(of_job)}", _polled(site, f"jobs/{job}"))
    lineage = urlencode([("summary_by", "lineage"), *of_job])
    yield Pair("its breakdown", f"/api/v0/tasks/summarize?{lineage}", _polled(site, f"jobs/{job}?tab=breakdown"))


def _polled(site: Site, path: str) -> str:
    """The fragment that an open page asks for; else the page."""
    poll = poll_of(f"{site.base}/{path}", ask(site, path).text)
    return poll.path if poll else f"{site.base}/{path}"


def _took(url: str) -> tuple[float, int]:
    """Seconds to the last byte, and bytes."""
    began = time.monotonic()
    with urllib.request.urlopen(url, timeout=ANSWERED_WITHIN_S) as answer:
        size = len(answer.read())
    return time.monotonic() - began, size


def _known(site: Site, made: int) -> float:
    """Seconds until Raydeck's counts have all."""
    began = time.monotonic()
    while time.monotonic() - began < KNOWN_WITHIN_S:
        answer = ask(site, "tasks.json?limit=1&columns=task_id")
        if answer.status == 200 and answer.content()["total"] >= made * 0.999:
            break
        time.sleep(0.5)
    return time.monotonic() - began


def _said(site: Site) -> str:
    """What the table says of its own completeness."""
    answer = ask(site, "tasks.json?limit=1&columns=task_id").content()
    return ", ".join(f"{name} {answer.get(name)}" for name in ("total", "exact", "given_up", "source"))


def _dashboard(ray: RealRay) -> str:
    """Its address, as the cluster knows it."""
    with Client(ray.address) as client:
        found = bytes(client.call("InternalKVGcsService", "InternalKVGet", key=b"dashboard", namespace=b"dashboard").value)
    return f"http://{found.decode()}"


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks official", description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000, help="calls of actors, default 100,000, all that a GCS keeps by default")
    parser.add_argument("--seconds", type=float, default=240.0, help="each phase of the GCS's CPU, default 240, at most 3600")
    parser.add_argument("--times", type=int, default=10, help="each question is asked, default 10, at most 1,000")
    parser.add_argument("--python", type=Path, default=DEFAULT_INSTALL, help="of an environment with ray[default] of this release")
    options = parser.parse_args(arguments)
    options.tasks = max(1_000, min(options.tasks, 1_000_000))
    options.seconds = max(1.0, min(options.seconds, 3600.0))
    options.times = max(1, min(options.times, 1_000))
    return options
