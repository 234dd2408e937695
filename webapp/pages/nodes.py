"""Cluster: its nodes with their workers, each node, and what cluster this is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flask import Response

from clusterstate import model
from clusterstate.query import BadQuery, Condition, NotFound
from clusterstate.resources import ACTORS, NODE_RESOURCES, NODE_STATS, PROCESSES, TASKS, WORKERS
from clusterstate.resources import NODES as NODE_ROWS
from clusterstate.store.reader import SessionReader
from clusterstate.utilisation import History
from webapp.parts import parts
from webapp.responses import table_query, table_response
from webapp.scope import Scope
from webapp.showing import NarrowedTable, narrowed, show
from webapp.tables.actors import ACTORS as ACTOR_TABLE
from webapp.tables.drawing import TableView
from webapp.tables.framework import TableQuery
from webapp.tables.nodes import NODES
from webapp.tables.tasks import TASKS as TASK_TABLE
from webapp.tables.workers import WORKERS as WORKER_TABLE
from webapp.tabs import Tab, chosen_tab, draw_tabs
from webapp.task_source import Source, source_of

TABS = (
    ("info", "Info"),
    ("processes", "Processes"),
    ("workers", "Workers"),
    ("actors", "Actors"),
    ("tasks", "Tasks"),
    ("raylet", "Raylet"),
)
TAB_TABLES = {"workers": WORKER_TABLE, "actors": ACTOR_TABLE, "tasks": TASK_TABLE}
SEEN = (NODE_ROWS.name, NODE_STATS.name, NODE_RESOURCES.name, PROCESSES.name, "samples")
SEEN_IN_TAB = {"workers": (WORKERS.name,), "actors": (ACTORS.name,), "tasks": (TASKS.name,)}
MOST_EXPANDED = 20
NONE_EXPANDED = "none"
PROCESSES_SHOWN = 500


@dataclass(frozen=True)
class Holder:
    """A process and what it holds of the node's logical resources."""

    process: model.Process
    resources: dict[str, float]


@dataclass(frozen=True)
class NodePage:
    """All that nodes/detail.html may use."""

    node: model.Node
    stats: model.NodeStats | None  # None: no node collector has reported
    resources: model.NodeResources | None
    processes: list[model.Process]
    holders: list[Holder]
    history: History | None
    shares_host_with: list[model.Node]
    tabs: tuple[Tab, ...]
    tab: str
    view: TableView | None
    source: Source | None  # how tasks are learnt, where they are shown


def list_nodes(scope: Scope) -> Response:
    """Every node of the session; ?expand=<node ids> shows the processes of some (a node alone starts so), ?view=cards one card a node."""
    query = table_query(NODES, keep=("expand", "view"))
    look = query.kept.get("view", "table")
    if look not in {"table", "cards"}:
        raise BadQuery(f"view is {look[:32]!r}; it must be table or cards.")
    chosen = _expanded(query.kept.get("expand", ""))
    is_chosen = "expand" in query.kept

    def beside(rows: list[dict[str, object]]) -> Mapping[str, object]:
        expanded = chosen if is_chosen else tuple(str(row["node_id"]) for row in rows if len(rows) == 1)
        return {
            "expanded": expanded,
            "processes": _processes(scope.reader, expanded, rows),
            "expand_links": {row["node_id"]: _expand_href(query, expanded, str(row["node_id"])) for row in rows},
        }

    return table_response(
        "nodes/list.html",
        NODES,
        query,
        scope,
        fragment="nodes/_list.html",
        further=(PROCESSES.name,) if chosen or not is_chosen else (),
        beside=beside,
        look=look,
        looks=_looks(query, look),
    )


def show_node(scope: Scope, node_id: str) -> Response:
    """One node: its host, its logical resources and who holds them, its processes and actors."""
    tab = chosen_tab(TABS)
    table = narrowed(TAB_TABLES[tab]) if tab in TAB_TABLES else None
    resources = (*SEEN, *SEEN_IN_TAB.get(tab, ()))
    return show("nodes/detail.html", "nodes/_detail.html", scope, resources, lambda: _load(scope, node_id, tab, table))


def _looks(query: TableQuery, look: str) -> tuple[tuple[str, str, bool], ...]:
    """(label, link, in force) of each way to look at the list."""
    labels = (("table", "Table"), ("cards", "Cards"))
    return tuple((label, _href(query, view=None if key == "table" else key), key == look) for key, label in labels)


def _expand_href(query: TableQuery, expanded: tuple[str, ...], node_id: str) -> str:
    """The same list with one node's processes shown, or hidden."""
    ids = [other for other in expanded if other != node_id] if node_id in expanded else [*expanded, node_id]
    return _href(query, expand=",".join(ids[-MOST_EXPANDED:]) or NONE_EXPANDED)


def _href(query: TableQuery, **changes: str | None) -> str:
    place = {"after": query.after.as_text() if query.after else None, "before": query.before.as_text() if query.before else None}
    return query.href(**place, **changes)


def _expanded(text: str) -> tuple[str, ...]:
    ids = tuple(dict.fromkeys(part for part in text.split(",") if part and part != NONE_EXPANDED))
    if len(ids) > MOST_EXPANDED:
        raise BadQuery(f"expand names {len(ids)} nodes; at most {MOST_EXPANDED} are allowed.")
    return ids


def _processes(reader: SessionReader, expanded: tuple[str, ...], rows: list[dict[str, object]]) -> dict[str, list[model.Process]]:
    """The processes of the expanded nodes that are on this page."""
    here = {row["node_id"] for row in rows}
    return {node_id: _by_kind(reader, node_id) for node_id in expanded if node_id in here}


def _by_kind(reader: SessionReader, node_id: str) -> list[model.Process]:
    """Workers and drivers first, then Ray's own, each by pid."""
    found: list[model.Process] = reader.find(PROCESSES, "node_id", node_id, PROCESSES_SHOWN)
    return sorted(found, key=lambda process: (process.kind not in {"WORKER", "DRIVER"}, process.pid))


def _load(scope: Scope, node_id: str, tab: str, table: NarrowedTable | None) -> NodePage:
    reader, now, minutes = scope.reader, parts().now(), parts().settings.history_minutes
    node: model.Node | None = reader.get(NODE_ROWS, node_id)
    if node is None:
        raise NotFound(f"No node {node_id[:64]!r} is remembered in this session of {scope.cluster}.")
    stats: model.NodeStats | None = reader.get(NODE_STATS, node_id)
    processes = _by_kind(reader, node_id)
    return NodePage(
        node=node,
        stats=stats,
        resources=reader.get(NODE_RESOURCES, node_id),
        processes=processes,
        holders=[Holder(process, process.used_resources) for process in processes if process.used_resources],
        history=reader.history(node_id, now, minutes),
        shares_host_with=_same_host(reader, stats),
        tabs=draw_tabs(TABS, tab),
        tab=tab,
        view=table.view(scope, Condition("node_id", "is", node_id)) if table is not None else None,
        source=source_of(reader) if tab == "tasks" else None,
    )


def _same_host(reader: SessionReader, stats: model.NodeStats | None) -> list[model.Node]:
    if stats is None or stats.boot_id is None:
        return []
    others = [one for one in reader.find(NODE_STATS, "boot_id", stats.boot_id, 50) if one.node_id != stats.node_id]
    found = [reader.get(NODE_ROWS, one.node_id) for one in others]
    return [node for node in found if node is not None and node.state == "ALIVE"]
