"""Requests with their secret values, as they wait in the journal: AES-256-GCM with a key that is not in it."""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12
"""By chance: the standard's limit of 2**32 texts a key is far above what people ask for."""


class BrokenSeal(ValueError):
    """What was sealed was changed, cut, or sealed with another key or for something else."""


def seal(key: bytes, what_for: str, plain: bytes) -> bytes:
    """nonce, ciphertext and tag. `what_for` is not in it; it must be the same when it is opened. `key` has 32 bytes."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, what_for.encode())


def unseal(key: bytes, what_for: str, sealed: bytes) -> bytes:
    """The plain bytes. Raises BrokenSeal."""
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], what_for.encode())
    except (InvalidTag, ValueError):  # ValueError: it is shorter than a nonce may be
        raise BrokenSeal("It was not sealed here, or for something else.") from None
