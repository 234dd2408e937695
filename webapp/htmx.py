"""What htmx 4 says of its requests, on top of htmx-flask, which speaks of htmx 2."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from flask import Flask
from htmx_flask import Htmx
from htmx_flask.requests import HtmxAwareRequest, HtmxHeaders


class Htmx4Headers(HtmxHeaders):  # type: ignore[misc]  # published without types
    """Request headers of htmx 4. `HX-Target` is `tag#id`; `HX-PTag` is the answer an element shows."""

    @property
    def target_id(self) -> str | None:
        _, _, element_id = (self._headers.get("HX-Target") or "").partition("#")
        return unquote(element_id) or None

    @property
    def ptag(self) -> str | None:
        """The tag of the fragment that the asking element shows now."""
        tag: str | None = self._headers.get("HX-PTag")
        return tag

    @property
    def is_partial(self) -> bool:
        """Whether a fragment is wanted: asked by htmx for one element, not boosted, not to restore history."""
        kind = self._headers.get("HX-Request-Type", "partial").lower()
        return bool(self) and kind == "partial" and not self.boosted and not self.history_restore_request


class RaydeckRequest(HtmxAwareRequest):  # type: ignore[misc]  # published without types
    """A request with `htmx` as htmx 4 sends it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.htmx = Htmx4Headers(self.headers)


def use_htmx(app: Flask) -> None:
    """Gives every request its `htmx`. The request class is set after the extension, which sets its own."""
    Htmx(app)
    app.request_class = RaydeckRequest


def headers_of(request: Any) -> Htmx4Headers:
    """`request.htmx`, typed."""
    htmx: Htmx4Headers = request.htmx
    return htmx
