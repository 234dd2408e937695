"""What a role of a supervisor is: one process (and what it starts), with its needs and its signs of health."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, field

from workers.schedule import LoopWatch

GOES_FIRST = -5
"""Nice value of what stands between a task's end and the page. It takes a bounded share of a core (docs/benchmarks.md)."""


def _always() -> bool:
    return True


@dataclass(frozen=True)
class Role:
    """A process that the supervisor keeps running.

    `run` is called in the forked child and does not return to the caller. `may_start` and `is_ready` are asked a few
    times a second in the supervisor and must be quick.
    """

    name: str
    run: Callable[[], object]
    needs: tuple[str, ...] = ()  # roles that must be ready before this one starts
    may_start: Callable[[], bool] = _always
    is_ready: Callable[[], bool] = _always
    before_start: Callable[[], object] = _always
    loop: Callable[[], LoopWatch] | None = None  # the loop this role's worker runs; ready when it beats
    stop_rank: int = 1  # all of one rank are stopped together, lower ranks first
    stop_signal: signal.Signals = signal.SIGTERM
    stop_within_s: float = 3.0
    orphan_signal: signal.Signals = signal.SIGKILL  # what the kernel sends it when the supervisor is killed
    counts_as_ours: bool = True  # in what Raydeck costs
    nice: int = 0  # below zero: what people wait for goes first on a busy machine, where this user may say so


@dataclass
class Target:
    """The cluster that is watched, once it is known."""

    address: str = ""
    session_dir: str | None = None
    environ: dict[str, str] = field(default_factory=dict)  # what a process needs to speak with it

    @property
    def is_known(self) -> bool:
        return bool(self.address)
