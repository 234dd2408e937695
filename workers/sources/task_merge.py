"""Joining what is said of one attempt of a task: in any order, doubled or not, from pushed events and from polls."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from operator import attrgetter
from typing import Any

from clusterstate.model import Task
from clusterstate.task_states import STATE_FIELDS, has_ended, rank
from workers.sources.task_update import TaskUpdate

_NAMES = tuple(f.name for f in dataclasses.fields(Task))
_PLACES = {name: place for place, name in enumerate(_NAMES)}
_TIME_PLACES = {state: _PLACES[name] for state, name in STATE_FIELDS.items()}
_GROUPED = frozenset(
    {"state", "end_evidence", "end_time_ms", "error_type", "error_message_id", "is_debugger_paused", "debugger_changed_ms"}
    | {"is_named_by_repr", "sequence"}
)
_SAID = tuple(n for n in _NAMES if n not in _GROUPED and n not in STATE_FIELDS.values() and n != "other_states_ms")
_values_of = attrgetter(*_NAMES)

_TASK_ID, _ATTEMPT, _STATE, _NAME, _FUNCTION, _TYPE = (
    _PLACES[n] for n in ("task_id", "attempt_number", "state", "name", "func_or_class_name", "type")
)
_END_MS, _EVIDENCE, _OTHERS = (_PLACES[n] for n in ("end_time_ms", "end_evidence", "other_states_ms"))
_ERROR_TYPE, _ERROR_TEXT, _PAUSED, _PAUSED_AT = (
    _PLACES[n] for n in ("error_type", "error_message_id", "is_debugger_paused", "debugger_changed_ms")
)
_SEQUENCE = _PLACES["sequence"]
_REPR, _BY_REPR, _JOB, _ACTOR = (_PLACES[n] for n in ("actor_repr_name", "is_named_by_repr", "job_id", "actor_id"))

_BLANK = _values_of(Task(""))
_Draft: Any = dataclasses.make_dataclass("_Draft", [(name, Any) for name in _NAMES], slots=True)
"""A Task that is not frozen yet: making one takes a quarter of the time, and its slots are the same."""

_NO_ACTOR = "f" * 24
_NO_JOB = "f" * 8


def merge(known: Task | None, update: TaskUpdate) -> Task:
    """The attempt after an update; `known` itself when the update says nothing new."""
    return merge_all(known, (update,))


def merge_all(known: Task | None, updates: Iterable[TaskUpdate], sequence: int = 0) -> Task:
    """The attempt after all of these updates; `sequence` is its place if it is new.

    The result does not depend on their order, nor on how often each came. The furthest state holds, the earliest moment of
    each state, and whatever else was ever said: where two sources differ, the greater value, so that the order cannot matter.
    Raises ValueError when there is nothing to join.
    """
    before = None if known is None else list(_values_of(known))
    values = None if before is None else before.copy()
    if values is not None:
        _as_said(values)
    for update in updates:
        if values is None:
            values = _empty(update.task_id, update.attempt_number)
            values[_SEQUENCE] = sequence
        _take(values, update)
    if values is None:
        raise ValueError("no update of a task that is not known")
    _as_shown(values)
    return known if known is not None and values == before else _task(values)


def update_of(task: Task) -> TaskUpdate:
    """A whole row as an update, for joining two of them."""
    values = list(_values_of(task))
    _as_said(values)
    times = {state: values[place] for state, place in _TIME_PLACES.items() if values[place] is not None}
    paused_at = task.debugger_changed_ms
    return TaskUpdate(
        task.task_id,
        task.attempt_number,
        said={name: values[_PLACES[name]] for name in _SAID if values[_PLACES[name]] is not None},
        times={**times, **task.other_states_ms},
        state=task.state,
        end_evidence=task.end_evidence,
        end_time_ms=task.end_time_ms,
        error=None if task.error_type is None else (task.error_type, task.error_message_id),
        debugger=None if paused_at is None else (paused_at, bool(task.is_debugger_paused)),
    )


def _empty(task_id: str, attempt_number: int) -> list[Any]:
    """An attempt of which nothing is known but its id, and what that tells."""
    values = list(_BLANK)
    values[_TASK_ID], values[_ATTEMPT] = task_id, attempt_number
    values[_JOB] = None if task_id.endswith(_NO_JOB) else task_id[-8:]
    values[_ACTOR] = None if task_id[16:40] == _NO_ACTOR else task_id[16:]
    return values


def _task(values: list[Any]) -> Task:
    draft = _Draft(*values)
    draft.__class__ = Task
    task: Task = draft
    return task


def _take(values: list[Any], update: TaskUpdate) -> None:
    for name, new in update.said.items():
        place = _PLACES[name]
        old = values[place]
        if old is None or new > old:
            values[place] = new
    for state, ms in update.times.items():
        _take_time(values, state, ms)
    if update.state != values[_STATE] or has_ended(update.state):
        _take_state(values, update)
    if update.error is not None and _weight(update.error) > _weight((values[_ERROR_TYPE], values[_ERROR_TEXT])):
        values[_ERROR_TYPE], values[_ERROR_TEXT] = update.error
    if update.debugger is not None and update.debugger > (values[_PAUSED_AT] or 0, values[_PAUSED] or False):
        values[_PAUSED_AT], values[_PAUSED] = update.debugger


def _take_time(values: list[Any], state: str, ms: int) -> None:
    place = _TIME_PLACES.get(state)
    if place is None:
        others = values[_OTHERS]
        if ms < others.get(state, ms + 1):
            merged = {**others, state: ms}
            values[_OTHERS] = {name: merged[name] for name in sorted(merged)}
    elif values[place] is None or ms < values[place]:
        values[place] = ms


def _take_state(values: list[Any], update: TaskUpdate) -> None:
    """Of two ends with the same evidence, the earlier moment."""
    new, old = rank(update.state, update.end_evidence), rank(values[_STATE], values[_EVIDENCE])
    if new > old:
        values[_STATE], values[_EVIDENCE], values[_END_MS] = update.state, update.end_evidence, update.end_time_ms
    elif new == old and update.end_time_ms is not None and (values[_END_MS] is None or update.end_time_ms < values[_END_MS]):
        values[_END_MS] = update.end_time_ms


def _weight(error: tuple[str | None, str | None]) -> tuple[bool, bool, str, str]:
    """WORKER_DIED is what is said when nothing better is known."""
    kind, message = error
    return kind is not None and kind != "WORKER_DIED", message is not None, kind or "", message or ""


def _as_shown(values: list[Any]) -> None:
    """An actor's method is called by what the actor calls itself, unless it was given a name: as Ray's state API does."""
    if values[_REPR] and values[_TYPE] == "ACTOR_TASK" and values[_NAME] and values[_NAME] == values[_FUNCTION]:
        values[_NAME] = f"{values[_REPR]}.{values[_FUNCTION].rpartition('.')[2]}"
        values[_BY_REPR] = True


def _as_said(values: list[Any]) -> None:
    """Takes back what `_as_shown` did."""
    if values[_BY_REPR]:
        values[_NAME] = values[_FUNCTION]
        values[_BY_REPR] = False
