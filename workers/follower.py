"""The log role of a host: reads on in the log files that somebody follows, once for all who look on, and sends all on to the head."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import redis

from clusterstate.settings import Settings
from clusterstate.store import follows, queues
from clusterstate.store.connection import UNREACHABLE, connect
from clusterstate.store.follows import ENDED, Followed, Told
from clusterstate.store.signing import key_for
from workers.log_shipper import LogShipper
from workers.sources.beneath import Refused, folder_of
from workers.sources.log_folders import log_folder
from workers.sources.log_following import FollowedFile
from workers.sources.log_listing import name_of

log = logging.getLogger("raydeck.follower")

LOOK_EVERY_S = 0.2
SUBSCRIPTIONS_EVERY_S = 2.0
SLEEPS_S = 1
"""While nobody follows: a new subscription wakes it at once."""


def run_follower(settings: Settings, cluster: str, host: str, should_stop: Callable[[], bool]) -> None:
    """Follows until told to stop. Redis may come and go."""
    client, key = connect(settings, timeout_s=SLEEPS_S + 5.0), key_for(settings, queues.worker_name(cluster, host))
    follower = Follower(client, key, cluster, host)
    shipper = LogShipper(client, key, cluster, host, settings)
    while not should_stop():
        started = time.monotonic()
        try:
            follower.step(time.time())
            shipper.step(time.monotonic())
        except UNREACHABLE:
            time.sleep(1.0)
        except OSError as error:  # of a disk or a network file system
            log.warning("Log files cannot be read now: %s", error)
            time.sleep(1.0)
        time.sleep(max(0.0, LOOK_EVERY_S - (time.monotonic() - started)))
    follower.close()
    with suppress(*UNREACHABLE):
        shipper.finish()


class Follower:
    """All files that are followed on this host."""

    def __init__(self, client: redis.Redis, key: bytes, cluster: str, host: str) -> None:
        self._redis = client
        self._key = key
        self._cluster = cluster
        self._host = host
        self._files: dict[Followed, FollowedFile | None] = {}
        self._folders: dict[str, Path | Refused] = {}  # of nodes, or why there is none: looked up with the subscriptions
        self._next_subscriptions = 0.0

    def step(self, now: float) -> None:
        """A look at each file; without any it waits for a subscription. Raises what Redis being away raises."""
        if not self._files or now >= self._next_subscriptions:
            follows.say_alive(self._redis, self._cluster, self._host)
            self._subscribe(now)
        if not self._files:
            follows.wait_for_one(self._redis, self._cluster, self._host, SLEEPS_S)
            return
        for file, reading in list(self._files.items()):
            try:
                self._look(file, reading)
            except Refused as why:
                self._end(file, str(why))
            except OSError as error:
                self._end(file, f"It cannot be read any more: {error.strerror}.")

    def close(self) -> None:
        """Lets go of all files."""
        for reading in self._files.values():
            if reading is not None:
                reading.close()
        self._files.clear()

    def _subscribe(self, now: float) -> None:
        wanted = follows.subscribed(self._redis, self._key, self._cluster, self._host, now)
        for file in set(self._files) - wanted:
            reading = self._files.pop(file)
            if reading is not None:
                reading.close()
        for file in wanted:
            self._files.setdefault(file, None)
            follows.keep(self._redis, self._cluster, self._host, file)
        self._folders = {node_id: _folder(node_id) for node_id in {file.node_id for file in wanted}}
        self._next_subscriptions = now + SUBSCRIPTIONS_EVERY_S

    def _look(self, file: Followed, reading: FollowedFile | None) -> None:
        path = self._folders[file.node_id]
        if isinstance(path, Refused):
            raise path
        with folder_of(path) as folder:
            if reading is None:
                reading = self._files[file] = FollowedFile(name_of(folder, file.file_id))
            for happened in reading.look(folder):
                told = Told("", happened.kind, happened.inode, happened.offset, happened.content, happened.has_gap)
                follows.tell(self._redis, self._cluster, self._host, file, told)

    def _end(self, file: Followed, why: str) -> None:
        """It cannot be followed (any more): who looks on is told, and may ask again."""
        log.info("Following %s ended: %s", file.name, why)
        follows.tell(self._redis, self._cluster, self._host, file, Told("", ENDED, "", 0, reason=why))
        reading = self._files.pop(file)
        if reading is not None:
            reading.close()


def _folder(node_id: str) -> Path | Refused:
    try:
        return log_folder(node_id)
    except Refused as why:
        return why
