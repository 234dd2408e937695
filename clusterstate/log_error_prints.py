"""Fingerprints of errors: the same error has the same one each time, in every session, whatever its numbers are. Pure.

A change of what goes in is a new VERSION: fingerprints of two versions are never taken for each other.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

VERSION = 2
MOST_FRAMES = 64
MOST_TEXT = 1_000
LONGEST_CYCLE = 8

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
    causes: tuple[Cause, ...]  # what was handled or raised before, or stands within a group


@dataclass(frozen=True, slots=True)
class Cause:
    """What another error came of."""

    exception: str
    frames: tuple[tuple[str, str], ...] = ()


def of_traceback(error: Traceback) -> str:
    """By class, frames without line numbers, and causes with theirs."""
    causes = (part for cause in error.causes for part in ("cause", cause.exception, *_shape(cause.exception, cause.frames)))
    return _print("traceback", error.exception, *_shape(error.exception, error.frames), "causes", *causes)


def _shape(exception: str, frames: tuple[tuple[str, str], ...]) -> list[str]:
    """Frames as places, however deep a recursion went: what repeats stands once."""
    found: list[str] = []
    for file, function in frames:
        found.append(f"{_place(file)}:{function}")
        for length in range(1, LONGEST_CYCLE + 1):
            if len(found) >= 2 * length and found[-length:] == found[-2 * length : -length]:
                del found[-length:]
                break
    if "RecursionError" in exception:  # which of them was the last to be called is chance
        found = sorted(set(found))
    return found[-MOST_FRAMES:]


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
