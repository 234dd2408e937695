"""Who is asking: sign-ins, passwords, one-time links and API tokens. Every route is denied unless its role is met."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from flask import Response, g, request
from werkzeug.exceptions import Forbidden, Unauthorized

from clusterstate.journal import Journal, JournalUnavailable, User
from clusterstate.store.connection import StoreUnavailable
from clusterstate.store.known_signins import KnownSignIns
from clusterstate.store.signins import SignIn, SignIns, TooManyTries, digest_of
from webapp import background
from webapp.parts import parts
from webapp.roles import PUBLIC, Caller, Role, role_named
from webapp.security import SAFE_METHODS, Cookies

RECENT_S = 1.0
"""How long the journal's word on a user or token is taken again: revoking takes effect within a second."""
RECENT_KEPT = 4096
MAX_CREDENTIAL = 512
HASHED_AT_ONCE = 2
"""Passwords judged at the same time: 20 ms of a core and 19 MiB each."""
BEARER = "bearer "

V = TypeVar("V")


class Recent(Generic[V]):
    """Answers of the last second, boundedly many."""

    def __init__(self, lifetime_s: float = RECENT_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, V]] = OrderedDict()

    def get(self, key: str, ask: Callable[[], V]) -> V:
        now = self._clock()
        known = self._kept.get(key)
        if known is not None and now - known[0] < self._lifetime_s:
            return known[1]
        value = ask()
        self._kept[key] = (now, value)
        self._kept.move_to_end(key)
        while len(self._kept) > RECENT_KEPT:
            self._kept.popitem(last=False)
        return value

    def forget(self) -> None:
        self._kept.clear()


class Authentication:
    """Tells callers apart, signs them in and out. The journal knows who may; Redis knows who is signed in."""

    def __init__(self, journal: Journal, sign_ins: SignIns, known: KnownSignIns, clock: Callable[[], float]) -> None:
        self.journal = journal
        self._sign_ins = sign_ins
        self._known = known
        self._clock = clock
        self._users: Recent[User | None] = Recent()
        self._tokens: Recent[tuple[User, str] | None] = Recent()
        self._hashing = threading.BoundedSemaphore(HASHED_AT_ONCE)

    def caller(self) -> Caller | None:
        """Who sent this request. A token that is sent counts alone: a wrong one is never made good by a cookie.

        Raises StoreUnavailable when only Redis could tell.
        """
        credential = _credential()
        if credential is not None:
            g.asked_with_token = True
            return self._by_token(credential)
        cookie_id = request.cookies.get(Cookies.of_request().name)
        return self._by_sign_in(digest_of(cookie_id)) if cookie_id and len(cookie_id) <= MAX_CREDENTIAL else None

    def sign_in_by_password(self, name: str, password: str, peer: str) -> str | None:
        """The id of a new sign-in. Raises TooManyTries, StoreUnavailable."""
        user = self._tried(name, peer, lambda: self._verify(name, password))
        return self._admit(user, "password") if user else None

    def sign_in_by_link(self, token: str, peer: str) -> str | None:
        """The id of a new sign-in; the link is used up. Redis is asked first, so that no link is lost to its absence."""
        user = self._tried(None, peer, lambda: self.journal.use_sign_in_link(token, self._clock()))
        return self._admit(user, "link") if user else None

    def password_is_right(self, name: str, password: str, peer: str) -> bool:
        """The same limits as for signing in hold for whoever is asked for the password again."""
        return self._tried(name, peer, lambda: self._verify(name, password)) is not None

    def sign_out(self, digest: str) -> None:
        self._sign_ins.remove(digest)
        self._known.forget(digest)

    def renew(self, caller: Caller) -> str:
        """A new sign-in for who just changed what older ones were made under."""
        self.forget_recent()
        user = self.journal.user(caller.name)
        if user is None or user.disabled:
            raise Unauthorized("This account cannot sign in any more.")
        if caller.sign_in is not None:
            self.sign_out(caller.sign_in)
        return self._sign_ins.create(user.name, user.auth_epoch, self._clock())

    def forget_recent(self) -> None:
        """An account or token was changed here: look again at once."""
        self._users.forget()
        self._tokens.forget()

    def check_store(self) -> None:
        """Raises StoreUnavailable when Redis is away."""
        self._sign_ins.check_reachable()

    def _by_token(self, text: str) -> Caller | None:
        key = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
        found = self._tokens.get(key, lambda: self.journal.verify_token(text, self._clock()))
        return Caller(found[0].name, role_named(found[1]), by_token=True) if found else None

    def _by_sign_in(self, digest: str) -> Caller | None:
        sign_in = self._sign_in(digest)
        if sign_in is None:
            return None
        user = self._users.get(sign_in.user, lambda: self.journal.user(sign_in.user))
        if user is None or user.disabled or user.auth_epoch != sign_in.auth_epoch:
            return None
        return Caller(user.name, role_named(user.role), sign_in=digest)

    def _sign_in(self, digest: str) -> SignIn | None:
        """From Redis; with Redis away, for reading only, as this host knew it within the last 15 minutes."""
        now = self._clock()
        try:
            sign_in = self._sign_ins.read(digest)
        except StoreUnavailable:
            known = self._known.recall(digest, now) if request.method in SAFE_METHODS else None
            if known is None:
                raise
            g.redis_is_away = True
            return known
        if sign_in is not None:
            self._known.note(digest, sign_in, now)
        return sign_in

    def _verify(self, name: str, password: str) -> User | None:
        with self._hashing:
            return background.run(lambda: self.journal.verify_password(name, password, self._clock()))

    def _tried(self, account: str | None, peer: str, verify: Callable[[], User | None]) -> User | None:
        try:
            self._sign_ins.count_try(account, peer)
        except TooManyTries as refusal:
            if refusal.is_first:
                self._note("sign_in.limited", account, peer)
            raise
        user = verify()
        if user is None:
            self._note("sign_in.refused", account, peer)
            return None
        self._sign_ins.forgive_try(account, peer)
        return user

    def _note(self, action: str, account: str | None, peer: str) -> None:
        """Into the audit trail; a name that is no user's may be a password in the wrong field and is left out."""
        user = self.journal.user(account) if account else None
        self.journal.audit(user.name if user else "unknown", action, {"by": "password" if account else "link", "peer": peer}, self._clock())

    def _admit(self, user: User, way: str) -> str:
        self.journal.audit(user.name, "sign_in", {"by": way, "peer": request.remote_addr or ""}, self._clock())
        return self._sign_ins.create(user.name, user.auth_epoch, self._clock())


