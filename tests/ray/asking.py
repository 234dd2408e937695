"""Asks a node of a running Raydeck as its web app does, without the web app between."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from clusterstate.hosts import this_host
from clusterstate.model import Process
from clusterstate.resources import PROCESSES
from clusterstate.settings import read_settings
from clusterstate.store import queues, signing
from clusterstate.store.connection import connect
from clusterstate.store.queues import Answer
from clusterstate.store.writer import SessionWriter, current_session
from tests.running import Running

LOOK_EVERY_S = 0.003


@dataclass
class Asker:
    """Asks this machine's node worker."""

    running: Running
    host: str = ""
    client: redis.Redis = field(init=False)

    def __post_init__(self) -> None:
        state_dir: Path = self.running.state_dir
        self.client = connect(read_settings({}, state_dir=str(state_dir)), timeout_s=5.0)
        self.host = self.host or this_host()
        self._master = signing.master_key(state_dir)

    @property
    def cluster(self) -> str:
        return str(self.running.ready["cluster"])

    def begin(self, probe: Any) -> str:
        return queues.ask(self.client, self._master, probe, self.cluster, self.host, time.time())

    def end(self, probe_id: str, within_s: float = 60.0) -> Answer:
        """Its answer."""
        give_up = time.monotonic() + within_s
        while (found := queues.answer(self.client, probe_id, time.time())) is None or not found.is_final:
            assert time.monotonic() < give_up, found
            time.sleep(LOOK_EVERY_S)
        return found

    def ask(self, probe: Any, within_s: float = 60.0) -> tuple[Answer, list[bytes]]:
        """The answer to a probe, and the parts that it told."""
        probe_id = self.begin(probe)
        return self.end(probe_id, within_s), queues.parts_of(self.client, probe_id)

    def processes(self) -> list[Process]:
        """The rows of all nodes' processes as they are kept now."""
        session = current_session(self.client, self.cluster)
        return list(SessionWriter(self.client, self.cluster, session).rows(PROCESSES)) if session is not None else []

    def process(self, pid: int, within_s: float = 30.0) -> Process:
        """The row of a process, once there is one."""
        give_up = time.monotonic() + within_s
        while True:
            found = next((row for row in self.processes() if row.pid == pid), None)
            if found is not None:
                return found
            assert time.monotonic() < give_up, f"no row of process {pid}"
            time.sleep(0.1)
