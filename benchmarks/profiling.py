"""What looking into processes takes: one stack, the stacks of many at once, and what a profile costs who is profiled.

`python -m benchmarks profiling --workers 64`. A whole Raydeck on its demo, a real Ray cluster of two raylets; questions are put as the
web app puts them. A profile by hand is py-spy with the same options, in turns with ours on the same actor.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from playwright.sync_api import sync_playwright

from benchmarks import machine
from clusterstate.model import Process
from clusterstate.probes import DumpManyStacks, DumpStacks, RecordCpu
from clusterstate.profile_answers import ProfileProgress, StacksPart, read
from clusterstate.store import queues
from tests.browser.conftest import QUIET, opened, sign_in
from tests.ray.asking import Asker
from tests.ray.told_driver import ToldDriver, told_driver
from tests.running import Running, raydeck_up
from workers.machine import PROBE_ROLES
from workers.processes import pss_bytes, session_members
from workers.sources.py_spy import py_spy

PROGRAM = Path(__file__).resolve().parents[1] / "tests/ray/profiled_program.py"
SPINS_S = 6
RECORDED_S = 4
RATE_HZ = 100
PASSES = 5
WAYS = ("nobody looks", "by hand", "Raydeck")


def main(arguments: list[str]) -> int:
    """Run it and print. Returns 0; figures decide nothing here."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks profiling", description=__doc__)
    parser.add_argument("--workers", type=int, default=64, help="whose stacks are asked for at once, default 64")
    parser.add_argument("--stacks", type=int, default=60, help="how often one stack is asked for, default 60")
    parser.add_argument("--rounds", type=int, default=5, help="how often each way of profiling is measured, default 5")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--json", type=Path, help="the figures for programs")
    options = parser.parse_args(arguments)
    with raydeck_up("--demo") as running:
        asker = Asker(running)
        with told_driver({**running.ready["ray_env"], "HOME": str(running.folder)}, program=PROGRAM) as driver:
            figures = {
                "load": machine.load_average(),
                "pss_mb": memory(running),
                "throughput": throughput(asker, driver, options.rounds),
                "stack": stack(asker, driver, options.stacks),
                "click": click(running, asker, driver, options.stacks // 2, options.chromium),
                "census": census(asker, driver, options.workers),
            }
    tell(figures)
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2))
    return 0


def memory(running: Running) -> dict[str, float]:
    """PSS of each role that answers questions, idle."""
    pids = {role: running.ready["pids"][role] for role, _ in PROBE_ROLES}
    return {role: round(sum(pss_bytes(one.pid) or 0 for one in session_members(pid)) / 1e6, 1) for role, pid in pids.items()}


def stack(asker: Asker, driver: ToldDriver, times: int) -> dict[str, float]:
    """From the question to its answer, ms."""
    row = asker.process(driver.ask("actor", "stack")["pid"])
    took = []
    for _ in range(times):
        begun = time.monotonic()
        answer, _ = asker.ask(DumpStacks(row.node_id, row.pid, began(row)))
        took.append((time.monotonic() - begun) * 1000)
        assert read(answer.value, StacksPart).processes[0].why_not is None
    return quantiles(took)


def quantiles(took: list[float]) -> dict[str, float]:
    return {
        "p50_ms": round(median(took), 1),
        "p95_ms": round(sorted(took)[max(0, round(len(took) * 0.95) - 1)], 1),
        "times": len(took),
    }


def click(running: Running, asker: Asker, driver: ToldDriver, times: int, chromium: str) -> dict[str, float]:
    """From the click on Start until the frames of the stack stand on the page, ms, as a browser on this machine sees it."""
    row = asker.process(driver.ask("actor", "clicked")["pid"])
    took = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        with opened(browser, sign_in(browser, running.ready["sign_in_url"])) as context:
            page = context.new_page()
            for _ in range(times):
                page.goto(f"{running.cluster_url}/profiles/new?kind=stacks&worker={row.worker_id}")
                begun = time.monotonic()
                page.locator("button.main").click(no_wait_after=True)
                page.locator(".stack-frames").first.wait_for()
                took.append((time.monotonic() - begun) * 1000)
        browser.close()
    return quantiles(took)


def census(asker: Asker, driver: ToldDriver, workers: int) -> dict[str, Any]:
    """All of them, a few times: how long a pass takes, and of how many there was no answer."""
    nodes = sorted({row.node_id for row in asker.processes()})
    pids = [one["pid"] for one in driver.ask("actors_of", workers, nodes)["found"]]
    rows = [asker.process(pid) for pid in pids]
    probe = DumpManyStacks(
        nodes[0], tuple(pids), tuple(began(row) for row in rows), tuple(nodes.index(row.node_id) for row in rows), tuple(nodes)
    )
    took, first, missing = [], [], 0
    for _ in range(PASSES):
        begun = time.monotonic()
        probe_id = asker.begin(probe)
        while not queues.parts_of(asker.client, probe_id):
            time.sleep(0.003)
        first.append(time.monotonic() - begun)
        asker.end(probe_id)
        took.append(time.monotonic() - begun)
        parts = queues.parts_of(asker.client, probe_id)
        found = [one for part in parts for one in msgspec.json.decode(part, type=StacksPart).processes]
        missing += workers - sum(one.why_not is None for one in found)
    return {"workers": workers, "pass_s": [round(one, 2) for one in took], "first_s": round(median(first), 2), "missing": missing}


def throughput(asker: Asker, driver: ToldDriver, rounds: int) -> dict[str, Any]:
    """Turns of a busy actor in the same time, each way in turns."""
    row = asker.process(driver.ask("actor", "busy")["pid"])
    turns: dict[str, list[int]] = {way: [] for way in WAYS}
    samples = []
    for number in range(rounds):
        for way in WAYS[number % len(WAYS) :] + WAYS[: number % len(WAYS)]:
            driver.ask("start", "busy", "spin", SPINS_S)
            if way == "by hand":
                by_hand(row.pid)
            elif way == "Raydeck":
                answer, _ = asker.ask(RecordCpu(row.node_id, row.pid, began(row), RECORDED_S, RATE_HZ))
                samples.append(read(answer.value, ProfileProgress).samples)
            turns[way] += driver.ask("done")["answers"]
    return {"turns": turns, "samples": samples, "of_by_hand": round(median(turns["Raydeck"]) / median(turns["by hand"]), 3)}


def by_hand(pid: int) -> None:
    program = py_spy()
    assert program is not None
    with tempfile.TemporaryDirectory() as folder:
        command = [str(program), "record", "--format", "raw", "--threads", "--full-filenames", "--output", f"{folder}/raw"]
        command += ["--pid", str(pid), "--duration", str(RECORDED_S), "--rate", str(RATE_HZ)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def began(row: Process) -> int:
    assert row.start_time_ms is not None
    return row.start_time_ms


def tell(figures: dict[str, Any]) -> None:
    counted = figures["throughput"]
    sys.stdout.write(f"load {figures['load']}\n")
    sys.stdout.write(f"memory, PSS in MB: {figures['pss_mb']}\n")
    sys.stdout.write(f"one stack, question to answer: {figures['stack']}\n")
    sys.stdout.write(f"one stack, click to page: {figures['click']}\n")
    sys.stdout.write(f"stacks of many at once: {figures['census']}\n")
    for way, turns in counted["turns"].items():
        sys.stdout.write(f"turns of a busy actor, {way}: median {median(turns):.0f} of {turns}\n")
    sys.stdout.write(f"under Raydeck's profile, of those under py-spy by hand: {counted['of_by_hand']}\n")
