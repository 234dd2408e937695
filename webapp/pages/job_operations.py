"""Submitting and stopping jobs: forms that lead to an operation, and whether one can be asked for now."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from flask import Response, g, render_template, request

from clusterstate import model
from clusterstate.job_request import BadRequest, id_problem, new_submission_id, read_request
from clusterstate.journal import JournalUnavailable, Operation, OperationExists
from clusterstate.query import BadQuery
from clusterstate.resources import JOBS as JOB_ROWS
from clusterstate.resources import NODES
from clusterstate.store.connection import StoreUnavailable
from clusterstate.store.operation_queue import OperationsWorker
from webapp.auth import caller, caller_if_any
from webapp.errors import CannotOperate, wants_json
from webapp.parts import parts
from webapp.responses import html, json_response, redirect_to
from webapp.roles import OPERATOR
from webapp.scope import Scope, href

FIELDS = (
    "entrypoint",
    "submission_id",
    "runtime_env",
    "metadata",
    "entrypoint_num_cpus",
    "entrypoint_num_gpus",
    "entrypoint_memory",
)
STOPPABLE = frozenset({"PENDING", "RUNNING"})
FRESH_ID = re.compile(r"raysubmit_[A-Za-z0-9]{16}")
NO_WORKER = (
    "Nobody does operations for this cluster now. `raydeck up` starts a worker for them, and so does `raydeck collect` on the machine "
    "that has the journal."
)
ENDED = "This session has ended: nothing can be asked of it any more."
REDIS_AWAY = "Redis cannot be reached now; submitting and stopping wait for it."


@dataclass(frozen=True)
class Ability:
    """Whether operations can be asked for. `reason` says why not; `how` what the way through Ray is."""

    reason: str | None = None
    how: str | None = None


@dataclass(frozen=True)
class SubmitPage:
    """All that jobs/submit.html may use."""

    ability: Ability
    typed: Mapping[str, str]
    problems: Mapping[str, str]
    fresh_id: str


@dataclass(frozen=True)
class StopPage:
    """All that jobs/stop.html may use."""

    job: model.Job
    reason: str | None


def show_submit_form(scope: Scope) -> Response:
    """The empty form, or why nothing can be submitted now."""
    return _form(SubmitPage(ability_of(scope), {}, {}, new_submission_id()))


def submit_job(scope: Scope) -> Response:
    """Checks what was typed, records it and goes to the job's page. Sent twice, the same form submits once."""
    _refuse_unless_able(scope)
    typed = {name: request.form.get(name, "") for name in FIELDS}
    fresh_id = request.form.get("fresh_id", "")
    fresh_id = fresh_id if FRESH_ID.fullmatch(fresh_id) else new_submission_id()
    submission_id = typed["submission_id"].strip() or fresh_id
    problems: dict[str, str] = {}
    try:
        asked = read_request(typed)
    except BadRequest as found:
        problems.update(found.problems)
    if problem := id_problem(submission_id) or _taken(scope, submission_id):
        problems["submission_id"] = problem
    if problems:
        return _refused(scope, typed, {name: problems[name] for name in FIELDS if name in problems}, fresh_id)
    try:
        operation = parts().operations.submit(
            scope.cluster, scope.reader.session, submission_id, asked, caller().name, _detail(), parts().now()
        )
    except OperationExists as found:
        return _refused(scope, typed, {"submission_id": str(found)}, fresh_id)
    return _accepted(operation)


def show_stop_form(scope: Scope, job_key: str) -> Response:
    """Asks once more."""
    from webapp.pages.jobs import find_job

    job = find_job(scope, job_key)
    page = StopPage(job, why_not_stoppable(job) or ability_of(scope).reason)
    return html(render_template("jobs/stop.html", page=page))


def stop_job(scope: Scope, job_key: str) -> Response:
    """Records that it is to be stopped and goes to the job's page, which says what became of it."""
    from webapp.pages.jobs import find_job

    job = find_job(scope, job_key)
    _refuse_unless_able(scope)
    if reason := why_not_stoppable(job):
        raise BadQuery(reason)
    operation = parts().operations.stop(
        scope.cluster, scope.reader.session, job.submission_id or "", caller().name, _detail(), parts().now()
    )
    return _accepted(operation, job.job_key)


