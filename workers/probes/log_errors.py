"""Answers, on the head, questions about the errors in the log files of a session."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from clusterstate.log_error_answers import SORTS, ErrorDetail, ErrorList, ErrorsKept
from clusterstate.store.kept_logs import BadPiece, host_file
from clusterstate.store.log_error_groups import FILE_NAME
from clusterstate.store.log_error_reader import Asked, ErrorGroupsReader
from workers.probes.running import CannotAnswer, running
from workers.sources.log_listing import file_id


def list_log_errors(
    node_id: str, session: str, owners: tuple[str, ...], text: str, kind: str, sort: str, offset: int, limit: int
) -> dict[str, Any]:
    """A page of groups; without any where nothing of the session was looked at."""
    if sort not in SORTS:
        raise CannotAnswer(f"Errors can be sorted by {', '.join(SORTS)}.")
    folder = _folder(session)
    if not (folder / FILE_NAME).exists():
        return asdict(ErrorList(kept=_with_setting(ErrorsKept(is_there=False))))
    try:
        with ErrorGroupsReader(folder) as reader:
            found = reader.page(Asked(tuple(owners), node_id, text, kind, sort, offset, limit))
    except sqlite3.Error as error:
        raise CannotAnswer(f"The errors of this session cannot be read now: {error}.") from None
    return asdict(replace(found, kept=_with_setting(found.kept)))


def show_log_error(node_id: str, session: str, fingerprint: str) -> dict[str, Any] | None:
    """A group, a sample of it, and its newest places; None: there is no such group."""
    folder = _folder(session)
    try:
        with ErrorGroupsReader(folder) as reader:
            found = reader.detail(fingerprint)
            places = reader.places(fingerprint) if found else []
            kept = reader.kept()
    except sqlite3.Error as error:
        if (folder / FILE_NAME).exists():
            raise CannotAnswer(f"The errors of this session cannot be read now: {error}.") from None
        found = None
    if found is None:
        return None
    group, sample = found
    named = tuple(replace(place, name=os.fsencode(name).decode("utf-8", "replace"), file_id=file_id(name)) for place, name in places)
    return asdict(ErrorDetail(group, sample, named, _with_setting(kept)))


def _folder(session: str) -> Path:
    here = running()
    try:
        return host_file(here.settings.state_dir, here.cluster, session, "any").parent
    except BadPiece as why:
        raise CannotAnswer(str(why)) from None


def _with_setting(kept: ErrorsKept) -> ErrorsKept:
    return replace(kept, is_off=not running().settings.kept_logs_kb_s)
