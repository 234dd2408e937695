"""Errors in the log files of a session, grouped: the list, one of them, and both as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from flask import Response, request

from clusterstate import model
from clusterstate.log_answers import Unreadable, read_answer
from clusterstate.log_error_answers import SORTS, ErrorDetail, ErrorGroup, ErrorList, ErrorPlace, ErrorsKept
from clusterstate.log_errors import KINDS
from clusterstate.node_questions import Unanswered
from clusterstate.probes import ListLogErrors, ShowLogError
from clusterstate.query import BadQuery, NotFound
from clusterstate.resources import NODES, WORKERS
from webapp.htmx import headers_of
from webapp.logs import scopes
from webapp.logs.hosts import keeping_host, nodes_with_logs
from webapp.pages.logs import number_asked, short_name
from webapp.parts import parts
from webapp.responses import freshness_answer, json_response, page_response
from webapp.scope import Scope, href

T = TypeVar("T")

ANSWERED_WITHIN_S = 6.0
SHOWN = 100
LATE_AFTER_S = 120
"""The keeper says every half minute that it looks."""
POLLED_EVERY_MS = 5_000
ARGUMENTS = frozenset({"job", "node", "q", "kind", "sort", "from", "theme"})
KIND_LABELS = {"traceback": "Tracebacks", "line": "Lines"}


NOT_KNOWN = "No such error is known of this session, or it is not remembered any more."


@dataclass(frozen=True)
class AskedErrors:
    """What the URL asks."""

    job: str = ""
    node: str = ""
    q: str = ""
    kind: str = ""
    sort: str = SORTS[0]

    def href(self, first: int = 0, **other: str) -> str:
        """The same list with something else."""
        values = {name: value or None for name, value in {**asdict(self), **other}.items()}
        if values["sort"] == SORTS[0]:
            values["sort"] = None
        return href("log_errors", **values, **({"from": first} if first else {}))

    def by(self, key: str) -> str:
        """Sorted by that, greatest first; the other way round if it is already."""
        return self.href(sort=key if self.sort == f"-{key}" else f"-{key}")

    def order(self, key: str) -> str | None:
        """For aria-sort."""
        return {key: "ascending", f"-{key}": "descending"}.get(self.sort)


@dataclass(frozen=True)
class Owner:
    """Whose file an error stood in."""

    label: str
    href: str | None
    count: int = 0
    first_ms: int = 0
    last_ms: int = 0


@dataclass(frozen=True)
class ErrorsPage:
    """All that logs/errors.html and its fragments may use."""

    asked: AskedErrors
    nodes: list[model.Node]
    told: ErrorList | None
    problem: str | None  # why there is nothing
    warning: str | None  # why something may be missing
    first: int
    owners: Mapping[str, list[Owner]]  # by fingerprint

    @property
    def shown_to(self) -> int:
        return self.first + (len(self.told.groups) if self.told else 0)

    @property
    def new(self) -> int:
        """Groups of this page that are new."""
        return sum(group.is_new for group in self.told.groups) if self.told else 0


@dataclass(frozen=True)
class ErrorPage:
    """All that logs/error.html may use."""

    told: ErrorDetail | None
    problem: str | None
    warning: str | None
    owners: list[Owner]
    places: list[tuple[ErrorPlace, str | None, Owner]]  # with the address of the line


def list_errors(scope: Scope) -> Response:
    """The errors of the session: ?job=, ?node=, ?q= (a part of title or class), ?kind=, ?sort=, ?from= (the number of the first)."""
    asked, first = _asked(), number_asked("from", 0)
    owners, is_whole = _owners_of(scope, asked.job)
    wanted = ListLogErrors(asked.node, scope.reader.session, owners, asked.q, asked.kind, asked.sort, first, SHOWN)
    told, problem = _ask(scope, wanted, ErrorList)
    warning = _warning(scope, told.kept) if told else None
    if not is_whole:
        warning = f"{warning or ''} Only the files of {scopes.MOST_WORKERS} workers of this job are looked at.".strip()
    if request.path.endswith(".json"):
        return json_response(_list_answer(scope, told, problem, warning, first))
    page = ErrorsPage(
        asked=asked,
        nodes=nodes_with_logs(scope),
        told=told,
        problem=problem or _nothing(told),
        warning=warning,
        first=first,
        owners={group.fingerprint: _owners(scope, group) for group in told.groups} if told else {},
    )
    fragment = "logs/_job_errors.html" if headers_of(request).target_id == "job-errors" else "logs/_errors.html"
    return page_response("logs/errors.html", fragment, page=page, kinds=KINDS, labels=KIND_LABELS, poll_ms=_poll_ms(scope))


def show_error(scope: Scope, fingerprint: str) -> Response:
    """One error: a sample, where it was seen how often, and its newest places."""
    for name in request.args:
        if name != "theme":
            raise BadQuery(f"{name[:32]!r} is not known here.")
    told, problem = _ask(scope, ShowLogError("", scope.reader.session, fingerprint[:64]), ErrorDetail)
    warning = _warning(scope, told.kept) if told else None
    if request.path.endswith(".json"):
        if told is None and problem:
            raise Unanswered(problem)
        if told is None:
            raise NotFound(NOT_KNOWN)
        return json_response({**asdict(told), "warning": warning})
    page = ErrorPage(
        told=told,
        problem=problem or (NOT_KNOWN if told is None else None),
        warning=warning,
        owners=[_owner(scope, one.key, one.count, one.first_ms, one.last_ms) for one in told.group.owners] if told else [],
        places=[(place, _line(scope, place), _owner(scope, place.owner)) for place in told.places] if told else [],
    )
    return page_response("logs/error.html", "logs/_error.html", page=page, short_name=short_name, poll_ms=_poll_ms(scope))


def _ask(scope: Scope, probe: ListLogErrors | ShowLogError, kind: type[T]) -> tuple[T | None, str | None]:
    try:
        questions = parts().questions
        host = keeping_host(questions, scope.cluster, probe.queue)
        value = questions.ask(probe, scope.cluster, host, ANSWERED_WITHIN_S)
        return (None if value is None else read_answer(value, kind)), None
    except (Unanswered, Unreadable) as why:
        return None, str(why)


def _asked() -> AskedErrors:
    for name in request.args:
        if name not in ARGUMENTS:
            raise BadQuery(f"{name[:32]!r} is not known here; known are {', '.join(sorted(ARGUMENTS - {'theme'}))}.")
    given = {name: request.args.get(name, "").strip()[:200] for name in ("job", "node", "q", "kind", "sort")}
    if given["kind"] not in ("", *KINDS):
        raise BadQuery(f"kind is {given['kind'][:32]!r}; it must be one of {', '.join(KINDS)}.")
    if given["sort"] not in ("", *SORTS):
        raise BadQuery(f"sort is {given['sort'][:32]!r}; it must be one of {', '.join(SORTS)}.")
    return AskedErrors(**{**given, "sort": given["sort"] or SORTS[0]})


def _owners_of(scope: Scope, job: str) -> tuple[tuple[str, ...], bool]:
    """Whose files are a job's, and whether that is all of them. Raises NotFound."""
    if not job:
        return (), True
    found = scopes.of_job(scope.reader, job)
    named = [("job", found.job_ids), ("submission", found.submission_ids), ("worker", found.worker_ids)]
    return tuple(f"{kind}:{one}" for kind, ids in named for one in ids), found.is_whole


