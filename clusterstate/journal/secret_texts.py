"""Texts that open a door: API tokens and one-time links. Only their SHA-256 is ever stored."""

from __future__ import annotations

import hashlib
import secrets

MARK = "rd"  # lets secret scanners and people recognise one
SECRET_BYTES = 32


def new_secret() -> str:
    """256 random bits, in hex: one spelling only, and a double click selects all of it."""
    return secrets.token_hex(SECRET_BYTES)


def new_token_text() -> tuple[str, str]:
    """(public id, whole text) of a new API token."""
    token_id = secrets.token_hex(6)
    return token_id, f"{MARK}_{token_id}_{new_secret()}"


def token_id_of(text: str) -> str | None:
    """The public id within a token's text; None when it is not the text of a token."""
    prefix, _, rest = text.partition("_")
    token_id, _, secret = rest.partition("_")
    whole = prefix == MARK and len(token_id) == 12 and len(secret) == 2 * SECRET_BYTES
    return token_id if whole and text.isascii() else None


def hashed(text: str) -> bytes:
    """What is stored. Plain SHA-256 will do: there is nothing to guess in 256 random bits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
