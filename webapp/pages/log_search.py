"""Search in the logs of every node: the form, what was found so far, and the same as JSON."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from flask import Response, request

from clusterstate import model
from clusterstate.log_levels import level_of
from clusterstate.log_names import GROUPS
from clusterstate.probes import SearchLogs
from clusterstate.query import BadQuery
from clusterstate.resources import NODES
from clusterstate.store import queues
from webapp.logs import scopes, searches
from webapp.logs.hosts import nodes_with_logs
from webapp.logs.searches import FileFound, Results
from webapp.logs.text import Span, plain, spans
from webapp.moments import moment_asked
from webapp.pages.logs import LABELS, flag_asked, short_name
from webapp.parts import parts
from webapp.preferences import preferences
from webapp.responses import freshness_answer, json_response, page_response, redirect_to
from webapp.scope import Scope, href

ARGUMENTS = frozenset(
    {"q", "regex", "case", "context", "job", "actor", "worker", "node", "group", "file", "from", "to", "limit", "run", "theme"}
)  # fmt: skip
MOST_PATTERN = 1_000
MOST_HITS = 10_000
SHOWN = 200
MOST_SHOWN = 1_000
OF_A_FILE = 20
"""Hits of a file that are shown where several files have some."""
ANSWERED_WITHIN_S = 55.0
LOOK_EVERY_S = 0.1
SPANS = ("5m", "15m", "1h", "6h", "1d", "7d")
"""Ranges of time that the form offers, as how long ago they began."""


@dataclass(frozen=True)
class AskedSearch:
    """What the URL asks."""

    q: str = ""
    regex: bool = False
    case: bool = False
    context: int = 0
    job: str = ""
    actor: str = ""
    worker: str = ""
    node: str = ""
    group: str = ""
    file: str = ""
    since: str = ""
    until: str = ""
    limit: int = SHOWN

    def arguments(self, **other: Any) -> dict[str, Any]:
        """For a URL, without what is so anyhow."""
        values = {**asdict(self), **other}
        names = {"since": "from", "until": "to"}
        flags = {name: 1 if values[name] else None for name in ("regex", "case", "context")} | {"context": values["context"] or None}
        limit = None if values["limit"] == SHOWN else values["limit"]
        return {names.get(name, name): value or None for name, value in {**values, **flags, "limit": limit}.items()}

    def href(self, **other: Any) -> str:
        """The same search with something else."""
        return href("log_search", **self.arguments(**other))

    @property
    def question(self) -> str:
        """What is searched, whatever is shown of it."""
        return repr(replace(self, limit=0))


@dataclass(frozen=True)
class ShownLine:
    """A found line, ready to be drawn."""

    number: int | None  # None: it is not known how many stand before
    offset: int
    spans: list[Span]
    level: str | None
    is_hit: bool
    is_late: bool  # the line began before what is shown
    is_cut: bool
    gap: bool  # it does not follow the one before


@dataclass(frozen=True)
class ShownFile:
    """A file with the lines that are shown of it."""

    found: FileFound
    lines: list[ShownLine]
    hidden: int  # hits that were told and are not shown here


@dataclass(frozen=True)
class Bar:
    """Hits of a span of time, as parts of a hundred."""

    x: float
    width: float
    height: float
    start_ms: int
    end_ms: int
    count: int
    href: str


@dataclass(frozen=True)
class SearchPage:
    """All that logs/search.html may use."""

    asked: AskedSearch
    nodes: list[model.Node]
    run: str | None
    results: Results | None
    files: list[ShownFile]
    bars: list[Bar]
    shown: int  # hits
    note: str | None  # what is not searched

    @property
    def is_running(self) -> bool:
        return self.results is not None and not self.results.is_done


def show_search(scope: Scope) -> Response:
    """The search that the URL asks for: it is started, then what was found is shown while it comes."""
    asked = _asked()
    if not asked.q:
        return page_response("logs/search.html", page=SearchPage(asked, nodes_with_logs(scope), None, None, [], [], 0, None), **_words())
    questions, run = parts().questions, request.args.get("run", "")
    search = searches.find(questions, run[:64], _question(scope, asked)) if run else None
    if search is None:
        return redirect_to(asked.href(run=_start(scope, asked)))
    results = searches.results(questions, search, asked.limit)
    tag = (run, results.version, results.is_done)

    def load() -> Mapping[str, Any]:
        files = list(_shown(results, asked.limit))
        shown = sum(line.is_hit for file in files for line in file.lines)
        note = None if _scope_of(scope, asked).is_whole else f"Only the files of {scopes.MOST_WORKERS} workers of this job are searched."
        return {"page": SearchPage(asked, nodes_with_logs(scope), run, results, files, _bars(results, asked), shown, note)}

    return page_response("logs/search.html", "logs/_found.html", tag, load, **_words())


def stop_search(scope: Scope) -> Response:
    """Ends a search on every node; what was found stays."""
    asked = _asked()
    run = request.args.get("run", "")[:64]
    search = searches.find(parts().questions, run, _question(scope, asked))
    if search is not None:
        searches.stop(parts().questions, search)
    return redirect_to(asked.href(run=run))


def search_data(scope: Scope) -> Response:
    """The whole search as JSON, once it has ended: every hit, up to ?limit=."""
    asked = _asked(MOST_HITS)
    if not asked.q:
        raise BadQuery("q is missing: the text, or with regex=1 the expression, to find.")
    questions = parts().questions
    search = searches.find(questions, _start(scope, asked), _question(scope, asked))
    assert search is not None  # noqa: S101 - for the type checker: it was started just now
    give_up = time.monotonic() + ANSWERED_WITHIN_S
    while not (results := searches.results(questions, search, 0)).is_done and time.monotonic() < give_up:
        time.sleep(LOOK_EVERY_S)
    if not results.is_done:
        searches.stop(questions, search)
    results = searches.results(questions, search, asked.limit)
    return json_response(_answer(scope, asked, results))


def _answer(scope: Scope, asked: AskedSearch, results: Results) -> dict[str, Any]:
    rows = [
        {
            "node_id": file.node_id,
            "file": file.file.name,
            "file_id": file.file.file_id,
            "group": file.file.group,
            "stream": file.file.stream,
            "worker_id": file.file.worker_id,
            "job_id": file.file.job_id,
            "submission_id": file.file.submission_id,
            "line": line.number,
            "offset": line.offset,
            "is_hit": bool(line.marks),
            "level": level_of(line.bytes()) if not line.skipped else None,
            "text": plain(line.bytes()),
            "skipped_bytes": line.skipped,
            "is_cut": line.is_cut,
        }
        for file in results.files
        for line in file.lines
    ]
    now = parts().now()
    problems = [
        {"node": node.asked.node_id, "reason": node.problem or node.state, "since": None}
        for node in results.nodes
        if node.state != queues.DONE
    ]
    about = freshness_answer(scope.state(NODES.name, now=now).freshness)
    exact = results.is_exact and _scope_of(scope, asked).is_whole
    told = results.told
    return {
        "rows": rows,
        "total": sum(progress.files for progress in told),
        "matching": results.hits,
        "next": None,
        **about,
        "partial": problems,
        "source": "logs",
        "exact": exact,
        "files": sum(progress.files for progress in told),
        "files_searched": sum(progress.files_done for progress in told),
        "bytes": sum(progress.bytes for progress in told),
        "bytes_searched": sum(progress.bytes_done for progress in told),
        "unread": [name for progress in told for name in progress.unread],
    }


def _start(scope: Scope, asked: AskedSearch) -> str:
    of = _scope_of(scope, asked)
    now, zone = parts().now(), preferences().time_zone
    probe = SearchLogs(
        node_id="",
        pattern=asked.q,
        is_regex=asked.regex,
        any_case=not asked.case,
        context=asked.context,
        group=asked.group or None,
        name=asked.file,
        worker_ids=of.worker_ids,
        job_ids=of.job_ids,
        submission_ids=of.submission_ids,
        from_ms=moment_asked("from", asked.since, now, zone),
        to_ms=moment_asked("to", asked.until, now, zone),
        max_hits=MOST_HITS,
    )
    nodes = [node for node in nodes_with_logs(scope) if not asked.node or node.node_id == asked.node]
    return searches.start(parts().questions, scope, nodes, probe, _question(scope, asked))


def _question(scope: Scope, asked: AskedSearch) -> str:
    return f"{scope.cluster} {scope.session} {asked.question}"


def _scope_of(scope: Scope, asked: AskedSearch) -> scopes.LogScope:
    return scopes.of(scope.reader, job=asked.job, actor=asked.actor, worker=asked.worker)


def _asked(most: int = MOST_SHOWN) -> AskedSearch:
    for name in request.args:
        if name not in ARGUMENTS:
            raise BadQuery(f"{name[:32]!r} is not known here; known are {', '.join(sorted(ARGUMENTS - {'theme', 'run'}))}.")
    args = request.args
    q = args.get("q", "")
    if len(q) > MOST_PATTERN:
        raise BadQuery(f"q has {len(q)} characters; it may have {MOST_PATTERN}.")
    group = args.get("group", "")
    if group and group not in GROUPS:
        raise BadQuery(f"group is {group[:32]!r}; it must be one of {', '.join(GROUPS)}.")
    asked = AskedSearch(
        q=q,
        regex=flag_asked("regex"),
        case=flag_asked("case"),
        context=_count("context", 0, 0, 5),
        group=group,
        limit=_count("limit", SHOWN if most == MOST_SHOWN else most, 1, most),
        since=args.get("from", "")[:64],
        until=args.get("to", "")[:64],
        **{name: args.get(name, "").strip()[:200] for name in ("job", "actor", "worker", "node", "file")},
    )
    now, zone = parts().now(), preferences().time_zone
    for name, text in (("from", asked.since), ("to", asked.until)):
        moment_asked(name, text, now, zone)
    return asked


def _count(name: str, default: int, least: int, most: int) -> int:
    text = request.args.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or not least <= int(text[:9]) <= most:
        raise BadQuery(f"{name} is {text[:32]!r}; it must be a number from {least} to {most:,}.")
    return int(text)


def _shown(results: Results, limit: int) -> Iterator[ShownFile]:
    """Files as they are drawn: a few hits of each where there are several."""
    of_each = limit if len(results.files) == 1 else OF_A_FILE
    for file in results.files:
        lines: list[ShownLine] = []
        hits, before = 0, None
        for line in file.lines:
            is_hit = bool(line.marks)
            if is_hit and hits >= of_each:
                break
            hits += is_hit
            content = line.bytes()
            lines.append(
                ShownLine(
                    number=line.number,
                    offset=line.offset,
                    spans=spans(content, found=line.marks),
                    level=None if line.skipped else level_of(content),
                    is_hit=is_hit,
                    is_late=line.skipped > 0,
                    is_cut=line.is_cut,
                    gap=before is not None and line.number is not None and line.number > before + 1,
                )
            )
            before = line.number
        yield ShownFile(file, lines, file.hits - hits)


def _bars(results: Results, asked: AskedSearch) -> list[Bar]:
    step_s, times = results.times
    if not times:
        return []
    first, last = min(times), max(times)
    count = (last - first) // step_s + 1
    top = max(times.values())
    return [
        Bar(
            x=(start - first) / step_s * 100 / count,
            width=100 / count,
            height=max(4.0, number * 100 / top),
            start_ms=start * 1000,
            end_ms=(start + step_s) * 1000,
            count=number,
            href=asked.href(since=str(start * 1000), until=str((start + step_s) * 1000 - 1)),
        )
        for start, number in times.items()
    ]


def _words() -> dict[str, Any]:
    return {"groups": GROUPS, "labels": LABELS, "short_name": short_name, "spans_offered": SPANS}
