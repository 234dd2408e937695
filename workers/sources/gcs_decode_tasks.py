"""The GCS's task events (`GetTaskEvents`) as updates of our model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from clusterstate.model import Text
from clusterstate.task_states import GCS
from workers.sources import gcs_stubs
from workers.sources.gcs_fields import enum_name
from workers.sources.gcs_wire import Rows, Unchanged, field_number
from workers.sources.task_messages import asked_for, error_in, present, ran_in
from workers.sources.task_update import TaskUpdate, is_attempt, reached, task_id_of
from workers.sources.wire import Walk


@dataclass(frozen=True, slots=True)
class ReplyTotals:
    """What a reply says of its own completeness; with a filter by one job, of that job."""

    num_total_stored: int = 0
    num_status_task_events_dropped: int = 0  # attempts of which something was lost, with those cut off by the limit
    num_profile_task_events_dropped: int = 0
    num_filtered_on_gcs: int = 0
    num_truncated: int = 0  # cut off by the limit

    @property
    def num_attempts_dropped(self) -> int:
        """Attempts that Ray itself gave up or lost events of."""
        return max(0, self.num_status_task_events_dropped - self.num_truncated)

    @property
    def num_attempts(self) -> int:
        """Attempts that there were, stored or lost: but for what the filters leave out, where they are asked to leave out the driver."""
        return max(0, self.num_total_stored - self.num_filtered_on_gcs) + self.num_attempts_dropped


class TaskReply:
    """A reply of GetTaskEvents, read one attempt at a time. What cannot be read is counted and left out."""

    def __init__(self, rows: Rows, now_ms: int, seen: Unchanged | None = None) -> None:
        """`seen` remembers the last reply: an attempt whose bytes have not changed is not decoded again."""
        self._raw = rows.raw
        self._now_ms = now_ms
        self._seen = seen
        self.unreadable = 0
        self.totals = ReplyTotals()

    def updates(self) -> Iterator[TaskUpdate]:
        """Every attempt that may have changed, the first that the GCS heard of first.

        `totals` and `unreadable` are right when all have been taken.
        """
        method = gcs_stubs.method("GetTaskEvents")
        row, listed = gcs_stubs.row_class(method, "events_by_task"), field_number(method.reply, "events_by_task")
        self.unreadable = 0
        walk = Walk(self._raw)
        places = [(start, end) for number, start, end in walk if number == listed]
        seen = self._seen if self._seen is not None else Unchanged()
        seen.begin()
        for start, end in reversed(places):
            record = self._raw[start:end]
            if not seen.is_new(record):
                continue
            message = gcs_stubs.parse_or_none(row, record)
            update = None if message is None else task_update_of(message, self._now_ms)
            if update is None:
                seen.forget(record)
                self.unreadable += 1
            else:
                yield update
        self.unreadable += not walk.is_whole
        self.totals = ReplyTotals(*(_count(walk.numbers.get(field_number(method.reply, f.name), 0)) for f in fields(ReplyTotals)))


def task_update_of(message: Any, now_ms: int) -> TaskUpdate | None:
    """One attempt (`TaskEvents`) as the GCS has it; None when it has no valid id."""
    task_id, attempt = task_id_of(message.task_id), message.attempt_number
    if task_id is None or not is_attempt(attempt):
        return None
    said: dict[str, Any] = {}
    found: list[Text] = []
    if message.HasField("task_info"):
        info = message.task_info
        said["type"] = enum_name(info, "type")
        asked_for(said, found, info, info.name, info.func_or_class_name, info.runtime_env_info.serialized_runtime_env)
    if not message.HasField("state_updates"):
        return TaskUpdate(task_id, attempt, said, texts=tuple(found))
    told = message.state_updates
    ran_in(said, found, told)
    error, guess = error_in(found, told, "error_info")
    states = reached([(state, ns // 1_000_000) for state, ns in told.state_ts_ns.items()], GCS, guess, now_ms)
    paused = present(told, "is_debugger_paused")
    debugger = None if paused is None else (now_ms, bool(paused))
    return TaskUpdate(task_id, attempt, said, *states, error, debugger, tuple(found))


def _count(varint: int) -> int:
    """A negative number is a huge varint."""
    return varint if varint < 2**63 else 0
