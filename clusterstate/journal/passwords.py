"""Hashing and checking of passwords: argon2id, and the same work for a user who does not exist."""

from __future__ import annotations

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

MEMORY_KIB = 19_456  # OWASP's least for argon2id with two passes
PASSES = 2

_HASHER = PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=1, hash_len=32, salt_len=16, type=Type.ID)
# Nobody's password: well-formed, of the same cost, matched by nothing that can be typed.
_NOBODY = f"$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p=1${'A' * 22}${'A' * 43}"


def hash_password(password: str) -> str:
    """About 20 ms and 19 MiB: call it outside a transaction."""
    return _HASHER.hash(password)


def password_matches(password_hash: str | None, password: str) -> bool:
    """Takes as long for None (no such user, or one without a password) as for a wrong password."""
    try:
        matches = _HASHER.verify(password_hash or _NOBODY, password)
    except (VerificationError, InvalidHashError):
        return False
    return matches and password_hash is not None
