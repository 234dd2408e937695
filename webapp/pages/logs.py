"""Logs: the files of a node's log folder, and what stands in one."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from flask import Response, request

from clusterstate import model
from clusterstate.log_answers import Listing, LogPart, Unreadable, read_answer
from clusterstate.log_names import GROUPS
from clusterstate.node_questions import Unanswered
from clusterstate.probes import ListLogs, ReadLog
from clusterstate.query import BadQuery, NotFound
from clusterstate.resources import NODES
from webapp import log_scope
from webapp.log_hosts import host_asked, keeping_problem, nodes_with_logs
from webapp.log_lines import LogWindow, window_of
from webapp.moments import moment_asked
from webapp.parts import parts
from webapp.preferences import preferences
from webapp.responses import page_response
from webapp.scope import Scope, href

T = TypeVar("T")

ANSWERED_WITHIN_S = 6.0
FILES_SHOWN = 100
LINES_SHOWN = 400
LABELS = {
    "driver": "Driver", "worker": "Worker", "serve": "Serve", "raylet": "Raylet", "gcs": "GCS",
    "autoscaler": "Autoscaler", "runtime-env": "Runtime env", "other": "Other",
}  # fmt: skip
SORTS = ("-modified", "modified", "-size", "size", "name", "-name")
LIST_ARGUMENTS = frozenset({"node", "group", "name", "empty", "sort", "from", "job", "actor", "worker", "theme"})
FILE_ARGUMENTS = frozenset({"at", "back", "raw", "time", "times", "wrap", "follow", "theme"})
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
    keeping_problem: str | None  # why not all of them is kept for when the node is gone


@dataclass(frozen=True)
class LogFile:
    """All that logs/file.html may use."""

    node: model.Node
    file_id: str
    window: LogWindow | None
    problem: str | None
    raw: bool
    times: bool  # a column of them
    wrap: bool
    time: str  # that was asked for
    follow: bool = False  # what is written is added while one looks on


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
        return self.asked.href(group=group)

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


@dataclass(frozen=True)
class FileLinks:
    """Where one goes from a window."""

    page: LogFile

    def _at(self, at: int | None, *, back: bool = False, **other: bool) -> str:
        chosen = {"raw": self.page.raw, "times": self.page.times, "wrap": self.page.wrap, "follow": False, **other}
        values = {
            "at": at,
            "back": 1 if back else None,
            "raw": 1 if chosen["raw"] else None,
            "times": 1 if chosen["times"] else None,
            "wrap": None if chosen["wrap"] else 0,
            "follow": 1 if chosen["follow"] else None,
        }
        return href("log", node_id=self.page.node.node_id, file_id=self.page.file_id, **values)

    def line(self, offset: int) -> str:
        return f"{self._at(offset)}#b{offset}"

    @property
    def start(self) -> str:
        return self._at(0)

    @property
    def end(self) -> str:
        return f"{self._at(None)}#end"

    @property
    def earlier(self) -> str:
        return self._at(self.page.window.start if self.page.window else 0, back=True)

    @property
    def later(self) -> str:
        return self._at(self.page.window.end if self.page.window else 0)

    @property
    def download(self) -> str:
        return href("log_file", node_id=self.page.node.node_id, file_id=self.page.file_id, theme=None)

    @property
    def follow(self) -> str:
        """The end of the file, followed; or not any more."""
        return self._at(None, follow=not self.page.follow)

    @property
    def events(self) -> str:
        """Where what is written from here on is told."""
        window = self.page.window
        assert window is not None  # noqa: S101 - for the type checker: the template asks only with one
        begins = window.next_line
        values = {"at": begins.offset, "inode": window.inode, "number": begins.number, "raw": 1 if self.page.raw else None}
        return href("follow_log", node_id=self.page.node.node_id, file_id=self.page.file_id, theme=None, **values)

    def switch(self, name: str) -> str:
        """The same lines, with `raw`, `times` or `wrap` the other way."""
        return self._at(self.page.window.start if self.page.window else None, **{name: not getattr(self.page, name)})

    @property
    def search(self) -> str:
        """In this file alone."""
        name = self.page.window.name if self.page.window else None
        return href("log_search", node=self.page.node.node_id, file=name)


def list_logs(scope: Scope) -> Response:
    """The files of one node: ?node=, ?group=, ?name= (a part of it), ?empty=1, ?sort=, ?from= (the number of the first)."""
    asked = asked_files()
    first = number_asked("from", 0)
    nodes = nodes_with_logs(scope)
    node = _chosen(scope, nodes, asked.node)
    told: Listing | None = None
    problem = None
    if node is None:
        problem = "No node is known."
    else:
        wanted = ListLogs(
            node.node_id,
            asked.group,
            asked.name,
            *asked_scope(scope, asked).ids,
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
        keeping_problem=keeping_problem(scope),
    )
    asked = replace(asked, node=node.node_id if node else None)
    links = ListLinks(asked, page)
    return page_response("logs/list.html", page=page, groups=GROUPS, labels=LABELS, asked=asked, links=links, short_name=short_name)


def show_log(scope: Scope, node_id: str, file_id: str) -> Response:
    """Lines of a file: its end; from the line that holds byte ?at= on; with ?back=1 what stands before; from ?time= on.

    ?raw=1 shows every byte, ?times=1 a column of times, ?wrap=0 long lines on one.
    """
    _check(FILE_ARGUMENTS)
    node: model.Node | None = scope.reader.get(NODES, node_id)
    if node is None:
        raise NotFound(f"There is no node {node_id[:64]} in this session.")
    at = number_asked("at", 0) if "at" in request.args else None
    raw = request.args.get("raw") == "1"
    asked_time = request.args.get("time", "")[:64]
    at_ms = moment_asked("time", asked_time, parts().now(), preferences().time_zone)
    wanted = ReadLog(node_id, file_id[:64], at, request.args.get("back") == "1" or at is None, LINES_SHOWN, at_ms)
    told, problem = ask_node(scope, node, wanted, LogPart)
    window = None
    if told is not None:
        try:
            window = window_of(told, raw=raw)
        except Unreadable as why:
            problem = str(why)
    page = LogFile(
        node=node,
        file_id=file_id,
        window=window,
        problem=problem,
        raw=raw,
        times=request.args.get("times") == "1",
        wrap=request.args.get("wrap") != "0",
        time=asked_time,
        follow=request.args.get("follow") == "1" and window is not None and not (window.has_later or window.is_kept),
    )
    return page_response("logs/file.html", page=page, links=FileLinks(page))


def asked_files(also: frozenset[str] = frozenset()) -> AskedFiles:
    """What the URL asks of the files of a node. Raises BadQuery."""
    _check(LIST_ARGUMENTS | also)
    args = request.args
    group, sort = args.get("group") or None, args.get("sort") or SORTS[0]
    if group is not None and group not in GROUPS:
        raise BadQuery(f"group is {group[:32]!r}; it must be one of {', '.join(GROUPS)}.")
    if sort not in SORTS:
        raise BadQuery(f"sort is {sort[:32]!r}; it must be one of {', '.join(SORTS)}.")
    whose = {name: args.get(name, "").strip()[:MOST_NAME] for name in ("job", "actor", "worker")}
    return AskedFiles(args.get("node") or None, group, args.get("name", "")[:MOST_NAME], args.get("empty") == "1", sort, **whose)


def asked_scope(scope: Scope, asked: AskedFiles) -> log_scope.LogScope:
    """Whose files are asked for. Raises NotFound."""
    return log_scope.of(scope.reader, job=asked.job, actor=asked.actor, worker=asked.worker)


def short_name(name: str) -> str:
    """A file's name with the ids in it cut short."""
    return LONG_ID.sub(lambda found: f"{found[0][:8]}…", name)


def ask_node(scope: Scope, node: model.Node, probe: ListLogs | ReadLog, kind: type[T]) -> tuple[T | None, str | None]:
    """What the node answers, or nothing and why."""
    try:
        value = parts().questions.ask(probe, scope.cluster, host_asked(scope, node), ANSWERED_WITHIN_S)
        return read_answer(value, kind), None
    except (Unanswered, Unreadable) as why:
        return None, str(why)


def _chosen(scope: Scope, nodes: list[model.Node], node_id: str | None) -> model.Node | None:
    if not node_id:
        return nodes[0] if nodes else None
    found: model.Node | None = scope.reader.get(NODES, node_id)
    if found is None:
        raise NotFound(f"There is no node {node_id[:64]} in this session.")
    return found


def _check(known: frozenset[str]) -> None:
    for name in request.args:
        if name not in known:
            raise BadQuery(f"{name[:32]!r} is not known here; known are {', '.join(sorted(known - {'theme'}))}.")


def number_asked(name: str, default: int) -> int:
    """A whole number of the URL. Raises BadQuery."""
    text = request.args.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 20 or int(text) > MOST_OFFSET:
        raise BadQuery(f"{name} is {text[:32]!r}; it must be a whole number from 0 on.")
    return int(text)
