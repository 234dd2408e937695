"""Where blocking work runs: gevent's pool of real threads under gevent, right here otherwise.

SQLite, password hashing and compression of something big do not yield to gevent; one slow statement would hold up
every other request of the process.
"""

from __future__ import annotations

import contextvars
import sys
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def under_gevent() -> bool:
    """Whether this process serves requests as greenlets."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("socket"))


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
