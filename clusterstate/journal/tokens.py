"""API tokens, as rows. Each function works within the caller's transaction."""

from __future__ import annotations

import hmac
import sqlite3

from clusterstate.journal import audit
from clusterstate.journal.accounts import enabled_user, user
from clusterstate.journal.records import Token, User, lesser_role, role_is_enough
from clusterstate.journal.rules import BadAccount, checked_role, checked_token_name, shown
from clusterstate.journal.secret_texts import hashed, new_token_text, token_id_of

MAX_TOKENS_OF_A_USER = 1_000


def add_token(
    connection: sqlite3.Connection, owner_name: str, name: str, role: str, now: float, expires: float | None, instance: str | None
) -> str:
    """The new token's text, which nobody can be shown again."""
    owner = enabled_user(connection, owner_name)
    if not role_is_enough(owner.role, checked_role(role)):
        raise BadAccount(f"A token of {owner.name} can be {owner.role} at most, not {role}.")
    if expires is not None and expires <= now:
        raise BadAccount("A token must expire in the future.")
    _refuse_too_many(connection, owner, now)
    token_id, text = new_token_text()
    connection.execute(
        "INSERT INTO tokens (token_id, secret_hash, user, name, role, created_at, expires_at, instance) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (token_id, hashed(text), owner.name, checked_token_name(name), role, float(now), expires, instance),
    )
    detail = {"token_id": token_id, "name": name, "role": role, "expires_at": expires, "instance": instance}
    audit.append(connection, "event", owner.name, "token.new", detail, now)
    return text


def check_token(connection: sqlite3.Connection, text: str, now: float) -> tuple[User, str] | None:
    """Whose token this is and what it may do: never more than its owner may at this moment."""
    token_id = token_id_of(text)
    if token_id is None:
        return None
    row = connection.execute("SELECT * FROM tokens WHERE token_id = ?", (token_id,)).fetchone()
    if row is None or not hmac.compare_digest(row["secret_hash"], hashed(text)):
        return None
    token = _token(row)
    owner = user(connection, token.user)
    if owner is None or owner.disabled or not token.is_live(now):
        return None
    return owner, lesser_role(token.role, owner.role)


def tokens(connection: sqlite3.Connection, owner_name: str | None) -> list[Token]:
    if owner_name is not None and not owner_name.isascii():
        return []
    rows = connection.execute("SELECT * FROM tokens WHERE ?1 IS NULL OR user = ?1 ORDER BY created_at, token_id", (owner_name,))
    return [_token(row) for row in rows]


def token(connection: sqlite3.Connection, token_id: str) -> Token | None:
    if not token_id.isascii():  # none of ours; a lone surrogate could not even be asked for
        return None
    row = connection.execute("SELECT * FROM tokens WHERE token_id = ?", (token_id,)).fetchone()
    return None if row is None else _token(row)


def revoke_token(connection: sqlite3.Connection, token_id: str, by: str, now: float) -> Token:
    """Revoking twice changes nothing."""
    found = token(connection, token_id)
    if found is None:
        raise BadAccount(f"There is no token {shown(token_id)}.")
    if found.revoked_at is None:
        _revoke(connection, [found], by, now)
    return found


def revoke_instances(connection: sqlite3.Connection, instance: str | None, but: str | None, now: float) -> int:
    """End the tokens of one run (`instance`), or of every run `but` one."""
    rows = connection.execute(
        "SELECT * FROM tokens WHERE revoked_at IS NULL AND instance IS NOT NULL AND (?1 IS NULL OR instance = ?1) AND instance IS NOT ?2",
        (instance, but),
    )
    ending = [_token(row) for row in rows]
    _revoke(connection, ending, "raydeck", now)
    return len(ending)


def _revoke(connection: sqlite3.Connection, ending: list[Token], by: str, now: float) -> None:
    for one in ending:
        connection.execute("UPDATE tokens SET revoked_at = ?, revoked_by = ? WHERE token_id = ?", (float(now), by, one.token_id))
        audit.append(connection, "event", by, "token.revoke", {"token_id": one.token_id, "user": one.user}, now)


def _refuse_too_many(connection: sqlite3.Connection, owner: User, now: float) -> None:
    row = connection.execute(
        "SELECT count(*) FROM tokens WHERE user = ? AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)", (owner.name, now)
    ).fetchone()
    if row[0] >= MAX_TOKENS_OF_A_USER:
        raise BadAccount(f"{owner.name} has {MAX_TOKENS_OF_A_USER} tokens already. Revoke some first.")


def _token(row: sqlite3.Row) -> Token:
    return Token(**{key: row[key] for key in row.keys() if key != "secret_hash"})  # noqa: SIM118 - sqlite3.Row iterates values
