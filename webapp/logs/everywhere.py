"""Log files of all nodes together: every host is asked at once, and what did not come in time is named."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from clusterstate import model
from clusterstate.log_answers import ListedFile, Listing, Unreadable, read_answer
from clusterstate.node_questions import NodeQuestions, Unanswered
from clusterstate.probes import ListLogs
from clusterstate.store import queues
from webapp.logs.hosts import hosts_of
from webapp.scope import Scope

MOST_OF_A_HOST = 500
"""Files that one host tells: the first so many of all are in the right order, however they are spread."""
LOOK_EVERY_S = 0.03
SORTS: dict[str, Callable[[ListedFile], Any]] = {
    "modified": lambda file: file.modified_ms,
    "size": lambda file: file.size,
    "name": lambda file: file.name,
}


@dataclass(frozen=True)
class Everywhere:
    """A page of the files of all nodes, in order, and how many there are."""

    files: tuple[tuple[str, ListedFile], ...]  # each with its node
    listing: Listing  # the sums; its files are none
    problems: tuple[tuple[str, str], ...]  # (node, why) of those whose files are missing


def list_everywhere(
    questions: NodeQuestions,
    scope: Scope,
    nodes: Iterable[model.Node],
    wanted: ListLogs,
    within_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> Everywhere:
    """What every host of these nodes tells until then. `wanted` says which page of all of them."""
    give_up = clock() + within_s
    probe = replace(wanted, offset=0, limit=min(MOST_OF_A_HOST, wanted.offset + wanted.limit))
    problems: list[tuple[str, str]] = []
    waiting: dict[str, str] = {}
    for one in hosts_of(scope, nodes):
        try:
            if one.problem is not None:
                raise Unanswered(one.problem)
            waiting[questions.start(replace(probe, node_id=one.node_id), scope.cluster, one.host)] = one.node_id
        except Unanswered as why:
            problems.append((one.node_id, str(why)))
    told: list[tuple[str, Listing]] = []
    while waiting:
        for probe_id, node_id in tuple(waiting.items()):
            try:
                value = _value(questions, probe_id)
            except (Unanswered, Unreadable) as why:
                problems.append((node_id, str(why)))
            else:
                if value is None:
                    continue
                told.append((node_id, value))
            del waiting[probe_id]
        if waiting and clock() > give_up:
            break
        if waiting:
            time.sleep(LOOK_EVERY_S)
    for probe_id, node_id in waiting.items():
        questions.cancel(probe_id)
        problems.append((node_id, f"It did not answer within {within_s:.0f} s."))
    return _together(told, wanted, problems)


def _value(questions: NodeQuestions, probe_id: str) -> Listing | None:
    """None while it is not there. Raises Unanswered, Unreadable."""
    answer = questions.answer(probe_id)
    if answer is None:
        raise Unanswered("The question was forgotten: Redis came back without it.")
    if not answer.is_final:
        return None
    if answer.state != queues.DONE:
        raise Unanswered(answer.problem or answer.state)
    return read_answer(answer.value, Listing)


def _together(told: list[tuple[str, Listing]], wanted: ListLogs, problems: list[tuple[str, str]]) -> Everywhere:
    files = [(node_id, file) for node_id, listing in told for file in listing.files]
    files.sort(key=lambda pair: (pair[1].name, pair[0]))
    files.sort(key=lambda pair: SORTS[wanted.sort.removeprefix("-")](pair[1]), reverse=wanted.sort.startswith("-"))
    groups: Counter[str] = Counter()
    for _, listing in told:
        groups.update(listing.groups)
    sums = Listing(
        matching=sum(listing.matching for _, listing in told),
        groups=dict(groups),
        empty=sum(listing.empty for _, listing in told),
        total=sum(listing.total for _, listing in told),
        is_whole=not problems and all(listing.is_whole for _, listing in told),
    )
    return Everywhere(tuple(files[wanted.offset : wanted.offset + wanted.limit]), sums, tuple(problems))
