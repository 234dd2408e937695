"""The keeper of logs: on the head, writes what the nodes send of their log files (workers/log_shipper.py), within a budget."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import redis

from clusterstate.settings import Settings
from clusterstate.store import kept_logs, log_shipping
from clusterstate.store.connection import UNREACHABLE, connect
from clusterstate.store.kept_logs import BadPiece, KeptLogsWriter, Piece
from clusterstate.store.log_shipping import Known, NotOurs, Shipped
from clusterstate.store.signing import master_key
from clusterstate.store.writer import current_session
from workers.log_error_keeper import LogErrorKeeper

log = logging.getLogger("raydeck.log_keeper")

WAITS_S = 1
AT_ONCE = 64
"""Messages that are written together."""
MOST_OPEN = 32
MOST_NODES = 256
"""Of a host: a raylet that starts again is another node."""
CHECK_TOTAL_EVERY_S = 60.0
AFTER_TROUBLE_S = 5.0
LAST_S = 1.5


def run_keeper(settings: Settings, cluster: str, should_stop: Callable[[], bool]) -> None:
    """Keeps until told to stop. Redis may come and go, the disk may be full."""
    keeper = LogKeeper(connect(settings, timeout_s=WAITS_S + 5.0), settings, cluster)
    while not should_stop():
        try:
            keeper.step(time.monotonic())
        except UNREACHABLE:
            time.sleep(1.0)
        except (sqlite3.Error, OSError) as error:
            log.error("Log files cannot be kept now: %s", error)
            keeper.close()
            time.sleep(AFTER_TROUBLE_S)
    with suppress(*UNREACHABLE, sqlite3.Error, OSError):
        keeper.drain(LAST_S)
    keeper.close()


class LogKeeper:
    """All hosts of one cluster."""

    def __init__(self, client: redis.Redis, settings: Settings, cluster: str) -> None:
        self._redis = client
        self._settings = settings
        self._cluster = cluster
        self._key = master_key(settings.state_dir)
        self._writers: dict[Path, KeptLogsWriter] = {}
        self._owners: dict[str, Path] = kept_logs.owners(settings.state_dir, cluster)  # whose the nodes are
        self._nodes = Counter(self._owners.values())
        self._held: list[bytes] = []  # taken from Redis, and perhaps not written
        self._next_check = 0.0
        self._errors = LogErrorKeeper()

    def step(self, now: float) -> None:
        """Writes what has come, waiting a moment for it. Raises what Redis being away, and SQLite, raise."""
        if now >= self._next_check:
            self._next_check = now + CHECK_TOTAL_EVERY_S
            most = int(self._settings.kept_logs_gb * 1e9)
            for path in kept_logs.delete_beyond(self._settings.state_dir, self._cluster, most, frozenset(self._writers)):
                log.warning("Kept logs went, for the limit of %g GB: %s", self._settings.kept_logs_gb, path)
        self._held = self._held or log_shipping.receive(self._redis, self._cluster, WAITS_S, AT_ONCE)
        self._write(self._held)
        self._held = []
        self._errors.settle(time.monotonic())

    def drain(self, within_s: float) -> None:
        """Writes what still waits: nodes that stopped just now have sent their last lines."""
        give_up = time.monotonic() + within_s
        self._write(self._held)
        self._held = []
        while time.monotonic() < give_up and (messages := log_shipping.waiting(self._redis, self._cluster, AT_ONCE)):
            self._write(messages)

    def close(self) -> None:
        """Lets go of all files."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()
        self._errors.close()

    def _write(self, messages: list[bytes]) -> None:
        by_host: dict[tuple[str, str], list[Shipped]] = {}
        for message in messages:
            try:
                host, shipped = log_shipping.read(message, self._key, self._cluster)
            except NotOurs as why:
                log.warning("%s It is left out.", why)
                continue
            by_host.setdefault((host, shipped.session), []).append(shipped)
        for (host, session), sent in by_host.items():
            try:
                path = kept_logs.host_file(self._settings.state_dir, self._cluster, session, host)
            except BadPiece as why:
                log.warning("%s It is left out.", why)
                continue
            if not self._is_known(path):
                log.warning("%s sends logs of %s, which is no session of this cluster. They are left out.", host, session)
                continue
            try:
                known = self._keep(path, sent)
            except sqlite3.OperationalError:
                raise  # the disk is full, or the like: for all
            except sqlite3.DatabaseError as error:
                self._give_up(path, error)
                continue
            if known:
                log_shipping.say_known(self._redis, self._cluster, host, session, known)

    def _keep(self, path: Path, sent: list[Shipped]) -> dict[str, Known]:
        known: dict[str, Known] = {}
        writer = self._writer(path)
        writer.begin()
        try:
            for shipped in sent:
                try:
                    own = self._own(path, shipped.node_ids)
                    writer.of_nodes(own)
                    if shipped.begins:
                        writer.forget(shipped.inode)
                    if shipped.length:
                        kept = writer.add(
                            Piece(shipped.inode, shipped.name, shipped.start, shipped.length, shipped.modified_ms, shipped.body)
                        )
                        known[shipped.inode] = Known(kept.end, kept.name)
                    else:
                        writer.rename(shipped.inode, shipped.name)
                    self._errors.look(path, own, shipped)
                except BadPiece as why:
                    log.warning("A piece of a log file is left out: %s", why)
        except sqlite3.Error:
            writer.close()
            self._writers.pop(path, None)  # nothing of this is written
            raise
        writer.commit()
        return known

    def _give_up(self, path: Path, error: sqlite3.Error) -> None:
        """A damaged file is not to keep the others from being written; what comes next of that host is kept in a new one."""
        log.error("What was kept in %s is damaged and given up: %s", path, error)
        kept_logs.delete(path)

    def _is_known(self, path: Path) -> bool:
        """Whether logs of that session are kept already, or it is the one that runs."""
        return path.parent.exists() or path.parent.name == current_session(self._redis, self._cluster)

    def _own(self, path: Path, node_ids: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the nodes that no other host was first to call its own: else one host could speak for another's dead node."""
        for node_id in node_ids:
            if node_id not in self._owners and self._nodes[path] < MOST_NODES and kept_logs.NODE_ID.match(node_id):
                self._owners[node_id] = path
                self._nodes[path] += 1
        own = tuple(node_id for node_id in node_ids if self._owners.get(node_id) == path)
        if len(own) < len(node_ids):
            log.warning("%s calls %d nodes its own that are not. That is left out.", path.stem, len(node_ids) - len(own))
        return own

    def _writer(self, path: Path) -> KeptLogsWriter:
        writer = self._writers.pop(path, None)
        if writer is None:
            while len(self._writers) >= MOST_OPEN:
                self._writers.pop(next(iter(self._writers))).close()
            writer = KeptLogsWriter(path, self._settings.kept_logs_node_mb << 20)
        self._writers[path] = writer  # the last used is the last to go
        return writer
