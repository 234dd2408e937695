"""Who may do what: the order of roles, and who is asking."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Role(IntEnum):
    """What a route asks for. Each may do what those below it may."""

    PUBLIC = 0
    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        """As the journal and people spell it."""
        return self.name.lower()


PUBLIC, VIEWER, OPERATOR, ADMIN = Role.PUBLIC, Role.VIEWER, Role.OPERATOR, Role.ADMIN


def role_named(word: str) -> Role:
    """The role a user or token has; an unknown word is worth nothing."""
    return {role.word: role for role in (VIEWER, OPERATOR, ADMIN)}.get(word, PUBLIC)


@dataclass(frozen=True)
class Caller:
    """The person or program behind a request."""

    name: str
    role: Role
    by_token: bool = False  # an API token; else a sign-in
    sign_in: str | None = None  # digest of the sign-in's id

    def may(self, needed: Role) -> bool:
        return self.role >= needed
