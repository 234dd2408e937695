"""A Redis password that was typed as an option: everybody on a machine may read command lines, nobody else's environment."""

from __future__ import annotations

import os
import sys

from clusterstate.settings import variable

OPTION = "--redis-url"


def hide_password() -> None:
    """Starts this program anew under its pid, with the address in the environment, if the command line shows a password in it."""
    rest, address = without_address(sys.orig_argv[1:])
    if address is None or not holds_password(address):
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.orig_argv[0], *rest], {**os.environ, variable("redis_url"): address})  # noqa: S606 - ourselves


def without_address(words: list[str]) -> tuple[list[str], str | None]:
    """A command line without its Redis address, and that; the last one counts, as for all options."""
    rest: list[str] = []
    address: str | None = None
    following = iter(words)
    for word in following:
        if word == OPTION:
            address = next(following, address)
        elif word.startswith(OPTION + "="):
            address = word.partition("=")[2]
        else:
            rest.append(word)
    return rest, address


def holds_password(address: str) -> bool:
    """Whether an address of a Redis names a user or password, before its host or in its query."""
    return "@" in address or "password=" in address
