"""What stands in a log file: a window of it, what was found in it, and the ways from there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from flask import Response, request

from clusterstate import model
from clusterstate.log_answers import Finding, LevelCounts, LogPart, Unreadable
from clusterstate.log_levels import CANDIDATES
from clusterstate.probes import CountLevels, FindInLog, ReadLog
from clusterstate.query import BadQuery
from clusterstate.resources import NODES
from webapp.logs.lines import Line, LogWindow, found_window, window_of
from webapp.logs.owners import Owners
from webapp.moments import moment_asked
from webapp.pages.logs import ask_node, check_arguments, flag_asked, known_node, number_asked
from webapp.parts import parts
from webapp.preferences import preferences
from webapp.responses import freshness_answer, json_response, page_response
from webapp.scope import Scope, href

LINES_SHOWN = 400
ARGUMENTS = frozenset(
    {"at", "back", "hit", "q", "regex", "case", "level", "only", "context", "raw", "time", "times", "wrap", "follow", "theme"}
)  # fmt: skip
MOST_PATTERN = 1_000
CONTEXTS = (0, 1, 2, 5)
MOST_COUNTED_BYTES = 64 << 20
"""Errors of larger files are counted when somebody asks for that."""


@dataclass(frozen=True)
class AskedFind:
    """What is looked for in the file."""

    q: str = ""
    regex: bool = False
    case: bool = False
    level: str = ""  # in place of a text: error, warning
    only: bool = False  # lines that match alone
    context: int = 0  # with lines before and after each

    @property
    def is_asked(self) -> bool:
        return bool(self.q or self.level)

    def arguments(self) -> dict[str, Any]:
        """For a URL, without what is so anyhow."""
        if not self.is_asked:
            return {}
        only = {"only": 1, "context": self.context or None} if self.only else {}
        return {"q": self.q or None, "regex": self.regex or None, "case": self.case or None, "level": self.level or None} | only


@dataclass(frozen=True)
class AskedPlace:
    """Where in the file."""

    at: int | None = None
    back: bool = False
    hit: int | None = None
    time: str = ""


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
    find: AskedFind = AskedFind()
    found: Finding | None = None
    place: AskedPlace = AskedPlace()


@dataclass(frozen=True)
class FileLinks:
    """Where one goes from a window."""

    page: LogFile
    endpoint: str = "log"  # or log_data: the same places as JSON

    def _to(
        self, at: int | None = None, *, back: bool = False, hit: int | None = None, find: AskedFind | None = None, **other: bool
    ) -> str:
        chosen = {"raw": self.page.raw, "times": self.page.times, "wrap": self.page.wrap, "follow": False, **other}
        values = {
            **(self.page.find if find is None else find).arguments(),
            "at": at,
            "back": 1 if back else None,
            "hit": hit,
            "raw": 1 if chosen["raw"] else None,
            "times": 1 if chosen["times"] else None,
            "wrap": None if chosen["wrap"] else 0,
            "follow": 1 if chosen["follow"] else None,
        }
        flags = {name: 1 if value is True else value for name, value in values.items()}
        return href(self.endpoint, node_id=self.page.node.node_id, file_id=self.page.file_id, **flags)

    def line(self, offset: int) -> str:
        """A line with what stands around it."""
        if self.page.find.only:
            return f"{self._to(hit=offset, find=replace(self.page.find, only=False))}#b{offset}"
        return f"{self._to(at=offset)}#b{offset}"

    @property
    def start(self) -> str:
        return self._to(at=0)

    @property
    def end(self) -> str:
        if self.page.find.is_asked and not self.page.find.only and self.page.window:
            return f"{self._to(at=self.page.window.size, back=True)}#end"
        return f"{self._to()}#end"

    @property
    def has_earlier(self) -> bool:
        if self.page.find.only and self.page.found:
            return self.page.found.previous is not None
        return self.page.window is not None and self.page.window.has_earlier

    @property
    def has_later(self) -> bool:
        if self.page.find.only and self.page.found:
            return self.page.found.next is not None
        return self.page.window is not None and self.page.window.has_later

    @property
    def earlier(self) -> str:
        if self.page.find.only and self.page.found:
            return self._to(at=self.page.found.previous, back=True)
        return self._to(at=self.page.window.start if self.page.window else 0, back=True)

    @property
    def later(self) -> str:
        if self.page.find.only and self.page.found:
            return self._to(at=self.page.found.next)
        return self._to(at=self.page.window.end if self.page.window else 0)

    @property
    def data(self) -> str:
        """These lines as JSON."""
        place = self.page.place
        if self.page.find.is_asked or self.page.window is None:
            return replace(self, endpoint="log_data")._to(place.at, back=place.back, hit=place.hit)
        return replace(self, endpoint="log_data")._to(self.page.window.start)

    @property
    def download(self) -> str:
        return href("log_file", node_id=self.page.node.node_id, file_id=self.page.file_id, theme=None)

    @property
    def follow(self) -> str:
        """The end of the file, followed; or not any more."""
        return self._to(follow=not self.page.follow, find=AskedFind())

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
        place = self.page.place
        turned: dict[str, Any] = {name: not getattr(self.page, name)}
        if self.page.find.is_asked and not place.time:
            return self._to(place.at, back=place.back, hit=place.hit, **turned)
        return self._to(self.page.window.start if self.page.window else None, **turned)

    # --- What was found

    @property
    def previous_hit(self) -> str | None:
        """The hit before; from the first one the last."""
        found = self.page.found
        if found is None or not found.count or self.page.find.only:
            return None
        return f"{self._to(hit=found.previous)}#hit"

    @property
    def next_hit(self) -> str | None:
        """The hit after; from the last one the first."""
        found = self.page.found
        if found is None or not found.count or self.page.find.only:
            return None
        return f"{self._to(hit=0 if found.next is None else found.next)}#hit"

    @property
    def find_from(self) -> int | None:
        """Where a new search begins: where one looks; at the end backwards."""
        if self.page.found is not None and self.page.found.current is not None:
            return self.page.found.current
        place = self.page.place
        return self.page.window.start if self.page.window and (place.at is not None or place.time) and not self.page.find.only else None

    @property
    def only(self) -> str:
        """Lines that match alone; or all again, from the same place."""
        find = replace(self.page.find, only=not self.page.find.only)
        if find.only:
            here = self.page.found.current if self.page.found else None
            return self._to(at=here if here and self.page.place.hit is not None else None, find=find)
        return f"{self._to(hit=self.page.window.start if self.page.window else None, find=find)}#hit"

    @property
    def levels(self) -> str:
        """Where the errors and warnings of the whole file are counted."""
        return href("log_levels", node_id=self.page.node.node_id, file_id=self.page.file_id)

    def level(self, level: str) -> str:
        """The last line of this level."""
        return f"{self._to(find=AskedFind(level=level))}#hit"

    @property
    def without_find(self) -> str:
        window = None if self.page.find.only else self.page.window
        return self._to(at=window.start if window else None, find=AskedFind())

    @property
    def search(self) -> str:
        """For the same in the files of every node."""
        return href("log_search", q=self.page.find.q, regex=1 if self.page.find.regex else None, case=1 if self.page.find.case else None)


def show_log(scope: Scope, node_id: str, file_id: str) -> Response:
    """Lines of a file: its end; from the line that holds byte ?at= on; with ?back=1 what stands before; from ?time= on.

    With ?q= (&regex=1&case=1) or ?level= around the line that matches at byte ?hit= or next after it, around the last one without a place;
    with ?only=1 (&context=) those that match alone. ?raw=1 shows every byte, ?times=1 a column of times, ?wrap=0 long lines on one.
    """
    page = _file(scope, node_id, file_id)
    counted = page.window is not None and 0 < page.window.size <= MOST_COUNTED_BYTES
    owner = Owners(scope, page.node).of_name(page.window.name) if page.window else None
    return page_response("logs/file.html", page=page, links=FileLinks(page), owner=owner, contexts=CONTEXTS, counted=counted)


def show_levels(scope: Scope, node_id: str, file_id: str) -> Response:
    """How many lines of a file are errors and warnings, each a link to the last one."""
    check_arguments(frozenset({"theme"}))
    node = known_node(scope, node_id)
    counts, problem = ask_node(scope, node, CountLevels(node_id, file_id[:64]), LevelCounts)
    page = LogFile(node, file_id, None, problem, raw=False, times=False, wrap=True, time="")
    return page_response("logs/levels.html", "logs/_levels.html", page=page, counts=counts, links=FileLinks(page))


def show_log_data(scope: Scope, node_id: str, file_id: str) -> Response:
    """The same lines as JSON: `total` are bytes of the file, `matching` lines; `next` and `previous` are addresses."""
    page = _file(scope, node_id, file_id)
    window, found, links = page.window, page.found, FileLinks(page, "log_data")
    about = freshness_answer(scope.state(NODES.name, now=parts().now()).freshness)
    return json_response(
        {
            "rows": [_as_row(line) for line in window.lines] if window else [],
            "total": window.size if window else None,
            "matching": found.count if found else None,
            "next": links.later if links.has_later else None,
            **about,
            "partial": [{"node": page.node.node_id, "reason": page.problem, "since": None}] if page.problem else [],
            "source": "kept logs" if window and window.is_kept else "logs",
            "exact": page.problem is None and (found is None or found.is_exact),
            "previous": links.earlier if links.has_earlier else None,
            "node_id": page.node.node_id,
            **{name: getattr(window, name, None) for name in ("name", "modified_ms", "start", "end", "first")},
            "hit": {"number": found.number, "current": found.current, "previous": found.previous, "next": found.next} if found else None,
        }
    )


def _as_row(line: Line) -> dict[str, Any]:
    return {
        "line": line.number,
        "offset": line.offset,
        "time_ms": line.at_ms,
        "level": line.level,
        "text": "".join(span.text for span in line.spans),
        "is_hit": any(span.is_found for span in line.spans),
        "is_cut": line.is_continued,
    }


def _file(scope: Scope, node_id: str, file_id: str) -> LogFile:
    check_arguments(ARGUMENTS)
    find, place = _asked_find(), _asked_place()
    page = LogFile(
        node=known_node(scope, node_id),
        file_id=file_id,
        window=None,
        problem=None,
        raw=request.args.get("raw") == "1",
        times=request.args.get("times") == "1",
        wrap=request.args.get("wrap") != "0",
        time=place.time,
        find=find,
        place=place,
    )
    try:
        page = _found(scope, page) if find.is_asked and not place.time else _read(scope, page)
    except Unreadable as why:
        page = replace(page, problem=str(why))
    can_follow = page.window is not None and not (find.is_asked or page.window.has_later or page.window.is_kept)
    return replace(page, follow=can_follow and request.args.get("follow") == "1")


def _read(scope: Scope, page: LogFile) -> LogFile:
    place = page.place
    at_ms = moment_asked("time", place.time, parts().now(), preferences().time_zone)
    wanted = ReadLog(page.node.node_id, page.file_id[:64], place.at, place.back or place.at is None, LINES_SHOWN, at_ms)
    told, problem = ask_node(scope, page.node, wanted, LogPart)
    return replace(page, window=None if told is None else window_of(told, raw=page.raw), problem=problem)


def _found(scope: Scope, page: LogFile) -> LogFile:
    find, place = page.find, page.place
    wanted = FindInLog(
        node_id=page.node.node_id,
        file_id=page.file_id[:64],
        pattern=find.q,
        is_regex=find.regex,
        any_case=not find.case,
        level=find.level or None,
        hit=place.hit,
        at=None if place.hit is not None else place.at,
        backward=place.back,
        only=find.only,
        context=find.context,
        max_lines=LINES_SHOWN,
    )
    told, problem = ask_node(scope, page.node, wanted, Finding)
    if told is None:
        return replace(page, problem=problem)
    return replace(page, window=found_window(told, raw=page.raw, only=find.only, level=find.level or None), found=told)


def _asked_find() -> AskedFind:
    args = request.args
    q, level = args.get("q", ""), args.get("level", "")
    if len(q) > MOST_PATTERN:
        raise BadQuery(f"q has {len(q)} characters; it may have {MOST_PATTERN}.")
    if level and level not in CANDIDATES:
        raise BadQuery(f"level is {level[:32]!r}; it must be one of {', '.join(CANDIDATES)}.")
    if q and level:
        raise BadQuery("Either q or level can be looked for.")
    context = number_asked("context", 0)
    if context > CONTEXTS[-1]:
        raise BadQuery(f"context is {context}; it must be a number from 0 to {CONTEXTS[-1]}.")
    return AskedFind(q, flag_asked("regex"), flag_asked("case"), level, flag_asked("only"), context)


def _asked_place() -> AskedPlace:
    at = number_asked("at", 0) if request.args.get("at") else None
    hit = number_asked("hit", 0) if request.args.get("hit") else None
    return AskedPlace(at, request.args.get("back") == "1", hit, request.args.get("time", "")[:64])
