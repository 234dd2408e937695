"""Help: the query box, the keyboard, what numbers mean."""

from __future__ import annotations

from flask import Response

from webapp.responses import page_response


def show_help() -> Response:
    """One page of help."""
    return page_response("help/index.html")
