"""The keeper of logs: on the head, writes what the nodes send of their log files (workers/log_shipper.py), within a budget.

A piece that does not follow what is kept of its file waits for what is missing, which its node is asked for; after a while it is kept
without that, and what was kept before is given up.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import redis

from clusterstate.hosts import this_host
from clusterstate.settings import Settings
from clusterstate.store import kept_logs, kept_space, log_shipping
from clusterstate.store.connection import UNREACHABLE, connect
from clusterstate.store.kept_logs import BadPiece, KeptLogsWriter, Piece
from clusterstate.store.log_shipping import TAIL_BYTES, Keeper, Known, NotOurs, Shipped
from clusterstate.store.signing import master_key
from clusterstate.store.writer import current_session
from workers.log_error_keeper import LogErrorKeeper
from workers.log_space import Space

log = logging.getLogger("raydeck.log_keeper")

TIMEOUT_S = 5.0
LOOKS_EVERY_S = 0.3
"""While nothing comes."""
AT_ONCE = 64
"""Messages that are written together."""
MOST_OPEN = 32
MOST_NODES = 256
"""Of a host: a raylet that starts again is another node."""
MOST_ASIDE, MOST_ASIDE_OF_A_HOST = 64, 16
"""Pieces that wait for those before them, in memory."""
ASIDE_S = 60.0
SAYS_WHERE_EVERY_S = 5.0
AFTER_TROUBLE_S = 5.0
LAST_S = 1.5


def run_keeper(settings: Settings, cluster: str, should_stop: Callable[[], bool]) -> None:
    """Keeps until told to stop. Redis may come and go, the disk may be full."""
    keeper = LogKeeper(connect(settings, timeout_s=TIMEOUT_S), settings, cluster)
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


@dataclass(frozen=True)
class Aside:
    """Pieces of a file that wait for those before them."""

    until: float  # monotonic
    pieces: dict[int, Shipped] = field(default_factory=dict)  # by start

    def rename(self, name: bytes) -> None:
        """They are of a file that has this name by now: another one may have theirs."""
        self.pieces.update((start, msgspec.structs.replace(piece, name=name)) for start, piece in self.pieces.items())

    @property
    def in_order(self) -> list[Shipped]:
        return [self.pieces[start] for start in sorted(self.pieces)]


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
        self._held: list[tuple[str, bytes]] = []  # taken from Redis, and perhaps not written
        self._aside: dict[tuple[str, str, str], Aside] = {}  # by host, session and file
        self._space = Space(settings, cluster)
        self._next_saying = 0.0
        self._errors = LogErrorKeeper()

    def step(self, now: float) -> None:
        """Writes what has come, waiting a moment for it. Raises what Redis being away, and SQLite, raise."""
        if now >= self._next_saying:
            self._next_saying = now + SAYS_WHERE_EVERY_S
            self._space.look()
            log_shipping.say_keeper(self._redis, self._cluster, Keeper(this_host(), self._space.problem))
        if self._space.is_due(now):
            self._make_room(now)
        if self._space.disk.is_full:
            time.sleep(LOOKS_EVERY_S)  # nodes wait with what they have, as for a keeper that does not run
            return
        self._held = self._held or log_shipping.take(self._redis, self._cluster, AT_ONCE)
        self._write(self._held, now)
        self._write_overdue(now)
        if not self._held:
            time.sleep(LOOKS_EVERY_S)
        self._held = []
        self._errors.settle(time.monotonic())

    def drain(self, within_s: float) -> None:
        """Writes what still waits: nodes that stopped just now have sent their last lines."""
        give_up = time.monotonic() + within_s
        self._write(self._held, give_up)
        self._held = []
        while time.monotonic() < give_up and (messages := log_shipping.take(self._redis, self._cluster, AT_ONCE)):
            self._write(messages, give_up)
        self._write_overdue(give_up + ASIDE_S)

    def _make_room(self, now: float) -> None:
        for writer in self._writers.values():
            writer.settle()
        running = current_session(self._redis, self._cluster)
        files = kept_space.files_of(self._settings.state_dir, self._cluster)
        spared = frozenset(self._writers).union(path for path in files if path.parent.name == running)
        for path, share in self._space.make(now, time.time(), spared).items():
            try:
                writer = self._writer(path)
                writer.shrink_to(int(writer.stored * share))
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError as error:
                self._give_up(path, error)

    def close(self) -> None:
        """Lets go of all files."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()
        self._errors.close()

    def _write(self, messages: list[tuple[str, bytes]], now: float) -> None:
        by_host: dict[tuple[str, str], list[Shipped]] = {}
        for host, message in messages:
            try:
                shipped = log_shipping.read(message, self._key, self._cluster, host)
            except NotOurs as why:
                log.warning("%s It is left out.", why)
                continue
            by_host.setdefault((host, shipped.session), []).append(shipped)
        for (host, session), sent in by_host.items():
            self._write_host(host, session, sent, now)

    def _write_overdue(self, now: float) -> None:
        for key in [key for key, aside in self._aside.items() if aside.until <= now]:
            host, session, _ = key
            self._write_host(host, session, self._aside[key].in_order, None)
            del self._aside[key]

    def _write_host(self, host: str, session: str, sent: list[Shipped], now: float | None) -> None:
        """Without `now` also what does not follow what is kept."""
        try:
            path = kept_logs.host_file(self._settings.state_dir, self._cluster, session, host)
        except BadPiece as why:
            log.warning("%s It is left out.", why)
            return
        if not self._is_known(path):
            log.warning("%s sends logs of %s, which is no session of this cluster. They are left out.", host, session)
            return
        try:
            known = self._keep(path, sent, now)
        except sqlite3.OperationalError:
            raise  # the disk is full, or the like: for all
        except sqlite3.DatabaseError as error:
            self._give_up(path, error)
            return
        if known:
            log_shipping.say_known(self._redis, self._cluster, host, session, known)

    def _keep(self, path: Path, sent: list[Shipped], now: float | None) -> dict[str, Known]:
        known: dict[str, Known] = {}
        writer = self._writer(path)
        writer.begin()
        try:
            for shipped in sent:
                try:
                    misses = self._keep_one(writer, path, shipped, now)
                except BadPiece as why:
                    log.warning("A piece of a log file is left out: %s", why)
                    continue
                self._space.grew(len(shipped.body))
                known[shipped.file] = Known(shipped.start + shipped.length, shipped.name, b"", misses)
            known = {file: _known(writer, file, one) for file, one in known.items()}
        except sqlite3.Error:
            writer.close()
            self._writers.pop(path, None)  # nothing of this is written
            raise
        writer.commit()
        return known

    def _keep_one(self, writer: KeptLogsWriter, path: Path, shipped: Shipped, now: float | None) -> bool:
        """Whether what is before it is missing; then it is put aside. Raises BadPiece."""
        own = self._own(path, shipped.node_ids)
        writer.of_nodes(own)
        writer.leaves_out(shipped.left_out)
        key = (path.stem, shipped.session, shipped.file)
        if shipped.begins:
            writer.forget(shipped.file)
            self._aside.pop(key, None)
        if key in self._aside:
            self._aside[key].rename(shipped.name)
        if not shipped.length:
            writer.rename(shipped.file, shipped.name)
            self._errors.look(path, own, shipped)
            return _misses_something(writer, shipped)
        if now is not None and _misses_something(writer, shipped):
            if self._has_place_aside(path.stem):
                self._aside.setdefault(key, Aside(now + ASIDE_S)).pieces[shipped.start] = shipped
                return True
            for before in self._aside.pop(key, Aside(now)).in_order:
                writer.add(_piece(before))
                self._errors.look(path, own, before)
        writer.add(_piece(shipped))
        self._errors.look(path, own, shipped)
        return False

    def _has_place_aside(self, host: str) -> bool:
        waiting = [(key[0], len(aside.pieces)) for key, aside in self._aside.items()]
        of_it = sum(count for name, count in waiting if name == host)
        return of_it < MOST_ASIDE_OF_A_HOST and sum(count for _, count in waiting) < MOST_ASIDE

    def _give_up(self, path: Path, error: sqlite3.Error) -> None:
        """A damaged file is not to keep the others from being written; what comes next of that host is kept in a new one."""
        log.error("What was kept in %s is damaged and given up: %s", path, error)
        writer = self._writers.pop(path, None)
        if writer is not None:
            writer.close()
        kept_space.delete(path)

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


def _misses_something(writer: KeptLogsWriter, shipped: Shipped) -> bool:
    """Of a file of which nothing is kept any more nothing is missing: it was given up."""
    kept = writer.file(shipped.file)
    return not shipped.begins and shipped.start > (shipped.kept if kept is None else kept.end)


def _piece(shipped: Shipped) -> Piece:
    return Piece(shipped.file, shipped.name, shipped.start, shipped.length, shipped.modified_ms, shipped.body)


def _known(writer: KeptLogsWriter, file: str, told: Known) -> Known:
    """What is said of a file to its node; of one that was given up for another that it came."""
    kept = writer.file(file)
    if kept is None:
        return Known(0, b"", b"", misses=True) if told.misses else told
    tail = b""
    with suppress(BadPiece):
        tail = writer.tail(file, TAIL_BYTES)
    return Known(kept.end, kept.name, tail, told.misses)
