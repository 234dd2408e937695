"""Logs: the files of a node's log folder."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

from flask import Response, request

from clusterstate import model
from clusterstate.log_answers import ListedFile, Listing, Unreadable, read_answer
from clusterstate.log_names import GROUPS
from clusterstate.node_questions import Unanswered
from clusterstate.probes import FindInLog, ListLogs, ReadLog
from clusterstate.query import BadQuery, NotFound
from clusterstate.resources import NODES
from webapp import log_scope
from webapp.log_hosts import host_asked, nodes_with_logs
from webapp.log_owners import Owner, Owners
from webapp.parts import parts
from webapp.responses import page_response
from webapp.scope import Scope, href

T = TypeVar("T")

ANSWERED_WITHIN_S = 6.0
FILES_SHOWN = 100
CLASSES_SHOWN = 20
LABELS = {
    "driver": "Driver", "worker": "Worker", "serve": "Serve", "raylet": "Raylet", "gcs": "GCS",
    "autoscaler": "Autoscaler", "runtime-env": "Runtime env", "other": "Other",
}  # fmt: skip
SORTS = ("-modified", "modified", "-size", "size", "name", "-name")
LIST_ARGUMENTS = frozenset({"node", "group", "class_name", "name", "empty", "sort", "from", "job", "actor", "worker", "theme"})
MOST_NAME = 200
LONG_ID = re.compile(r"[0-9a-f]{32,}")
MOST_OFFSET = 1 << 62


@dataclass(frozen=True)
class LogList:
    """All that logs/list.html may use."""

    nodes: list[model.Node]  # those alive, the head first, and those that are gone
    node: model.Node | None
    listing: Listing
    first: int  # number of the first file shown, from 0
    problem: str | None  # why there are no files
    owners: Owners | None = None

    @property
    def rows(self) -> list[tuple[ListedFile, Owner | None]]:
        """Files, each with whose it is."""
        return [(file, self.owners.of(file) if self.owners else None) for file in self.listing.files]

    @cached_property
    def classes(self) -> list[tuple[str, int]]:
        """Files of each class of actors, the most first."""
        return list(self.owners.counted(self.listing).items()) if self.owners else []


@dataclass(frozen=True)
class AskedFiles:
    """What the URL asks of the list."""

    node: str | None
    group: str | None
    name: str
    empty: bool
    sort: str
    job: str = ""
    actor: str = ""
    worker: str = ""
    class_name: str = ""  # of actors: the files of the workers they run in, or ran

    def href(self, first: int = 0, **other: Any) -> str:
        """The same list with something else."""
        values = {**asdict(self), "empty": 1 if self.empty else None} | other
        kept = {name: value or None for name, value in values.items() if not (name == "sort" and value == SORTS[0])}
        return href("logs", **kept, **({"from": first} if first else {}))


@dataclass(frozen=True)
class ListLinks:
    """Where one goes from the list."""

    asked: AskedFiles
    page: LogList

    def group(self, group: str | None) -> str:
        return self.asked.href(group=group, class_name="")

    def of_class(self, name: str) -> str:
        return self.asked.href(group=None, class_name=name)

    def sort(self, key: str) -> str:
        """By that column; the other way round if it is already."""
        first = key if key == "name" else f"-{key}"
        other = f"-{key}" if key == "name" else key
        return self.asked.href(sort=other if self.asked.sort == first else first)

    @property
    def empty(self) -> str:
        return self.asked.href(empty=1)

    @property
    def archive(self) -> str:
        """All that match, as one file."""
        values = {name: value or None for name, value in asdict(self.asked).items()} | {"empty": None, "sort": None}
        return href("log_archive", **values, theme=None)

    @property
    def previous(self) -> str | None:
        return self.asked.href(max(0, self.page.first - FILES_SHOWN)) if self.page.first else None

    @property
    def next(self) -> str | None:
        after = self.page.first + len(self.page.listing.files)
        return self.asked.href(after) if after < self.page.listing.matching else None


def list_logs(scope: Scope) -> Response:
    """The files of one node: ?node=, ?group=, ?name= (a part of it), ?empty=1, ?sort=, ?from= (the number of the first)."""
    asked = asked_files()
    first = number_asked("from", 0)
    nodes = nodes_with_logs(scope)
    node = known_node(scope, asked.node) if asked.node else next(iter(nodes), None)
    told: Listing | None = None
    problem = None
    if node is None:
        problem = "No node is known."
    else:
        wanted = ListLogs(
            node.node_id,
            asked.group,
            asked.name,
            *asked_scope(scope, asked, node).ids,
            with_empty=asked.empty,
            sort=asked.sort,
            offset=first,
            limit=FILES_SHOWN,
        )
        told, problem = ask_node(scope, node, wanted, Listing)
    page = LogList(
        nodes=nodes,
        node=node,
        listing=told or Listing(),
        first=first,
        problem=problem,
        owners=Owners(scope, node) if node else None,
    )
    asked = replace(asked, node=node.node_id if node else None)
    links = ListLinks(asked, page)
    words: dict[str, Any] = {"groups": GROUPS, "labels": LABELS, "short_name": short_name, "classes_shown": CLASSES_SHOWN}
    return page_response("logs/list.html", page=page, asked=asked, links=links, **words)


def asked_files(also: frozenset[str] = frozenset()) -> AskedFiles:
    """What the URL asks of the files of a node. Raises BadQuery."""
    check_arguments(LIST_ARGUMENTS | also)
    args = request.args
    group, sort = args.get("group") or None, args.get("sort") or SORTS[0]
    if group is not None and group not in GROUPS:
        raise BadQuery(f"group is {group[:32]!r}; it must be one of {', '.join(GROUPS)}.")
    if sort not in SORTS:
        raise BadQuery(f"sort is {sort[:32]!r}; it must be one of {', '.join(SORTS)}.")
    whose = {name: args.get(name, "").strip()[:MOST_NAME] for name in ("job", "actor", "worker", "class_name")}
    return AskedFiles(args.get("node") or None, group, args.get("name", "")[:MOST_NAME], args.get("empty") == "1", sort, **whose)


def asked_scope(scope: Scope, asked: AskedFiles, node: model.Node) -> log_scope.LogScope:
    """Whose files of a node are asked for. Raises NotFound."""
    if asked.class_name:
        workers = Owners(scope, node).of_class(asked.class_name)
        return log_scope.LogScope(worker_ids=workers) if workers else log_scope.NOBODY
    return log_scope.of(scope.reader, job=asked.job, actor=asked.actor, worker=asked.worker)


def short_name(name: str) -> str:
    """A file's name with the ids in it cut short."""
    return LONG_ID.sub(lambda found: f"{found[0][:8]}…", name)


