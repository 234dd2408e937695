"""What is in the way of a profile, asked of the nodes before it is tried."""

from __future__ import annotations

from dataclasses import dataclass

from clusterstate import model
from clusterstate.node_questions import Unanswered
from clusterstate.probes import CheckProfiling
from clusterstate.profile_answers import BUSY, ENDED, NOT_LISTED, NOT_PYTHON, Abilities, WhyNot, read
from clusterstate.profiles import Target
from clusterstate.resources import NODES
from clusterstate.stacks import Unreadable
from webapp.hosts import own_host
from webapp.parts import parts
from webapp.profiling.kinds import Kind
from webapp.profiling.targets import Chosen
from webapp.scope import Scope

WITHIN_S = 1.5
MOST_HOSTS = 8
"""That are asked: what is wrong on one is mostly wrong on all."""
NO_COLLECTOR = "No node collector runs on its node: `raydeck node` there starts one."


OF_ONE = frozenset({BUSY, ENDED, NOT_LISTED, NOT_PYTHON})
"""Says nothing of the other processes of a host."""


@dataclass(frozen=True)
class Checked:
    """What one host says of the first process that was chosen there."""

    hostname: str
    processes: int  # that were chosen there
    abilities: Abilities | None
    unknown: str | None = None  # why it is not known whether it will work


@dataclass(frozen=True)
class Obstacle:
    """What is in the way on some hosts."""

    why_not: WhyNot
    hostnames: tuple[str, ...]
    processes: int


def checked(scope: Scope, found: Chosen) -> tuple[Checked, ...]:
    """Of each host with a process of these, at most MOST_HOSTS of them, all asked at once."""
    firsts: dict[str, Target] = {}
    counts: dict[str, int] = {}
    for target in found.targets:
        firsts.setdefault(target.node_id, target)
        counts[target.node_id] = counts.get(target.node_id, 0) + 1
    asked = {node_id: firsts[node_id] for node_id in list(firsts)[:MOST_HOSTS]}
    nodes: dict[str, model.Node | None] = {node_id: scope.reader.get(NODES, node_id) for node_id in asked}
    if scope.is_past:
        return tuple(Checked(_name(nodes[one], one), counts[one], None, "This session has ended.") for one in asked)
    hosts = {node_id: own_host(scope.reader, node) for node_id, node in nodes.items() if node is not None}
    probes = {
        node_id: (host, CheckProfiling(target.node_id, target.pid, target.started_ms))
        for node_id, target in asked.items()
        if (host := hosts.get(node_id)) is not None
    }
    answers = parts().questions.ask_each(probes, scope.cluster, WITHIN_S)
    return tuple(_checked(_name(nodes[one], one), counts[one], answers.get(one, Unanswered(NO_COLLECTOR))) for one in asked)


def obstacles(found: tuple[Checked, ...], kind: Kind) -> tuple[Obstacle, ...]:
    """What is in the way of a kind of profile, equal reasons together."""
    by_reason: dict[WhyNot, list[Checked]] = {}
    for one in found:
        why_not = kind.in_the_way(one.abilities) if one.abilities is not None else None
        if why_not is not None and (one.processes == 1 or why_not.reason not in OF_ONE):
            by_reason.setdefault(why_not, []).append(one)
    return tuple(
        Obstacle(why_not, tuple(one.hostname for one in those), sum(one.processes for one in those)) for why_not, those in by_reason.items()
    )


def _checked(hostname: str, processes: int, answer: object) -> Checked:
    if isinstance(answer, Unanswered):
        return Checked(hostname, processes, None, str(answer))
    try:
        abilities: Abilities = read(answer, Abilities)
    except Unreadable as why:
        return Checked(hostname, processes, None, f"Its answer cannot be read: {why}")
    return Checked(hostname, processes, abilities)


def _name(node: model.Node | None, node_id: str) -> str:
    return (node.hostname if node is not None else None) or node_id[:8]
