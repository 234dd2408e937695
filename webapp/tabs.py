"""Tabs of a page: which there are, and which the URL names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flask import request

from clusterstate.query import BadQuery


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
    return tuple(Tab(key, label, "?" if key == tabs[0][0] else f"?tab={key}", key == current) for key, label in tabs)
