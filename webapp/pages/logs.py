"""Logs: the files of a node's log folder."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from flask import Response, request

from clusterstate import model
from clusterstate.log_answers import ListedFile, Listing, Unreadable, read_answer
from clusterstate.log_names import GROUPS
from clusterstate.node_questions import Unanswered
from clusterstate.probes import CountLevels, FindInLog, ListLogs, ReadLog
from clusterstate.query import BadQuery, NotFound
from clusterstate.resources import NODES
from webapp.logs import scopes
from webapp.logs.everywhere import MOST_OF_A_HOST, list_everywhere
from webapp.logs.hosts import host_asked, keeping_problem, nodes_with_logs
from webapp.logs.owners import Owner, Owners
from webapp.parts import parts
from webapp.responses import freshness_answer, json_response, page_response
from webapp.scope import Scope, href

T = TypeVar("T")

ANSWERED_WITHIN_S = 6.0
FILES_SHOWN = 100
CLASSES_SHOWN = 20
ALL_NODES = "all"
FILE_FIELDS = (
    "file_id", "name", "size", "modified_ms", "group", "stream", "rotation", "worker_id", "job_id", "submission_id", "pid", "first",
)  # fmt: skip
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
class FileRow:
    """A file of the list."""

    node: model.Node
    file: ListedFile
    owner: Owner | None


@dataclass(frozen=True)
class LogList:
    """All that logs/list.html may use."""

    nodes: list[model.Node]  # those alive, the head first, and those that are gone
    node: model.Node | None  # None: all of them
    rows: list[FileRow]
    listing: Listing  # how many there are
    first: int  # number of the first file shown, from 0
    problem: str | None = None  # why there are no files
    missing: tuple[tuple[str, str], ...] = ()  # (node, why) of those whose files are missing
    classes: tuple[tuple[str, int], ...] = ()  # files of each class of actors, the most first
    keeping_problem: str | None = None  # why not all of them is kept for when the node is gone

    @property
    def is_everywhere(self) -> bool:
        return self.node is None and self.problem is None


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

    @property
    def is_of_one(self) -> bool:
        """Of one of Ray's things, whose files may be on any node."""
        return bool(self.job or self.actor or self.worker)

    def arguments(self, first: int = 0, **other: Any) -> dict[str, Any]:
        """For a URL, without what is so anyhow."""
        values = {**asdict(self), "empty": 1 if self.empty else None, "from": first} | other
        return {name: value or None for name, value in values.items() if not (name == "sort" and value == SORTS[0])}

    def href(self, first: int = 0, **other: Any) -> str:
        """The same list with something else."""
        return href("logs", **self.arguments(first, **other))


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
        after = self.page.first + len(self.page.rows)
        is_there = after < self.page.listing.matching and not (self.page.is_everywhere and after >= MOST_OF_A_HOST)
        return self.asked.href(after) if is_there else None

    @property
    def is_cut(self) -> bool:
        """Whether there are files that cannot be paged to."""
        return self.page.is_everywhere and self.page.listing.matching > MOST_OF_A_HOST

    @property
    def data(self) -> str:
        """The same as JSON."""
        return f"{href('logs_data')}?{self.asked.href(self.page.first).partition('?')[2]}".rstrip("?")


def list_logs(scope: Scope) -> Response:
    """The files of one node, or with ?node=all of every one.

    ?group=, ?class_name= (of actors), ?job=, ?actor=, ?worker=, ?name= (a part of it), ?empty=1, ?sort=, ?from= (the number of the first).
    """
    asked, page = _listed(scope, FILES_SHOWN)
    page = replace(page, keeping_problem=keeping_problem(scope))
    words: dict[str, Any] = {"groups": GROUPS, "labels": LABELS, "short_name": short_name, "classes_shown": CLASSES_SHOWN}
    return page_response("logs/list.html", page=page, asked=asked, links=ListLinks(asked, page), **words)


def list_logs_data(scope: Scope) -> Response:
    """The same as JSON, up to ?limit=500 files at once."""
    limit = number_asked("limit", FILES_SHOWN)
    if not 1 <= limit <= MOST_OF_A_HOST:
        raise BadQuery(f"limit is {limit}; it must be a number from 1 to {MOST_OF_A_HOST}.")
    asked, page = _listed(scope, limit)
    after = page.first + len(page.rows)
    more = bool(page.rows) and after < page.listing.matching and not (page.is_everywhere and after >= MOST_OF_A_HOST)
    arguments = {**asked.arguments(after), "limit": None if limit == FILES_SHOWN else limit}
    about = freshness_answer(scope.state(NODES.name, now=parts().now()).freshness)
    unanswered = ((page.node.node_id if page.node else None, page.problem),) if page.problem else ()
    missing = [{"node": node_id, "reason": why, "since": None} for node_id, why in (*unanswered, *page.missing)]
    return json_response(
        {
            "rows": [_as_row(row) for row in page.rows],
            "total": page.listing.total,
            "matching": page.listing.matching,
            "empty": page.listing.empty,
            "groups": page.listing.groups,
            "next": href("logs_data", **arguments, theme=None) if more else None,
            **about,
            "partial": missing,
            "source": "kept logs" if page.listing.is_kept else "logs",
            "exact": page.listing.is_whole and not missing,
        }
    )


