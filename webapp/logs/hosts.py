"""Who is asked for the log files of a node: its own host; of a node that is gone the one on which what was sent of them is kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from clusterstate import model
from clusterstate.hosts import this_host
from clusterstate.node_questions import NodeQuestions, Unanswered
from clusterstate.probes import ListLogs
from clusterstate.resources import NODES
from webapp.hosts import is_gone, own_host
from webapp.parts import parts
from webapp.scope import Scope

MOST_LIVING = 10_000
MOST_GONE_LISTED = 50
"""Nodes that are gone which are offered, the last lost first."""
MOST_GONE_ASKED = 16
"""Hosts that are gone which are asked about together."""


@dataclass(frozen=True)
class AskedHost:
    """Who answers for nodes that share a log folder: asked for the first of them."""

    host: str
    node_id: str
    beside: tuple[str, ...] = ()
    problem: str | None = None  # why it cannot be asked


def host_asked(scope: Scope, node: model.Node) -> str:
    """The host whose node worker answers for the files of a node. Raises Unanswered."""
    if is_gone(scope, node):
        return keeping_host(parts().questions, scope.cluster, ListLogs.queue)
    host = own_host(scope.reader, node)
    if host is None:
        raise Unanswered("No node collector runs on this node, so nobody can be asked for its files. `raydeck node` on it starts one.")
    return host


def hosts_of(scope: Scope, nodes: Iterable[model.Node]) -> Iterator[AskedHost]:
    """Each host of these nodes once: raylets of one host share a log folder. Those that cannot be asked come first, with why."""
    living: dict[str, list[str]] = {}
    gone: dict[str, list[str]] = {}
    for node in nodes:
        own = own_host(scope.reader, node)
        if is_gone(scope, node):
            gone.setdefault(own or node.node_id, []).append(node.node_id)
        elif own is None:
            yield AskedHost("", node.node_id, problem="No node collector runs on it: `raydeck node` there starts one.")
        else:
            living.setdefault(own, []).append(node.node_id)
    for host, (first, *beside) in living.items():
        yield AskedHost(host, first, (*beside, *gone.pop(host, ())))  # it shares their folder
    for number, (first, *beside) in enumerate(gone.values()):
        yield _gone_host(scope, number, first, tuple(beside))


def _gone_host(scope: Scope, number: int, first: str, beside: tuple[str, ...]) -> AskedHost:
    """Of nodes that are gone: whoever keeps what is left of their files."""
    if number >= MOST_GONE_ASKED:
        why = f"Of hosts that are gone only the {MOST_GONE_ASKED} lost last are asked about."
        return AskedHost("", first, beside, why)
    try:
        return AskedHost(keeping_host(parts().questions, scope.cluster, ListLogs.queue), first, beside)
    except Unanswered as why_not:
        return AskedHost("", first, beside, str(why_not))


def keeping_host(questions: NodeQuestions, cluster: str, queue: str) -> str:
    """The host that answers for nodes that are gone: where the keeper runs, or did last. Raises Unanswered."""
    keeper = questions.keeper(cluster)
    if keeper is None or keeper.host == this_host():
        return this_host()
    if not questions.is_answered(queue, cluster, keeper.host):
        raise Unanswered(
            f"What was kept of the log files of nodes that are gone is on {keeper.host}, where nobody answers now. "
            "`raydeck up` or `raydeck node` there does."
        )
    return keeper.host


def nodes_with_logs(scope: Scope) -> list[model.Node]:
    """Living nodes, the head first, then those that are gone, the last lost first."""
    nodes = scope.reader.find(NODES, "state", "ALIVE", MOST_LIVING)
    living = sorted(nodes, key=lambda node: (not node.is_head_node, node.node_name or "", node.node_id))
    gone = sorted(scope.reader.find(NODES, "state", "DEAD", 1000), key=lambda node: -(node.end_time_ms or 0))
    return [*living, *gone[:MOST_GONE_LISTED]]


def keeping_problem(scope: Scope) -> str | None:
    """Why not all of the log files of nodes is kept now, in a sentence."""
    keeper = parts().questions.keeper(scope.cluster)
    return keeper.problem if keeper is not None else None
