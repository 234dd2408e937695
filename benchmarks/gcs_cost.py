"""What Raydeck costs Ray: the GCS's CPU with and without it, on the demo's cluster, in turns.

`python -m benchmarks gcs_cost --seconds 60 --rounds 2`. The workload goes on all the time; its own ups and downs are
larger than what is measured, so that longer phases and more rounds say more.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.machine import load_average, share_of_core
from tests.running import Running, raydeck_up
from workers.demo import leftovers

STARTED_WITHIN_S = 120.0
SETTLE_S = 10.0
"""After a start or a stop: the first snapshot is not what a running Raydeck costs."""
WARM_UP_S = 60.0
"""The demo begins with a burst of work."""
VIEWS = ("", "jobs", "actors", "nodes", "workers", "placement-groups", "info")


def main(arguments: list[str]) -> int:
    options = _options(arguments)
    with _demo() as ready:
        gcs = _gcs_server(ready["pids"])
        sys.stdout.write(f"load average {load_average()}; GCS is process {gcs}; the demo warms up for {WARM_UP_S:.0f} s\n")
        time.sleep(WARM_UP_S)
        without: list[float] = []
        with_raydeck: list[float] = []
        for turn in range(1, options.rounds + 1):
            without.append(share_of_core(gcs, options.seconds))
            _tell(f"round {turn} without Raydeck", without[-1])
            with raydeck_up("--address", ready["address"], environ={**ready["ray_env"], "HOME": ready["home"]}) as running:
                time.sleep(SETTLE_S)
                with _viewers(running, options.viewers):
                    with_raydeck.append(share_of_core(gcs, options.seconds))
            _tell(f"round {turn} with Raydeck, {options.viewers} viewers", with_raydeck[-1])
            time.sleep(SETTLE_S)
        without.append(share_of_core(gcs, options.seconds))
        _tell("at the end without Raydeck", without[-1])
    difference = sum(with_raydeck) / len(with_raydeck) - sum(without) / len(without)
    sys.stdout.write(f"Raydeck costs the GCS {difference * 100:+.2f} % of a core; load average {load_average()}\n")
    return 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks gcs_cost", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each phase (600 for the promised figure)")
    parser.add_argument("--rounds", type=int, default=2, help="phases with Raydeck; there is one more without")
    parser.add_argument("--viewers", type=int, default=0, help="people with one poll a second each, 200 at most")
    options = parser.parse_args(arguments)
    if not (1 <= options.seconds <= 3600 and 1 <= options.rounds <= 20 and 0 <= options.viewers <= 200):
        parser.error("seconds: 1 to 3600, rounds: 1 to 20, viewers: 0 to 200")
    return options


@contextmanager
def _demo() -> Iterator[dict[str, Any]]:
    """The demo's cluster and workload without Raydeck: its ready file, with `home`."""
    root = Path(f"/tmp/raydeck-{os.geteuid()}-{secrets.token_hex(3)}")  # noqa: S108 - private, and short enough for Ray's sockets
    root.mkdir(mode=0o700)
    folder, ready_file = root / "demo", root / "ready.json"
    command = [sys.executable, "-m", "workers.demo", "--folder", str(folder), "--ready-file", str(ready_file)]
    keeper = subprocess.Popen(command, start_new_session=True)
    try:
        give_up = time.monotonic() + STARTED_WITHIN_S
        while not ready_file.exists():
            if keeper.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError("The demo did not start.")
            time.sleep(0.2)
        yield {**json.loads(ready_file.read_text()), "home": str(root)}
    finally:
        keeper.send_signal(signal.SIGTERM)
        try:
            keeper.wait(30)
        except subprocess.TimeoutExpired:
            keeper.kill()
            keeper.wait(5)
        leftovers.sweep(folder)
        shutil.rmtree(root, ignore_errors=True)


def _gcs_server(pids: list[int]) -> int:
    return next(pid for pid in pids if Path(f"/proc/{pid}/comm").read_text().strip() == "gcs_server")


@contextmanager
def _viewers(running: Running, count: int) -> Iterator[None]:
    """People who look at one page each, once a second."""
    stop = threading.Event()

    def look(number: int) -> None:
        path = f"/c/{running.ready['cluster']}/{VIEWS[number % len(VIEWS)]}"
        stop.wait(number / max(1, count))
        while not stop.wait(1.0):
            try:
                running.get(path, **{"HX-Request": "true"})
            except OSError:
                pass  # a viewer tries again

    threads = [threading.Thread(target=look, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(15)


def _tell(what: str, share: float) -> None:
    sys.stdout.write(f"{what}: {share * 100:.2f} % of a core\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
