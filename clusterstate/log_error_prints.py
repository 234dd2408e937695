"""Fingerprints of errors: the same error has the same one each time, in every session, whatever its numbers are. Pure.

A change of what goes in is a new VERSION: fingerprints of two versions are never taken for each other.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

VERSION = 1
MOST_FRAMES = 64
MOST_TEXT = 1_000

_HEX = re.compile(
    r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b"
    r"|\b0[xX][0-9a-fA-F]+\b|\b(?=[a-fA-F]{0,64}[0-9])[0-9a-fA-F]{8,}\b"
)
_SESSION = re.compile(r"\bsession_\d{4}-\d\d-\d\d_[0-9_-]+")
_QUOTED = re.compile(r"(?<![\w])(['\"`])[^'\"`\n]{1,300}\1(?!\w)")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_SPACE = re.compile(r"\s+")
_PACKAGE = re.compile(r"_ray_pkg_[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class Traceback:
    """What a traceback says."""

    exception: str  # its class as it was printed; "" where it breaks off
    message: str
    frames: tuple[tuple[str, str], ...]  # (file, function), innermost last
    causes: tuple[str, ...]  # classes of what was handled or raised before


def of_traceback(error: Traceback) -> str:
    """By class, frames without line numbers, and causes."""
    frames: list[str] = []
    for file, function in error.frames:
        frame = f"{_place(file)}:{function}"
        if not frames or frames[-1] != frame:  # however deep a recursion went
            frames.append(frame)
    return _print("traceback", error.exception, *frames[-MOST_FRAMES:], "causes", *error.causes)


def of_line(text: str) -> str:
    """By its words, without what differs from one time to the next."""
    return _print("line", worded(text))


def worded(text: str) -> str:
    """A line without numbers, ids, times, addresses, session folders and quoted values."""
    text = _SESSION.sub("session", text[:MOST_TEXT])
    text = _NUMBER.sub("#", _HEX.sub("#", _QUOTED.sub(r"\1*\1", text)))
    return _SPACE.sub(" ", text).strip()


def _place(file: str) -> str:
    """The last two parts of a path: where the rest lies differs by machine."""
    parts = file.replace("\\", "/").split("/")
    folder = _PACKAGE.sub("_ray_pkg", "/".join(parts[-2:-1]))
    return f"{_NUMBER.sub('#', _HEX.sub('#', folder))}/{_HEX.sub('#', parts[-1])}"


def _print(*parts: str) -> str:
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{VERSION}:{digest[:16]}"
