"""The token of a Ray cluster, found where Ray's own clients look for it. It is sent to Ray and kept nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

MAX_TOKEN_BYTES = 64 * 1024


def ray_token(environ: Mapping[str, str]) -> str | None:
    """The token to send to Ray, or None when there is none to send.

    As Ray: RAY_AUTH_TOKEN, else the file RAY_AUTH_TOKEN_PATH names, else ~/.ray/auth_token. RAY_AUTH_MODE=disabled means no
    token. Where the mode is not set, a token that exists is used, as `ray start` does since 2.60: a cluster without token
    authentication ignores it.
    """
    mode = environ.get("RAY_AUTH_MODE", "").strip().lower()
    if mode == "disabled":
        return None
    given = environ.get("RAY_AUTH_TOKEN", "").strip()
    if given:
        return _usable(given)
    named = environ.get("RAY_AUTH_TOKEN_PATH", "").strip()
    if named:
        return _read(Path(named).expanduser())
    home = environ.get("HOME", "").strip()
    return _read(Path(home) / ".ray" / "auth_token") if home else None


def bearer(token: str | None) -> tuple[tuple[str, str], ...]:
    """The gRPC metadata that carries a token."""
    return (("authorization", f"Bearer {token}"),) if token else ()


def token_problem(environ: Mapping[str, str]) -> str | None:
    """Why there is no token although token mode is on; None when all is well."""
    if environ.get("RAY_AUTH_MODE", "").strip().lower() != "token" or ray_token(environ):
        return None
    named = environ.get("RAY_AUTH_TOKEN_PATH", "").strip()
    if named:
        return f"RAY_AUTH_MODE is token, but the file {named} that RAY_AUTH_TOKEN_PATH names is missing, empty or not readable."
    return "RAY_AUTH_MODE is token, but there is no token: set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, or write ~/.ray/auth_token."


def _read(path: Path) -> str | None:
    """The token in a file. None when it is missing, empty, unreadable or no text that a header can carry."""
    try:
        with path.open("rb") as file:
            return _usable(file.read(MAX_TOKEN_BYTES).decode("ascii").strip())
    except (OSError, UnicodeDecodeError):
        return None


def _usable(text: str) -> str | None:
    return text if text and text.isascii() and text.isprintable() else None
