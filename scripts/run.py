"""`make run`: show the Ray cluster that runs here or was named, else one of Raydeck's own to look at."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from clusterstate.settings import variable
from workers.discovery import given_address, running_here

RAYDECK = Path(sys.executable).parent / "raydeck"


def main(arguments: list[str]) -> None:
    os.execv(RAYDECK, ["raydeck", "up", *demo_if_nothing_else(arguments), *arguments])  # noqa: S606 - no shell is the point


def demo_if_nothing_else(arguments: list[str]) -> list[str]:
    """`--demo`, unless a cluster was named (option or environment) or runs on this machine."""
    options = {argument.partition("=")[0] for argument in arguments}
    if options & {"--demo", "--address", "--help"}:
        return []
    named = given_address(os.environ.get(variable("address"), ""), os.environ)
    return [] if named or running_here(os.environ) else ["--demo"]


if __name__ == "__main__":
    main(sys.argv[1:])
