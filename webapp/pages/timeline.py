"""The timeline of a session, or of a part of it: as a page, and as a file for Perfetto and chrome://tracing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from flask import Response, request

from clusterstate import model
from clusterstate.query import AnyOf, BadQuery, Condition, NotFound
from clusterstate.resources import ACTORS, JOBS, NODES, TASKS
from clusterstate.store.reader import SessionReader
from webapp import background
from webapp.chrome_trace import Attempt, ChromeTrace
from webapp.exports import as_json
from webapp.pages.jobs import find_job, tabs_of
from webapp.parts import parts
from webapp.preferences import preferences
from webapp.rendering import streamed
from webapp.responses import page_response
from webapp.scope import Scope, ScopeState
from webapp.timeline.asking import Asked, read
from webapp.timeline.picture import Whose, load
from webapp.timeline.window import PIXELS

SEEN = (TASKS.name, NODES.name)
MOST_INCARNATIONS = 50
LONGEST_PAUSE_S = 30
ARGUMENTS = frozenset({"job_id", "theme"})
JOBS_NAMED = 20
_NOT_IN_A_FILE_NAME = re.compile(r"[^A-Za-z0-9_-]")


def show_timeline(scope: Scope) -> Response:
    """What ran when, by worker, in the window that the URL names."""
    asked = read(request.args)
    now = parts().now()
    state = scope.state(*SEEN, now=now)
    whose = background.run(lambda: _whose(scope, asked))
    job = _job_of(scope, asked)

    def loaded() -> Mapping[str, Any]:
        moment_ms = int(scope.reader.moment(now) * 1000)
        page = load(scope.reader, asked, whose, moment_ms, preferences().time_zone, is_past=scope.is_past)
        return {"page": page, "freshness": state.freshness}

    tabs = tabs_of(job, "timeline") if job is not None else ()
    tag = _tag(scope, asked, state, now)
    return page_response("timeline/index.html", "timeline/_timeline.html", tag, loaded, is_long=True, job=job, tabs=tabs)


def _tag(scope: Scope, asked: Asked, state: ScopeState, now: float) -> tuple[object, ...]:
    """A window that moves on is drawn anew when it has moved by what can be seen; a whole day need not be each second."""
    _, *others = state.tag_parts(now)
    if scope.is_past or not asked.follows:
        return (*others, state.version)
    metadata = scope.reader.metadata()
    began_ms = asked.from_ms or (metadata.started_ms if metadata is not None else None) or 0
    span_s = asked.span_ms / 1000 if asked.span_ms is not None else max(0.0, now - began_ms / 1000)
    return (*others, int(now / min(LONGEST_PAUSE_S, max(1.0, span_s / PIXELS))))


def _whose(scope: Scope, asked: Asked) -> Whose:
    """The workers that the URL's filter means. Raises NotFound."""
    if asked.filter is None:
        return Whose()
    name, value = asked.filter
    if name == "job_id":
        job_id = _job_id(scope, value)
        return Whose(Condition("job_id", "is", job_id)) if job_id is not None else Whose(is_nobody=True)
    if name != "actor_id":
        return Whose(Condition(name, "is", value))
    actor: model.Actor | None = scope.reader.get(ACTORS, value)
    if actor is None:
        ids = {task.worker_id for task in scope.reader.find(TASKS, "actor_id", value, MOST_INCARNATIONS)}
    else:
        ids = {actor.worker_id, *(one.get("worker_id") for one in actor.previous_incarnations[-MOST_INCARNATIONS:])}
    workers = sorted(worker_id for worker_id in ids if worker_id)
    return Whose(AnyOf(tuple(Condition("worker_id", "is", worker_id) for worker_id in workers))) if workers else Whose(is_nobody=True)


def _job_of(scope: Scope, asked: Asked) -> model.Job | None:
    """The job whose timeline this is, if its row is still there."""
    if asked.filter is None or asked.filter[0] != "job_id":
        return None
    try:
        return find_job(scope, asked.filter[1])
    except NotFound:
        return None


def download_timeline(scope: Scope) -> Response:
    """Every attempt that has started, of the session or of the job that `job_id` names, as a Chrome trace made while it is sent."""
    if unknown := request.args.keys() - ARGUMENTS:
        raise BadQuery(f"There is no {min(unknown)[:32]!r} here. The timeline takes job_id, or nothing for all jobs.")
    wanted = request.args.get("job_id")
    job_id = None if wanted is None else _job_id(scope, wanted)
    pieces = iter((b"[]",)) if wanted is not None and job_id is None else _pieces(scope.reader, job_id, parts().now())
    first = background.run(lambda: next(pieces))
    response = streamed(chain((first,), _others(pieces)), "application/json")
    name = "-".join(("timeline", scope.cluster, *([_NOT_IN_A_FILE_NAME.sub("_", job_id)[:64]] if job_id else [])))
    response.headers["Content-Disposition"] = f'attachment; filename="{name}.json"'
    return response


def _job_id(scope: Scope, wanted: str) -> str | None:
    """The id that a job's tasks have; None: it has no driver yet. Raises NotFound, which names jobs that there are."""
    try:
        return find_job(scope, wanted).job_id
    except NotFound as error:
        if scope.reader.find(TASKS, "job_id", wanted, 1):  # tasks outlive the row of their job
            return wanted
        known: list[model.Job] = scope.reader.all(JOBS, JOBS_NAMED)
        ids = ", ".join(job.job_key[:64] for job in known) or "none yet"
        raise NotFound(f"{error} job_id takes the job id or submission id of a job, such as: {ids}.") from None


def _pieces(reader: SessionReader, job_id: str | None, now: float) -> Iterator[bytes]:
    def node_ip(node_id: str) -> str | None:
        node: model.Node | None = reader.get(NODES, node_id)
        return None if node is None else node.node_ip

    trace = ChromeTrace(int(reader.moment(now) * 1000), node_ip)
    before = b"["
    for rows in reader.scan(TASKS, Attempt._fields, "start_time_ms", None if job_id is None else ("job_id", job_id)):
        if events := list(trace.events(map(Attempt._make, rows))):
            yield before + as_json(events)[1:-1]
            before = b",\n"
    yield b"[]" if before == b"[" else b"]"


def _others(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Each made off the event loop when it is its turn."""
    while (piece := background.run(lambda: next(pieces, None))) is not None:
        yield piece
