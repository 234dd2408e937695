"""Submitting and stopping jobs: looked up first, sent at most once, and every end written to the journal.

A submission has its id before it is sent, and Ray takes an id once (`JobManager.submit_job` puts the record without
overwriting): that is why one whose outcome is not known may be sent again after Ray was seen not to have it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import msgspec

from clusterstate.job_request import JobRequest
from clusterstate.journal import Operation
from clusterstate.journal.records import DONE, QUEUED, REFUSED, UNKNOWN
from clusterstate.journal.sealing import BrokenSeal, unseal
from clusterstate.masking import mask_text
from clusterstate.operations import StopJob, SubmitJob
from clusterstate.store.safe_jobs import JobTimeoutException
from workers.operations import agent, driver, ray_side
from workers.operations.agent import AgentError
from workers.operations.driver import DriverProblem
from workers.operations.ray_side import RaySide
from workers.operations.running import CannotLook, NotYet, Refusal, Unsure, surroundings

log = logging.getLogger("raydeck.operations")

TRIED_FOR_S = 120.0
"""How long a cluster that does not answer is waited for."""
RESENT_FOR_S = 600.0
"""How long after it was asked a submission of unknown outcome may still be sent."""

Act = Callable[[Operation, bytes], str]


def submit_job(cluster: str, operation_id: str) -> None:
    """Carries out a SubmitJob."""
    _carry_out(cluster, operation_id, SubmitJob.audit_action, _submit)


def stop_job(cluster: str, operation_id: str) -> None:
    """Carries out a StopJob."""
    _carry_out(cluster, operation_id, StopJob.audit_action, _stop)


def _carry_out(cluster: str, operation_id: str, action: str, act: Act) -> None:
    """Takes the operation from the journal, does it and writes how it ended."""
    around = surroundings()
    taken = around.journal.take_operation(operation_id, cluster, action, time.time())
    if taken is None:
        log.warning("There is no %s %s to be done.", action, operation_id)
        return
    operation, sealed = taken
    try:
        plain = unseal(around.sealing_key, operation_id, sealed)
        state, outcome = DONE, act(operation, plain)
    except (CannotLook, NotYet) as reason:
        state, outcome = _unasked(operation, reason)
    except (Refusal, BrokenSeal) as reason:
        state, outcome = REFUSED, str(reason)
    except (Unsure, JobTimeoutException) as reason:
        state, outcome = UNKNOWN, str(reason)
    except Exception as error:  # our bug: who asked is told, the log has the whole of it
        log.exception("The operation %s failed.", operation_id)
        state, outcome = UNKNOWN, f"Raydeck failed: {type(error).__name__}."
    if state in (DONE, REFUSED):
        around.journal.finish_operation(operation_id, state, mask_text(outcome), time.time())
    else:
        around.journal.put_operation_back(operation_id, state, mask_text(outcome))


def _unasked(operation: Operation, reason: CannotLook | NotYet) -> tuple[str, str]:
    """The cluster could not be asked. What may have been sent before stays unknown, however long that takes."""
    if operation.is_sent:
        return UNKNOWN, f"It was sent, and whether Ray took it cannot be told yet. {reason}"
    if isinstance(reason, CannotLook):
        return REFUSED, str(reason)
    is_late = time.time() > operation.asked_at + TRIED_FOR_S
    return (REFUSED, f"Given up after {TRIED_FOR_S:.0f} s. {reason}") if is_late else (QUEUED, str(reason))


def _submit(operation: Operation, plain: bytes) -> str:
    found = _look(operation)
    if found.record is not None:
        return _already_there(operation, found)
    if operation.tries > 1 and time.time() > operation.asked_at + RESENT_FOR_S:
        raise Refusal("Ray knows no job of this id, and it was asked for too long ago to be sent now. Submit it again.")
    request = msgspec.json.decode(plain, type=JobRequest)
    body = request.for_ray(operation.target, operation.who, operation.operation_id)
    try:
        if found.agent is None:
            driver.submit(body, found)
            return "Ray has it, through a Ray driver of Raydeck's own."
        agent.submit(found.agent, body, surroundings().environ)
    except (AgentError, DriverProblem) as problem:
        return _adopted_or_refused(operation, problem)
    return "Ray has it."


def _adopted_or_refused(operation: Operation, problem: AgentError | DriverProblem) -> str:
    """An error may come after the job was taken: what Ray's record says counts."""
    found = _look(operation)
    if found.record is not None:
        return _already_there(operation, found)
    raise Refusal(f"Ray refuses it: {problem}")


def _already_there(operation: Operation, found: RaySide) -> str:
    if found.record is not None and found.record.operation_id == operation.operation_id:
        return "Ray has it."
    raise Refusal("There is a job of this submission id already, which was submitted elsewhere.")


def _stop(operation: Operation, plain: bytes) -> str:
    found = _look(operation)
    if found.record is None:
        raise Refusal("Ray knows no job of this submission id.")
    if found.record.has_ended:
        if operation.is_sent and found.record.status == "STOPPED":
            return "Ray was told to stop it, and it is stopped."
        return f"It had ended by itself: {found.record.status}."
    try:
        if found.agent is None:
            is_stopped = driver.stop(operation.target, found)
        else:
            is_stopped = agent.stop(found.agent, operation.target, surroundings().environ)
    except (AgentError, DriverProblem) as problem:
        raise Refusal(f"Ray refuses it: {problem}") from None
    if not is_stopped:
        raise Refusal("Ray finds nothing that runs under this submission id.")
    return "Ray was told to stop it."


def _look(operation: Operation) -> RaySide:
    """The cluster as it is now, if it is still the one that was meant."""
    around = surroundings()
    found = ray_side.look(around.address, operation.target, around.environ)
    if found.session != operation.session:
        raise Refusal("The cluster was started anew since this was asked for.")
    return found
