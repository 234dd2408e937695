"""Which task called which, counted: kept beside the rows of tasks, so that one level of a tree of a million is read at once.

A *node* is what has children: a job's driver, a task, an actor. A *group* is the children of one node with one name, tasks or
actors. Both hold how many attempts below them (with their own) are in each segment of the progress bar. As in Ray's own
summary by lineage: methods and creation of an actor are children of the actor, the actor a child of who created it.

A node whose own row has not come, or never does, hangs nowhere until it does. Rows that are given up go on counting.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from clusterstate.model import OTHER_NAMES
from clusterstate.task_states import SEGMENTS, segment_of

COUNTED = tuple(segment for segment in SEGMENTS if segment != "not_recorded")
COLUMNS = tuple(f"n_{segment}" for segment in COUNTED)
TASK, ACTOR = "TASK", "ACTOR"
DRIVER = b"\xff" * 20
"""What the id of a driver's task begins with."""
GROUPS_OF_A_NODE = 10_000
"""Names that a program may make up for what one task calls; the rest are one group, OTHER_NAMES."""
CREATION, METHODS = "ACTOR_CREATION_TASK", ("ACTOR_CREATION_TASK", "ACTOR_TASK")

Node = bytes | int | str
"""A task's id, the number of an actor's id among the words, or a job's id."""
Counts = list[int]
Row = Mapping[str, Any]

_PLACES = {segment: place for place, segment in enumerate(COUNTED)}
_FAILED, _RUNNING = _PLACES["failed"], _PLACES["running"]
_PENDING = (_PLACES["waiting_for_scheduling"], _PLACES["waiting_for_dependencies"])
_MOST = 2**20 - 1


class Place(NamedTuple):
    """A group, by what makes it one."""

    parent: Node
    kind: str
    name: str | None
    job_id: str | None

    @property
    def key(self) -> int:
        return group_key(self.parent, self.kind, self.name)


