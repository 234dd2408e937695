"""The rows of a timeline: workers below their nodes, a page of them at a time. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from clusterstate.model import Node
from clusterstate.store.timeline import Track
from webapp.timeline.asking import ALL

ROWS = 30
"""Rows of a page: workers, and nodes whose workers are not shown."""


@dataclass(frozen=True)
class Unit:
    """One row: a worker, or all workers of a closed node."""

    node_id: str | None
    tracks: tuple[Track, ...]
    is_closed: bool


@dataclass(frozen=True)
class Page:
    """The rows of one page, and how many there are on all."""

    units: tuple[Unit, ...]
    number: int
    pages: int
    first: int  # number of the first row shown, from 1
    total: int
    workers: Mapping[str | None, int]  # of each node, on all pages


def page_of(tracks: Sequence[Track], nodes: Mapping[str, Node], closed: Sequence[str], number: int) -> Page:
    """Page `number` of the rows of these workers; the last page where there are not as many."""
    grouped: dict[str | None, list[Track]] = {}
    for track in tracks:
        grouped.setdefault(track.node_id, []).append(track)
    order = sorted(grouped, key=_place_of(nodes))
    units: list[Unit] = []
    for node_id in order:
        of_node = tuple(grouped[node_id])
        if ALL in closed or node_id in closed:
            units.append(Unit(node_id, of_node, is_closed=True))
        else:
            units += [Unit(node_id, (track,), is_closed=False) for track in of_node]
    pages = max(1, -(-len(units) // ROWS))
    number = min(number, pages)
    first = (number - 1) * ROWS
    workers = {node_id: len(of_node) for node_id, of_node in grouped.items()}
    return Page(tuple(units[first : first + ROWS]), number, pages, first + 1, len(units), workers)


def _place_of(nodes: Mapping[str, Node]) -> Callable[[str | None], tuple[object, ...]]:
    """The head first, then by address, nodes that nobody knows after those, and tasks without a node last."""

    def place(node_id: str | None) -> tuple[object, ...]:
        node = nodes.get(node_id or "")
        if node is None:
            return (2 if node_id is None else 1, False, [], node_id or "")
        return (0, not node.is_head_node, _numbers(node.node_ip or ""), node_id or "")

    return place


def _numbers(address: str) -> list[tuple[int, str]]:
    """An address in the order in which people count: 10.0.0.9 before 10.0.0.10."""
    return [(int(part), "") if part.isascii() and part.isdigit() and len(part) < 6 else (10**6, part) for part in address.split(".")]
