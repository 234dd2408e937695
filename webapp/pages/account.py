"""One's own account: what this browser prefers, password, API tokens."""

from __future__ import annotations

from flask import Response, render_template, request

from clusterstate.journal import BadAccount, User
from clusterstate.query import BadQuery, NotFound
from webapp import background
from webapp.auth import caller, give_sign_in
from webapp.parts import parts
from webapp.preferences import THEMES, preferences, save_preferences
from webapp.responses import html, redirect_to
from webapp.roles import VIEWER, Caller, role_named
from webapp.scope import href
from webapp.security import safe_next

DAY_S = 86_400.0
EXPIRY_DAYS = (1, 7, 30, 90, 365)


def show_account() -> Response:
    """Preferences, password form and tokens."""
    return _page()


def save() -> Response:
    """Theme and time zone, for this browser."""
    response = redirect_to(safe_next(request.form.get("next")) or href("account"))
    return save_preferences(response, request.form.get("theme"), request.form.get("time_zone"))


def change_password() -> Response:
    """Every other sign-in of the account ends; this one goes on under a new id. An account without a password gets one."""
    who, user = _signed_in_user()
    old, new, again = (request.form.get(key, "") for key in ("old_password", "new_password", "new_password_again"))
    auth, now = parts().auth, parts().now()
    auth.check_store()
    if new != again:
        return _page(400, message="The new passwords differ.")
    if user.has_password and not auth.password_is_right(user.name, old, request.remote_addr or "unix"):
        return _page(403, message="The old password is wrong.")
    try:
        background.run(lambda: auth.journal.change_password(user.name, new, user.name, now))
    except BadAccount as problem:
        return _page(400, message=str(problem))
    return give_sign_in(redirect_to(href("account")), auth.renew(who))


def create_token() -> Response:
    """Shows the new token's text, this once."""
    who, user = _signed_in_user()
    now = parts().now()
    wanted = request.form.get("role", "viewer")
    if not VIEWER <= role_named(wanted) <= who.role:
        raise BadQuery(f"role must be one of {', '.join(_roles(who))}.")
    expires = now + _days(request.form.get("days", "30")) * DAY_S
    try:
        text = parts().auth.journal.new_token(user.name, request.form.get("name", ""), wanted, now, expires)
    except BadAccount as problem:
        return _page(400, message=str(problem))
    return _page(new_token=text)


def revoke_token(token_id: str) -> Response:
    """One's own token only; another's is not known here."""
    who, user = _signed_in_user()
    auth = parts().auth
    token = auth.journal.token(token_id)
    if token is None or token.user != user.name:
        raise NotFound("You have no such token.")
    auth.journal.revoke_token(token_id, who.name, parts().now())
    auth.forget_recent()
    return redirect_to(href("account"))


def _page(status: int = 200, **more: str) -> Response:
    who = caller()
    now = parts().now()
    tokens = parts().auth.journal.tokens(who.name)
    page = render_template(
        "account/account.html",
        user=parts().auth.journal.user(who.name),
        preferences=preferences(),
        themes=THEMES,
        tokens=[token for token in tokens if token.is_live(now)],
        roles=_roles(who),
        expiry_days=EXPIRY_DAYS,
        **more,
    )
    return html(page, status)


def _signed_in_user() -> tuple[Caller, User]:
    """Accounts are changed by people, not by tokens: a leaked token must not make another."""
    who = caller()
    user = parts().auth.journal.user(who.name)
    if user is None or who.by_token:
        raise BadQuery("Sign in with a browser to change an account; a token cannot.")
    return who, user


def _roles(who: Caller) -> list[str]:
    return [word for word in ("viewer", "operator", "admin") if role_named(word) <= who.role]


def _days(text: str) -> int:
    if text not in {str(days) for days in EXPIRY_DAYS}:
        raise BadQuery(f"days must be one of {', '.join(map(str, EXPIRY_DAYS))}.")
    return int(text)
