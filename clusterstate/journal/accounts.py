"""Users and their one-time sign-in links, as rows. Each function works within the caller's transaction.

What changes what a user may do raises `auth_epoch`: sign-ins and links made before end with it.
"""

from __future__ import annotations

import sqlite3

from clusterstate.journal import audit
from clusterstate.journal.records import User
from clusterstate.journal.rules import BadAccount, checked_name, checked_role, shown
from clusterstate.journal.secret_texts import hashed

LINK_LIFETIME_S = 600.0


def has_users(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM users LIMIT 1").fetchone() is not None


def users(connection: sqlite3.Connection) -> list[User]:
    return [_user(row) for row in connection.execute("SELECT * FROM users ORDER BY name")]


def user(connection: sqlite3.Connection, name: str) -> User | None:
    row = _row(connection, name)
    return None if row is None else _user(row)


def existing_user(connection: sqlite3.Connection, name: str) -> User:
    found = user(connection, name)
    if found is None:
        raise BadAccount(f"There is no user {shown(name)}.")
    return found


def enabled_user(connection: sqlite3.Connection, name: str) -> User:
    found = existing_user(connection, name)
    if found.disabled:
        raise BadAccount(f"The user {found.name} is disabled.")
    return found


def password_hash(connection: sqlite3.Connection, name: str) -> tuple[User, str | None] | None:
    row = _row(connection, name)
    return None if row is None else (_user(row), row["password_hash"])


def add_user(connection: sqlite3.Connection, name: str, hash_text: str | None, role: str, by: str, now: float) -> User:
    if user(connection, name) is not None:
        raise BadAccount(f"There is a user {shown(name)} already.")
    connection.execute(
        "INSERT INTO users (name, password_hash, role, created_at, created_by) VALUES (?, ?, ?, ?, ?)",
        (checked_name(name), hash_text, checked_role(role), float(now), by),
    )
    audit.append(connection, "event", by, "user.add", {"user": name, "role": role, "has_password": hash_text is not None}, now)
    return existing_user(connection, name)


def set_role(connection: sqlite3.Connection, name: str, role: str, by: str, now: float) -> User:
    before = existing_user(connection, name)
    if before.role == checked_role(role):
        return before
    if before.role == "admin":
        _refuse_to_lose_last_admin(connection, before)
    connection.execute("UPDATE users SET role = ?, auth_epoch = auth_epoch + 1 WHERE name = ?", (role, before.name))
    audit.append(connection, "event", by, "user.role", {"user": before.name, "from": before.role, "to": role}, now)
    return existing_user(connection, name)


def set_disabled(connection: sqlite3.Connection, name: str, disabled: bool, by: str, now: float) -> User:
    before = existing_user(connection, name)
    if before.disabled == disabled:
        return before
    if disabled:
        _refuse_to_lose_last_admin(connection, before)
    connection.execute("UPDATE users SET disabled = ?, auth_epoch = auth_epoch + 1 WHERE name = ?", (int(disabled), before.name))
    audit.append(connection, "event", by, "user.disable" if disabled else "user.enable", {"user": before.name}, now)
    return existing_user(connection, name)


def set_password(connection: sqlite3.Connection, name: str, hash_text: str, by: str, now: float) -> User:
    before = existing_user(connection, name)
    connection.execute("UPDATE users SET password_hash = ?, auth_epoch = auth_epoch + 1 WHERE name = ?", (hash_text, before.name))
    audit.append(connection, "event", by, "user.password", {"user": before.name}, now)
    return existing_user(connection, name)


def add_sign_in_link(connection: sqlite3.Connection, name: str, text: str, now: float) -> None:
    owner = enabled_user(connection, name)
    connection.execute("DELETE FROM sign_in_links WHERE expires_at <= ?", (now,))
    connection.execute(
        "INSERT INTO sign_in_links VALUES (?, ?, ?, ?)", (hashed(text), owner.name, owner.auth_epoch, float(now) + LINK_LIFETIME_S)
    )
    audit.append(connection, "event", owner.name, "sign_in_link.new", {"user": owner.name}, now)


def is_sign_in_link(connection: sqlite3.Connection, text: str) -> bool:
    """A look without the write lock, so that guessing costs nobody else anything."""
    return connection.execute("SELECT 1 FROM sign_in_links WHERE secret_hash = ?", (hashed(text),)).fetchone() is not None


def take_sign_in_link(connection: sqlite3.Connection, text: str, now: float) -> User | None:
    """Whose link this is. It is gone afterwards; of several that try at once, one gets the user."""
    key = (hashed(text),)
    row = connection.execute("SELECT user, auth_epoch, expires_at FROM sign_in_links WHERE secret_hash = ?", key).fetchone()
    if row is None:
        return None
    connection.execute("DELETE FROM sign_in_links WHERE secret_hash = ?", key)
    owner = existing_user(connection, row["user"])
    if owner.disabled or owner.auth_epoch != row["auth_epoch"] or now >= row["expires_at"]:
        return None
    audit.append(connection, "event", owner.name, "sign_in_link.use", {"user": owner.name}, now)
    return owner


def _refuse_to_lose_last_admin(connection: sqlite3.Connection, leaving: User) -> None:
    if leaving.role != "admin" or leaving.disabled:
        return
    others = connection.execute("SELECT 1 FROM users WHERE role = 'admin' AND NOT disabled AND name <> ? LIMIT 1", (leaving.name,))
    if others.fetchone() is None:
        raise BadAccount(f"{leaving.name} is the only admin who can sign in. Make another one first.")


def _row(connection: sqlite3.Connection, name: str) -> sqlite3.Row | None:
    if not name.isascii():  # no such user can exist, and a lone surrogate could not be asked for
        return None
    row: sqlite3.Row | None = connection.execute("SELECT * FROM users WHERE name = ?", (name,)).fetchone()
    return row


def _user(row: sqlite3.Row) -> User:
    return User(
        name=row["name"],
        role=row["role"],
        disabled=bool(row["disabled"]),
        auth_epoch=row["auth_epoch"],
        has_password=row["password_hash"] is not None,
        created_at=row["created_at"],
        created_by=row["created_by"],
    )
