"""What every request must pass and every answer must carry: Host, size, cookies and headers."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from flask import Response, request
from werkzeug.exceptions import BadRequest, HTTPException, RequestEntityTooLarge

from clusterstate.settings import Settings

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # "no-referrer" would turn the Origin of our own forms into null
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "X-Robots-Tag": "noindex",
}
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
MAX_BODY_BYTES = 256 * 1024
MAX_FIELDS = 200
MAX_PATH = 2048
MAX_NEXT = 2048

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_]([A-Za-z0-9._-]{0,252}))(:(?P<port>[0-9]{1,5}))?")
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_EVERYWHERE = ("", "0.0.0.0", "::", "[::]", "*")  # noqa: S104 - these are what we look for, not bind to


class MisdirectedRequest(HTTPException):
    """The request is for another site: a rebound name, or a setting that is missing."""

    code = 421
    description = "This server does not answer for that host. An admin can allow it with RAYDECK_ALLOWED_HOSTS."


@dataclass(frozen=True)
class HostList:
    """Which Host headers are answered. (name, port); port None: any."""

    entries: frozenset[tuple[str, int | None]]

    def allows(self, host: str) -> bool:
        found = split_host(host)
        return found is not None and (found in self.entries or (found[0], None) in self.entries)


def allowed_hosts(settings: Settings) -> HostList:
    """The listening address, loopback names where it can be reached by them, and what the setting adds."""
    names: list[str] = list(settings.allowed_hosts)
    listening = settings.host.strip()
    is_everywhere = listening in _EVERYWHERE
    if is_everywhere or listening.startswith(("unix", "/")) or _is_loopback(listening):
        names.extend(_LOOPBACK)
    if is_everywhere:
        names.append(socket.gethostname())
    elif not listening.startswith(("unix", "/")):
        names.append(f"[{listening}]" if ":" in listening and not listening.startswith("[") else listening)
    return HostList(frozenset(found for name in names if (found := split_host(name)) is not None))


def split_host(host: str) -> tuple[str, int | None] | None:
    """(lower-case name, port) of a Host header; None when it is none."""
    match = _HOST.fullmatch(host)
    if match is None:
        return None
    port = match["port"]
    if port is not None and not 0 < int(port) < 65536:
        return None
    return match["name"].lower(), int(port) if port else None


def check_host(hosts: HostList) -> None:
    """The first thing asked of any request, static files included: is it for us? Stops DNS rebinding."""
    host = request.environ.get("HTTP_HOST", "")
    if split_host(host) is None:
        raise BadRequest("The Host header is missing or is no host.")
    target = str(request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI") or "/")
    if not target.startswith(("/", "*")) and _authority(target) != host.lower():
        raise BadRequest("The request line and the Host header name different hosts.")
    if not hosts.allows(host):
        raise MisdirectedRequest


def check_size() -> None:
    """Refuses what no page of ours would send, before anything reads it."""
    if len(request.path) > MAX_PATH:
        raise BadRequest("The path is too long.")
    if request.query_string.count(b"&") > MAX_FIELDS:
        raise BadRequest(f"More than {MAX_FIELDS} query parameters.")
    if request.method not in SAFE_METHODS and len(request.form) > MAX_FIELDS:
        raise RequestEntityTooLarge(f"More than {MAX_FIELDS} form fields.")


def put_headers(response: Response) -> None:
    """On every answer, errors and static files included."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if "Cache-Control" not in response.headers:
        response.headers["Cache-Control"] = "no-store"
    if response.headers["Cache-Control"] == "no-store":
        vary(response, "Cookie")


def vary(response: Response, *names: str) -> None:
    """Adds to Vary."""
    for name in names:
        response.vary.add(name)


@dataclass(frozen=True)
class Cookies:
    """How our cookies are named and sent.

    The port is part of the name: browsers share cookies between ports of a host, two Raydecks must not.
    """

    name: str
    path: str
    secure: bool

    @staticmethod
    def of_request() -> Cookies:
        secure = request.scheme == "https"
        path = (request.environ.get("SCRIPT_NAME") or "") + "/"
        found = split_host(request.environ.get("HTTP_HOST", ""))
        port = f"-{found[1]}" if found and found[1] else ""
        return Cookies(f"{'__Host-' if secure and path == '/' else ''}raydeck{port}", path, secure)

    def set(self, response: Response, name: str, value: str, max_age_s: int | None = None) -> None:
        response.set_cookie(name, value, max_age=max_age_s, path=self.path, secure=self.secure, httponly=True, samesite="Lax")

    def drop(self, response: Response, name: str) -> None:
        response.delete_cookie(name, path=self.path, secure=self.secure, httponly=True, samesite="Lax")


def safe_next(target: str | None) -> str | None:
    """`target` if it is a path of this site below the prefix, to go to after signing in; else None."""
    prefix = request.environ.get("SCRIPT_NAME") or ""
    if not target or len(target) > MAX_NEXT or not target.startswith("/") or not target.isprintable() or "\\" in target:
        return None
    try:
        parts = urlsplit(target)
    except ValueError:
        return None
    if parts.scheme or parts.netloc or not parts.path.startswith(prefix + "/") or parts.path.startswith("//"):
        return None
    decoded = unquote(unquote(parts.path))
    if not decoded.isprintable() or "\\" in decoded or "//" in decoded or {".", ".."} & set(decoded.split("/")):
        return None
    return target


def own_origin() -> str:
    """Scheme, host and port as the browser sees them."""
    return f"{request.scheme}://{request.environ.get('HTTP_HOST', '')}".lower()


def _authority(target: str) -> str | None:
    try:
        return urlsplit(target).netloc.lower()
    except ValueError:
        return None


def _is_loopback(listening: str) -> bool:
    return listening in ("localhost", "::1", "[::1]") or listening.startswith("127.")
