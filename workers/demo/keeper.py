"""The demo's keeper: cluster up, drivers running, ready file written; all of it down again at the end."""

from __future__ import annotations

import json
import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from workers.demo import leftovers
from workers.demo.drivers import Driver, all_drivers
from workers.demo.environment import demo_environment, joining_environment, prepare_folder, write_private, write_token

if TYPE_CHECKING:
    from workers.demo.cluster import TwoNodes

TICK_S = 1.0
SECOND_NODE_PAUSE_S = 10.0  # a dead second node stays away this long: time to look at it
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

logger = logging.getLogger(__name__)


class Stop(BaseException):
    """Asked to end. Not an Exception, so that nothing in Ray takes it for a failure."""


class StopOnSignal:
    """Breaks off whatever is being done; remembers it too, as an exception raised within a callback is lost."""

    asked = False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        self.asked = True
        raise Stop


def keep(folder: Path, ready_file: Path | None, token: bool) -> int:
    """Run the demo until a signal ends it. 0: ended as asked; 1: the cluster has ended by itself."""
    cluster: TwoNodes | None = None
    drivers: list[Driver] = []
    stop = StopOnSignal()
    _on_signals(stop)
    try:
        environment = _prepare(folder, token)
        from workers.demo.cluster import TwoNodes

        cluster = TwoNodes()
        environment["RAY_ADDRESS"] = cluster.address
        if ready_file is not None:
            write_private(ready_file, json.dumps(_readiness(cluster, folder, token), indent=1))
        drivers = all_drivers()
        _run(cluster, drivers, environment, folder, stop)
        if not stop.asked:
            logger.error("The demo's head node has ended.")
        return 0 if stop.asked else 1
    except Stop:
        return 0
    finally:
        _on_signals(_ignore)
        if ready_file is not None:
            ready_file.unlink(missing_ok=True)
        _stop(cluster, drivers, folder)


def _prepare(folder: Path, token: bool) -> dict[str, str]:
    """Folder and environment, this process's own too: Ray reads it when it is imported, and hands it on."""
    swept = leftovers.sweep(folder) if folder.is_dir() else 0
    if swept:
        logger.warning("Ended %d processes of an earlier demo.", swept)
    prepare_folder(folder)
    leftovers.note_keeper(folder)
    if token:
        write_token(folder)
    environment = demo_environment(folder, token, os.environ)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder / "home")
    return environment


def _readiness(cluster: TwoNodes, folder: Path, token: bool) -> dict[str, object]:
    """What others need to look at the cluster, or to join it with a driver."""
    return {
        "address": cluster.address,
        "session_dir": cluster.session_dir,
        "ray_env": {"RAY_ADDRESS": cluster.address, **joining_environment(folder, token)},
        "pids": [os.getpid(), *cluster.pids],
    }


def _run(cluster: TwoNodes, drivers: list[Driver], environment: dict[str, str], folder: Path, stop: StopOnSignal) -> None:
    """Returns when the cluster has ended, or when asked to stop."""
    begun_at = time.monotonic()
    second_back_at: float | None = None
    while not stop.asked and cluster.head_is_alive():
        now = time.monotonic()
        for driver in drivers:
            driver.tend(now, begun_at, environment, folder)
        if second_back_at is None and not cluster.second_is_alive():
            cluster.remove_second()
            second_back_at = now + SECOND_NODE_PAUSE_S
        elif second_back_at is not None and now >= second_back_at:
            cluster.add_second()
            second_back_at = None
        time.sleep(TICK_S)


def _stop(cluster: TwoNodes | None, drivers: list[Driver], folder: Path) -> None:
    """At once: nothing in the cluster is worth a slow farewell. Drivers first, so that none complains."""
    for driver in drivers:
        driver.kill()
    if folder.is_dir():
        leftovers.sweep(folder, patience_s=0.2)
    if cluster is not None:
        cluster.stop()
    for driver in drivers:
        driver.wait(0.5)


def _on_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    for signum in SIGNALS:
        signal.signal(signum, handler)


def _ignore(signum: int, frame: FrameType | None) -> None:
    """A handler, not SIG_IGN: that would be inherited by whatever is started meanwhile."""
