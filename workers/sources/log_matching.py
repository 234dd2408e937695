"""What ripgrep prints of a search, as found lines. Pure.

It is told to mark what matched with a colour that nobody else uses. A log may hold the same marks: it can then show something as found
that was not, in its own line, and nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SHOWN_BYTES = 600
"""Of a line: more is cut by ripgrep, which says so."""
MARK = b"\x1b[0m\x1b[38;2;1;2;3m"
RESET = b"\x1b[0m"
OPTIONS = (
    "--no-config", "--text", "--encoding", "none", "--no-mmap", "--threads", "1", "--engine", "default",
    "--null", "--with-filename", "--line-number", "--byte-offset", "--column", "--no-heading", "--line-buffered",
    "--color", "always", "--colors", "path:none", "--colors", "line:none", "--colors", "column:none",
    "--colors", "match:none", "--colors", "match:fg:1,2,3", "--context-separator", "",
    "--max-columns", str(SHOWN_BYTES), "--max-columns-preview",
    "--regex-size-limit", "4M", "--dfa-size-limit", "32M",
)  # fmt: skip
"""Of every search. No option may come from outside; the expression stands behind --regexp=, the files behind --."""
HEAD = re.compile(
    rb"^(?:\x1b\[0m)?(?P<path>[^\0\x1b]{1,64})(?:\x1b\[0m)?\0(?:\x1b\[0m)?(?P<line>\d+)(?:\x1b\[0m)?(?P<kind>[:-])(?:\x1b\[0m)?"
    rb"(?:(?P<column>\d+)(?:\x1b\[0m)?:(?:\x1b\[0m)?)?(?P<offset>\d+)(?:\x1b\[0m)?[:-]"
)


@dataclass(frozen=True, slots=True)
class Printed:
    """A line of ripgrep's output."""

    path: bytes
    number: int  # of the line, from 1
    offset: int  # of its first byte in the file
    column: int | None  # of the first match, from 0, in bytes; None: it is a line beside a hit
    text: bytes
    marks: tuple[tuple[int, int], ...]
    may_be_cut: bool  # it is as long as ripgrep shows: the line itself must be looked at


def parse(printed: bytes) -> Printed | None:
    """A line without its newline; None for what stands between lines."""
    found = HEAD.match(printed)
    if found is None:
        return None
    text, marks = _unmarked(printed[found.end() :])
    is_hit = found["kind"] == b":"
    column = int(found["column"]) - 1 if is_hit and found["column"] else (0 if is_hit else None)
    may_be_cut = len(text) >= SHOWN_BYTES or (is_hit and not marks)
    return Printed(found["path"], int(found["line"]), int(found["offset"]), column, text, marks, may_be_cut)


def _unmarked(text: bytes) -> tuple[bytes, tuple[tuple[int, int], ...]]:
    kept: list[bytes] = []
    marks: list[tuple[int, int]] = []
    at = length = 0
    while (start := text.find(MARK, at)) >= 0:
        end = text.find(RESET, start + len(MARK))
        if end < 0:
            break
        before, inside = text[at:start], text[start + len(MARK) : end]
        kept += [before, inside]
        length += len(before)
        marks.append((length, length + len(inside)))
        length += len(inside)
        at = end + len(RESET)
    kept.append(text[at:])
    return b"".join(kept), tuple(marks)


def reason(stderr: bytes) -> str:
    """Why ripgrep refused an expression, in one sentence."""
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    told = next((line.removeprefix("error: ") for line in reversed(lines) if line.startswith("error: ")), None)
    if told is None:
        told = lines[0].removeprefix("rg: ") if lines else "no reason was given"
    return told[:300]
