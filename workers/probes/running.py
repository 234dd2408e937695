"""What a probe's function may ask of its surroundings while it runs."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

from clusterstate.settings import Settings


class CannotAnswer(Exception):
    """The node cannot answer this; the message says why, in a sentence for the asker."""


@dataclass(frozen=True)
class Running:
    """The probe that this process answers."""

    settings: Settings
    cluster: str
    host: str
    report: Callable[[str], None]  # progress, in words
    tell: Callable[[bytes], None]  # a part of the answer
    session: Callable[[], str | None] = lambda: None  # of Ray that the cluster is in now; None: not known
    should_stop: Callable[[], bool] = lambda: False  # whether it is to end now, with what it has


_current: ContextVar[Running] = ContextVar("running_probe")


def running() -> Running:
    """The surroundings of the probe that runs now. LookupError outside of one."""
    return _current.get()


def running_or_none() -> Running | None:
    """The surroundings of the probe that runs now; None outside of one."""
    return _current.get(None)


def set_running(surroundings: Running) -> None:
    _current.set(surroundings)
