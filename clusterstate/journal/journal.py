"""The journal as the rest of Raydeck uses it: each call is one transaction, on the disk when it returns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from clusterstate.journal import accounts, audit, operations, passwords, rules, tokens
from clusterstate.journal.audit import AuditRecord, AuditReport
from clusterstate.journal.database import Database, JournalUnavailable
from clusterstate.journal.records import Operation, Token, User
from clusterstate.journal.secret_texts import new_secret


class Journal:
    """Users, tokens, sign-in links, audit trail and operations in one SQLite file (0600, WAL, synchronous=FULL).

    Any number of processes and threads may hold one; writes wait for each other up to ten seconds. Every method
    may raise JournalUnavailable; what cannot be as asked is a BadAccount with a sentence. `now` is Unix seconds;
    `by` is who asks (a user's name, or `cli:<system user>`).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database = Database(path)

    def close(self) -> None:
        self._database.close()

    def copy_to(self, target: Path) -> None:
        """A consistent copy while others write."""
        self._database.copy_to(target)

    # --- users

    def has_users(self) -> bool:
        with self._database.reading() as connection:
            return accounts.has_users(connection)

    def users(self) -> list[User]:
        with self._database.reading() as connection:
            return accounts.users(connection)

    def user(self, name: str) -> User | None:
        with self._database.reading() as connection:
            return accounts.user(connection, name)

    def add_user(self, name: str, password: str | None, role: str, by: str, now: float) -> User:
        """Without a password the user signs in by one-time link or token."""
        rules.checked_role(role)
        hash_text = None if password is None else passwords.hash_password(rules.checked_password(password, rules.checked_name(name)))
        with self._database.writing() as connection:
            return accounts.add_user(connection, name, hash_text, role, by, now)

    def set_role(self, name: str, role: str, by: str, now: float) -> User:
        with self._database.writing() as connection:
            return accounts.set_role(connection, name, role, by, now)

    def disable(self, name: str, by: str, now: float) -> User:
        with self._database.writing() as connection:
            return accounts.set_disabled(connection, name, True, by, now)

    def enable(self, name: str, by: str, now: float) -> User:
        with self._database.writing() as connection:
            return accounts.set_disabled(connection, name, False, by, now)

    def change_password(self, name: str, new: str, by: str, now: float) -> User:
        hash_text = passwords.hash_password(rules.checked_password(new, name))
        with self._database.writing() as connection:
            return accounts.set_password(connection, name, hash_text, by, now)

    def verify_password(self, name: str, password: str, now: float) -> User | None:
        """None for a wrong password, an unknown or disabled user: all after the same work (about 20 ms, 19 MiB)."""
        normal = rules.normal_password(password)
        if normal is None or len(normal) > rules.MAX_PASSWORD:
            return None
        with self._database.reading() as connection:
            found = accounts.password_hash(connection, name)
        user, hash_text = found or (None, None)
        matches = passwords.password_matches(hash_text, normal)
        return user if matches and user is not None and not user.disabled else None

    # --- one-time sign-in links

    def new_sign_in_link(self, user: str, now: float) -> str:
        """The secret part of a link that signs `user` in once, within ten minutes."""
        text = new_secret()
        with self._database.writing() as connection:
            accounts.add_sign_in_link(connection, user, text, now)
        return text

    def use_sign_in_link(self, token: str, now: float) -> User | None:
        """Whom the link signs in; it works once. None: unknown, used, too old, or the account has changed since."""
        with self._database.reading() as connection:
            if not accounts.is_sign_in_link(connection, token):
                return None
        with self._database.writing() as connection:
            return accounts.take_sign_in_link(connection, token, now)

    # --- API tokens

    def new_token(self, user: str, name: str, role: str, now: float, expires: float | None = None, instance: str | None = None) -> str:
        """The token's text, shown this once. `expires` is a moment (Unix seconds); `instance` the run it dies with."""
        with self._database.writing() as connection:
            return tokens.add_token(connection, user, name, role, now, expires, instance)

    def verify_token(self, text: str, now: float) -> tuple[User, str] | None:
        """(owner, role) of a live token."""
        with self._database.reading() as connection:
            return tokens.check_token(connection, text, now)

    def tokens(self, user: str | None = None) -> list[Token]:
        with self._database.reading() as connection:
            return tokens.tokens(connection, user)

    def token(self, token_id: str) -> Token | None:
        with self._database.reading() as connection:
            return tokens.token(connection, token_id)

    def revoke_token(self, token_id: str, by: str, now: float) -> Token:
        with self._database.writing() as connection:
            return tokens.revoke_token(connection, token_id, by, now)

    def revoke_instance(self, instance: str, now: float) -> int:
        """End the tokens of one run, at its end."""
        with self._database.writing() as connection:
            return tokens.revoke_instances(connection, instance, None, now)

    def revoke_other_instances(self, instance: str, now: float) -> int:
        """End the tokens of all earlier runs, at the start of one: a killed run could not do it itself."""
        with self._database.writing() as connection:
            return tokens.revoke_instances(connection, None, instance, now)

    # --- the audit trail

    def audit(self, who: str, action: str, detail: Mapping[str, object], now: float) -> int:
        """Something that happened, such as a refused sign-in."""
        with self._database.writing() as connection:
            return audit.append(connection, "event", who, action, detail, now)

    def audit_intent(self, who: str, action: str, detail: Mapping[str, object], now: float) -> int:
        """Before an effect: when this raises, the effect must not happen. Returns the number for `audit_result`."""
        with self._database.writing() as connection:
            return audit.append(connection, "intent", who, action, detail, now)

    def audit_result(self, seq: int, result: Mapping[str, object] | str, now: float) -> int:
        """After an effect, once for each intent."""
        with self._database.writing() as connection:
            return audit.append_result(connection, seq, {"result": result} if isinstance(result, str) else result, now)

    def audit_records(self, after: int = 0, limit: int = 100) -> list[AuditRecord]:
        """Oldest first, from the one after `after`."""
        with self._database.reading() as connection:
            return audit.records(connection, after, limit)

    def newest_audit_records(self, limit: int = 100, before: int | None = None) -> list[AuditRecord]:
        with self._database.reading() as connection:
            return audit.newest_records(connection, before, limit)

    def audit_open_intents(self, limit: int = 100) -> list[AuditRecord]:
        with self._database.reading() as connection:
            return audit.open_intents(connection, limit)

    def verify_audit(self) -> AuditReport:
        """Whether the trail is as it was written. Reads all of it."""
        try:
            with self._database.reading() as connection:
                return audit.verify(connection)
        except JournalUnavailable as error:
            return AuditReport(0, 0, audit.FIRST_HASH, (audit.AuditProblem(1, str(error)),))

    # --- operations on a cluster

    def record_operation(self, operation: Operation, sealed: bytes, detail: Mapping[str, object]) -> Operation:
        """On the disk, with its audit intent, when this returns: only then may it be acknowledged.

        `detail` goes into the audit record beside the request. Raises OperationExists for a second submission of the same id.
        """
        with self._database.writing() as connection:
            return operations.record(connection, operation, sealed, detail)

    def take_operation(self, operation_id: str, cluster: str, action: str, now: float) -> tuple[Operation, bytes] | None:
        """Of several that try at once, one gets it (with its sealed request): it is under way from now on."""
        with self._database.writing() as connection:
            return operations.take(connection, operation_id, cluster, action, now)

    def put_operation_back(self, operation_id: str, state: str, outcome: str) -> bool:
        """To be tried again: QUEUED when nothing was sent, UNKNOWN when that cannot be told."""
        with self._database.writing() as connection:
            return operations.put_back(connection, operation_id, state, outcome)

    def interrupt_operations(self, cluster: str, operation_id: str | None, outcome: str) -> int:
        """Whatever died while it was at one operation, or at any of a cluster: whether Ray has it is not known."""
        with self._database.writing() as connection:
            return operations.interrupt(connection, cluster, operation_id, outcome)

    def finish_operation(self, operation_id: str, state: str, outcome: str, now: float) -> bool:
        """The final word and its audit result; False if there was one."""
        with self._database.writing() as connection:
            return operations.finish(connection, operation_id, state, outcome, now)

    def operation(self, operation_id: str) -> Operation | None:
        with self._database.reading() as connection:
            return operations.operation(connection, operation_id)

    def operations_of(self, cluster: str, session: str, target: str, limit: int = 20) -> list[Operation]:
        """What was asked of one submission, newest first."""
        with self._database.reading() as connection:
            return operations.of_target(connection, cluster, session, target, limit)

    def unfinished_operations(self, cluster: str | None = None, limit: int = 1000) -> list[Operation]:
        """Oldest first."""
        with self._database.reading() as connection:
            return operations.unfinished(connection, cluster, limit)
