"""What of a cluster needs somebody, in sentences, worst first; each leads to where it can be seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clusterstate import model
from clusterstate.actor_deaths import was_meant
from clusterstate.query import ACTORS, JOBS, NODES, PLACEMENT_GROUPS, AnyOf, Condition
from clusterstate.store.reader import Freshness, SessionReader
from clusterstate.store.sqlite_reading import DeadlinePassed
from webapp.reasons import actor_reasons, group_reasons
from webapp.waiting_tasks import waiting_tasks

RECENT_S = 3600.0
ALMOST_FULL_PERCENT = 90.0
NAMED_NODES = NAMED_REASONS = 3
REASONS_HOLD_S = 5.0
SESSIONS_KNOWN = 64
TASKS_MAY_WAIT_S = 60.0
"""Tasks that wait for others or for room need nobody yet; those that no node can hold do at once."""
LOOKED_AT = 300
"""Waiting actors and placement groups whose reason is looked for."""
MOST_CAUSES = 100
MOST_CAUSES_IN_A_URL = 8

BAD, WARNING, NOTE = "bad", "warning", "note"


@dataclass(frozen=True)
class Attention:
    """One thing to look at. `endpoint` and `arguments` make its link."""

    level: str  # bad, warning, note
    text: str
    endpoint: str
    arguments: Mapping[str, str | list[str]] = field(default_factory=dict)


def find_attention(reader: SessionReader, stats: Sequence[model.NodeStats], freshness: Freshness, now: float) -> list[Attention]:
    """Everything that needs somebody now or did within the last hour. `now` of an ended session is its end."""
    recently = int(now - RECENT_S) // 10 * 10_000  # in steps, so that what is counted once serves for a while
    found: list[Attention] = []
    for part in (
        _source(reader),
        _nodes(reader, freshness, recently),
        _hosts(stats),
        _work(reader, freshness, recently),
        _waiting(reader, now),
    ):
        try:
            found += part
        except DeadlinePassed:
            found.append(Attention(NOTE, "Some checks took too long and were left out.", "overview"))
    return sorted(found, key=lambda one: (BAD, WARNING, NOTE).index(one.level))


def _source(reader: SessionReader) -> Iterator[Attention]:
    report = reader.collector()
    if report is None:
        return
    if not report.gcs_reachable:
        yield Attention(BAD, "The GCS cannot be reached: what is shown is what was last known.", "cluster_info")
    for problem in report.problems[:NAMED_NODES]:
        yield Attention(WARNING, problem, "cluster_info")


def _nodes(reader: SessionReader, freshness: Freshness, recently: int) -> Iterator[Attention]:
    died = _count(reader, NODES, Condition("state", "is", "DEAD"), Condition("end_time_ms", "ge", recently))
    if died:
        yield Attention(BAD, f"{_many(died, 'node')} died {_recently(freshness)}.", "nodes", {"state": "DEAD"})
    if freshness.partial:
        silent = len(freshness.partial)
        yield Attention(NOTE, f"{_many(silent, 'node')} cannot be measured: {freshness.partial[0].reason}.", "nodes")


def _hosts(stats: Sequence[model.NodeStats]) -> Iterator[Attention]:
    kinds = (
        ("memory", "memory_used_bytes", "memory_total_bytes"),
        ("disk", "disk_root_used_bytes", "disk_root_total_bytes"),
        ("object store", "object_store_used_bytes", "object_store_capacity_bytes"),
    )
    for name, used, total in kinds:
        full = [one for one in stats if _percent(getattr(one, used), getattr(one, total)) >= ALMOST_FULL_PERCENT]
        if full:
            named = ", ".join(one.hostname or one.node_id[:8] for one in full[:NAMED_NODES])
            more = f" and {len(full) - NAMED_NODES} more" if len(full) > NAMED_NODES else ""
            yield Attention(WARNING, f"The {name} of {named}{more} is over {ALMOST_FULL_PERCENT:.0f} % full.", "nodes")


def _work(reader: SessionReader, freshness: Freshness, recently: int) -> Iterator[Attention]:
    failed = _count(reader, JOBS, Condition("status", "is", "FAILED"), Condition("end_time_ms", "ge", recently))
    if failed:
        yield Attention(BAD, f"{_many(failed, 'job')} failed {_recently(freshness)}.", "jobs", {"status": "FAILED"})
    causes = [cause for cause in reader.counts(ACTORS, "death_cause", limit=MOST_CAUSES) if cause is not None and not was_meant(cause)]
    dead = _count(reader, ACTORS, Condition("death_cause", "unknown"), Condition("end_time_ms", "ge", recently))
    if causes:
        crashed = AnyOf(tuple(Condition("death_cause", "is", cause) for cause in causes))
        dead += _count(reader, ACTORS, crashed, Condition("end_time_ms", "ge", recently))
    if dead:
        yield Attention(WARNING, f"{_many(dead, 'actor')} died of an error {_recently(freshness)}.", "actors", _crashed(causes))
    restarting = _count(reader, ACTORS, Condition("state", "is", "RESTARTING"))
    if restarting:
        words = "is restarting" if restarting == 1 else "are restarting"
        yield Attention(NOTE, f"{_many(restarting, 'actor')} {words}.", "actors", {"state": "RESTARTING"})


def _crashed(causes: list[str]) -> dict[str, str | list[str]]:
    """Arguments of the list of these dead actors, the last first; of all dead ones where there are too many causes for a URL."""
    narrowed: dict[str, str | list[str]] = {"death_cause": causes} if 0 < len(causes) <= MOST_CAUSES_IN_A_URL else {}
    return {"state": "DEAD", **narrowed, "sort": "-end_time_ms"}


def _waiting(reader: SessionReader, now: float) -> Iterator[Attention]:
    """What waits to be placed. At 300 nodes the reasons cost 40 ms, so they hold for some seconds whoever asks."""
    known = _waiting_known.get(reader.path)
    if known is None or not 0 <= now - known[0] < REASONS_HOLD_S:
        while len(_waiting_known) >= SESSIONS_KNOWN:
            _waiting_known.pop(next(iter(_waiting_known)), None)
        known = _waiting_known[reader.path] = (now, [*_reasons(reader), *_tasks(reader, now)])
    yield from known[1]


_waiting_known: dict[Path, tuple[float, list[Attention]]] = {}


def _reasons(reader: SessionReader) -> Iterator[Attention]:
    """What waits, that for the same reason together, the most frequent first."""
    kinds = (
        (NOTE, "actor", "actors", ACTORS, "PENDING_CREATION", actor_reasons),
        (WARNING, "placement group", "placement_groups", PLACEMENT_GROUPS, "PENDING", group_reasons),
    )
    for level, noun, endpoint, view, state, reasons in kinds:
        total = _count(reader, view, Condition("state", "is", state))
        told = 0
        for sentence, count in reasons(reader, reader.find(view.base, "state", state, LOOKED_AT))[:NAMED_REASONS] if total else ():
            told += count
            yield Attention(level, f"{_many(count, noun)} {_wait(count)} to be placed: {sentence}", endpoint, {"state": state})
        if total > told:
            more = "more " if told else ""
            yield Attention(level, f"{_many(total - told, more + noun)} {_wait(total - told)} to be placed.", endpoint, {"state": state})


def _tasks(reader: SessionReader, now: float) -> Iterator[Attention]:
    """Tasks that no node can ever hold, and those that have waited for long. Those of waiting actors and groups are told with these."""
    groups = [one for one in waiting_tasks(reader, now).groups if not one.is_of_another]
    since_ms = (reader.moment(now) - TASKS_MAY_WAIT_S) * 1000
    long = [one for one in groups if one.is_for_ever or (one.since_ms is not None and one.since_ms < since_ms)]
    for one in sorted(long, key=lambda one: not one.is_for_ever)[:NAMED_REASONS]:
        least = "" if one.is_exact else "At least "
        text = f"{least}{_many(one.count, 'task')} {_wait(one.count)}: {one.sentence}"
        yield Attention(WARNING if one.is_for_ever else NOTE, text, "tasks", one.listed)


def _recently(freshness: Freshness) -> str:
    return "in the last hour of the session" if freshness.is_past else "within the last hour"


def _wait(count: int) -> str:
    return "waits" if count == 1 else "wait"


def _count(reader: SessionReader, view: Any, *conditions: Condition | AnyOf) -> int:
    return reader.count(view, conditions)


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}".replace(",", "\u202f")


def _percent(used: int | None, total: int | None) -> float:
    return 100 * used / total if used is not None and total else 0.0