def require_role() -> None:
    """Before every request: refuses unless the route names a role that the caller has. Unknown paths need a viewer."""
    route = parts().routes.get(request.endpoint or "")
    g.route = route
    needed = route.role if route is not None else Role.VIEWER
    if needed is PUBLIC:
        g.caller = None
        return
    g.caller = parts().auth.caller()
    if g.caller is None:
        raise Unauthorized("Sign in first, or send an API token.")
    if not g.caller.may(needed):
        raise Forbidden(f"This needs the role {needed.word}; yours is {g.caller.role.word}.")


def caller() -> Caller:
    """Who sent this request; only for views whose route names a role."""
    found: Caller = g.caller
    return found


def caller_if_any() -> Caller | None:
    """Who sent this request, also on public pages; None for nobody or while it cannot be told."""
    found: Caller | None = getattr(g, "caller", None)
    if found is None and not getattr(g, "looked_for_caller", False):
        g.looked_for_caller = True
        try:
            found = g.caller = parts().auth.caller()
        except (StoreUnavailable, JournalUnavailable):
            found = None
    return found


def give_sign_in(response: Response, sign_in_id: str) -> Response:
    """Puts a new sign-in into the answer's cookie, in place of whatever id the browser had."""
    cookies = Cookies.of_request()
    g.new_cookie_id = None
    cookies.set(response, cookies.name, sign_in_id)
    return response


def take_sign_in(response: Response) -> Response:
    """Removes the cookie."""
    cookies = Cookies.of_request()
    g.new_cookie_id = None
    cookies.drop(response, cookies.name)
    return response


def _credential() -> str | None:
    """The API token of this request, if one was sent: `Authorization: Bearer`, or as Ray's clients send it."""
    value = bearer_header()
    return None if value is None else value[len(BEARER) :].strip()


def bearer_header() -> str | None:
    """The header that carries a token. Other schemes belong to a proxy in front and are not ours."""
    for header in ("Authorization", "X-Ray-Authorization"):
        value = request.headers.get(header, "")
        if value[: len(BEARER)].lower() == BEARER:
            return value[: len(BEARER) + MAX_CREDENTIAL]
    return None