def ability_of(scope: Scope) -> Ability:
    """Whether an operation can be asked for now. One round trip to Redis."""
    if scope.is_past or scope.reader.freshness(NODES.name, now=parts().now()).is_past:
        return Ability(ENDED)
    if g.get("redis_is_away", False):
        return Ability(REDIS_AWAY)
    try:
        worker = parts().operations.worker(scope.cluster)
    except StoreUnavailable:
        return Ability(REDIS_AWAY)
    if worker is None:
        return Ability(NO_WORKER)
    if not parts().operations.is_ours(worker):
        return Ability("Operations are recorded by another Raydeck than this one: open the pages of the machine that has the journal.")
    return _way(scope, worker)


def why_not_stoppable(job: model.Job) -> str | None:
    """Why Ray cannot stop it; None: it can."""
    if job.submission_id is None or job.type != "SUBMISSION":
        return "Ray stops submissions only, and this is a driver that was started by hand: end its process."
    if job.status not in STOPPABLE:
        return f"It does not run: its status is {job.status}."
    return None


def operations_of(scope: Scope, submission_id: str | None) -> tuple[Operation, ...]:
    """What was asked of a submission, newest first; nothing while the journal cannot be read."""
    if submission_id is None:
        return ()
    try:
        return tuple(parts().operations.of(scope.cluster, scope.reader.session, submission_id))
    except JournalUnavailable:
        return ()


def may_operate() -> bool:
    """Whether who asks has the role."""
    who = caller_if_any()
    return who is not None and who.may(OPERATOR)


def _way(scope: Scope, worker: OperationsWorker) -> Ability:
    """How jobs get to Ray: through the head node's agent, else through a driver of the cluster's own Ray."""
    heads = [node for node in scope.reader.find(NODES, "state", "ALIVE", 10_000) if node.is_head_node]
    if any(node.dashboard_agent_listen_port for node in heads):
        return Ability(how="The head node's agent takes it.")
    metadata = scope.reader.metadata()
    theirs = None if metadata is None else metadata.ray_version
    if worker.ray_version is None or (theirs is not None and worker.ray_version != theirs):
        if not _says_agent_port(theirs):
            return Ability()  # an agent may listen all the same: the worker finds out
        return Ability(
            f"The head node's Ray serves no job API. Install ray[default] there; or give Raydeck's environment the cluster's Ray "
            f"({theirs or 'of unknown version'}; it has {worker.ray_version or 'none'})."
        )
    if not _says_agent_port(theirs):
        return Ability()
    return Ability(how="The head node serves no job API (ray[default] is not installed there): a Ray driver of Raydeck's takes it.")


def _says_agent_port(ray_version: str | None) -> bool:
    """Whether nodes of this release say where their agent listens: 2.53 does not, 2.60 does."""
    try:
        major, minor = (int(part) for part in (ray_version or "").split(".")[:2])
    except ValueError:
        return False
    return (major, minor) >= (2, 60)


def _refuse_unless_able(scope: Scope) -> None:
    reason = ability_of(scope).reason
    if reason == ENDED:
        raise BadQuery(reason)
    if reason is not None:
        raise CannotOperate(reason)


def _taken(scope: Scope, submission_id: str) -> str | None:
    """Whether Ray has such a job that was not asked for here: of ours the journal tells more."""
    if scope.reader.find(JOB_ROWS, "submission_id", submission_id, 1) and not operations_of(scope, submission_id):
        return f"There is a job with the submission id {submission_id} already. Leave it empty to get a new one."
    return None


def _form(page: SubmitPage, status: int = 200) -> Response:
    return html(render_template("jobs/submit.html", page=page), status)


def _refused(scope: Scope, typed: Mapping[str, str], problems: Mapping[str, str], fresh_id: str) -> Response:
    """What was typed again, with what is wrong with it."""
    if wants_json():
        told = {"error": "That cannot be submitted", "message": " ".join(problems.values()), "fields": dict(problems), "status": 422}
        return json_response(told, 422)
    return _form(SubmitPage(ability_of(scope), typed, problems, fresh_id), 422)


def _accepted(operation: Operation, job_key: str | None = None) -> Response:
    if wants_json():
        told = {"submission_id": operation.target, "operation_id": operation.operation_id, "state": operation.state}
        return json_response(told, 202)
    return redirect_to(href("job", job_key=job_key or operation.target))


def _detail() -> dict[str, object]:
    """Beside the request in the audit trail: how the person came in."""
    return {"by": "token" if caller().by_token else "sign-in", "peer": request.remote_addr or "unix"}
