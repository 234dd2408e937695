"""The web role: the listening socket, whether it may be opened, gunicorn behind it, and whether it answers."""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from clusterstate.journal import Journal
from clusterstate.settings import BadSetting, Settings, host_and_port, variable

BACKLOG = 2048
CONNECT_WITHIN_S = 0.5
ANSWER_WITHIN_S = 5.0
APP = ("webapp.gunicorn_conf", "webapp.app:app_from_environment()")
CLUSTER_APP = ("webapp.cluster_gunicorn_conf", "webapp.cluster_api:cluster_api_from_environment()")
"""(gunicorn's configuration, the app) of the pages, and of what only Ray clusters speak with."""


class PortTaken(Exception):
    """The address cannot be listened on; the message says which and why."""


@dataclass
class Listener:
    """A listening socket that outlives the web processes, so that its port is known and never lost."""

    socket: socket.socket
    settings: Settings  # with the port that was picked

    @property
    def url(self) -> str:
        """Where a browser on this machine finds the pages, without a slash at the end."""
        return f"{'https' if self.settings.tls_certfile else 'http'}://{_in_url(_reachable(self.settings.host))}:{self.settings.port}" + (
            self.settings.url_prefix.rstrip("/")
        )


def listen(settings: Settings) -> Listener:
    """Opens the socket of settings.host and port; port 0 picks one. Raises PortTaken, BadSetting."""
    opened = _open(settings.host, settings.port, "host", "--port; 0 picks a free one")
    return Listener(opened, replace(settings, port=opened.getsockname()[1]))


def listen_to_cluster(settings: Settings) -> Listener:
    """Opens the socket of settings.cluster_listen. Raises PortTaken, BadSetting."""
    host, port = host_and_port(settings.cluster_listen) or ("", 0)
    opened = _open(host, port, "cluster_listen", "--cluster-listen")
    picked = f"[{host}]" if ":" in host else host
    return Listener(opened, replace(settings, cluster_listen=f"{picked}:{opened.getsockname()[1]}"))


def _open(host: str, port: int, setting: str, option: str) -> socket.socket:
    try:
        [family, kind, protocol, _, address] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError:
        raise BadSetting(f"{variable(setting)} is {host!r}; it must be an address or name of this machine.") from None
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(BACKLOG)
    except OSError as error:
        opened.close()
        raise PortTaken(f"{host}:{port} cannot be listened on: {error.strerror}. Give another port with {option}.") from None
    return opened


def check_exposure(settings: Settings, journal: Journal) -> None:
    """Refuses to be reachable from elsewhere without TLS and users. Raises BadSetting."""
    if is_loopback(settings.host):
        return
    where = f"{variable('host')} is {settings.host}, which others can reach"
    if not settings.tls_certfile and not settings.behind_tls_proxy:
        raise BadSetting(
            f"{where}: give {variable('tls_certfile')} and {variable('tls_keyfile')}, "
            f"or set {variable('behind_tls_proxy')} if a proxy in front speaks TLS."
        )
    if not journal.has_users():
        raise BadSetting(f"{where}: add a user first (raydeck user add NAME --role admin), or leave {variable('host')} at 127.0.0.1.")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on `host`. A name counts as what it resolves to."""
    try:
        addresses = {str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
        return all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in addresses)
    except (OSError, ValueError):
        return False


class ServingCheck:
    """Whether the web app answers a path with 200. Asked again and again, it sends a request and later looks for its answer,
    so that whoever asks never waits for a server that is still starting.
    """

    def __init__(self, listener: Listener, token: str, path: str = "/readyz") -> None:
        self._settings = listener.settings
        self._request = (
            f"GET {listener.settings.url_prefix.rstrip('/')}{path} HTTP/1.1\r\nHost: {_in_url(_reachable(listener.settings.host))}\r\n"
            f"Authorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        ).encode()
        self._pending: socket.socket | None = None
        self._given_up_at = 0.0

    def __call__(self) -> bool:
        try:
            return self._has_answered() if self._pending else self._ask()
        except (BlockingIOError, ssl.SSLWantReadError):
            if time.monotonic() > self._given_up_at:
                self._drop()
        except OSError:
            self._drop()
        return False

    def _ask(self) -> bool:
        opened = socket.create_connection((_reachable(self._settings.host), self._settings.port), CONNECT_WITHIN_S)
        self._pending, self._given_up_at = opened, time.monotonic() + ANSWER_WITHIN_S
        if self._settings.tls_certfile:
            trusting = ssl._create_unverified_context()  # noqa: S323 - our own certificate, on our own machine
            self._pending = trusting.wrap_socket(opened)
        self._pending.sendall(self._request)
        self._pending.setblocking(False)
        return False

    def _has_answered(self) -> bool:
        assert self._pending is not None  # noqa: S101 - for the type checker
        status = self._pending.recv(12)  # HTTP/1.1 200
        self._drop()
        return status.endswith(b" 200")

    def _drop(self) -> None:
        if self._pending is not None:
            self._pending.close()
        self._pending = None


def _reachable(host: str) -> str:
    """An address of this machine at which `host` answers."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - a look-up, nothing is bound


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def serve(listener: Listener, app: tuple[str, str] = APP) -> None:
    """Becomes gunicorn on the listening socket.

    A fresh Python, not a fork: gevent must be patched in before anything else is imported. It gets no variable of Ray's:
    tokens of clusters are not the web app's business.
    """
    settings = listener.settings
    root = Path(__file__).resolve().parents[2]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RAY")}
    environ |= _with_absolute_paths(settings).variables
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), environ.get("PYTHONPATH", "")]))
    os.set_inheritable(listener.socket.fileno(), True)
    os.chdir(root)  # gunicorn and -m look there first
    configuration, made_by = app
    bind = f"fd://{listener.socket.fileno()}"
    command = [sys.executable, "-m", "gunicorn", "-c", f"python:{configuration}", "--bind", bind, made_by]
    os.execve(command[0], command, environ)  # noqa: S606 - a fixed program and fixed words


def _with_absolute_paths(settings: Settings) -> Settings:
    files = {name: str(Path(value).absolute()) for name in ("tls_certfile", "tls_keyfile") if (value := getattr(settings, name))}
    return replace(settings, **files)  # type: ignore[arg-type]  # both are text
