"""What a user name, a password, a role and a token's name may be; each refusal is one clear sentence."""

from __future__ import annotations

import unicodedata

from clusterstate.journal.records import ROLES

MAX_NAME = 64
MIN_PASSWORD = 8
MAX_PASSWORD = 1024
MAX_TOKEN_NAME = 100
NAME_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_@+")


class BadAccount(ValueError):
    """An account, password, role or token that cannot be as asked; the message says what is allowed."""


def checked_name(name: str) -> str:
    """ASCII only, so that no two names look alike; without ':' so that none looks like `cli:<user>`."""
    if not 0 < len(name) <= MAX_NAME or not set(name) <= NAME_LETTERS or not name[0].isalnum():
        raise BadAccount(
            f"{shown(name)} cannot be a user name: 1 to {MAX_NAME} letters, digits, '.', '-', '_', '@' or '+', "
            "starting with a letter or digit."
        )
    return name


def checked_role(role: str) -> str:
    if role not in ROLES:
        raise BadAccount(f"{shown(role)} is not a role. Roles are: {', '.join(ROLES)}.")
    return role


def checked_password(password: str, name: str) -> str:
    """The password as it is hashed (NFKC, so that it can be typed on any keyboard)."""
    normal = normal_password(password)
    if normal is None:
        raise BadAccount("The password has characters that are no text.")
    if len(normal) < MIN_PASSWORD:
        raise BadAccount(f"The password is too short: at least {MIN_PASSWORD} characters.")
    if len(normal) > MAX_PASSWORD:
        raise BadAccount(f"The password is too long: at most {MAX_PASSWORD} characters.")
    if len(set(normal)) == 1 or normal.lower() == name.lower():
        raise BadAccount("The password must be neither the user name nor one character again and again.")
    return normal


def normal_password(password: str) -> str | None:
    """NFKC of what was typed; None when it is not text (a lone surrogate)."""
    if len(password) > 4 * MAX_PASSWORD:  # hostile: not worth normalising, too long either way
        return password
    try:
        password.encode()
    except UnicodeEncodeError:
        return None
    return unicodedata.normalize("NFKC", password)


def checked_token_name(name: str) -> str:
    text = name.strip()
    if not 0 < len(text) <= MAX_TOKEN_NAME or not text.isprintable():
        raise BadAccount(f"A token needs a name of 1 to {MAX_TOKEN_NAME} printable characters, such as what it is for.")
    return text


def shown(text: str) -> str:
    """Somebody's words within a sentence of ours: quoted, escaped, shortened."""
    return ascii(text if len(text) <= MAX_NAME else text[:MAX_NAME] + "...")
