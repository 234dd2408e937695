"""The roles of one machine, from which `raydeck up` and the single commands choose."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clusterstate import paths
from clusterstate.loops import Loop
from clusterstate.probes import PROFILES_AT_ONCE, SEARCHES_AT_ONCE
from clusterstate.settings import PREFIX, Settings
from clusterstate.store import queues
from clusterstate.store.signing import key_for
from workers import redis_server, start
from workers.processes import sweep
from workers.roles import GOES_FIRST, Role, Target
from workers.schedule import LoopWatch, loops_for

REDIS, PROJECTOR, COLLECTOR, NODE, DEMO = "redis", "projector", "collector", "node", "demo"
QUICK, LONG, PROFILE = "quick", "long", "profile"
PROBE_ROLES = (
    (QUICK, QUICK),
    *((LONG if number == 1 else f"{LONG}-{number}", LONG) for number in range(1, SEARCHES_AT_ONCE + 1)),
    *((PROFILE if number == 1 else f"{PROFILE}-{number}", PROFILE) for number in range(1, PROFILES_AT_ONCE + 1)),
)
"""Role → whose questions it answers: a search or a profile does not wait for another one, and no more run at a time."""
RECEIVER = "receiver"
OPERATIONS = "operations"
FOLLOWER, KEEPER = "follower", "keeper"
DEMO_READY_BYTES = 64 * 1024

PRELOADED = (
    "sqlite3",
    "msgspec",
    "psutil",
    "redis",
    "clusterstate.store.safe_jobs",
    "clusterstate.store.writer",
    "workers.start",
    "workers.probes.node",
    "workers.probes.logs",
    "workers.probes.log_search",
    "workers.probes.stacks",
    "workers.probes.profiling",
    "workers.follower",
    "workers.log_keeper",
    "workers.operations.worker",
    "workers.operations.driver",
    "workers.projector",
    "workers.sources.raylet_listing",
)
"""Imported once, before the roles are forked. Among them is gRPC, of which no channel is opened and no thread started."""


@dataclass
class Machine:
    """What the roles of this machine share. `target` becomes known while they run."""

    settings: Settings
    cluster: str
    host: str
    target: Target

    def check_keys(self, *, collects: bool, answers: bool) -> None:
        """Raises BadKey unless the key file that was given, if any, serves what is to be started here."""
        if collects:
            key_for(self.settings, queues.collector_name(self.cluster))
        if answers:
            key_for(self.settings, queues.worker_name(self.cluster, self.host))

    def redis(self, engine: redis_server.Engine) -> Role:
        """The private Redis."""
        return Role(
            REDIS,
            run=lambda: redis_server.exec_server(self.settings, engine),
            is_ready=lambda: redis_server.is_ready(self.settings),
            stop_rank=3,
            stop_within_s=2.0,
            orphan_signal=redis_server.ORPHAN_SIGNAL,
            nice=GOES_FIRST,
        )

    def projector(self) -> Role:
        """Keeps this host's index."""
        return Role(
            PROJECTOR,
            run=lambda: start.run_projector(self.settings),
            needs=(REDIS,),
            stop_rank=2,
            stop_within_s=2.5,
            nice=GOES_FIRST,
        )

    def collector(self) -> Role:
        """Watches the cluster through its GCS."""
        return self._loop_role(COLLECTOR, lambda: self._loops()[0], nice=GOES_FIRST)

    def node(self) -> Role:
        """Watches the raylets of this host."""
        return self._loop_role(NODE, lambda: self._loops()[1])

    def probes(self) -> list[Role]:
        """Those that answer questions to this host."""

        def answering(name: str, kind: str) -> Role:
            return Role(
                name,
                run=lambda: self._with_target_environ(lambda: start.run_probe_worker(self.settings, self.cluster, self.host, kind)),
                needs=(REDIS,),
                may_start=lambda: self.target.is_known,
                stop_within_s=2.5,
            )

        return [answering(name, kind) for name, kind in PROBE_ROLES]

    def follower(self) -> Role:
        """Reads on in the log files of this host that somebody follows, and sends all on to the head."""
        return Role(
            FOLLOWER,
            run=lambda: start.run_follower(self.settings, self.cluster, self.host),
            needs=(REDIS,),
            may_start=lambda: self.target.is_known,
            stop_within_s=4.0,
        )

    def keeper(self) -> Role:
        """Keeps log files of all nodes, for when they are gone. It needs the master key: it runs on the head alone."""
        return Role(KEEPER, run=lambda: start.run_keeper(self.settings, self.cluster), needs=(REDIS,), stop_rank=2, stop_within_s=2.5)

    def operations(self) -> Role:
        """Does what was asked of the cluster. It needs the journal and the master key: it runs on the head alone."""
        return Role(
            OPERATIONS,
            run=lambda: self._with_target_environ(
                lambda: start.run_operations(self.settings, self.cluster, self.host, self.target.address)
            ),
            needs=(REDIS,),
            may_start=lambda: self.target.is_known,
            stop_within_s=2.5,
        )

    def demo(self) -> Role:
        """The demo cluster's keeper, with its cluster in a session of its own."""
        ready_file = self.settings.state_dir / "demo.json"
        return Role(
            DEMO,
            run=lambda: _exec_demo(paths.demo_dir(self.settings.state_dir), ready_file),
            before_start=lambda: self._forget_demo(ready_file),
            is_ready=lambda: self._learn_demo(ready_file),
            stop_rank=2,
            stop_within_s=3.0,
            orphan_signal=redis_server.ORPHAN_SIGNAL,
            counts_as_ours=False,
        )

    def _loops(self) -> tuple[Loop, Loop]:
        return loops_for(self.cluster, self.host, self.target.address, self.target.session_dir)

    def _loop_role(self, name: str, loop: Callable[[], Loop], nice: int = 0) -> Role:
        return Role(
            name,
            run=lambda: self._with_target_environ(lambda: start.run_loop_worker(self.settings, loop(), self.host)),
            needs=(REDIS,),
            may_start=lambda: self.target.is_known,
            loop=lambda: LoopWatch(loop(), key_for(self.settings, queues.worker_of(loop())), self.host),
            stop_within_s=2.5,
            nice=nice,
        )

    def _with_target_environ(self, run: Callable[[], None]) -> None:
        os.environ.update(self.target.environ)
        run()

    def _forget_demo(self, ready_file: Path) -> None:
        ready_file.unlink(missing_ok=True)
        self.target.address, self.target.session_dir, self.target.environ = "", None, {}

    def _learn_demo(self, ready_file: Path) -> bool:
        """Takes the demo cluster's address from what its keeper wrote; False until it has."""
        try:
            with ready_file.open("rb") as file:
                ready = json.loads(file.read(DEMO_READY_BYTES))
            self.target.environ = {str(name): str(value) for name, value in ready["ray_env"].items()}
            self.target.session_dir = ready.get("session_dir")
            self.target.address = str(ready["address"])
        except (OSError, ValueError, KeyError, AttributeError):
            return False
        return True


def sweep_leftovers(settings: Settings, command: str) -> int:
    """Ends what a killed supervisor of this command left running; returns how many processes."""
    return sweep(paths.processes_file(settings.state_dir, command), paths.demo_dir(settings.state_dir))


def _exec_demo(folder: Path, ready_file: Path) -> None:
    """Becomes the demo's keeper: a fresh Python, because Ray must not see what we imported."""
    paths.make_private_dir(folder.parent)
    paths.make_private_dir(folder)
    root = str(Path(__file__).resolve().parent.parent)
    environ = {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "RAY_"))}
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environ.get("PYTHONPATH", "")]))
    os.chdir(folder)  # -m looks in the working folder first
    command = [sys.executable, "-m", "workers.demo", "--folder", str(folder), "--ready-file", str(ready_file)]
    os.execve(command[0], command, environ)  # noqa: S606 - a fixed program and fixed words