def ask_node(scope: Scope, node: model.Node, probe: ListLogs | ReadLog | FindInLog, kind: type[T]) -> tuple[T | None, str | None]:
    """What the node answers, or nothing and why."""
    try:
        value = parts().questions.ask(probe, scope.cluster, host_asked(scope, node), ANSWERED_WITHIN_S)
        return read_answer(value, kind), None
    except (Unanswered, Unreadable) as why:
        return None, str(why)


def known_node(scope: Scope, node_id: str) -> model.Node:
    """Raises NotFound."""
    found: model.Node | None = scope.reader.get(NODES, node_id)
    if found is None:
        raise NotFound(f"There is no node {node_id[:64]} in this session.")
    return found


def check_arguments(known: frozenset[str]) -> None:
    """Raises BadQuery for one that is not known."""
    for name in request.args:
        if name not in known:
            raise BadQuery(f"{name[:32]!r} is not known here; known are {', '.join(sorted(known - {'theme'}))}.")


def flag_asked(name: str) -> bool:
    """Whether the URL says 1. Raises BadQuery."""
    value = request.args.get(name, "0") or "0"
    if value not in {"0", "1"}:
        raise BadQuery(f"{name} is {value[:32]!r}; it must be 0 or 1.")
    return value == "1"


def number_asked(name: str, default: int) -> int:
    """A whole number of the URL. Raises BadQuery."""
    text = request.args.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 20 or int(text) > MOST_OFFSET:
        raise BadQuery(f"{name} is {text[:32]!r}; it must be a whole number from 0 on.")
    return int(text)
