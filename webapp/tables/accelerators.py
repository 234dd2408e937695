"""Columns about GPUs are shown without asking where a node has one, and nowhere else."""

from __future__ import annotations

from clusterstate.query import NODES, Condition
from clusterstate.store.reader import SessionReader
from clusterstate.store.sqlite_reading import DeadlinePassed
from webapp.tables.framework import TableQuery

GPU_COLUMNS = frozenset({"gpu_utilization_percent", "gpu_memory_bytes", "gpu_memory_used_bytes"})


def with_gpu_columns(query: TableQuery, reader: SessionReader) -> TableQuery:
    """The same question; unless columns were chosen, with those about GPUs if some node has GPUs. One cached count."""
    table = query.table
    if not query.is_default_columns or GPU_COLUMNS.isdisjoint(column.key for column in table.columns) or not _has_gpus(reader):
        return query
    shown = {column.key for column in query.columns} | GPU_COLUMNS
    return query.narrowed(columns=tuple(column for column in table.columns if column.is_drawn and column.key in shown))


def _has_gpus(reader: SessionReader) -> bool:
    try:
        return reader.count(NODES, (Condition("gpu_count", "gt", 0),)) > 0
    except DeadlinePassed:
        return False
