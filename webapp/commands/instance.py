"""One run of `raydeck up` or of a single role: from settings to a supervisor that keeps it going."""

from __future__ import annotations

import contextlib
import logging
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from clusterstate import hosts, paths
from clusterstate.journal import Journal
from clusterstate.settings import BadSetting, Settings, variable
from webapp.commands.lock import InstanceLock
from webapp.commands.ready_file import ReadyFile
from webapp.commands.serving import CLUSTER_APP, Listener, ServingCheck, check_exposure, listen, listen_to_cluster, serve

if TYPE_CHECKING:
    from workers.roles import Role
    from workers.supervisor import Supervisor

DISCOVER_EVERY_S = 1.0
FIRST_ROWS_WITHIN_S = 20.0
NO_CLUSTER = (
    "No Ray cluster runs here. Waiting for one: start it with `ray start --head`, name one with --address, "
    "or stop this and try `raydeck up --demo`."
)


class Instance:
    """What one command started, and what it owes: a lock, a token, a ready file."""

    def __init__(
        self,
        command: str,
        settings: Settings,
        ready_file: Path | None,
        *,
        demo: bool,
        environ: Mapping[str, str],
        say: Callable[[str], None],
    ) -> None:
        from workers.roles import Target

        self.command, self.demo, self.environ, self.say = command, demo, environ, say
        self.cluster = settings.cluster_name or ("demo" if demo else "default")
        self.settings = replace(settings, cluster_name=self.cluster)
        self.host = hosts.this_host()
        self.target = Target()
        self.ready_file = ReadyFile(ready_file) if ready_file else None
        self.instance_id = secrets.token_hex(8)
        self.listener: Listener | None = None
        self.receiver: Listener | None = None
        self.admin_token = ""
        self._watched = ""
        self._next_discovery = 0.0
        self._is_announced = False
        self._said_waiting = False
        self._first_rows: ServingCheck | None = None
        self._first_rows_until = 0.0

    def run(self) -> int:
        """Starts everything and returns the exit code at the end. Raises what stops a start: BadSetting and others."""
        from workers.machine import PRELOADED, sweep_leftovers
        from workers.supervisor import Supervisor, preload

        logging.basicConfig(stream=sys.stderr, level=self.settings.log_level.upper(), format="%(levelname)s: %(message)s")
        paths.make_state_dir(self.settings.state_dir)
        with contextlib.ExitStack() as stack:
            lock = InstanceLock(self.settings.state_dir, self.command)
            stack.callback(lock.release)
            if self.ready_file is not None:
                self.ready_file.clear()
                stack.callback(self.ready_file.remove)
            if self.demo:
                stack.callback(self._remove_demo_folder)
            sweep_leftovers(self.settings, self.command)
            self._open_web(stack)
            self._open_receiver(stack)
            roles = self._roles()
            preload(PRELOADED)
            supervisor = Supervisor(self.settings, roles, command=self.command, host=self.host, say=self.say)
            supervisor.close_in_children.append(lock.descriptor)
            supervisor.on_tick = lambda: self._tick(supervisor)
            lock.note(self.listener.url if self.listener else "")
            return supervisor.run()

    # --- What is started ---

    def _roles(self) -> list[Role]:
        from workers import machine, redis_server

        here = machine.Machine(self.settings, self.cluster, self.host, self.target)
        if self.settings.key_file:
            here.check_keys(collects=self.command in {"up", "collect"}, answers=self.command in {"up", "node"})
        roles: list[Role] = []
        if self.settings.redis_url:
            for warning in [*redis_server.check_given(self.settings), *self._warnings()]:
                self.say(f"Warning: {warning}")
        elif self.command == "up":
            roles.append(here.redis(redis_server.find_engine()))
        elif not paths.redis_socket(self.settings.state_dir).exists():
            raise BadSetting(
                f"raydeck {self.command} needs {variable('redis_url')}, or the state folder of a raydeck up that runs on this machine."
            )
        if self.demo:
            roles.append(here.demo())
        if self.command in {"up", "collect"}:
            roles.append(here.collector())
            if self._has_journal():
                roles += [here.operations(), here.keeper()]
        if self.command in {"up", "node"}:
            roles += [here.node(), *here.probes(), here.follower()]
        if self.command in {"up", "projector"}:
            roles.append(here.projector())
        return roles + self._listening()

    def _listening(self) -> list[Role]:
        web = [self._web_role(self.listener)] if self.listener is not None else []
        return web + ([self._receiver_role(self.receiver)] if self.receiver is not None else [])

    def _has_journal(self) -> bool:
        """Operations are done where they are recorded, with the master key beside it."""
        return not self.settings.key_file and paths.journal_file(self.settings.state_dir).exists()

    def _warnings(self) -> list[str]:
        """A node elsewhere that has no key from the head would refuse all that it is asked, one by one."""
        is_elsewhere = self.command == "node" and not paths.journal_file(self.settings.state_dir).exists()
        if self.settings.key_file or not is_elsewhere:
            return []
        name = hosts.readable_name(socket.gethostname())
        return [
            f"This node has no key from the head: it shows its figures and refuses questions. Give {variable('key_file')}, "
            f"which the head makes: raydeck token node {name} --cluster {self.cluster}"
        ]

    def _web_role(self, listener: Listener) -> Role:
        from workers.machine import PROJECTOR, REDIS
        from workers.redis_server import ORPHAN_SIGNAL
        from workers.roles import Role

        return Role(
            "web",
            run=lambda: serve(listener),
            needs=(REDIS, PROJECTOR),
            is_ready=ServingCheck(listener, self.admin_token),
            stop_rank=0,
            stop_within_s=2.0,
            orphan_signal=ORPHAN_SIGNAL,
        )

    def _receiver_role(self, receiver: Listener) -> Role:
        from workers.machine import RECEIVER, REDIS
        from workers.redis_server import ORPHAN_SIGNAL
        from workers.roles import GOES_FIRST, Role

        return Role(
            RECEIVER,
            run=lambda: serve(receiver, CLUSTER_APP),
            needs=(REDIS,),
            stop_rank=0,
            stop_within_s=2.0,
            orphan_signal=ORPHAN_SIGNAL,
            nice=GOES_FIRST,
        )

    def _open_receiver(self, stack: contextlib.ExitStack) -> None:
        """Beside the collector that reads what comes in."""
        if self.command in {"up", "collect"} and self.settings.cluster_listen:
            self.receiver = listen_to_cluster(self.settings)
            stack.callback(self.receiver.socket.close)
            self.settings = self.receiver.settings

    def _open_web(self, stack: contextlib.ExitStack) -> None:
        if self.command not in {"up", "web"}:
            return
        with self._journal() as journal:
            check_exposure(self.settings, journal)
        self.listener = listen(self.settings)
        stack.callback(self.listener.socket.close)
        self.settings = self.listener.settings
        now = time.time()
        with self._journal() as journal:
            admin = self._admin(journal, now)
            journal.revoke_other_instances(self.instance_id, now)
            self.admin_token = journal.new_token(admin, "ready file", "admin", now, instance=self.instance_id)
        stack.callback(self._revoke)

    def _journal(self) -> contextlib.closing[Journal]:
        """Opened for a moment only: no open database is carried over a fork."""
        return contextlib.closing(Journal(paths.journal_file(self.settings.state_dir)))

    def _admin(self, journal: Journal, now: float) -> str:
        """The account that the printed link and the ready file's token belong to: made on the first run."""
        if not journal.has_users():
            return journal.add_user("admin", None, "admin", "raydeck up", now).name
        admins = sorted(user.name for user in journal.users() if user.role == "admin" and not user.disabled)
        if not admins:
            raise BadSetting("There is no admin who may sign in. Enable one: raydeck user enable NAME")
        return "admin" if "admin" in admins else admins[0]

    def _remove_demo_folder(self) -> None:
        """The demo cluster is gone; its logs and sockets go too."""
        folder = paths.demo_dir(self.settings.state_dir)
        with contextlib.suppress(BadSetting):
            shutil.rmtree(paths.check_private_dir(folder), ignore_errors=True)
        with contextlib.suppress(OSError):
            folder.parent.rmdir()  # unless the Redis socket needs it

    def _revoke(self) -> None:
        with self._journal() as journal:
            journal.revoke_instance(self.instance_id, time.time())

    # --- While it runs ---

    def _tick(self, supervisor: Supervisor) -> None:
        if not self.demo and self.command in {"up", "collect", "node"}:
            self._discover(time.monotonic())
        if self._watched != self.target.address and self.target.is_known:
            self._follow(supervisor)
        if not self._is_announced and supervisor.is_healthy() and (self.target.is_known or not self.demo) and self._can_show():
            self._is_announced = True
            self._announce(supervisor)

    def _can_show(self) -> bool:
        """Whether the watched cluster's pages answer. Given up after a while: a cluster may be out of reach."""
        if self.command != "up" or self.listener is None or not self.target.is_known:
            return True
        if self._first_rows is None:
            self._first_rows = ServingCheck(self.listener, self.admin_token, f"/c/{self.cluster}/nodes.json?limit=1")
            self._first_rows_until = time.monotonic() + FIRST_ROWS_WITHIN_S
        return self._first_rows() or time.monotonic() > self._first_rows_until

    def _discover(self, now: float) -> None:
        from workers.discovery import given_address, running_here

        if now < self._next_discovery:
            return
        self._next_discovery = now + DISCOVER_EVERY_S
        given = given_address(self.settings.address, self.environ)
        if given:
            self.target.address = given
            self._next_discovery = float("inf")
            return
        found = running_here(self.environ)
        if found:
            self.target.address = found
        elif not self.target.is_known and not self._said_waiting:
            self._said_waiting = True
            self.say(NO_CLUSTER)

    def _follow(self, supervisor: Supervisor) -> None:
        """The watched cluster is another: what spoke with the old one is started anew."""
        from workers.machine import COLLECTOR, NODE, OPERATIONS, PROBE_ROLES

        first, self._watched = not self._watched, self.target.address
        self.say(f"Watching the Ray cluster at {self.target.address} as {self.cluster}.")
        if not first:
            speaking = (COLLECTOR, NODE, *(name for name, _ in PROBE_ROLES), OPERATIONS)
            supervisor.restart(*(name for name in speaking if name in supervisor.running))

    def _announce(self, supervisor: Supervisor) -> None:
        from clusterstate.store.connection import redis_url

        url = self.listener.url if self.listener else ""
        sign_in_url = self._new_sign_in_url(url)
        if self.ready_file is not None:
            self.ready_file.write(
                {
                    "url": url,
                    "sign_in_url": sign_in_url,
                    "admin_token": self.admin_token,
                    "pids": supervisor.pids(),
                    "redis": redis_url(self.settings),
                    "cluster": self.cluster,
                    "ray_address": self.target.address or None,
                    "ray_env": self.target.environ,
                }
            )
        self.say(f"Running: {', '.join(supervisor.pids())}. State and logs: {self.settings.state_dir}")
        if self.listener is not None:
            self.say(f"Raydeck is at {url}/")
            self.say(f"Sign in (works once, for 10 minutes): {self._new_sign_in_url(url)}")
        self.say("Press Ctrl-C to stop.")

    def _new_sign_in_url(self, url: str) -> str:
        """A link that signs in once. Its secret is in the query, which access logs leave out."""
        if not url:
            return ""
        now = time.time()
        with self._journal() as journal:
            token = journal.new_sign_in_link(self._admin(journal, now), now)
        return f"{url}/login?{urlencode({'token': token})}"
