"""A profile from a form: what may be asked, the probes that it becomes, and one question a host."""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain, islice, zip_longest

from clusterstate import model
from clusterstate.probes import RecordManyCpu
from clusterstate.profiles import MERGED, Asked, Option, Profile, Question, Target
from clusterstate.query import BadQuery
from clusterstate.resources import NODES
from webapp.hosts import is_gone, own_host
from webapp.profiling import kinds
from webapp.profiling.kinds import Kind, Number, OnHost, Switch
from webapp.profiling.targets import Chosen
from webapp.scope import Scope

NUMBER = re.compile(r"[0-9]{1,9}")
MOST_MERGED = 128
"""Processes that are sampled for one flame graph."""
STARTS_S = 2
"""What a recording takes beside its time."""


def kinds_for(found: Chosen) -> tuple[Kind, ...]:
    """Which profiles can be made of it."""
    return tuple(kind for kind in kinds.ALL if kind.of_many == found.are_many)


def kind_called(name: str) -> Kind:
    """Raises BadQuery."""
    if name not in kinds.BY_NAME:
        raise BadQuery(f"kind is {name[:32]!r}; it must be one of {', '.join(kinds.BY_NAME)}.")
    return kinds.BY_NAME[name]


def read_options(kind: Kind, typed: Mapping[str, str]) -> dict[str, Option]:
    """The options of a form. Raises BadQuery, which names what is allowed."""
    options = {name: _option(name, option, typed.get(name, "")) for name, option in kind.options.items()}
    if options.get("native") and options.get("nonblocking"):
        raise BadQuery("native and nonblocking exclude one another: native frames are read while the process stands still.")
    return options


def plan(scope: Scope, found: Chosen, kind: Kind, options: dict[str, Option], who: str, now: float) -> tuple[Profile, list[Question]]:
    """What to keep and what to ask. Raises BadQuery where it cannot be asked."""
    if found.nobody is not None:
        raise BadQuery(found.nobody)
    if kind not in kinds_for(found):
        raise BadQuery(f"Of {found.about} these can be made: {', '.join(one.name for one in kinds_for(found))}.")
    targets = found.targets if kind.name != MERGED else tuple(_of_all_nodes(found.targets, MOST_MERGED))
    profile = Profile(
        profile_id=secrets.token_hex(12),
        cluster=scope.cluster,
        session=scope.reader.session,
        kind=kind.name,
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
    if kind.name == MERGED:
        _check_time(profile)
    return profile, list(_questions(scope, profile, unasked, kind, found.while_task))


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


def _questions(scope: Scope, profile: Profile, unasked: set[int], kind: Kind, while_task: str) -> Iterator[Question]:
    on_hosts: dict[str, list[int]] = {}
    for place, target in enumerate(profile.targets):
        if place not in unasked:
            on_hosts.setdefault(_host(scope, target.node_id) or "", []).append(place)
    for host, places in on_hosts.items():
        on_host = OnHost(tuple(profile.targets[place] for place in places), profile.options, while_task)
        yield Question(host, kind.probe(on_host), tuple(places))
