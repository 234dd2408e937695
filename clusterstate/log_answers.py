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
    size: int  # to its end, whatever of it is there
    modified_ms: int
    group: str  # one of clusterstate.log_names.GROUPS
    stream: str  # stdout, stderr, system
    rotation: int = 0  # 0: the one that is written
    worker_id: str | None = None
    job_id: str | None = None
    submission_id: str | None = None
    pid: int | None = None
    first: int = 0  # what stands before this byte was not kept


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of a node's log files, and how many there are."""

    files: tuple[ListedFile, ...] = ()
    matching: int = 0
    groups: dict[str, int] = field(default_factory=dict)
    workers: dict[str, int] = field(default_factory=dict)  # files of each worker, of those that match but for the group
    workers_are_whole: bool = True  # false: there are more workers than are told
    empty: int = 0  # files without a byte that match the name
    total: int = 0
    is_whole: bool = True  # false: there are more files than are looked at
    is_kept: bool = False  # of a node that is gone: what the head kept


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
    inode: str = ""  # which file it is, whatever its name
    first: int = 0  # what stands before this byte was not kept
    is_kept: bool = False  # the node is gone: this is what the head kept
    times: tuple[int | None, ...] = ()  # of each piece: when it says it was written, in Unix milliseconds

    def bytes(self) -> bytes:
        """The content. Raises Unreadable."""
        return _decoded(self.content)


@dataclass(frozen=True, slots=True)
class Finding:
    """Lines of a file where something was looked for, and the lines of it that match. Places are bytes of the file."""

    parts: tuple[LogPart, ...]  # several where only lines that match are shown, with those around them
    count: int = 0  # lines of the file that match
    is_exact: bool = False  # false: there may be more, the file is too large to be looked through
    number: int | None = None  # of the hit that one came to (of the first one where only those are shown) among all, from 1
    current: int | None = None  # the line of the hit that one came to
    previous: int | None = None  # the hit before it, or before what is shown; where only hits are shown: what stands before this byte
    next: int | None = None
    marks: tuple[tuple[int, int], ...] = ()  # (place, bytes) of what matches in these lines, in their order


@dataclass(frozen=True, slots=True)
class LevelCounts:
    """Lines of a file by how grave they are."""

    name: str
    counts: dict[str, int]  # error, warning
    is_exact: bool  # false: the file is too large to be looked through


@dataclass(frozen=True, slots=True)
class FileBytes:
    """Bytes of a file, from the one that was asked for on."""

    name: str
    size: int  # of all that is there now: of a kept file without what was not kept
    modified_ms: int
    inode: str  # which file it is, whatever its name
    content: str  # base64

    def bytes(self) -> bytes:
        """The content. Raises Unreadable."""
        return _decoded(self.content)


@dataclass(frozen=True, slots=True)
class FoundLine:
    """A line that matches, or one beside it. Bytes stand as characters of the same number (latin-1)."""

    number: int | None  # of the line, from 1; None: it is not known how many stand before
    offset: int  # of the line's first byte in the file
    text: str
    marks: tuple[tuple[int, int], ...] = ()  # what matched, as positions in `text`; none: a line beside a hit
    skipped: int = 0  # bytes of the line before `text`
    is_cut: bool = False  # the line goes on after `text`

    def bytes(self) -> bytes:
        """The text as it stands in the file. Raises Unreadable."""
        try:
            return self.text.encode("latin-1")
        except UnicodeEncodeError:
            raise Unreadable("The line is not of bytes.") from None


@dataclass(frozen=True, slots=True)
class FoundInFile:
    """Lines of one file, in its order; there may be more of them in a later part."""

    file: ListedFile
    lines: tuple[FoundLine, ...]


@dataclass(frozen=True, slots=True)
class SearchProgress:
    """How far a node has come. Of all that was searched so far."""

    files: int = 0
    files_done: int = 0
    bytes: int = 0
    bytes_done: int = 0
    hits: int = 0
    files_cut: int = 0  # files with more hits than are shown of one
    untimed: int = 0  # hits whose line says no time
    step_s: int = 1
    times: dict[int, int] = field(default_factory=dict)  # beginning of a step in Unix seconds → hits
    unread: tuple[str, ...] = ()  # names of files that could not be searched, the first of them
    unread_count: int = 0
    is_cut: bool = False  # the search ended at its limit of hits or of time
    listing_is_whole: bool = True


@dataclass(frozen=True, slots=True)
class SearchPart:
    """What was found since the part before, and how far the search has come."""

    found: tuple[FoundInFile, ...] = ()
    progress: SearchProgress = SearchProgress()


def _decoded(content: str) -> bytes:
    try:
        return b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise Unreadable("The content is no base64.") from None


def read_part(blob: bytes) -> SearchPart:
    """A part of an answer, as the node wrote it. Raises Unreadable."""
    try:
        part = msgspec.json.decode(blob, type=SearchPart)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unreadable(f"A part of the answer cannot be read: {str(error)[:200]}") from None
    for found in part.found:
        for line in found.lines:
            line.bytes()
    return part


def read_answer(value: Any, kind: type[T]) -> T:
    """An answer by its type. Raises Unreadable."""
    try:
        return msgspec.convert(value, kind, str_keys=True)  # it came as JSON, which has no other keys
    except msgspec.ValidationError as error:
        raise Unreadable(f"The answer cannot be read: {str(error)[:200]}") from None
