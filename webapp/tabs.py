"""Tabs of a page: which there are, and which the URL names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from flask import request

from clusterstate.query import BadQuery
from webapp.preferences import url_theme


@dataclass(frozen=True)
class Tab:
    key: str
    label: str
    href: str
    is_current: bool


def chosen_tab(tabs: Sequence[tuple[str, str]]) -> str:
    """The key of the tab that the URL names, the first one if none. Raises BadQuery."""
    wanted = request.args.get("tab") or tabs[0][0]
    if wanted not in dict(tabs):
        raise BadQuery(f"There is no tab {wanted[:32]!r}. Tabs are: {', '.join(key for key, _ in tabs)}.")
    return wanted


def draw_tabs(tabs: Sequence[tuple[str, str]], current: str) -> tuple[Tab, ...]:
    """(key, label) pairs with their links. The first tab is the page's own URL."""
    return tuple(Tab(key, label, of_this_page(tab=None if key == tabs[0][0] else key), key == current) for key, label in tabs)


def of_this_page(**values: object) -> str:
    """A link to this page with these arguments and no others but the theme. None drops one."""
    given = {**values, "theme": url_theme()}
    return "?" + urlencode({name: value for name, value in given.items() if value is not None})
