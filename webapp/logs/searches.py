"""A search over the log files of many nodes: put to each of them once, and what they have told so far."""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import msgspec

from clusterstate import model
from clusterstate.log_answers import FoundLine, ListedFile, SearchProgress, Unreadable, read_answer, read_part
from clusterstate.node_questions import NodeQuestions, Unanswered
from clusterstate.probes import SearchLogs
from clusterstate.store import queues
from webapp.logs.hosts import hosts_of
from webapp.scope import Scope

PARTS_AT_ONCE = 8
"""Read of a node's answer before it is seen whether that is enough to show."""


@dataclass(frozen=True)
class AskedNode:
    """A node that was asked for its files, and for those of the nodes beside it: raylets of one host share a log folder."""

    node_id: str
    beside: tuple[str, ...] = ()
    probe_id: str | None = None
    problem: str | None = None  # why it was not asked


@dataclass(frozen=True)
class Asked:
    """A search that was put to nodes. `question` is what it was, by hash."""

    question: str
    nodes: tuple[AskedNode, ...]


@dataclass(frozen=True)
class FileFound:
    """Lines of one file."""

    node_id: str
    file: ListedFile
    lines: tuple[FoundLine, ...]

    @property
    def hits(self) -> int:
        return sum(bool(line.marks) for line in self.lines)


@dataclass(frozen=True)
class NodeFound:
    """How far a node has come."""

    asked: AskedNode
    state: str  # of clusterstate.store.queues; FAILED also where it was not asked
    progress: SearchProgress | None
    problem: str | None

    @property
    def is_done(self) -> bool:
        return self.state in queues.FINAL


@dataclass(frozen=True)
class Results:
    """What all nodes told so far. Files stand in the order of their nodes and of their last writing."""

    nodes: tuple[NodeFound, ...]
    files: tuple[FileFound, ...]
    version: tuple[object, ...] = field(default=())  # differs when there is more

    @property
    def is_done(self) -> bool:
        return all(node.is_done for node in self.nodes)

    @property
    def is_exact(self) -> bool:
        """Whether every hit there is was counted."""
        return self.is_done and all(
            node.state == queues.DONE
            and node.progress is not None
            and not (node.progress.is_cut or node.progress.files_cut or node.progress.unread_count)
            and node.progress.listing_is_whole
            for node in self.nodes
        )

    @property
    def hits(self) -> int:
        return sum(progress.hits for progress in self.told)

    @property
    def told(self) -> list[SearchProgress]:
        return [node.progress for node in self.nodes if node.progress is not None]

    @property
    def missing(self) -> list[NodeFound]:
        """Nodes that did not answer, or not to the end."""
        return [node for node in self.nodes if node.is_done and node.state != queues.DONE]

    @property
    def times(self) -> tuple[int, dict[int, int]]:
        """(length of a step in seconds, beginning of a step → hits) of all nodes."""
        step_s = max((progress.step_s for progress in self.told), default=1)
        merged: Counter[int] = Counter()
        for progress in self.told:
            for start, count in progress.times.items():
                merged[start // step_s * step_s] += count
        return step_s, dict(sorted(merged.items()))


def start(questions: NodeQuestions, scope: Scope, nodes: Iterable[model.Node], probe: SearchLogs, question: str) -> str:
    """Puts a search to every host of these nodes; returns the id to ask for its results with. `question` is what was asked, in words."""
    asked = tuple(_ask(questions, scope, nodes, probe))
    run_id = secrets.token_urlsafe(12)
    questions.remember(run_id, msgspec.json.encode(Asked(_hash(question), asked)))
    return run_id


def find(questions: NodeQuestions, run_id: str, question: str) -> Asked | None:
    """A search that was started; None if it is forgotten or was another question."""
    blob = questions.remembered(run_id)
    if blob is None:
        return None
    asked = msgspec.json.decode(blob, type=Asked)
    return asked if asked.question == _hash(question) else None


def results(questions: NodeQuestions, asked: Asked, max_lines: int) -> Results:
    """What is there of a search, as much as is shown."""
    nodes: list[NodeFound] = []
    files: list[FileFound] = []
    left = max_lines
    version: list[object] = []
    for one in asked.nodes:
        found = _node(questions, one)
        nodes.append(found)
        if one.probe_id is not None and found.progress is not None and left > 0:
            told = list(_files(questions, one, left))
            files += told
            left -= sum(file.hits for file in told)
        version.append((found.state, found.progress and (found.progress.hits, found.progress.bytes_done, found.progress.files_done)))
    return Results(tuple(nodes), tuple(files), tuple(version))


def stop(questions: NodeQuestions, asked: Asked) -> None:
    """Ends a search on every node."""
    for one in asked.nodes:
        if one.probe_id is not None:
            questions.cancel(one.probe_id)


def _hash(question: str) -> str:
    return hashlib.sha256(question.encode("utf-8", "replace")).hexdigest()


def _ask(questions: NodeQuestions, scope: Scope, nodes: Iterable[model.Node], probe: SearchLogs) -> Iterator[AskedNode]:
    for one in hosts_of(scope, nodes):
        if one.problem is not None:
            yield AskedNode(one.node_id, one.beside, problem=one.problem)
            continue
        try:
            probe_id = questions.start(replace(probe, node_id=one.node_id), scope.cluster, one.host)
            yield AskedNode(one.node_id, one.beside, probe_id)
        except Unanswered as why:
            yield AskedNode(one.node_id, one.beside, problem=str(why))


def _node(questions: NodeQuestions, one: AskedNode) -> NodeFound:
    if one.probe_id is None:
        return NodeFound(one, queues.FAILED, None, one.problem)
    answer = questions.answer(one.probe_id)
    if answer is None:
        return NodeFound(one, queues.INTERRUPTED, None, "Its answer is forgotten: Redis came back without it.")
    try:
        if answer.state == queues.DONE:
            return NodeFound(one, answer.state, read_answer(answer.value, SearchProgress), None)
        last = questions.parts(one.probe_id, -1, -1)
        return NodeFound(one, answer.state, read_part(last[0]).progress if last else None, answer.problem)
    except Unreadable as why:
        return NodeFound(one, queues.FAILED, None, str(why))


def _files(questions: NodeQuestions, one: AskedNode, max_hits: int) -> Iterator[FileFound]:
    """Files of a node with their first lines, as many as hold so many hits; a file told in several parts is one."""
    assert one.probe_id is not None  # noqa: S101 - for the type checker: the caller saw it
    found: dict[str, tuple[ListedFile, list[FoundLine]]] = {}
    hits = at = 0
    while hits < max_hits and (blobs := questions.parts(one.probe_id, at, at + PARTS_AT_ONCE - 1)):
        at += len(blobs)
        for blob in blobs:
            try:
                part = read_part(blob)
            except Unreadable:
                continue  # the node's progress says so
            for file in part.found:
                kept = found.setdefault(file.file.file_id, (file.file, []))[1]
                for line in file.lines:
                    if hits >= max_hits and line.marks:
                        break
                    kept.append(line)
                    hits += bool(line.marks)
    for listed, lines in found.values():
        yield FileFound(one.node_id, listed, tuple(lines))
