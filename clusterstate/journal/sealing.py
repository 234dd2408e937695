"""Requests with their secret values, as they wait in the journal: encrypted and signed with a key that is not in it.

SHAKE-256 over key and nonce makes the pad, HMAC-SHA256 over what it is for, nonce and ciphertext the seal. The standard
library has no cipher; these two are used as they are meant to be, and no nonce is used twice.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

NONCE_BYTES = 32
TAG_BYTES = 32


class BrokenSeal(ValueError):
    """What was sealed was changed, cut, or sealed with another key or for something else."""


def seal(key: bytes, what_for: str, plain: bytes) -> bytes:
    """nonce, ciphertext and tag. `what_for` is not in it; it must be the same when it is opened."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    covered = nonce + _xor(plain, _pad(key, nonce, len(plain)))
    return covered + _tag(key, what_for, covered)


def unseal(key: bytes, what_for: str, sealed: bytes) -> bytes:
    """The plain bytes. Raises BrokenSeal."""
    covered, tag = sealed[:-TAG_BYTES], sealed[-TAG_BYTES:]
    if len(covered) < NONCE_BYTES or not hmac.compare_digest(tag, _tag(key, what_for, covered)):
        raise BrokenSeal("It was not sealed here, or for something else.")
    nonce, hidden = covered[:NONCE_BYTES], covered[NONCE_BYTES:]
    return _xor(hidden, _pad(key, nonce, len(hidden)))


def _pad(key: bytes, nonce: bytes, length: int) -> bytes:
    return hashlib.shake_256(hashlib.sha256(b"raydeck pad 1\0" + key).digest() + nonce).digest(length)


def _tag(key: bytes, what_for: str, covered: bytes) -> bytes:
    name = what_for.encode()
    return hmac.new(key, b"raydeck seal 1\0" + len(name).to_bytes(4, "big") + name + covered, hashlib.sha256).digest()


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(len(one), "big")
