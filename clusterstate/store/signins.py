"""Sign-ins of people: random ids in their cookies, JSON in Redis under the id's SHA-256, never the id itself."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TypeVar

import redis

from clusterstate.store import keys
from clusterstate.store.connection import StoreUnavailable, store_errors
from clusterstate.store.signing import is_signature

T = TypeVar("T")
Connect = Callable[[], redis.Redis]

ID_BYTES = 32
MAX_STORED_BYTES = 4096
TOUCHES_REMEMBERED = 10_000
TRIES_PER_MINUTE = 10
TRIES_WINDOW_S = 60
AWAY_PAUSE_S = 1.0
"""After Redis was found away, nobody else waits for it during this time."""


@dataclass(frozen=True)
class SignIn:
    """Who signed in, and the account's epoch at that time: a higher one in the journal ends this sign-in."""

    user: str
    auth_epoch: int
    created_at: float  # Unix seconds


class TooManyTries(Exception):
    """Wrong sign-ins of this account or from this peer reached the limit; `retry_after_s` says when to try again."""

    def __init__(self, retry_after_s: int, is_first: bool) -> None:
        super().__init__(f"Too many wrong sign-ins. Try again in {retry_after_s} s.")
        self.retry_after_s = retry_after_s
        self.is_first = is_first  # the one that went over the limit; those after it are not worth a record each


def digest_of(sign_in_id: str) -> str:
    """What is stored in place of an id. A dump of Redis opens no door."""
    return hashlib.sha256(sign_in_id.encode("utf-8", "replace")).hexdigest()


class SignIns:
    """Sign-ins in Redis. One round trip a request, one more a minute to slide the expiry.

    Every method raises StoreUnavailable when Redis is away; for a second after that it does so without trying.
    """

    def __init__(
        self,
        redis_connect: Connect,
        lifetime_s: float,
        key: bytes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`key` signs what is stored: nodes write to the same Redis, and must not be able to make a sign-in."""
        self._key = key
        self._connect = redis_connect
        self._lifetime_s = max(1, int(lifetime_s))
        self._clock = clock
        self._client: redis.Redis | None = None
        self._touched: OrderedDict[str, float] = OrderedDict()  # digest → when its expiry was last moved
        self._away_until = 0.0

    def create(self, user: str, auth_epoch: int, now: float) -> str:
        """A new id for `user`, to be put in a cookie. Ids are never taken from outside."""
        sign_in_id = secrets.token_urlsafe(ID_BYTES)
        digest, sign_in = digest_of(sign_in_id), SignIn(user, auth_epoch, now)
        value = json.dumps({**asdict(sign_in), "signature": self._signature(digest, sign_in)})
        self._ask(lambda client: client.set(keys.sign_in(digest), value, ex=self._lifetime_s))
        return sign_in_id

    def read(self, digest: str) -> SignIn | None:
        """The sign-in with this digest, its end moved on; None when there is none or it cannot be read."""
        key = keys.sign_in(digest)
        sign_in = self._decode(digest, self._ask(lambda client: client.get(key)))
        if sign_in is not None and self._wants_touch(digest):
            self._ask(lambda client: client.expire(key, self._lifetime_s))
        return sign_in

    def remove(self, digest: str) -> None:
        """Ends a sign-in, now and everywhere."""
        self._touched.pop(digest, None)
        self._ask(lambda client: client.delete(keys.sign_in(digest)))

    def check_reachable(self) -> None:
        """Raises StoreUnavailable before something is used up that needs a sign-in to follow."""
        self._ask(lambda client: client.ping())

    def count_try(self, account: str | None, peer: str) -> None:
        """Counts one sign-in before it is judged. Raises TooManyTries from the eleventh wrong one within a minute."""
        names = _tries_keys(account, peer)

        def count(client: redis.Redis) -> list[int]:
            pipe = client.pipeline(transaction=True)
            for name in names:
                pipe.incr(name)
                pipe.expire(name, TRIES_WINDOW_S, nx=True)
                pipe.ttl(name)
            return [int(answer) for answer in pipe.execute()]

        answers = self._ask(count)
        over = [(answers[i], max(1, answers[i + 2])) for i in range(0, len(answers), 3) if answers[i] > TRIES_PER_MINUTE]
        if over:
            raise TooManyTries(max(wait for _, wait in over), is_first=all(count == TRIES_PER_MINUTE + 1 for count, _ in over))

    def forgive_try(self, account: str | None, peer: str) -> None:
        """The sign-in was right: the account starts anew, and the peer is not charged for it."""

        def forgive(client: redis.Redis) -> None:
            pipe = client.pipeline(transaction=True)
            if account is not None:
                pipe.delete(_tries_keys(account, peer)[1])
            pipe.decr(_tries_keys(None, peer)[0])
            pipe.expire(_tries_keys(None, peer)[0], TRIES_WINDOW_S, nx=True)
            pipe.execute()

        self._ask(forgive)

    def _signature(self, digest: str, sign_in: SignIn) -> str:
        text = json.dumps([digest, sign_in.user, sign_in.auth_epoch, sign_in.created_at])
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()

    def _decode(self, digest: str, stored: object) -> SignIn | None:
        """What `create` stored under this digest; anything else opens no door."""
        if not isinstance(stored, bytes) or len(stored) > MAX_STORED_BYTES:
            return None
        try:
            value = json.loads(stored)
            sign_in = SignIn(user=str(value["user"]), auth_epoch=int(value["auth_epoch"]), created_at=float(value["created_at"]))
            signature = str(value["signature"])
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        return sign_in if is_signature(signature, self._signature(digest, sign_in)) else None

    def _wants_touch(self, digest: str) -> bool:
        """Once a minute is enough, and costs no append to Redis's file at each poll of a page."""
        now = self._clock()
        last = self._touched.get(digest)
        if last is not None and now - last < min(60.0, self._lifetime_s / 10):
            return False
        self._touched[digest] = now
        self._touched.move_to_end(digest)
        if len(self._touched) > TOUCHES_REMEMBERED:
            self._touched.popitem(last=False)
        return True

    def _ask(self, question: Callable[[redis.Redis], T]) -> T:
        if self._clock() < self._away_until:
            raise StoreUnavailable("Redis could not be reached a moment ago.")
        try:
            with store_errors():
                if self._client is None:
                    self._client = self._connect()
                return question(self._client)
        except StoreUnavailable:
            self._away_until = self._clock() + AWAY_PAUSE_S
            raise


def _tries_keys(account: str | None, peer: str) -> list[bytes]:
    """Hashed: what was typed or sent is nobody's key name, of any length."""
    names = [keys.sign_in_tries("peer", digest_of(peer))]
    if account is not None:
        names.append(keys.sign_in_tries("account", digest_of(account.casefold())))
    return names
