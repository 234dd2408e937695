"""Answers what the threads of a node's processes stand at."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Any

import msgspec

from clusterstate.profile_answers import FAILED, ProcessStacks, StacksPart, WhyNot
from workers.probes.profile_places import Place
from workers.probes.running import CannotAnswer, running
from workers.sources import profile_obstacles
from workers.sources.profile_targets import Finder, Refused, Target
from workers.sources.stack_dumps import Asked, Dumping

MOST_ASKED = 2_000
MOST_PASSES = 5
PASS_EVERY_S = 1.0
MOST_SUBPROCESSES = 64
TOLD_EVERY_S = 0.2
MOST_PART_BYTES = 512 * 1024
MOST_BYTES_OF_MANY = 200_000
"""Of one of many processes, as it travels: a hundred threads of fifty frames are half of that."""
MANY_WITHIN_S = 50.0
QUICK_WITHIN_S, DEEP_WITHIN_S = 12.0, 50.0
"""Of a stack trace: less than its probe has (clusterstate.probes)."""


def dump_stacks(node_id: str, pid: int, started_ms: int, native: bool, subprocesses: bool) -> dict[str, Any]:
    """StacksPart (clusterstate.profile_answers)."""
    return _dump_one(node_id, pid, started_ms, native, subprocesses, QUICK_WITHIN_S)


def dump_deep_stacks(node_id: str, pid: int, started_ms: int, native: bool, subprocesses: bool) -> dict[str, Any]:
    """The same, with more time."""
    return _dump_one(node_id, pid, started_ms, native, subprocesses, DEEP_WITHIN_S)


def _dump_one(node_id: str, pid: int, started_ms: int, native: bool, subprocesses: bool, within_s: float) -> dict[str, Any]:
    place = Place()
    found: list[ProcessStacks] = []
    try:
        finder = place.finder(node_id)
        asked = [Asked(pid, started_ms, finder)]
        if subprocesses:
            with finder.open(pid, started_ms) as target:
                asked += _below(finder, target)
    except Refused as refused:
        return _answer([ProcessStacks(_shown(pid), started_ms, at=time.time(), why_not=refused.why_not)])
    each = (1 << 20) // len(asked)
    give_up = time.monotonic() + within_s
    with closing(_dumps(place, asked, native, each)) as dumps:
        for one in dumps:
            if one is not None:
                found.append(one)
            if time.monotonic() > give_up:
                break
    seen = {one.pid for one in found}
    found += [_too_late(one, within_s) for one in asked if _shown(one.pid) not in seen]
    order = {one.pid: number for number, one in enumerate(asked)}
    return _answer(sorted(found, key=lambda one: order.get(one.pid, len(order))))


def dump_many_stacks(
    node_id: str,
    pids: tuple[int, ...],
    started_ms: tuple[int, ...],
    nodes: tuple[int, ...],
    node_ids: tuple[str, ...],
    native: bool,
    passes: int,
) -> dict[str, Any]:
    """Tells StacksParts as they come."""
    if not len(pids) == len(started_ms) == len(nodes) or any(not 0 <= node < len(node_ids) for node in nodes):
        raise CannotAnswer("There must be as many start times and nodes as processes.")
    if len(pids) > MOST_ASKED or not 1 <= passes <= MOST_PASSES:
        raise CannotAnswer(f"At most {MOST_ASKED} processes are looked at, {MOST_PASSES} times.")
    place = Place()
    finders = [_finder(place, node) for node in node_ids]
    once = dict(zip(pids, zip(started_ms, nodes, strict=True), strict=True))
    asked = [Asked(pid, began, finders[node]) for pid, (began, node) in once.items()]
    give_up = time.monotonic() + MANY_WITHIN_S
    for in_pass in range(1, passes + 1):
        began = time.monotonic()
        running().report(f"Pass {in_pass} of {passes}")
        _one_pass(place, asked, native, in_pass, give_up)
        if in_pass < passes and time.monotonic() < give_up:
            time.sleep(max(0.0, began + PASS_EVERY_S - time.monotonic()))
    return _answer([])


def _one_pass(place: Place, asked: list[Asked], native: bool, in_pass: int, give_up: float) -> None:
    """Tells the stacks of all once."""
    telling = _Telling()
    with closing(_dumps(place, asked, native, MOST_BYTES_OF_MANY)) as dumps:
        for one in dumps:
            telling.add(one and msgspec.structs.replace(one, in_pass=in_pass))
            if time.monotonic() > give_up:
                break
    telling.tell()
    late = [one for one in asked if _shown(one.pid) not in telling.told]
    for start in range(0, len(late), 1000):
        telling.waiting = [_too_late(one, MANY_WITHIN_S, in_pass) for one in late[start : start + 1000]]
        telling.tell()


class _Telling:
    """Tells what came, a few times a second."""

    def __init__(self) -> None:
        self.waiting: list[ProcessStacks] = []
        self.told: set[int] = set()
        self._bytes = 0
        self._last = time.monotonic()

    def add(self, one: ProcessStacks | None) -> None:
        if one is not None:
            self.waiting.append(one)
            self._bytes += len(msgspec.json.encode(one))
        if self._bytes > MOST_PART_BYTES or time.monotonic() - self._last > TOLD_EVERY_S:
            self.tell()

    def tell(self) -> None:
        if self.waiting:
            running().tell(msgspec.json.encode(StacksPart(tuple(self.waiting))))
        self.told |= {one.pid for one in self.waiting}
        self.waiting, self._bytes, self._last = [], 0, time.monotonic()


def _dumps(place: Place, asked: Sequence[Asked], native: bool, most_bytes: int) -> Generator[ProcessStacks | None, None, None]:
    if place.program is None:
        why_not = profile_obstacles.before(place.node)
        yield from (ProcessStacks(_shown(one.pid), one.started_ms or 0, at=time.time(), why_not=why_not) for one in asked)
        return
    yield from Dumping(place.program, place.node, native, place.notes(), most_bytes).results(asked, TOLD_EVERY_S)


def _finder(place: Place, node_id: str) -> Finder | Refused:
    try:
        return place.finder(node_id)
    except Refused as refused:
        return refused


def _below(finder: Finder, target: Target) -> list[Asked]:
    return [Asked(pid, None, finder, target) for pid in finder.children_of(target)[:MOST_SUBPROCESSES]]


def _too_late(one: Asked, within_s: float, in_pass: int = 1) -> ProcessStacks:
    why = WhyNot(FAILED, f"There was no time for it within {within_s:.0f} s.")
    child_of = one.child_of.pid if one.child_of is not None else None
    return ProcessStacks(_shown(one.pid), one.started_ms or 0, in_pass=in_pass, child_of=child_of, why_not=why)


def _shown(pid: int) -> int:
    return pid if 0 <= pid <= 1 << 31 else 0


def _answer(processes: Sequence[ProcessStacks]) -> dict[str, Any]:
    answer: dict[str, Any] = msgspec.to_builtins(StacksPart(tuple(processes)))
    return answer
