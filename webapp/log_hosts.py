"""Who is asked for the log files of a node: its own host; of a node that is gone the one on which what was sent of them is kept."""

from __future__ import annotations

from clusterstate import model
from clusterstate.hosts import host_id, this_host
from clusterstate.node_questions import NodeQuestions, Unanswered
from clusterstate.probes import ListLogs
from clusterstate.resources import NODE_STATS, NODES
from clusterstate.store.reader import SessionReader
from webapp.parts import parts
from webapp.scope import Scope

MOST_LIVING = 10_000
MOST_GONE_LISTED = 50
"""Nodes that are gone which are offered, the last lost first."""


def is_gone(scope: Scope, node: model.Node) -> bool:
    """Whether nothing can be asked of the node itself any more."""
    return scope.is_past or node.state != "ALIVE"


def own_host(reader: SessionReader, node: model.Node) -> str | None:
    """The host that a node is, or was, on; None where no node collector said so."""
    stats: model.NodeStats | None = reader.get(NODE_STATS, node.node_id)
    return host_id(stats.hostname, stats.boot_id) if stats is not None else None


def host_asked(scope: Scope, node: model.Node) -> str:
    """The host whose node worker answers for the files of a node. Raises Unanswered."""
    if is_gone(scope, node):
        return keeping_host(parts().questions, scope.cluster, ListLogs.queue)
    host = own_host(scope.reader, node)
    if host is None:
        raise Unanswered("No node collector runs on this node, so nobody can be asked for its files. `raydeck node` on it starts one.")
    return host


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
