"""Actors: all that the session remembers."""

from __future__ import annotations

from flask import Response

from webapp.responses import table_query, table_response
from webapp.scope import Scope
from webapp.tables.actors import ACTORS


def list_actors(scope: Scope) -> Response:
    """Every actor of the session, alive or dead."""
    return table_response("actors/list.html", ACTORS, table_query(ACTORS), scope)
