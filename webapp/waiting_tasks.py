"""Why tasks wait, those for the same reason together, the most frequent first.

What is looked at is bounded, whatever waits: of each state the oldest, of these the most frequent demands and actors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clusterstate import model, query
from clusterstate.query import Condition
from clusterstate.resources import ACTORS, PLACEMENT_GROUPS, TASKS
from clusterstate.store.reader import SessionReader
from clusterstate.store.sqlite_reading import DeadlinePassed
from clusterstate.store.tasks_by_state import GROUPED, Alike
from clusterstate.task_waits import PENDING, Wait, wait_of
from clusterstate.waiting import Room, Verdict
from webapp.formatting import visible
from webapp.reasons import WAITING_ACTORS, WAITING_GROUPS, live_rooms, placement_sentence
from webapp.task_reasons import SEEN, SENTENCES, actor_sentence, demand_of

SHOWN = 10
LOOKED_AT = 30
"""Different demands and actors whose reason is looked for: at 300 nodes some milliseconds each."""
HOLD_S = 5.0
KNOWN = 64
FOR_EVER = (Verdict.NEVER, Verdict.NO_NODES)


@dataclass(frozen=True)
class WaitingGroup:
    """Tasks that wait for the same reason."""

    sentence: str
    states: tuple[str, ...]
    count: int
    is_exact: bool  # False: there are more
    since_ms: int | None  # how long the first of them has been in its state, Unix ms
    is_for_ever: bool  # unless the cluster changes
    is_of_another: bool  # they wait for an actor or a placement group that waits itself
    narrowed: tuple[tuple[str, str], ...]  # what else they have in common: column and value

    @property
    def listed(self) -> dict[str, str | list[str]]:
        """Arguments of the list of tasks that shows them."""
        return {"state": list(self.states), **dict(self.narrowed)}


@dataclass(frozen=True)
class WaitingTasks:
    """All that wait, of a job or of the whole session."""

    total: int
    groups: tuple[WaitingGroup, ...]
    is_counted: bool = True  # False: counting took too long, and nothing of it is known

    @property
    def left(self) -> int:
        """Those of no shown group."""
        return max(0, self.total - sum(one.count for one in self.groups))


def waiting_tasks(
    reader: SessionReader,
    now: float,
    job_id: str | None = None,
    states: Sequence[str] = PENDING,
    run: Callable[[Callable[[], WaitingTasks]], WaitingTasks] = lambda find: find(),
) -> WaitingTasks:
    """The groups hold for some seconds, whoever asks, while the tasks change. `run` calls what looks for them, when that is needed."""
    version = reader.version(TASKS.name, *SEEN)
    key = (reader.path, job_id, tuple(states))
    known = _known.get(key)
    if known is None or (known[1] != version and not 0 <= now - known[0] < HOLD_S):
        while len(_known) >= KNOWN:
            _known.pop(next(iter(_known)), None)
        known = (now, version, run(lambda: _found(reader, job_id, states)))
        if known[2].is_counted:
            _known[key] = known
    return known[2]


_known: dict[tuple[Path, str | None, tuple[str, ...]], tuple[float, str, WaitingTasks]] = {}


def _found(reader: SessionReader, job_id: str | None, states: Sequence[str]) -> WaitingTasks:
    of_job = () if job_id is None else (Condition("job_id", "is", job_id),)
    try:
        counts = reader.counts(query.TASKS, "state", of_job)
    except DeadlinePassed:
        return WaitingTasks(0, (), is_counted=False)
    waiting = {state: counts[state] for state in states if state in counts}
    alike = sorted(_alike(reader, job_id, waiting), key=lambda one: one.count, reverse=True)[:LOOKED_AT]
    among = live_rooms(reader) if alike else []
    groups: dict[str, WaitingGroup] = {}
    for one in alike:
        group = _group(reader, one, among, is_exact=waiting[one.state] <= GROUPED, job_id=job_id)
        known = groups.get(group.sentence)
        groups[group.sentence] = group if known is None else _together(known, group)
    shown = sorted(groups.values(), key=lambda one: one.count, reverse=True)[:SHOWN]
    return WaitingTasks(sum(waiting.values()), tuple(shown))


def _alike(reader: SessionReader, job_id: str | None, states: dict[str, int]) -> Iterator[Alike]:
    """Of a state whose attempts cannot be read in time nothing is told but their number."""
    for state in states:
        try:
            yield from reader.tasks_by_state().alike(state, job_id)
        except DeadlinePassed:
            continue


def _group(reader: SessionReader, alike: Alike, among: Sequence[Room], *, is_exact: bool, job_id: str | None) -> WaitingGroup:
    sentence, verdict = _reason(reader, alike, among)
    return WaitingGroup(
        sentence=sentence,
        states=(alike.state,),
        count=alike.count,
        is_exact=is_exact,
        since_ms=alike.since_ms,
        is_for_ever=verdict in FOR_EVER,
        is_of_another=_is_of_another(reader, alike),
        narrowed=_narrowed(alike, job_id),
    )


def _reason(reader: SessionReader, alike: Alike, among: Sequence[Room]) -> tuple[str, Verdict]:
    wait = wait_of(alike.state, alike.type)
    if wait in (Wait.PLACE, Wait.ACTOR_START):
        demand = demand_of(reader, alike.required_resources_id, alike.label_selector_id)
        if alike.required_resources_id is not None and not demand.resources:
            return "What they ask for is not known.", Verdict.UNKNOWN
        return placement_sentence(reader, demand, alike.placement_group_id, among)
    if wait in (Wait.ACTOR, Wait.TURN):
        actor: model.Actor | None = reader.get(ACTORS, alike.actor_id) if alike.actor_id else None
        return actor_sentence(reader, alike.actor_id, actor), Verdict.BUSY
    return (SENTENCES[wait] if wait is not None else f"It is {visible(alike.state)}."), Verdict.UNKNOWN


def _is_of_another(reader: SessionReader, alike: Alike) -> bool:
    if alike.type == "ACTOR_CREATION_TASK":
        return True
    if alike.placement_group_id is not None:
        group: model.PlacementGroup | None = reader.get(PLACEMENT_GROUPS, alike.placement_group_id)
        return group is not None and group.state in WAITING_GROUPS
    actor: model.Actor | None = reader.get(ACTORS, alike.actor_id) if alike.actor_id is not None else None
    return actor is not None and actor.state in WAITING_ACTORS


def _narrowed(alike: Alike, job_id: str | None) -> tuple[tuple[str, str], ...]:
    found = {
        "job_id": job_id,
        "type": alike.type,
        "required_resources_id": alike.required_resources_id,
        "label_selector_id": alike.label_selector_id,
        "placement_group_id": alike.placement_group_id,
        "actor_id": alike.actor_id,
    }
    return tuple((name, value) for name, value in found.items() if value is not None)


def _together(one: WaitingGroup, other: WaitingGroup) -> WaitingGroup:
    moments = [ms for ms in (one.since_ms, other.since_ms) if ms is not None]
    return replace(
        one,
        states=tuple(dict.fromkeys((*one.states, *other.states))),
        count=one.count + other.count,
        is_exact=one.is_exact and other.is_exact,
        since_ms=min(moments, default=None),
        narrowed=tuple(pair for pair in one.narrowed if pair in other.narrowed),
    )