def _owner(scope: Scope, key: str, count: int = 0, first_ms: int = 0, last_ms: int = 0) -> Owner:
    kind, _, name = key.partition(":")
    label, link = "the cluster", None
    if kind in ("job", "submission"):
        label, link = f"job {name}", href("job", job_key=name)
    elif kind == "worker":
        worker: model.Worker | None = scope.reader.get(WORKERS, name)
        job_id = worker.job_id if worker else None
        label, link = (f"job {job_id}", href("job", job_key=job_id)) if job_id else (f"worker {name[:8]}", href("worker", worker_id=name))
    return Owner(label, link, count, first_ms, last_ms)


def _owners(scope: Scope, group: ErrorGroup) -> list[Owner]:
    """Each once: many workers are of one job."""
    return list({one.label: one for one in (_owner(scope, counter.key) for counter in group.owners)}.values())


def _line(scope: Scope, place: ErrorPlace) -> str | None:
    """The address of the line in its file; None where its node is not remembered."""
    if place.node_id is None or scope.reader.get(NODES, place.node_id) is None:
        return None
    return f"{href('log', node_id=place.node_id, file_id=place.file_id, at=place.offset)}#b{place.offset}"


def _nothing(told: ErrorList | None) -> str | None:
    if told is None or told.kept.is_there:
        return None
    if told.kept.is_off:
        return "Log files are not sent to the head here (RAYDECK_KEPT_LOGS_KB_S is 0), so no errors are found in them."
    return "No log file of this session has come to the head (yet), so it is not known which errors are in them."


def _warning(scope: Scope, kept: ErrorsKept) -> str | None:
    """What makes the answer less than all."""
    said: list[str] = []
    if kept.is_there and kept.is_off:
        said.append("Log files are not sent to the head any more (RAYDECK_KEPT_LOGS_KB_S is 0): errors since then are not here.")
    late_s = parts().now() - (kept.looked_at_ms or 0) / 1000
    if kept.is_there and not kept.is_off and late_s > LATE_AFTER_S and not scope.is_past:
        said.append("The keeper, which looks for errors in what nodes send, has not run for a while: the newest may be missing.")
    if kept.gone:
        said.append(f"{kept.gone:,} kinds of errors that were seen longest ago are not remembered any more.")
    if kept.passed_over:
        said.append("Some files hold more errors than are looked at: counts are at least these.")
    return " ".join(said) or None


def _poll_ms(scope: Scope) -> int | None:
    return None if scope.is_past else max(POLLED_EVERY_MS, int(parts().settings.refresh_s * 1000))


def _list_answer(scope: Scope, told: ErrorList | None, problem: str | None, warning: str | None, first: int) -> dict[str, Any]:
    groups = told.groups if told else ()
    after = first + len(groups)
    about = freshness_answer(scope.state(NODES.name, now=parts().now()).freshness)
    return {
        "rows": [asdict(group) for group in groups],
        "total": sum(told.kinds.values()) if told else None,
        "matching": told.matching if told else None,
        "occurrences": told.occurrences if told else None,
        "next": after if told and after < told.matching else None,
        **about,
        "problem": problem or _nothing(told),
        "warning": warning,
        "source": "logs",
    }
