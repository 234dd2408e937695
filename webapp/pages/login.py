"""Signing in by one-time link or password, and out."""

from __future__ import annotations

from flask import Response, render_template, request

from clusterstate.journal import JournalUnavailable
from clusterstate.query import BadQuery
from webapp import background
from webapp.auth import caller, caller_if_any, give_sign_in, take_sign_in
from webapp.parts import parts
from webapp.responses import html, redirect_to
from webapp.scope import href
from webapp.security import safe_next

MAX_TYPED = 4096


def show_login() -> Response:
    """The form; for a one-time link a button, so that a mail scanner or preview that opens it uses nothing up."""
    if caller_if_any() is not None and not request.args.get("token"):
        return redirect_to(safe_next(request.args.get("next")) or _home())
    return _form(200, None)


def sign_in() -> Response:
    """Takes the link's token or name and password, and starts a sign-in with a new id."""
    auth = parts().auth
    peer = request.remote_addr or "unix"
    token, name, password = (_typed(key) for key in ("token", "name", "password"))
    if token:
        sign_in_id = auth.sign_in_by_link(token, peer)
        message = "This link has been used, or is older than ten minutes. Ask for another: raydeck user link."
    else:
        if not name or not password:
            raise BadQuery("Give a name and a password.")
        sign_in_id = auth.sign_in_by_password(name, password, peer)
        message = "Name or password is wrong."
    if sign_in_id is None:
        return _form(401, message)
    return give_sign_in(redirect_to(safe_next(request.form.get("next")) or _home()), sign_in_id)


def sign_out() -> Response:
    """Ends this sign-in everywhere."""
    digest = caller().sign_in
    if digest is not None:
        parts().auth.sign_out(digest)
    return take_sign_in(redirect_to(href("login")))


def _form(status: int, message: str | None) -> Response:
    page = render_template(
        "login/login.html",
        token=request.values.get("token", "")[:MAX_TYPED] or None,
        next=safe_next(request.values.get("next")),
        name=request.form.get("name", "")[:200],
        message=message,
        has_users=background.run(_has_users),
    )
    response = html(page, status)
    response.headers["Referrer-Policy"] = "no-referrer" if status == 200 and request.args.get("token") else "same-origin"
    return response


def _has_users() -> bool:
    try:
        return parts().auth.journal.has_users()
    except JournalUnavailable:
        return True


def _typed(key: str) -> str:
    text = request.form.get(key, "")
    if len(text) > MAX_TYPED:
        raise BadQuery(f"{key} is too long.")
    return text


def _home() -> str:
    return (request.script_root or "") + "/"
