"""The timeline of a session, or of one job of it, as a file for Perfetto and chrome://tracing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

from flask import Response, request

from clusterstate import model
from clusterstate.query import BadQuery, NotFound
from clusterstate.resources import JOBS, NODES, TASKS
from clusterstate.store.reader import SessionReader
from webapp import background
from webapp.chrome_trace import Attempt, ChromeTrace
from webapp.exports import as_json
from webapp.pages.jobs import find_job
from webapp.parts import parts
from webapp.rendering import streamed
from webapp.scope import Scope

ARGUMENTS = frozenset({"job_id", "theme"})
JOBS_NAMED = 20
_NOT_IN_A_FILE_NAME = re.compile(r"[^A-Za-z0-9_-]")


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
