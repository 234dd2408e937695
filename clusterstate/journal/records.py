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


QUEUED, SENDING, UNKNOWN, DONE, REFUSED = "QUEUED", "SENDING", "UNKNOWN", "DONE", "REFUSED"
FINAL = frozenset({DONE, REFUSED})


@dataclass(frozen=True)
class Operation:
    """Something that was asked of a cluster, and what became of it."""

    operation_id: str
    cluster: str
    session: str  # Ray's session that it was asked of
    action: str  # as in the audit trail: job.submit, job.stop
    target: str  # submission id
    who: str
    asked_at: float  # Unix seconds
    request: dict[str, object] = field(default_factory=dict)  # secret values masked
    state: str = QUEUED  # QUEUED, SENDING, UNKNOWN (whether Ray has it), DONE, REFUSED
    tries: int = 0
    started_at: float | None = None  # the last try
    finished_at: float | None = None
    outcome: str | None = None  # a sentence: why it waits, or how it ended
    intent: int = 0  # seq of its audit record
    is_sent: bool = False  # maybe: its outcome was unknown once
    mark: str = ""  # a keyed digest of the whole request: masked ones that are alike may differ

    @property
    def is_final(self) -> bool:
        return self.state in FINAL
