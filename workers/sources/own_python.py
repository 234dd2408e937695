"""The Python that Raydeck itself runs with on this node."""

from __future__ import annotations

import shlex
import sys


def installing(*packages: str) -> str:
    """What to type on this node to have packages beside Raydeck."""
    return shlex.join([sys.executable, "-m", "pip", "install", *packages])
