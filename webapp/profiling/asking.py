"""A profile from a form: what may be asked, the probes that it becomes, and one question a host."""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from typing import Any

from clusterstate import model
from clusterstate.probes import DumpDeepStacks, DumpManyStacks, DumpStacks, RecordCpu, RecordGpu, RecordJax, RecordManyCpu, RecordMemory
from clusterstate.profiles import CENSUS, CPU, GPU, JAX, KINDS, MEMORY, MERGED, STACKS, Asked, Option, Profile, Question, Target
from clusterstate.query import BadQuery
from clusterstate.resources import NODES
from webapp.log_hosts import is_gone, own_host
from webapp.profiling.targets import Chosen
from webapp.scope import Scope

MOST_SECONDS = 300
MOST_HZ = 500
MOST_TRACE_SECONDS = 60
NUMBER = re.compile(r"[0-9]{1,9}")
MOST_MERGED = 128
"""Processes that are sampled for one flame graph."""
STARTS_S = 2
"""What a recording takes beside its time."""


@dataclass(frozen=True)
class Number:
    """An option that is a whole number."""

    label: str
    low: int
    high: int
    default: int
    unit: str


@dataclass(frozen=True)
class Switch:
    """An option that is on or off."""

    label: str
    hint: str


GIL = Switch("Holding the GIL", "Only threads that hold Python's lock: what keeps the others waiting")
NONBLOCKING = Switch("Without stopping it", "Not held for each sample: nothing is slowed, some samples are torn. Not with native frames")

OPTIONS: dict[str, dict[str, Number | Switch]] = {
    STACKS: {
        "native": Switch("Native frames", "C, C++ and Cython too; takes longer, and the process stands still meanwhile"),
        "subprocesses": Switch("Subprocesses", "Python processes below it, such as those of a DataLoader"),
    },
    CPU: {
        "duration": Number("Duration", 1, MOST_SECONDS, 10, "s"),
        "rate": Number("Rate", 1, MOST_HZ, 100, "Hz"),
        "native": Switch("Native frames", "C, C++ and Cython too; costs the process more"),
        "idle": Switch("Idle threads", "Threads that wait count too: shows where time goes, not only CPU"),
        "subprocesses": Switch("Subprocesses", "Python processes below it"),
        "gil": GIL,
        "nonblocking": NONBLOCKING,
    },
    MEMORY: {
        "duration": Number("Duration", 1, MOST_SECONDS, 10, "s"),
        "native": Switch("Native frames", "C, C++ and Cython too"),
        "leaks": Switch("Leaks", "What was not freed by the end, instead of what was held at the highest point"),
        "python_allocators": Switch("Python allocators", "Small objects one by one; slow"),
    },
    GPU: {"duration": Number("Duration", 1, MOST_TRACE_SECONDS, 5, "s")},
    JAX: {"duration": Number("Duration", 1, MOST_TRACE_SECONDS, 5, "s")},
    CENSUS: {
        "passes": Number("Passes", 1, 5, 3, "times"),
        "native": Switch("Native frames", "C, C++ and Cython too"),
    },
    MERGED: {
        "duration": Number("Duration", 1, 60, 10, "s"),
        "rate": Number("Rate", 1, 100, 20, "Hz"),
        "native": Switch("Native frames", "C, C++ and Cython too; costs the processes more"),
        "idle": Switch("Idle threads", "Threads that wait count too"),
        "gil": GIL,
        "nonblocking": NONBLOCKING,
    },
}


def kinds_for(found: Chosen) -> tuple[str, ...]:
    """Which profiles can be made of it."""
    return (CENSUS, MERGED) if found.are_many else (STACKS, CPU, MEMORY, GPU, JAX)


def read_options(kind: str, typed: Mapping[str, str]) -> dict[str, Option]:
    """The options of a form. Raises BadQuery, which names what is allowed."""
    if kind not in KINDS:
        raise BadQuery(f"kind is {kind[:32]!r}; it must be one of {', '.join(KINDS)}.")
    options = {name: _option(name, option, typed.get(name, "")) for name, option in OPTIONS[kind].items()}
    if options.get("native") and options.get("nonblocking"):
        raise BadQuery("native and nonblocking exclude one another: native frames are read while the process stands still.")
    return options


def plan(scope: Scope, found: Chosen, kind: str, options: dict[str, Option], who: str, now: float) -> tuple[Profile, list[Question]]:
    """What to keep and what to ask. Raises BadQuery where it cannot be asked."""
    if found.nobody is not None:
        raise BadQuery(found.nobody)
    if kind not in kinds_for(found):
        raise BadQuery(f"Of {found.about} these can be made: {', '.join(kinds_for(found))}.")
    targets = found.targets if kind != MERGED else tuple(_of_all_nodes(found.targets, MOST_MERGED))
    profile = Profile(
        profile_id=secrets.token_hex(12),
        cluster=scope.cluster,
        session=scope.reader.session,
        kind=kind,
        who=who,
        asked_at=now,
        about=found.about,
        targets=targets,
        asked=tuple(_unasked(scope, targets)),
        options=options,
        of=found.of,
        left_out=found.left_out + len(found.targets) - len(targets),
    )
    unasked = {place for one in profile.asked for place in one.targets}
    if kind == MERGED:
        _check_time(profile)
    return profile, list(_questions(scope, profile, unasked, found.while_task))


