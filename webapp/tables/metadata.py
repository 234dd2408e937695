"""Columns for what people wrote into the metadata of jobs: one for each key that occurs often, and for any that a request names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from clusterstate.store.reader import SessionReader
from clusterstate.store.sqlite_reading import DeadlinePassed
from webapp.tables.column import Column
from webapp.tables.framework import Table

PREFIX = "metadata."
MOST_KEYS = 20
KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""Keys that can be named in a query string and in the query box. The others are in the column with all metadata."""
NAMED = re.compile(rf"(?<![A-Za-z0-9_.-]){re.escape(PREFIX)}({KEY.pattern})")
SHOWN_ELSEWHERE = frozenset({"job_name", "job_submission_id"})


def with_metadata_columns(table: Table, args: Mapping[str, Any], reader: SessionReader) -> Table:
    """The table with hidden columns for keys of its `metadata`: the most frequent ones, and those that the query string names."""
    try:
        found = [key for key in reader.keys_in(table.view.base, "metadata", MOST_KEYS + len(SHOWN_ELSEWHERE)) if KEY.fullmatch(key)]
    except DeadlinePassed:
        found = []
    often = [key for key in found if key not in SHOWN_ELSEWHERE][:MOST_KEYS]
    keys = tuple(dict.fromkeys((*often, *_named(args))))[: 2 * MOST_KEYS]
    if not keys:
        return table
    columns = {PREFIX + key: _sql(table, key) for key in keys}
    view = replace(table.view, columns={**table.view.columns, **columns})
    return replace(table, view=view, columns=(*table.columns, *map(_column, keys)))


def _named(args: Mapping[str, Any]) -> Iterable[str]:
    """Keys that the query string names: as a filter, among the columns, or in the query box."""
    given = args.to_dict(flat=False) if hasattr(args, "to_dict") else args
    texts = [*given, *given.get("columns", ()), *given.get("q", ())]
    return [key for text in texts for key in NAMED.findall(text[:2000])]


def _column(key: str) -> Column:
    return Column(PREFIX + key, PREFIX + key, cell="code", sort="asc", filter="text", hidden=True, is_part=True)


def _sql(table: Table, key: str) -> str:
    """The value of a key. It goes in as hexadecimal digits, so that no key can be SQL."""
    column = table.view.sql("metadata")
    return f"(SELECT value FROM json_each({column}) WHERE key = CAST(x'{key.encode().hex()}' AS TEXT))"  # noqa: S608 - digits
