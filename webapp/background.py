"""Where blocking work runs: gevent's pool of real threads under gevent, right here otherwise.

Password hashing, searches and exports do not yield to gevent; one slow statement would hold up every other request of
the process. Look-ups by an index do not come here: they take less than a millisecond, and SQLite gives Python's lock away
with each row, so that in a thread beside a busy one they would wait up to `SWITCH_S` a row to get it back.
"""

from __future__ import annotations

import contextvars
import sys
from collections.abc import Callable, Iterator
from typing import TypeVar

SWITCH_S = 0.001
"""How long a thread may keep Python's lock while others want it; 5 ms unless set."""

T = TypeVar("T")


def under_gevent() -> bool:
    """Whether this process serves requests as greenlets."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("socket"))


def each(pieces: Iterator[T]) -> Iterator[T]:
    """The same pieces, each made by `run` when it is its turn."""
    end = object()
    while True:
        piece = run(lambda: next(pieces, end))
        if piece is end:
            return
        yield piece  # type: ignore[misc]


def run(work: Callable[[], T]) -> T:
    """Runs `work` and waits for it; its exception is raised here.

    The request's context is visible to `work`, which must only read from it.
    """
    if not under_gevent():
        return work()
    from gevent import get_hub

    context = contextvars.copy_context()
    answer: T = get_hub().threadpool.apply(context.run, (work,))
    return answer
