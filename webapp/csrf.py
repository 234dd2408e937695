"""Writes from elsewhere are refused: Sec-Fetch-Site, Origin and a token bound to the sign-in id must all fit.

The token is an HMAC keyed by the random id in the cookie, so it needs no store and no secret of the server's, holds on
every web host, and ends with the id. It is masked anew each time, so that compressed pages do not betray it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets

from flask import Flask, Response, g, request
from flask_wtf.csrf import CSRFError, CSRFProtect

from webapp.auth import bearer_header
from webapp.security import Cookies, own_origin

PURPOSE = b"raydeck csrf token"
MASK_BYTES = 32
ID_TEXT_BYTES = 32


class OriginCheckedCSRF(CSRFProtect):  # type: ignore[misc]  # published without types
    """Flask-WTF's protection with our token, and with Origin and Sec-Fetch-Site instead of the Referer."""

    def init_app(self, app: Flask) -> None:
        super().init_app(app)
        app.context_processor(lambda: {"csrf_token": csrf_token})
        app.jinja_env.globals["csrf_token"] = csrf_token
        app.jinja_env.globals.pop("csrf_meta_tag", None)

    def protect(self, apply_exemptions: bool = False) -> None:
        """Raises CSRFError unless this request may change something."""
        if request.endpoint is None or request.method in ("GET", "HEAD", "OPTIONS") or is_bearer_alone():
            return  # without an endpoint nothing runs: 404 or 405 follows
        site = request.headers.get("Sec-Fetch-Site")
        if site is not None and site not in ("same-origin", "none"):
            raise CSRFError("The request came from another site.")
        origin = request.headers.get("Origin")
        if origin is not None and origin.lower() != own_origin():
            raise CSRFError(f"The request came from another origin than {own_origin()}.")
        given = self._get_csrf_token()
        cookie_id = request.cookies.get(Cookies.of_request().name)
        if not given or not cookie_id or not token_fits(given, cookie_id):
            raise CSRFError("The form is too old or of another sign-in. Reload the page and try again.")


def is_bearer_alone() -> bool:
    """A program with an API token and without cookies: no browser adds that token by itself."""
    return bearer_header() is not None and not request.headers.get("Cookie")


def csrf_token() -> str:
    """The token for a form of this answer. An answer that holds one is for one person: it is never cached."""
    g.is_personal = True
    if getattr(g, "asked_with_token", False):
        return ""
    cookie_id = getattr(g, "new_cookie_id", None) or request.cookies.get(Cookies.of_request().name)
    if not cookie_id:
        cookie_id = g.new_cookie_id = secrets.token_urlsafe(ID_TEXT_BYTES)
    return token_for(cookie_id)


def put_cookie(response: Response) -> None:
    """Sends the id that a form of this answer was bound to, if it is new."""
    cookie_id = getattr(g, "new_cookie_id", None)
    if cookie_id and not getattr(g, "asked_with_token", False):
        cookies = Cookies.of_request()
        cookies.set(response, cookies.name, cookie_id)


def token_for(cookie_id: str) -> str:
    """The masked token that fits this id."""
    mask = secrets.token_bytes(MASK_BYTES)
    return base64.urlsafe_b64encode(mask + _xor(mask, _plain(cookie_id))).decode()


def token_fits(given: str, cookie_id: str) -> bool:
    """Whether a token was made for this id."""
    try:
        raw = base64.urlsafe_b64decode(given.encode("ascii"))
    except (binascii.Error, ValueError):
        return False
    mask, masked = raw[:MASK_BYTES], raw[MASK_BYTES:]
    return len(masked) == MASK_BYTES and hmac.compare_digest(_xor(mask, masked), _plain(cookie_id))


def _plain(cookie_id: str) -> bytes:
    return hmac.new(cookie_id.encode("utf-8", "replace"), PURPOSE, hashlib.sha256).digest()


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
