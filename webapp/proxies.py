"""Below a path prefix and behind proxies: what a forwarded header may say, and from whom it is believed."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

UNIX = "unix"
MAPPED_BITS = 96
"""In front of an IPv4 address within an IPv6 one."""
PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+){1,8}")
FORWARDED = (
    "HTTP_FORWARDED",
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PORT",
    "HTTP_X_FORWARDED_PREFIX",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_FORWARDED_PROTOCOL",
    "HTTP_X_FORWARDED_SSL",
    "HTTP_X_REAL_IP",
    "HTTP_X_ORIGINAL_URL",
    "HTTP_X_REWRITE_URL",
    "HTTP_X_HTTP_METHOD_OVERRIDE",
    "HTTP_SCRIPT_NAME",
    "HTTP_PATH_INFO",
    "HTTP_REMOTE_ADDR",
    "HTTP_REMOTE_USER",
)
"""Headers that pretend to know better. All are taken out of the request; four are used, from trusted peers."""


class Proxies:
    """WSGI layer in front of the app: sets peer, scheme, host and prefix of a request.

    A request with a path outside the configured prefix is answered 404 here.
    """

    def __init__(self, app: WSGIApplication, *, trusted: Iterable[str], url_prefix: str, behind_tls_proxy: bool) -> None:
        self.app = app
        self._is_trusted = trusted_peers(trusted)
        self._prefix = clean_prefix(url_prefix)
        self._behind_tls_proxy = behind_tls_proxy

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["REMOTE_ADDR"] = plain_address(environ.get("REMOTE_ADDR") or "")
        given = {name: environ.pop(name) for name in FORWARDED if name in environ}
        prefix = self._prefix
        if self._is_trusted(environ["REMOTE_ADDR"]):
            self._believe(environ, given)
            prefix = prefix or clean_prefix(given.get("HTTP_X_FORWARDED_PREFIX", ""))
        if self._behind_tls_proxy:
            environ["wsgi.url_scheme"] = "https"
        if not _enter(environ, prefix, must_be_below=bool(self._prefix)):
            return _not_here(start_response)
        return self.app(environ, start_response)

    def _believe(self, environ: WSGIEnvironment, given: dict[str, str]) -> None:
        if given.get("HTTP_X_FORWARDED_PROTO", "").strip().lower() in ("http", "https"):
            environ["wsgi.url_scheme"] = given["HTTP_X_FORWARDED_PROTO"].strip().lower()
        if host := _last(given.get("HTTP_X_FORWARDED_HOST", "")):
            environ["HTTP_HOST"] = host
        peer = self._peer(given.get("HTTP_X_FORWARDED_FOR", ""))
        if peer is not None:
            environ["REMOTE_ADDR"] = peer

    def _peer(self, chain: str) -> str | None:
        """The nearest address in the chain that is no trusted proxy itself."""
        for part in reversed(chain.split(",")[-16:]):
            address = plain_address(part.strip())
            try:
                ipaddress.ip_address(address)
            except ValueError:
                return None
            if not self._is_trusted(address):
                return address
        return None


def trusted_peers(entries: Iterable[str]) -> Callable[[str], bool]:
    """A test for peers: addresses, networks (10.0.0.0/8), or `unix` for a socket. Raises ValueError for anything else."""
    names = [entry.strip() for entry in entries]
    networks = [_network(entry) for entry in names if entry != UNIX]

    def is_trusted(peer: str) -> bool:
        if not peer or peer.startswith(UNIX):
            return UNIX in names
        try:
            address = ipaddress.ip_address(plain_address(peer))
        except ValueError:
            return False
        return any(address in network for network in networks)

    return is_trusted


def plain_address(text: str) -> str:
    """An IPv4 address that a socket for both families spells ::ffff:127.0.0.1, as people write it; anything else as it is."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return text if mapped is None else str(mapped)


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    network = ipaddress.ip_network(entry, strict=False)
    mapped = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) else None
    return network if mapped is None or network.prefixlen < MAPPED_BITS else ipaddress.ip_network((mapped, network.prefixlen - MAPPED_BITS))


def clean_prefix(text: str) -> str:
    """`/a/b` of `/a/b/`; empty when there is none or it is no plain path."""
    prefix = text.strip().rstrip("/")
    whole = PREFIX.fullmatch(prefix) is not None and not {".", ".."} & set(prefix.split("/"))
    return prefix if whole else ""


def _enter(environ: WSGIEnvironment, prefix: str, *, must_be_below: bool) -> bool:
    """Moves the prefix from the path into SCRIPT_NAME. A proxy that names a prefix may have cut it off already."""
    path = environ.get("PATH_INFO", "")
    is_below = path == prefix or path.startswith(prefix + "/")
    if must_be_below and not is_below:
        return False
    environ["SCRIPT_NAME"] = prefix
    if prefix and is_below:
        environ["PATH_INFO"] = path[len(prefix) :] or "/"
    return True


def _last(header: str) -> str:
    return header.rpartition(",")[2].strip()


def _not_here(start_response: StartResponse) -> list[bytes]:
    body = b"Not found: the pages are below another path.\n"
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
        ("X-Content-Type-Options", "nosniff"),
        ("Cache-Control", "no-store"),
    ]
    start_response("404 NOT FOUND", headers)
    return [body]
