"""Why a task waits, in a sentence, with what Ray tells of it and who is in its way. What Ray does not tell is not guessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from clusterstate import model
from clusterstate.resources import ACTORS, PLACEMENT_GROUPS, PROCESSES, TASKS
from clusterstate.store.reader import SessionReader
from clusterstate.store.sqlite_reading import DeadlinePassed
from clusterstate.task_states import is_pending
from clusterstate.task_waits import PENDING, RUNNING, UNFINISHED, Wait, wait_of
from clusterstate.waiting import Demand, Verdict, explain
from webapp.formatting import number, shortened, visible
from webapp.reasons import WAITING_ACTORS, OtherTasks, Reason, live_rooms, why_actor_waits, why_not_placed
from webapp.task_texts import mapping_of

SEEN = (ACTORS.name, PLACEMENT_GROUPS.name, PROCESSES.name, "nodes", "node_resources")
"""Resources, besides tasks, that a reason is found in."""
OTHERS_SHOWN = 10
CALLERS = 3
"""How far up is looked for what may make an argument."""
LOOKED_AT = 1000
IDLE_TITLE = "ray::IDLE"
DRIVER = "f" * 40
"""How the id of a driver's own task begins."""

ARGUMENTS = "It waits for an argument: an object that is not made yet. Ray does not tell which one, nor by which task."
SENTENCES = {
    Wait.ARGUMENTS: ARGUMENTS,
    Wait.FETCH: "Where it will run is known; its arguments are on their way there.",
    Wait.STORE: "It waits until the object store of its node has room for its arguments.",
    Wait.WORKER: "It was handed to a worker process, which has not begun it, or has not told so yet.",
}


def why_task_waits(reader: SessionReader, task: model.Task) -> Reason | None:
    """None for an attempt that does not wait."""
    wait = wait_of(task.state, task.type)
    if wait is None:
        return Reason(f"It is {visible(task.state)}.") if is_pending(task.state) else None
    if wait in (Wait.ACTOR, Wait.TURN, Wait.ACTOR_START):
        return _why_of_actor(reader, task, wait)
    if wait is Wait.PLACE:
        return _why_not_placed(reader, task)
    if wait is Wait.ARGUMENTS:
        return Reason(SENTENCES[wait], others=_makers(reader, task))
    return Reason(SENTENCES[wait], facts=_of_its_actor(reader, task))


def demand_of(reader: SessionReader, required_resources_id: str | None, label_selector_id: str | None) -> Demand:
    """What tasks ask of a node, by the texts that they name."""
    amounts = mapping_of(reader, required_resources_id) or {}
    return Demand(amounts, mapping_of(reader, label_selector_id) or {})


def actor_sentence(reader: SessionReader, actor_id: str | None, actor: model.Actor | None) -> str:
    """Why methods of an actor wait."""
    if actor is None:
        return f"Its actor {visible((actor_id or '–')[:12])} is not remembered: why it does not take the task is not known."
    label = actor_label(actor)
    if actor.state == "DEAD":
        cause = f" ({visible(actor.death_cause)})" if actor.death_cause else ""
        return f"Its actor {label} is DEAD{cause}: it will never run, and Ray has not told its end yet."
    reason = why_actor_waits(reader, actor)
    if reason is not None:
        return f"Its actor {label} is {visible(actor.state)}. {reason.sentence.replace('It ', 'The actor ', 1)}"
    running = _running_on(reader, actor.actor_id)
    if running:
        more = f" and {number(len(running) - 1)} more" if len(running) > 1 else ""
        name = shortened(running[0].name or running[0].task_id[:12], 60)
        return f"Its actor {label} runs {name}{more} first, and takes others when there is room."
    return f"Its actor {label} is ALIVE, and nothing that it runs now is known: the task is on its way, or not told of yet."


def actor_label(actor: model.Actor) -> str:
    """As people call it."""
    return shortened(actor.name or actor.repr_name or actor.class_name or actor.actor_id[:12], 60)


def _why_not_placed(reader: SessionReader, task: model.Task) -> Reason:
    demand = demand_of(reader, task.required_resources_id, task.label_selector_id)
    if not demand.resources and (task.required_resources_id is not None or task.name is None):
        return Reason("It waits for a place. What it asks for is not known.")
    reason = why_not_placed(reader, demand, task.placement_group_id)
    facts = [*_asking_the_same(reader, task)]
    if task.placement_group_id is None and explain(demand, live_rooms(reader)).verdict is Verdict.FITS:
        facts += _of_start_up(reader, task, reason)
    return _with(reason, facts)


def _asking_the_same(reader: SessionReader, task: model.Task) -> Sequence[str]:
    same = {
        "required_resources_id": task.required_resources_id,
        "label_selector_id": task.label_selector_id,
        "placement_group_id": task.placement_group_id,
    }
    try:
        found = reader.tasks_by_state().counts((task.state,), same).get(task.state)
    except DeadlinePassed:
        return ()
    if found is None or found.count < 2:
        return ()
    least = "" if found.is_exact else "At least "
    others = f"{least}{number(found.count - 1)} other {'task asks' if found.count == 2 else 'tasks ask'} for the same and"
    return (f"{others} {'waits' if found.count == 2 else 'wait'} with it.",)