def _of_all_nodes(targets: tuple[Target, ...], most: int) -> Iterator[Target]:
    """At most so many, of each node as many as of the others, as far as it has them."""
    of_nodes: dict[str, list[Target]] = {}
    for target in targets:
        of_nodes.setdefault(target.node_id, []).append(target)
    in_turn = chain.from_iterable(zip_longest(*of_nodes.values()))
    return islice((target for target in in_turn if target is not None), most)


def _check_time(profile: Profile) -> None:
    """Raises BadQuery where a host could not sample its processes one after the other in time."""
    rate, duration = int(profile.options["rate"]), int(profile.options["duration"])
    count = max(Counter(target.node_id for target in profile.targets).values())
    takes_s = -(-count // RecordManyCpu.at_once(rate)) * (duration + STARTS_S)
    if takes_s > RecordManyCpu.stopped_after_s:
        most = RecordManyCpu.stopped_after_s
        wanted = f"{count} processes of a node, {duration} s each at {rate} Hz"
        raise BadQuery(f"{wanted}, take {takes_s} s; at most {most} s are given: lower the rate or the duration.")


def _option(name: str, option: Number | Switch, text: str) -> Option:
    if isinstance(option, Switch):
        if text not in {"", "0", "1"}:
            raise BadQuery(f"{name} is {text[:32]!r}; it must be 0 or 1.")
        return text == "1"
    if not text:
        return option.default
    if not NUMBER.fullmatch(text) or not option.low <= int(text) <= option.high:
        raise BadQuery(f"{name} is {text[:32]!r}; it must be a whole number from {option.low} to {option.high}.")
    return int(text)


def _host(scope: Scope, node_id: str) -> str | None:
    """The host whose node worker looks into processes of a node; None: nobody can."""
    node: model.Node | None = scope.reader.get(NODES, node_id)
    return None if node is None or is_gone(scope, node) else own_host(scope.reader, node)


def _unasked(scope: Scope, targets: tuple[Target, ...]) -> Iterator[Asked]:
    """The processes of nodes that nobody can be asked about."""
    places: dict[str, list[int]] = {}
    for place, target in enumerate(targets):
        places.setdefault(target.node_id, []).append(place)
    for node_id, of_node in places.items():
        if _host(scope, node_id) is None:
            why = f"Node {node_id[:8]} is gone, or no node collector runs on it: `raydeck node` there starts one."
            yield Asked("", tuple(of_node), problem=why)


def _questions(scope: Scope, profile: Profile, unasked: set[int], while_task: str) -> Iterator[Question]:
    on_hosts: dict[str, list[int]] = {}
    for place, target in enumerate(profile.targets):
        if place not in unasked:
            on_hosts.setdefault(_host(scope, target.node_id) or "", []).append(place)
    for host, places in on_hosts.items():
        yield Question(host, _probe(profile, tuple(places), while_task), tuple(places))


def _probe(profile: Profile, places: tuple[int, ...], while_task: str) -> object:
    options = dict(profile.options)
    duration, rate = int(options.pop("duration", 0)), int(options.pop("rate", 0))
    passes = int(options.pop("passes", 1))
    flags: dict[str, Any] = {name: bool(value) for name, value in options.items()}
    targets = [profile.targets[place] for place in places]
    node_id, pid, started_ms = targets[0].node_id, targets[0].pid, targets[0].started_ms
    pids, starts = tuple(one.pid for one in targets), tuple(one.started_ms for one in targets)
    node_ids = tuple(dict.fromkeys(one.node_id for one in targets))
    nodes = tuple(node_ids.index(one.node_id) for one in targets)
    if profile.kind == STACKS:
        dump = DumpDeepStacks if any(flags.values()) else DumpStacks
        return dump(node_id, pid, started_ms, **flags)
    if profile.kind == CPU:
        return RecordCpu(node_id, pid, started_ms, duration, rate, while_task=while_task, **flags)
    if profile.kind == MEMORY:
        return RecordMemory(node_id, pid, started_ms, duration, while_task=while_task, **flags)
    if profile.kind == GPU:
        return RecordGpu(node_id, pid, started_ms, duration)
    if profile.kind == JAX:
        return RecordJax(node_id, pid, started_ms, duration)
    if profile.kind == CENSUS:
        return DumpManyStacks(node_id, pids, starts, nodes, node_ids, passes=passes, native=flags["native"])
    return RecordManyCpu(node_id, pids, starts, nodes, node_ids, duration, rate, **flags)
