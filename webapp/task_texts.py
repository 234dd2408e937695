"""Texts that rows of tasks name by their hash."""

from __future__ import annotations

import json
from typing import Any

from clusterstate import model
from clusterstate.resources import TEXTS
from clusterstate.store.reader import SessionReader


def text_of(reader: SessionReader, text_id: str | None) -> str | None:
    """None: there is none, or it is not kept."""
    kept: model.Text | None = reader.get(TEXTS, text_id) if text_id is not None else None
    return kept.text if kept is not None else None


def mapping_of(reader: SessionReader, text_id: str | None) -> dict[str, Any] | None:
    """The same of a text that is a JSON object."""
    text = text_of(reader, text_id)
    found = json.loads(text) if text else None
    return found if isinstance(found, dict) else None


def list_of(reader: SessionReader, text_id: str | None) -> list[Any]:
    """The same of a text that is a JSON list; an empty one where it is none."""
    text = text_of(reader, text_id)
    found = json.loads(text) if text else None
    return found if isinstance(found, list) else []