def _of_start_up(reader: SessionReader, task: model.Task, reason: Reason) -> Sequence[str]:
    """What is known where there is room: how many workers run there, and whether there is an environment to set up."""
    facts = []
    if reason.nodes and reason.nodes[0].node_id:
        workers = [one for one in reader.find(PROCESSES, "node_id", reason.nodes[0].node_id, LOOKED_AT) if one.kind == "WORKER"]
        if workers:
            idle = sum((one.title or "").startswith(IDLE_TITLE) for one in workers)
            facts.append(f"{number(len(workers))} worker processes run on {visible(reason.nodes[0].name)}, {number(idle)} of them idle.")
    if mapping_of(reader, task.runtime_env_id):
        facts.append("It names a runtime environment, which a node sets up before the first worker that needs it.")
    return facts


def _why_of_actor(reader: SessionReader, task: model.Task, wait: Wait) -> Reason:
    actor: model.Actor | None = reader.get(ACTORS, task.actor_id) if task.actor_id else None
    if wait is Wait.ACTOR_START:
        reason = why_actor_waits(reader, actor) if actor is not None else None
        return reason if reason is not None else _why_not_placed(reader, task)
    sentence = actor_sentence(reader, task.actor_id, actor)
    if actor is None or actor.state == "DEAD":
        return Reason(sentence)
    if actor.state in WAITING_ACTORS:
        reason = why_actor_waits(reader, actor)
        return _with(reason, [], sentence) if reason is not None else Reason(sentence)
    return Reason(sentence, others=(_on_its_actor(reader, task, actor),))


def _running_on(reader: SessionReader, actor_id: str) -> list[model.Task]:
    """The methods that an actor runs now, the longest first."""
    try:
        return reader.tasks_by_state().rows(RUNNING, {"actor_id": actor_id, "type": "ACTOR_TASK"}, limit=OTHERS_SHOWN)
    except DeadlinePassed:
        return []


def _on_its_actor(reader: SessionReader, task: model.Task, actor: model.Actor) -> OtherTasks:
    """What runs there, and how many were called earlier and wait as well."""
    of = {"actor_id": actor.actor_id, "type": "ACTOR_TASK"}
    counts = _counted(reader, PENDING, of, task)
    running = tuple(_running_on(reader, actor.actor_id))
    caption = "What its actor runs now" if running else "Nothing that its actor runs now is known"
    return OtherTasks(caption, running, "Called before this one and not begun", counts, {"actor_id": actor.actor_id})


def _makers(reader: SessionReader, task: model.Task) -> tuple[OtherTasks, ...]:
    """What may make it: unfinished tasks that the same caller called no later, or its caller's caller before that, and so on.

    An argument was there, as a promise, before the call.
    """
    found: list[OtherTasks] = []
    at: model.Task | None = task
    for level in range(CALLERS):
        if at is None or at.parent_task_id is None:
            break
        others = _called_before(reader, at, level)
        if others is None:
            break
        found.append(others)
        is_driver = at.parent_task_id.startswith(DRIVER)
        at = None if is_driver else next(iter(reader.find(TASKS, "task_id", at.parent_task_id, 1)), None)
    return tuple(one for level, one in enumerate(found) if one.tasks or level == 0)


def _called_before(reader: SessionReader, task: model.Task, level: int) -> OtherTasks | None:
    """Unfinished tasks of the same caller. None when looking takes too long."""
    of = {"parent_task_id": task.parent_task_id}
    asked = reader.tasks_by_state()
    try:
        rows = asked.rows(RUNNING, of, before=task, limit=OTHERS_SHOWN)
        rows += asked.rows(PENDING, of, before=task, limit=OTHERS_SHOWN + 1 - len(rows))
    except DeadlinePassed:
        return None
    others = tuple(one for one in rows if one.task_id != task.task_id)[:OTHERS_SHOWN]
    driver = (task.parent_task_id or "").startswith(DRIVER)
    caller = "its driver" if driver else "the task that called it" if level == 0 else "a task further up"
    if not others:
        caption = f"No task that {caller} called earlier is known to be unfinished: another caller's makes it, or one that is not known"
    elif level == 0:
        caption = f"It may be one of these, called earlier by {caller} and not finished; or a task of another caller"
    else:
        caption = f"Or one of these, called earlier by {caller} and not finished"
    return OtherTasks(caption, others, "In all", _counted(reader, UNFINISHED, of, task), {"parent_task_id": task.parent_task_id or ""})


def _counted(reader: SessionReader, states: Sequence[str], of: Mapping[str, Any], task: model.Task) -> tuple[tuple[str, int, bool], ...]:
    """Others by state; nothing when counting takes too long."""
    try:
        found = reader.tasks_by_state().counts(states, of, before=task)
    except DeadlinePassed:
        return ()
    itself = 1 if task.attempt_number else 0  # a retried attempt is among those that count as earlier
    counted = ((state, one.count - (itself if state == task.state else 0), one.is_exact) for state, one in found.items())
    return tuple(one for one in counted if one[1])


def _of_its_actor(reader: SessionReader, task: model.Task) -> tuple[str, ...]:
    """Of a method whose arguments are fetched: whether its actor could run it at all."""
    actor: model.Actor | None = reader.get(ACTORS, task.actor_id) if task.actor_id and task.type == "ACTOR_TASK" else None
    return (actor_sentence(reader, task.actor_id, actor),) if actor is not None and actor.state != "ALIVE" else ()


def _with(reason: Reason, facts: Sequence[str], sentence: str | None = None) -> Reason:
    return replace(reason, sentence=sentence or reason.sentence, facts=(*reason.facts, *facts))
