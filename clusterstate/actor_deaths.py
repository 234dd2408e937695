"""Which deaths of actors are failures, by the kind of cause that Ray names."""

from __future__ import annotations

MEANT = ("RAY_KILL", "OUT_OF_SCOPE", "REF_DELETED", "INTENDED", "NORMAL", "CREATOR_EXITED", "OWNER_DIED")
"""Parts of the names of causes that are nobody's fault."""


def was_meant(cause: str) -> bool:
    """Whether an actor that died of this was to end, or ended with its owner."""
    return any(part.lower() in cause.lower() for part in MEANT)
