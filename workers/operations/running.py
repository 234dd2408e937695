"""What an operation's function may ask of its surroundings, and the ways in which it may end."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from clusterstate.journal import Journal


class Refusal(Exception):
    """It was not done and will not be; the message says why, in a sentence for who asked."""


class CannotLook(Refusal):
    """The cluster refuses to be asked: nothing can be learnt or sent."""


class NotYet(Exception):
    """Nothing was sent; it is tried again in a few seconds. The message says what is waited for."""


class Unsure(Exception):
    """Something was sent and no answer came: whether Ray has it is found out by looking. The message says what happened."""


@dataclass(frozen=True)
class Surroundings:
    """Where the operation of this process is done."""

    cluster: str
    address: str  # of the GCS, host:port
    journal: Journal
    sealing_key: bytes
    watch_file: Path  # locked by the Ray driver that watches over submissions
    environ: Mapping[str, str]


_current: ContextVar[Surroundings] = ContextVar("surroundings")


def surroundings() -> Surroundings:
    """Those of the operation that runs now. LookupError outside of one."""
    return _current.get()


def set_surroundings(found: Surroundings) -> None:
    _current.set(found)
