"""How a page polls: read from the page itself, so that what is measured is what a browser does."""

from __future__ import annotations

from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit


@dataclass(frozen=True)
class Poll:
    """The request that an open page repeats."""

    path: str
    target: str | None = None  # HX-Target as htmx 4 sends it: tag#id
    tag: str | None = None  # the HX-PTag that the page came with


class _Finder(HTMLParser):
    """The first element that fetches itself again and again."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self.found: Poll | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name.removeprefix("data-"): value or "" for name, value in attrs}
        if self.found is not None or "hx-get" not in values or "every" not in values.get("hx-trigger", ""):
            return
        target = values.get("id") if values.get("hx-target", "this") == "this" else values["hx-target"].removeprefix("#")
        url = urlsplit(urljoin(self._path, values["hx-get"]))
        path = f"{url.path}?{url.query}" if url.query else url.path
        self.found = Poll(path, f"{tag}#{target}" if target else None, values.get("hx-ptag") or None)


def poll_of(path: str, page: str) -> Poll | None:
    """What the page at `path` polls, or None if it polls nothing."""
    finder = _Finder(path)
    finder.feed(page)
    return finder.found