@lru_cache(65_536)
def group_key(parent: Node, kind: str, name: str | None) -> int:
    """63 bits that stand for a group: the same in every copy of one index file."""
    text = repr((parent, kind, name)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def create(db: sqlite3.Connection) -> None:
    """The empty tables."""
    counts = ", ".join(f"{name} INTEGER NOT NULL DEFAULT 0" for name in COLUMNS)
    number = "INTEGER NOT NULL DEFAULT 0"
    of_nodes = f"node PRIMARY KEY, job_id TEXT, group_key INTEGER, groups {number}, weight {number}, {counts}"
    of_groups = f"group_key INTEGER PRIMARY KEY, parent, kind TEXT, name TEXT, members {number}, member, weight {number}, {counts}"
    db.execute(f"CREATE TABLE IF NOT EXISTS lineage_nodes({of_nodes}) WITHOUT ROWID")
    db.execute(f"CREATE TABLE IF NOT EXISTS lineage_groups({of_groups})")
    db.execute("CREATE INDEX IF NOT EXISTS lineage_groups_of ON lineage_groups(parent, weight)")
    db.execute("CREATE INDEX IF NOT EXISTS lineage_nodes_of ON lineage_nodes(group_key, weight)")
    db.execute("CREATE INDEX IF NOT EXISTS lineage_nodes_lost ON lineage_nodes(job_id) WHERE group_key IS NULL")


def fill(db: sqlite3.Connection) -> None:
    """From all rows of tasks."""
    segments = ", ".join(f"sum({_segment_sql(segment)})" for segment in COUNTED)
    parent = (
        f"CASE WHEN type IN {METHODS} AND actor_id IS NOT NULL THEN actor_id"
        " WHEN parent_task_id IS NULL OR type IS NULL OR substr(parent_task_id, 1, 20) = x'" + DRIVER.hex() + "'"
        " THEN coalesce(job_id, '') ELSE parent_task_id END"
    )
    found = db.execute(
        f"SELECT {parent} AS parent, name, job_id, count(*) FILTER (WHERE attempt_number = 0), min(task_id), {segments}"  # noqa: S608
        " FROM tasks GROUP BY 1, 2, 3"
    )
    tree = _Tree(db)
    for start in found:
        node, name, job_id, members, member, *counts = start
        place = tree.admitted(Place(node, TASK, name, job_id))
        tree.add(place, counts, members, member)
    for row in db.execute(f"SELECT {', '.join(_READ)} FROM tasks WHERE type = ?", (CREATION,)):  # noqa: S608 - names above
        tree.place_actor(dict(zip(_READ, row, strict=True)))
    tree.write()


def follow(db: sqlite3.Connection, changes: Iterable[tuple[int, Row | None, Row | None]]) -> None:
    """(row hash, columns before, columns after) of rows of tasks. Those that are gone go on counting."""
    tree = _Tree(db)
    for _, before, after in changes:
        if after is not None:
            tree.take(before, after)
    tree.write()


MORE_MEMBERS = "UPDATE lineage_groups SET members = members + ?, member = coalesce(member, ?) WHERE group_key = ?"
NODES_BELOW = (
    "SELECT 1 FROM lineage_groups CROSS JOIN lineage_nodes ON lineage_nodes.group_key = lineage_groups.group_key"
    " WHERE lineage_groups.parent = ? LIMIT 1"
)
READS = ("task_id", "attempt_number", "actor_id", "job_id", "type", "name", "state", "parent_task_id", "func_or_class_name")
"""Columns of tasks that `follow` is told."""
_READ = ("task_id", "actor_id", "job_id", "type", "name", "parent_task_id", "func_or_class_name")


@dataclass
class _Members:
    """Who joins and leaves a group in one batch."""

    more: int = 0
    one: Any = None  # that joins, and stays
    left: set[Any] = field(default_factory=set)


class _Tree:
    """One batch of changes: first where everything hangs, then each group and node above what changed, once."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._deltas: dict[int, Counts] = {}
        self._parents: dict[int, Node | None] = {}  # of groups; None: there is no such group
        self._groups: dict[Node, int | None] = {}  # of nodes that are there
        self._members: dict[int, _Members] = {}  # of groups
        self._unplaced: list[bytes] = []  # nodes whose own row may be there

    def take(self, before: Row | None, after: Row) -> None:
        """One row."""
        was, is_now = None if before is None else _place_of(before), _place_of(after)
        old = None if was is None else self.admitted(was)
        new = old if old is not None and was == is_now else self.admitted(is_now)
        first = after["attempt_number"] == 0
        if old is not None and before is not None and (old != new or before["state"] != after["state"]):
            self.add(old, _one(before["state"], -1), -int(first and old != new), after["task_id"])
        if old != new or before is None or before["state"] != after["state"]:
            self.add(new, _one(after["state"], 1), int(first and old != new), after["task_id"])
        if old != new and self._is_node(after["task_id"]):
            self._hang(after["task_id"], new)
        if after["type"] == CREATION and after["actor_id"] is not None and (before is None or old != new):
            self.place_actor(after)

    def place_actor(self, row: Row) -> None:
        """Hangs the actor that this task creates below who created it."""
        place = self.admitted(Place(_caller_of(row), ACTOR, self._class_of(row), row["job_id"]))
        self._make_node(row["actor_id"], row["job_id"])
        self._hang(row["actor_id"], place)

    def add(self, place: Place, counts: Counts, members: int, member: Any) -> None:
        """To a group, which is made if it is not there."""
        key = place.key
        self._make_group(place)
        known = self._deltas.setdefault(key, [0] * len(COUNTED))
        for at, count in enumerate(counts):
            known[at] += count
        self._add_members(key, members, member)

    def _add_members(self, key: int, members: int, member: Any) -> None:
        if not members:
            return
        known = self._members.setdefault(key, _Members())
        known.more += members
        if members < 0:
            known.left.add(member)
            known.one = None if known.one == member else known.one
        else:
            known.left.discard(member)
            known.one = member if known.one is None else known.one

    def admitted(self, place: Place) -> Place:
        """The place itself, or that of all further names below a node that has too many."""
        if place.kind == ACTOR or self._parent(place.key) is not None:
            return place
        found = self._db.execute("SELECT groups FROM lineage_nodes WHERE node = ?", (place.parent,)).fetchone()
        full = found is not None and found[0] >= GROUPS_OF_A_NODE
        return Place(place.parent, place.kind, OTHER_NAMES, place.job_id) if full else place

    def write(self) -> None:
        """Adds every change to its group and to all that is above."""
        self._place_nodes()
        self._write_members()
        groups: list[tuple[Any, ...]] = []
        nodes: list[tuple[Any, ...]] = []
        for key in self._in_order():
            delta = self._deltas[key]
            if not any(delta):
                continue
            parent = self._parent(key)
            assert parent is not None  # noqa: S101 - for the type checker
            groups.append((*delta, *_urgent(delta), key))
            nodes.append((*delta, *_urgent(delta), parent))
            above = self._group(parent)
            if above is not None:
                known = self._deltas.setdefault(above, [0] * len(COUNTED))
                for at, count in enumerate(delta):
                    known[at] += count
        self._db.executemany(_ADD.format(table="lineage_groups", key="group_key"), groups)
        self._db.executemany(_ADD.format(table="lineage_nodes", key="node"), nodes)

    def _write_members(self) -> None:
        """A group whose known member leaves has another that joins, or none that is known."""
        for key, members in self._members.items():
            found = self._db.execute("SELECT member FROM lineage_groups WHERE group_key = ?", (key,)).fetchone() if members.left else None
            if found is not None and found[0] in members.left:
                self._db.execute("UPDATE lineage_groups SET member = NULL WHERE group_key = ?", (key,))
        self._db.executemany(MORE_MEMBERS, [(one.more, one.one, key) for key, one in self._members.items()])

    def _in_order(self) -> Iterator[int]:
        """Groups with changes and all above them, the lower ones first."""
        waiting: dict[int, int] = {}  # group -> how many directly below it have changes
        edges: dict[int, int] = {}
        todo = list(self._deltas)
        waiting.update(dict.fromkeys(todo, 0))
        while todo:
            key = todo.pop()
            parent = self._parent(key)
            above = None if parent is None else self._group(parent)
            if above is None:
                continue
            edges[key] = above
            if above not in waiting:
                waiting[above] = 0
                self._deltas.setdefault(above, [0] * len(COUNTED))
                todo.append(above)
            waiting[above] += 1
        ready = [key for key, count in waiting.items() if not count]
        while ready:
            key = ready.pop()
            yield key
            above = edges.get(key)
            if above is not None:
                waiting[above] -= 1
                if not waiting[above]:
                    ready.append(above)

    def _hang(self, node: Node, place: Place) -> None:
        """The node is a member of that group from now on, with all that is below it."""
        self._make_group(place)
        old, new = self._group(node), place.key
        if old == new or self._is_above(node, place.parent):
            return
        columns = ", ".join(COLUMNS)
        counts = self._db.execute(f"SELECT {columns} FROM lineage_nodes WHERE node = ?", (node,)).fetchone()  # noqa: S608
        for key, sign in ((old, -1), (new, 1)):
            if key is not None:
                known = self._deltas.setdefault(key, [0] * len(COUNTED))
                for at, count in enumerate(counts):
                    known[at] += sign * count
        self._db.execute("UPDATE lineage_nodes SET group_key = ? WHERE node = ?", (new, node))
        if place.kind == ACTOR:
            if old is not None:
                self._add_members(old, -1, node)
            self._add_members(new, 1, node)
        self._groups[node] = new

    def _is_above(self, node: Node, below: Node) -> bool:
        """Whether one node is the other or above it: made-up ids could close a circle. One with no node below it is above none."""
        if node == below or self._db.execute(NODES_BELOW, (node,)).fetchone() is None:
            return node == below
        at: Node | None = below
        seen: set[Node] = set()
        while at is not None and at not in seen:
            if at == node:
                return True
            seen.add(at)
            key = self._group(at)
            at = None if key is None else self._parent(key)
        return False

    def _make_group(self, place: Place) -> None:
        if self._parent(place.key) is None:
            self._make_node(place.parent, place.job_id)
            values = (place.key, place.parent, place.kind, place.name)
            self._db.execute("INSERT INTO lineage_groups(group_key, parent, kind, name) VALUES(?, ?, ?, ?)", values)
            self._db.execute("UPDATE lineage_nodes SET groups = groups + 1 WHERE node = ?", (place.parent,))
            self._parents[place.key] = place.parent

    def _make_node(self, node: Node, job_id: str | None) -> None:
        """It is given its place before anything is written."""
        if self._is_node(node):
            return
        self._db.execute("INSERT INTO lineage_nodes(node, job_id) VALUES(?, ?)", (node, job_id))
        self._groups[node] = None
        if isinstance(node, bytes):
            self._unplaced.append(node)

    def _place_nodes(self) -> None:
        """Hangs the new nodes whose own rows are there already. One by one: a chain of callers may be 10,000 long."""
        first = f"SELECT {', '.join(_READ)} FROM tasks WHERE task_id = ? ORDER BY attempt_number LIMIT 1"  # noqa: S608 - names above
        while self._unplaced:
            node = self._unplaced.pop()
            row = self._db.execute(first, (node,)).fetchone() if self._group(node) is None else None
            if row is not None:
                self._hang(node, self.admitted(_place_of(dict(zip(_READ, row, strict=True)))))

    def _is_node(self, node: Node) -> bool:
        self._group(node)
        return node in self._groups

    def _group(self, node: Node) -> int | None:
        if node not in self._groups:
            found = self._db.execute("SELECT group_key FROM lineage_nodes WHERE node = ?", (node,)).fetchone()
            if found is None:
                return None
            self._groups[node] = found[0]
        return self._groups[node]

    def _parent(self, key: int) -> Node | None:
        if self._parents.get(key) is None:
            found = self._db.execute("SELECT parent FROM lineage_groups WHERE group_key = ?", (key,)).fetchone()
            self._parents[key] = None if found is None else found[0]
        return self._parents[key]

    def _class_of(self, row: Row) -> str | None:
        number = row["func_or_class_name"]
        found = self._db.execute("SELECT word FROM words WHERE n = ?", (number,)).fetchone() if number is not None else None
        return str(found[0]).partition(".")[0] if found else row["name"]


_ADD = (  # names of this module alone
    "UPDATE {table} SET "  # noqa: S608 - names of this module
    + "".join(f"{name} = {name} + ?, " for name in COLUMNS)
    + f"weight = (min(n_running + ?, {_MOST}) << 40) | (min(n_waiting_for_scheduling + n_waiting_for_dependencies + ?, {_MOST}) << 20)"
    + f" | min(n_failed + ?, {_MOST}) WHERE {{key}} = ?"
)
"""Adds counts, and says how urgent it is to look at: running first, then pending, then failed, as Ray's own page sorts."""


def _place_of(row: Row) -> Place:
    """The group that a task belongs to."""
    if row["type"] in METHODS and row["actor_id"] is not None:
        return Place(row["actor_id"], TASK, row["name"], row["job_id"])
    return Place(_caller_of(row), TASK, row["name"], row["job_id"])


def _caller_of(row: Row) -> Node:
    parent = row["parent_task_id"]
    if parent is None or row["type"] is None or not isinstance(parent, bytes) or parent.startswith(DRIVER):
        return str(row["job_id"] or "")
    return parent


def _one(state: str, number: int) -> Counts:
    counts = [0] * len(COUNTED)
    counts[_PLACES[segment_of(state)]] = number
    return counts


def _urgent(delta: Counts) -> tuple[int, int, int]:
    """What is running, pending and failed of it, as `_ADD` takes them."""
    return delta[_RUNNING], sum(delta[place] for place in _PENDING), delta[_FAILED]


def _segment_sql(segment: str) -> str:
    if segment == "unknown":
        named = [state for other, states in SEGMENTS.items() if other != segment for state in states]
        return "state NOT IN ({})".format(", ".join(f"'{state}'" for state in named))
    return "state IN ({})".format(", ".join(f"'{state}'" for state in SEGMENTS[segment]))
