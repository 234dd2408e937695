"""Ids of rows, as writer and reader both spell them."""

from __future__ import annotations

from typing import Any

from clusterstate.resources import Resource

SINGLE_ROW_ID = "-"
"""The id of a resource of which there is one row a session."""


def row_id(resource: Resource, row: Any) -> str:
    """The id under which a row is kept."""
    return SINGLE_ROW_ID if resource.key is None else str(getattr(row, resource.key))
