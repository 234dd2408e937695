"""What a word may mean in a session: ids, pids, addresses and names, looked up through indexes."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from clusterstate.resources import ACTORS, JOBS, NODES, PLACEMENT_GROUPS, PROCESSES, TASKS, WORKERS, Resource
from clusterstate.store.reader import SessionReader
from clusterstate.store.sqlite_reading import DeadlinePassed

MAX_WORDS = 12
MAX_FOUND = 50
MIN_PREFIX = 4
LONGEST_PID = 10
LONGEST_WORD = 2_000
"""Of a text that may be a name or id as a whole, as long as the search box takes; a name is what somebody made up."""

# Ids within anything that was pasted, such as a log line: hex of the lengths Ray uses, and submission ids.
_IDS = re.compile(r"\b(?:[0-9a-f]{56}|[0-9a-f]{48}|[0-9a-f]{36}|[0-9a-f]{32}|[0-9a-f]{8}|raysubmit_[A-Za-z0-9]{1,64})\b")
_PIDS = re.compile(r"\bpid[=: ]\s?([0-9]{1,10})\b")
_ADDRESSES = re.compile(r"\bip[=: ]\s?([0-9a-fA-F.:]{3,45})")

_BY_ID: dict[int, tuple[tuple[Resource, str], ...]] = {
    56: ((NODES, "node_id"), (WORKERS, "worker_id")),
    48: ((TASKS, "task_id"),),
    36: ((PLACEMENT_GROUPS, "placement_group_id"),),
    32: ((ACTORS, "actor_id"),),
    8: ((JOBS, "job_id"),),
}
_NAMES: tuple[tuple[Resource, str], ...] = (
    (JOBS, "submission_id"),
    (ACTORS, "name"),
    (JOBS, "name"),
    (PLACEMENT_GROUPS, "name"),
    (NODES, "hostname"),
    (NODES, "node_name"),
    (ACTORS, "class_name"),
    (ACTORS, "repr_name"),
    (TASKS, "name"),
)
_BY_KEY = (NODES, JOBS, ACTORS, WORKERS, PLACEMENT_GROUPS)
_PREFIXED: tuple[tuple[Resource, str], ...] = (
    *((resource, resource.key) for resource in _BY_KEY if resource.key),
    (TASKS, "task_id"),
)


@dataclass(frozen=True)
class Found:
    """One row that a word may mean. `kind` is its page's endpoint, `row_id` its id there."""

    kind: str
    row_id: str
    label: str
    detail: str


@dataclass(frozen=True)
class Findings:
    found: tuple[Found, ...]
    is_exact: bool  # the word is the whole id, pid, address or name of what was found
    is_complete: bool  # False: a search took too long and was given up


def words_of(text: str) -> list[str]:
    """What to look for: the text itself if it is one word, and the ids, pids and addresses within it."""
    whole = text.strip()
    within = [*_IDS.findall(whole), *_PIDS.findall(whole), *_ADDRESSES.findall(whole)]
    words = [whole, *within] if len(whole) <= LONGEST_WORD else within
    return list(dict.fromkeys(word for word in words if word))[:MAX_WORDS]


def find(reader: SessionReader, text: str) -> Findings:
    """What a text means in this session: exact meanings if there are any, else what starts with it."""
    complete = True
    exact: dict[tuple[str, str], Found] = {}
    for word in words_of(text):
        for resource, column, value in _meanings(word):
            try:
                _add(exact, resource, reader.find(resource, column, value, MAX_FOUND))
            except DeadlinePassed:
                complete = False
    if exact:
        return Findings(tuple(exact.values())[:MAX_FOUND], True, complete)
    near: dict[tuple[str, str], Found] = {}
    word = text.strip()
    if MIN_PREFIX <= len(word) <= 128:
        for resource, column in (*_PREFIXED, *_NAMES):
            try:
                _add(near, resource, reader.starting(resource, column, word, MAX_FOUND))
            except DeadlinePassed:
                complete = False
    return Findings(tuple(near.values())[:MAX_FOUND], False, complete)


def _meanings(word: str) -> Iterator[tuple[Resource, str, Any]]:
    """(resource, column, value) of everything the word may be the whole of."""
    if re.fullmatch(r"[0-9a-fA-F]+", word):
        for resource, column in _BY_ID.get(len(word), ()):
            yield resource, column, word.lower()
    if word.isascii() and word.isdigit() and len(word) <= LONGEST_PID:
        yield from ((WORKERS, "pid", int(word)), (PROCESSES, "pid", int(word)), (JOBS, "driver_pid", int(word)))
        return
    if _is_address(word):
        yield NODES, "node_ip", word
        return
    for resource, column in _NAMES:
        yield resource, column, word


def _is_address(word: str) -> bool:
    try:
        ipaddress.ip_address(word)
    except ValueError:
        return False
    return True


def _add(into: dict[tuple[str, str], Found], resource: Resource, rows: list[Any]) -> None:
    for row in rows:
        found = _found(resource, row)
        if found is not None and len(into) < MAX_FOUND:
            into.setdefault((found.kind, found.row_id), found)


def _found(resource: Resource, row: Any) -> Found | None:
    if resource is NODES:
        return Found("node", row.node_id, row.node_ip or row.node_id, " ".join(filter(None, (row.hostname, row.state))))
    if resource is JOBS:
        return Found("job", row.job_key, row.name or row.job_key, " ".join(filter(None, (row.status, row.entrypoint))))
    if resource is ACTORS:
        return Found("actor", row.actor_id, row.name or row.class_name or row.actor_id, f"{row.class_name or ''} {row.state}".strip())
    if resource is WORKERS:
        return Found("worker", row.worker_id, f"PID {row.pid}", f"{row.worker_type or ''} {'alive' if row.is_alive else 'dead'}".strip())
    if resource is PLACEMENT_GROUPS:
        return Found("placement_group", row.placement_group_id, row.name or row.placement_group_id, row.state)
    if resource is TASKS:
        return Found("task", row.task_id, row.name or row.task_id, f"{row.func_or_class_name or ''} {row.state}".strip())
    if resource is PROCESSES and row.worker_id is None:  # Ray's own: shown on its node
        return Found("node", row.node_id, f"PID {row.pid}", row.title or row.kind)
    return None
