"""One level of the tree of tasks at a time: what `lineage` keeps, as it is shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clusterstate.store.lineage import ACTOR, COLUMNS, COUNTED, Node
from clusterstate.store.sqlite_reading import ask
from clusterstate.task_states import segment_of

AT_ONCE = 100
"""Groups or members of one level that are shown, those with most running first."""
LOST_AT_ONCE = 20
COUNTED_MORE = 10_000
"""How far those that are not shown are counted."""
KEY = re.compile(r"g[0-9a-f]{16}|t[0-9a-f]{48}|a[0-9a-f]{32}")
"""g: a group; t: a task by its id; a: an actor by its id."""
_LISTED = ", ".join(COLUMNS)
_UNFINISHED = " + ".join(name for name in COLUMNS if name != "n_finished")

_ITSELF_UNFINISHED = "EXISTS (SELECT 1 FROM tasks WHERE task_id = node AND state <> 'FINISHED')"


@dataclass(frozen=True)
class Branch:
    """A task, an actor, or a group of those with one name. Counts are of attempts, its own and all below."""

    key: str
    kind: str  # TASK, ACTOR, GROUP
    name: str | None
    members: int  # of a group
    counts: dict[str, int]  # by segment of the progress bar
    id: str | None  # of a task or actor
    can_open: bool
    member_kind: str = "TASK"  # of a group: TASK or ACTOR

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True)
class Level:
    """What is directly below something."""

    branches: tuple[Branch, ...]
    more: int  # that are not among them, as far as COUNTED_MORE
    leaves: int = 0  # of a group of tasks: members that called nothing, which are not branches
    parent_task_id: str | None = None  # whose leaves they are, and by what name
    actor_id: str | None = None
    name: str | None = None

    @property
    def is_exact(self) -> bool:
        """Whether `more` is all of them."""
        return self.more < COUNTED_MORE


class Lineage:
    """The tree of one job. Methods raise IndexMissing, DeadlinePassed."""

    def __init__(self, path: Path, job_id: str, deadline: float, *, hide_finished: bool = False) -> None:
        self._path = path
        self._job_id = job_id
        self._deadline = deadline
        self._hides_finished = hide_finished
        self._and_unfinished = f" AND {_UNFINISHED} > 0" if hide_finished else ""
        self._and_unfinished_itself = f" AND ({_UNFINISHED} > 0 OR {_ITSELF_UNFINISHED})" if hide_finished else ""

    def top(self) -> Level:
        """What the driver called."""
        return self._groups_of(self._job_id)

    def below(self, key: str) -> Level:
        """What is below a branch; an empty level for what is not there."""
        if not KEY.fullmatch(key):
            return Level((), 0)
        if key.startswith("g"):
            return self._members_of(int(key[1:], 16))
        node = self._node(key)
        return Level((), 0) if node is None else self._groups_of(node)

    def branch(self, key: str) -> Branch | None:
        """A task or actor that has something below it, for a page that starts there."""
        node = self._node(key) if KEY.fullmatch(key) and not key.startswith("g") else None
        sql = f"SELECT group_key, {_LISTED} FROM lineage_nodes WHERE node = ? AND job_id = ?"  # noqa: S608 - names above
        found = [] if node is None else self._ask(sql, (node, self._job_id))
        if not found:
            return None
        group_key, *counts = found[0]
        name = self._ask("SELECT name FROM lineage_groups WHERE group_key = ?", (group_key,)) if group_key is not None else []
        kind = "ACTOR" if key.startswith("a") else "TASK"
        return Branch(key, kind, name[0][0] if name else None, 1, _counted(counts), key[1:], True)

    def above(self, key: str) -> str | None:
        """The key of the task or actor that a branch hangs below; None: the driver, or nobody knows."""
        node = self._node(key) if KEY.fullmatch(key) and not key.startswith("g") else None
        sql = "SELECT parent FROM lineage_groups WHERE group_key = (SELECT group_key FROM lineage_nodes WHERE node = ?)"
        found = [] if node is None else self._ask(sql, (node,))
        return self._key(found[0][0]) if found else None

    def lost(self) -> Level:
        """Tasks and actors with something below them whose own place is not known: nothing was recorded of them, or of their caller."""
        where = f"job_id = ? AND group_key IS NULL AND node <> ?{self._and_unfinished}"
        sql = f"SELECT node, {_LISTED} FROM lineage_nodes WHERE {where} LIMIT {LOST_AT_ONCE + 1}"  # noqa: S608 - names above
        values = (self._job_id, self._job_id)
        found = self._ask(sql, values)
        more = self._more("lineage_nodes", where, values, LOST_AT_ONCE) if len(found) > LOST_AT_ONCE else 0
        return Level(tuple(self._node_branch(row, None) for row in found[:LOST_AT_ONCE]), more)

    def _groups_of(self, node: Node) -> Level:
        where = f"parent = ?{self._and_unfinished}"
        columns = f"group_key, kind, name, members, member, {_LISTED}"
        sql = f"SELECT {columns} FROM lineage_groups WHERE {where} ORDER BY weight DESC LIMIT {AT_ONCE + 1}"  # noqa: S608 - names above
        found = self._ask(sql, (node,))
        more = self._more("lineage_groups", where, (node,), AT_ONCE) if len(found) > AT_ONCE else 0
        shown = [row for row in found[:AT_ONCE] if any(row[5:])]
        return Level(tuple(self._group_branch(row) for row in shown), more)

    def _group_branch(self, row: tuple[Any, ...]) -> Branch:
        group_key, kind, name, members, member, *counts = row
        if members == 1 and member is None:  # who was known of it is elsewhere now
            found = self._ask("SELECT node FROM lineage_nodes WHERE group_key = ? LIMIT 1", (group_key,))
            member = found[0][0] if found else None
        key = self._key(member) if members <= 1 and member is not None else None
        if key is None:
            return Branch(f"g{group_key:016x}", "GROUP", name, members, _counted(counts), None, True, kind)
        is_node = kind == ACTOR or bool(self._ask("SELECT 1 FROM lineage_nodes WHERE node = ?", (member,)))
        return Branch(key, kind, name, 1, _counted(counts), key[1:], is_node)

    def _members_of(self, group_key: int) -> Level:
        found = self._ask(f"SELECT parent, kind, name, members, {_UNFINISHED} FROM lineage_groups WHERE group_key = ?", (group_key,))  # noqa: S608
        if not found:
            return Level((), 0)
        parent, kind, name, members, unfinished = found[0]
        where = f"group_key = ?{self._and_unfinished_itself}"
        sql = f"SELECT node, {_LISTED} FROM lineage_nodes WHERE {where} ORDER BY weight DESC LIMIT {AT_ONCE + 1}"  # noqa: S608 - names above
        rows = self._ask(sql, (group_key,))
        above = self._key(parent)
        return Level(
            tuple(self._node_branch(row, name) for row in rows[:AT_ONCE]),
            self._more("lineage_nodes", where, (group_key,), AT_ONCE) if len(rows) > AT_ONCE else 0,
            self._leaves(group_key, members, unfinished) if kind != ACTOR else 0,
            above[1:] if above is not None and above.startswith("t") else None,
            above[1:] if above is not None and above.startswith("a") else None,
            name,
        )

    def _leaves(self, group_key: int, members: int, unfinished: int) -> int:
        """Members that called nothing. Where what has finished is hidden: as many of them as attempts that have not, at most."""
        [(nodes, below)] = self._ask(
            f"SELECT count(*), coalesce(sum({_UNFINISHED}), 0) FROM lineage_nodes WHERE group_key = ?",  # noqa: S608 - names above
            (group_key,),
        )
        leaves: int = max(0, members - int(nodes))
        if not self._hides_finished or not leaves:
            return leaves
        sql = (
            "SELECT count(*) FROM lineage_nodes CROSS JOIN tasks ON tasks.task_id = lineage_nodes.node"
            " WHERE lineage_nodes.group_key = ? AND tasks.state <> 'FINISHED'"
        )
        themselves = int(self._ask(sql, (group_key,))[0][0])
        return max(0, min(leaves, int(unfinished - below) - themselves))

    def _more(self, table: str, where: str, values: tuple[Any, ...], shown: int) -> int:
        """How many there are beyond those that are shown, counted as far as COUNTED_MORE."""
        sql = f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {where} LIMIT {shown + COUNTED_MORE})"  # noqa: S608 - names above
        return int(self._ask(sql, values)[0][0]) - shown

    def _node_branch(self, row: tuple[Any, ...], name: str | None) -> Branch:
        node, *counts = row
        key = self._key(node) or ""
        found = _counted(counts)
        if isinstance(node, bytes):  # a node's counts are those below it
            for state, number in self._ask("SELECT state, count(*) FROM tasks WHERE task_id = ? GROUP BY state", (node,)):
                found[segment_of(state)] += number
        return Branch(key, "ACTOR" if key.startswith("a") else "TASK", name, 1, found, key[1:], True)

    def _key(self, node: Any) -> str | None:
        if isinstance(node, bytes):
            return f"t{node.hex()}"
        if isinstance(node, int):
            found = self._ask("SELECT word FROM words WHERE n = ?", (node,))
            return f"a{found[0][0]}" if found else None
        return None

    def _node(self, key: str) -> Node | None:
        if key.startswith("t"):
            return bytes.fromhex(key[1:])
        found = self._ask("SELECT n FROM words WHERE word = ?", (key[1:],))
        return int(found[0][0]) if found else None

    def _ask(self, sql: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        return ask(self._path, sql, values, self._deadline)


def _counted(counts: Sequence[int]) -> dict[str, int]:
    return dict(zip(COUNTED, counts, strict=True))
