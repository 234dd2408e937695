"""What a node answers of its log files. It runs where anybody's code runs: an answer is read by its types, or not at all."""

from __future__ import annotations

import binascii
from base64 import b64decode
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class Unreadable(ValueError):
    """What came is no such answer."""


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file of a listing."""

    file_id: str
    name: str  # its path beneath the log folder
    size: int
    modified_ms: int
    group: str  # one of clusterstate.log_names.GROUPS
    stream: str  # stdout, stderr, system
    rotation: int = 0  # 0: the one that is written
    worker_id: str | None = None
    job_id: str | None = None
    submission_id: str | None = None
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of a node's log files, and how many there are."""

    files: tuple[ListedFile, ...] = ()
    matching: int = 0
    groups: dict[str, int] = field(default_factory=dict)
    empty: int = 0  # files without a byte that match the name
    total: int = 0
    is_whole: bool = True  # false: there are more files than are looked at


@dataclass(frozen=True, slots=True)
class LogPart:
    """Lines that follow each other, from byte `start` to before byte `end` of a file."""

    name: str
    size: int
    modified_ms: int
    start: int
    end: int
    lines_before: int | None  # newlines before `start`; None: not counted
    pieces: tuple[tuple[int, bool, bool], ...]  # bytes of each line or piece, whether a line starts with it, whether one ends
    content: str  # base64 of the bytes from `start` to `end`

    def bytes(self) -> bytes:
        """The content. Raises Unreadable."""
        try:
            return b64decode(self.content, validate=True)
        except binascii.Error:
            raise Unreadable("The content is no base64.") from None


def read_answer(value: Any, kind: type[T]) -> T:
    """An answer by its type. Raises Unreadable."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise Unreadable(f"The answer cannot be read: {str(error)[:200]}") from None