def _as_row(row: FileRow) -> dict[str, Any]:
    owner = row.owner
    told = {name: getattr(row.file, name) for name in FILE_FIELDS}
    return {"node_id": row.node.node_id, **told, "owner": owner.label if owner else None, "owner_state": owner.state if owner else None}


def _listed(scope: Scope, limit: int) -> tuple[AskedFiles, LogList]:
    asked, first = asked_files(), number_asked("from", 0)
    nodes = nodes_with_logs(scope)
    if not nodes:
        return asked, LogList(nodes, None, [], Listing(), first, "No node is known.")
    if asked.node is None:
        asked = replace(asked, node=ALL_NODES if asked.is_of_one else nodes[0].node_id)
    if asked.node == ALL_NODES:
        return asked, _everywhere(scope, asked, nodes, first, limit)
    node = known_node(scope, asked.node or "")
    wanted = replace(_probe(scope, asked, node), node_id=node.node_id, offset=first, limit=limit, with_workers=True)
    told, problem = ask_node(scope, node, wanted, Listing)
    listing, owners = told or Listing(), Owners(scope, node)
    rows = [FileRow(node, file, owners.of(file)) for file in listing.files]
    return asked, LogList(nodes, node, rows, listing, first, problem, classes=tuple(owners.counted(listing).items()))


def _everywhere(scope: Scope, asked: AskedFiles, nodes: list[model.Node], first: int, limit: int) -> LogList:
    wanted = replace(_probe(scope, asked, None), offset=first, limit=limit)
    found = list_everywhere(parts().questions, scope, nodes, wanted, ANSWERED_WITHIN_S)
    by_id = {node.node_id: node for node in nodes}
    owners = {node_id: Owners(scope, by_id[node_id]) for node_id in {node_id for node_id, _ in found.files}}
    rows = [FileRow(by_id[node_id], file, owners[node_id].of(file)) for node_id, file in found.files]
    return LogList(nodes, None, rows, found.listing, first, missing=found.problems)


def _probe(scope: Scope, asked: AskedFiles, node: model.Node | None) -> ListLogs:
    return ListLogs("", asked.group, asked.name, *asked_scope(scope, asked, node).ids, with_empty=asked.empty, sort=asked.sort)


def asked_files(also: frozenset[str] = frozenset()) -> AskedFiles:
    """What the URL asks of the files of a node. Raises BadQuery."""
    check_arguments(LIST_ARGUMENTS | also | ({"limit"} if request.path.endswith(".json") else set()))
    args = request.args
    group, sort = args.get("group") or None, args.get("sort") or SORTS[0]
    if group is not None and group not in GROUPS:
        raise BadQuery(f"group is {group[:32]!r}; it must be one of {', '.join(GROUPS)}.")
    if sort not in SORTS:
        raise BadQuery(f"sort is {sort[:32]!r}; it must be one of {', '.join(SORTS)}.")
    whose = {name: args.get(name, "").strip()[:MOST_NAME] for name in ("job", "actor", "worker", "class_name")}
    return AskedFiles(args.get("node") or None, group, args.get("name", "")[:MOST_NAME], args.get("empty") == "1", sort, **whose)


def asked_scope(scope: Scope, asked: AskedFiles, node: model.Node | None) -> scopes.LogScope:
    """Whose files of a node, or of all, are asked for. Raises NotFound."""
    if asked.class_name:
        workers = Owners(scope, node).of_class(asked.class_name) if node else scopes.of_class(scope.reader, asked.class_name)
        return scopes.LogScope(worker_ids=workers) if workers else scopes.NOBODY
    return scopes.of(scope.reader, job=asked.job, actor=asked.actor, worker=asked.worker)


def short_name(name: str) -> str:
    """A file's name with the ids in it cut short."""
    return LONG_ID.sub(lambda found: f"{found[0][:8]}…", name)


def ask_node(
    scope: Scope, node: model.Node, probe: ListLogs | ReadLog | FindInLog | CountLevels, kind: type[T]
) -> tuple[T | None, str | None]:
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
