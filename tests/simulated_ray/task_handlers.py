"""What the simulated GCS answers about tasks: filters, limits and counts as in the installed Ray (`task_event_query.py`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.simulated_ray import stubs
from tests.simulated_ray.handlers import OK, answers, counts, limit_of
from tests.simulated_ray.tasks import Tasks, latest
from tests.simulated_ray.wire import field

EQUAL, NOT_EQUAL = 0, 1
INVALID_ARGUMENT = 34
STATE_NAMES = {number: name for name, number in stubs.common.TaskStatus.items()}
DRIVER_TASK = stubs.common.TaskType.Value("DRIVER_TASK")


@answers("TaskInfoGcsService", "GetTaskEvents")
def get_task_events(cluster: Tasks, request: Any) -> bytes:
    """The newest first, up to the limit. What the limit cuts off counts as dropped, as Ray has it."""
    reply, filters = stubs.gcs_service.GetTaskEventsReply, request.filters
    if any(one.predicate not in (EQUAL, NOT_EQUAL) for one in _all_filters(filters)):
        status = stubs.message_class(reply.DESCRIPTOR.fields_by_name["status"].message_type)
        return field(1, status(code=INVALID_ARGUMENT, message="Unknown filter predicate").SerializeToString())
    candidates, job = _candidates(cluster, filters)
    wanted = list(reversed(candidates))
    if _narrows(filters):
        wanted = [row_id for row_id in wanted if _passes(cluster, row_id, filters)]
    limit = limit_of(request)
    shown = wanted if limit is None or limit < 0 else wanted[:limit]
    cut = len(wanted) - len(shown)
    lost, lost_profiles = (
        counter[job] if job is not None else sum(counter.values()) for counter in (cluster.lost_attempts, cluster.lost_profile_events)
    )
    rows, _ = cluster.tasks.join(shown)
    totals = counts(
        reply,
        num_profile_task_events_dropped=lost_profiles,
        num_status_task_events_dropped=lost + cut,
        num_total_stored=len(candidates),
        num_filtered_on_gcs=len(candidates) - len(wanted),
        num_truncated=cut,
    )
    return OK + rows + totals


def _candidates(cluster: Tasks, filters: Any) -> tuple[list[bytes], bytes | None]:
    """Ids of the rows that an index finds, and the job whose losses count; None: all jobs'."""
    tasks = {one.task_id for one in filters.task_filters if one.predicate == EQUAL}
    jobs = {one.job_id for one in filters.job_filters if one.predicate == EQUAL}
    if len(tasks) == 1:
        [task_id] = tasks
        return [row_id for row_id in cluster.tasks if row_id.startswith(task_id)], b""
    if len(jobs) == 1 and not filters.task_filters:
        [job] = jobs
        return [row_id for row_id in cluster.tasks if row_id[20:24] == job], job
    if len(tasks) > 1 or len(jobs) > 1:
        return [], b""
    return list(cluster.tasks), None


def _all_filters(filters: Any) -> list[Any]:
    named = ("job_filters", "task_filters", "actor_filters", "task_name_filters", "state_filters")
    return [one for name in named for one in getattr(filters, name)]


def _narrows(filters: Any) -> bool:
    return bool(filters.exclude_driver or _all_filters(filters))


def _passes(cluster: Tasks, row_id: bytes, filters: Any) -> bool:
    row = cluster.tasks.get(row_id)
    info = row.task_info
    if not row.HasField("task_info") or (filters.exclude_driver and info.type == DRIVER_TASK):
        return False
    state = STATE_NAMES.get(latest(row), "NIL").lower()
    asked: list[tuple[Any, Callable[[Any], bool]]] = [
        *((one, lambda one: row.task_id == one.task_id) for one in filters.task_filters),
        *((one, lambda one: info.job_id == one.job_id) for one in filters.job_filters),
        *((one, lambda one: info.actor_id == one.actor_id) for one in filters.actor_filters),
        *((one, lambda one: info.name.lower() == one.task_name.lower()) for one in filters.task_name_filters),
        *((one, lambda one: state == one.state.lower()) for one in filters.state_filters),
    ]
    return all(holds(one) is (one.predicate == EQUAL) for one, holds in asked)
