"""What the journal hands out: frozen rows without secrets, and the order of roles."""

from __future__ import annotations

from dataclasses import dataclass, field

ROLES = ("viewer", "operator", "admin")  # each may do what those before it may


def role_is_enough(role: str, needed: str) -> bool:
    """Whether somebody with `role` may do what asks for `needed`. Unknown words are never enough."""
    return role in ROLES and needed in ROLES and ROLES.index(role) >= ROLES.index(needed)


def lesser_role(one: str, other: str) -> str:
    """The one of two roles that may do less."""
    return min(one, other, key=ROLES.index)


@dataclass(frozen=True)
class User:
    """A person who may sign in. `auth_epoch` grows whenever older sign-ins must end."""

    name: str
    role: str
    disabled: bool
    auth_epoch: int
    has_password: bool
    created_at: float  # Unix seconds
    created_by: str


@dataclass(frozen=True)
class Token:
    """An API token, without its secret (which only its owner has)."""

    token_id: str
    user: str
    name: str
    role: str  # what it may do at most; its owner's role of the moment limits it too
    created_at: float
    expires_at: float | None = None  # None: does not expire
    revoked_at: float | None = None
    revoked_by: str | None = None
    instance: str | None = None  # dies with this run of Raydeck

    def is_live(self, now: float) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True)
class Submission:
    """A job submission that was acknowledged, and what became of it."""

    submission_id: str
    cluster: str
    who: str
    recorded_at: float
    request: dict[str, object] = field(default_factory=dict)
    outcome: str | None = None  # None: not known yet
    finished_at: float | None = None
