"""Answers questions about the log files of a node."""

from __future__ import annotations

import os
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from clusterstate.log_names import WORKER, Named
from clusterstate.log_times import time_of
from clusterstate.store import kept_logs
from workers.probes.log_choice import Choice
from workers.probes.running import CannotAnswer, running_or_none
from workers.sources import log_windows
from workers.sources.beneath import NotThere, Refused
from workers.sources.log_folders import log_folder
from workers.sources.log_listing import Entry
from workers.sources.log_places import LogPlace, OpenFile, kept_logs_at, log_folder_at

MOST_LISTED = 500
MOST_WORKERS = 5_000
"""Told with how many files each has: 62 bytes for each."""
MOST_BYTES = 2 << 20
COUNTED_WITHIN_S = 0.08
"""For the number of the first line; it is unknown where counting would take longer."""
SORTS: dict[str, Callable[[Entry], Any]] = {
    "modified": lambda entry: entry.modified_ms,
    "size": lambda entry: entry.size,
    "name": lambda entry: entry.name,
}


def list_logs(
    node_id: str,
    group: str | None,
    name: str,
    worker_ids: tuple[str, ...],
    job_ids: tuple[str, ...],
    submission_ids: tuple[str, ...],
    with_empty: bool,
    sort: str,
    offset: int,
    limit: int,
    with_workers: bool = False,
) -> dict[str, Any]:
    """A page of a node's log files, with how many there are of each group; the counts are of all that match but for the group."""
    key = SORTS.get(sort.removeprefix("-"))
    if key is None:
        raise CannotAnswer(f"Files can be sorted by {', '.join(SORTS)}.")
    with place_of(node_id) as place:
        listing, firsts = place.listing(), place.firsts()
    found = Choice(None, name, worker_ids, job_ids, submission_ids).of(listing.entries)
    empty = sum(entry.size == 0 for entry, _ in found)
    if not with_empty:
        found = [(entry, told) for entry, told in found if entry.size]
    groups = Counter(told.group for _, told in found)
    workers = Counter(told.worker_id for _, told in found if with_workers and told.group == WORKER and told.worker_id)
    matching = [(entry, told) for entry, told in found if group is None or told.group == group]
    matching.sort(key=lambda pair: pair[0].name)
    matching.sort(key=lambda pair: key(pair[0]), reverse=sort.startswith("-"))
    return {
        "files": [
            listed_file(entry, told, firsts.get(entry.name, 0))
            for entry, told in matching[max(0, offset) :][: max(0, min(limit, MOST_LISTED))]
        ],
        "matching": len(matching),
        "groups": dict(groups),
        "workers": dict(workers.most_common(MOST_WORKERS)),
        "workers_are_whole": len(workers) <= MOST_WORKERS,
        "empty": empty,
        "total": len(listing.entries),
        "is_whole": listing.is_whole,
        "is_kept": place.is_kept,
        "at": time.time(),
    }


def read_log(node_id: str, file_id: str, at: int | None, backward: bool, max_lines: int, at_ms: int | None = None) -> dict[str, Any]:
    """Lines of a file around a place in it: on from the line that holds byte `at`, or back from there; None is the end.

    With `at_ms` on from the first line that says it was written then or later.
    """
    max_lines = max(1, min(max_lines, log_windows.MAX_LINES))
    with place_of(node_id) as place:
        name = place.name_of(file_id)
        with place.open(name) as opened:
            file, first = opened.file, opened.first
            year = time.localtime(opened.modified_ns / 1e9).tm_year
            at = None if at is None else max(0, at - first)
            if at_ms is not None:
                at, backward = log_windows.offset_of_time(file, at_ms, lambda line: time_of(line, year)), False
                if at is None:
                    raise CannotAnswer("No line of this file says that it was written then or later.")
            if backward or at is None:
                window = log_windows.backward(file, at, max_lines)
            else:
                window = log_windows.forward(file, at, max_lines)
            return part_of(opened, name, place.is_kept, window, log_windows.count_lines(file, window.start, COUNTED_WITHIN_S))


def part_of(opened: OpenFile, name: str, is_kept: bool, window: log_windows.Window, lines_before: int | None) -> dict[str, Any]:
    """A window as answers tell it (clusterstate.log_answers.LogPart); `lines_before` are newlines between what is there and the window."""
    first, year = opened.first, time.localtime(opened.modified_ns / 1e9).tm_year
    return {
        "name": name,
        "size": window.size + first,
        "modified_ms": opened.modified_ns // 1_000_000,
        "inode": opened.inode,  # another one: the file was rotated away, this is a new one
        "start": window.start + first,
        "end": window.end + first,
        "first": first,
        "is_kept": is_kept,
        "lines_before": _sum(opened.lines_before, lines_before),
        "pieces": [(len(piece.text), piece.starts and (piece.offset > 0 or opened.begins_line), piece.ends) for piece in window.pieces],
        "content": b64encode(b"".join(piece.text + b"\n" * piece.ends for piece in window.pieces)).decode(),
        "times": [time_of(piece.text, year) if piece.starts else None for piece in window.pieces],
        "at": time.time(),
    }


def read_bytes(node_id: str, file_id: str, inode: str | None, start: int, length: int) -> dict[str, Any]:
    """Bytes of a file, fewer than asked where it ends."""
    with place_of(node_id) as place:
        name = place.name_of(file_id)
        with place.open(name) as opened:
            if inode is not None and inode != opened.inode:
                raise CannotAnswer("The file was rotated away meanwhile: another one has its name now.")
            content = os.pread(opened.file, max(0, min(length, MOST_BYTES)), max(0, start))
            size = os.fstat(opened.file).st_size
    return {
        "name": name,
        "size": size,
        "modified_ms": opened.modified_ns // 1_000_000,
        "inode": opened.inode,
        "content": b64encode(content).decode(),
    }


@contextmanager
def place_of(node_id: str) -> Iterator[LogPlace]:
    """The node's log folder; on the head, of a node that is gone, what is kept of it.

    Raises CannotAnswer, also for what is refused there.
    """
    try:
        with _place(node_id) as place:
            yield place
    except Refused as why:
        raise CannotAnswer(str(why)) from None


def _place(node_id: str) -> AbstractContextManager[LogPlace]:
    try:
        return log_folder_at(log_folder(node_id))
    except NotThere as why:
        here = running_or_none()
        kept = kept_logs.of_node(here.settings.state_dir, here.cluster, node_id) if here else None
        if kept is None:
            raise NotThere(f"{why} Nothing of its log files was kept.") from None
        return kept_logs_at(kept)


def _sum(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None else first + second


def listed_file(entry: Entry, told: Named, first: int = 0) -> dict[str, Any]:
    """A file as answers tell it (clusterstate.log_answers.ListedFile)."""
    return {
        "file_id": entry.file_id,
        "name": entry.name,
        "size": entry.size,
        "modified_ms": entry.modified_ms,
        "first": first,
        "group": told.group,
        "stream": told.stream,
        "base": told.base,
        "rotation": told.rotation,
        "worker_id": told.worker_id,
        "job_id": told.job_id,
        "submission_id": told.submission_id,
        "pid": told.pid,
    }
