"""What a probe needs to look into processes: the program, the raylet and what it lists, what this node allows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from clusterstate import paths
from clusterstate.hosts import boot_id
from workers.probes.running import running
from workers.processes import read_started
from workers.sources import profile_facts, profile_notes
from workers.sources.profile_obstacles import NodeFacts
from workers.sources.profile_targets import Finder, Refused, Target, find_raylet
from workers.sources.py_spy import py_spy
from workers.sources.raylet_listing import listed_by

NOT_OURS = frozenset({"demo"})
"""Roles whose processes may be looked into: the demo's are a Ray cluster like any other."""


@dataclass
class Place:
    """This node, while a probe runs."""

    program: Path | None = field(default_factory=lambda: py_spy())
    _finders: dict[str, Finder | Refused] = field(default_factory=dict)
    _node: NodeFacts | None = None

    @property
    def node(self) -> NodeFacts:
        """What it allows."""
        if self._node is None:
            self._node = profile_facts.node_facts(self.program is not None)
        return self._node

    def finder(self, node_id: str) -> Finder:
        """Asks the raylet what it lists now; once a probe. Raises Refused."""
        if node_id not in self._finders:
            self._finders[node_id] = _finder(node_id)
        found = self._finders[node_id]
        if isinstance(found, Refused):
            raise found
        return found

    @contextmanager
    def open(self, node_id: str, pid: int, started_ms: int | None) -> Iterator[Target]:
        """A process that may be looked into. Raises Refused."""
        with self.finder(node_id).open(pid, started_ms) as target:
            yield target

    def notes(self) -> Path:
        return profile_notes.notes_folder(running().settings.state_dir)


def _finder(node_id: str) -> Finder | Refused:
    try:
        raylet = find_raylet(node_id, running().session())
    except Refused as refused:
        return refused
    return Finder(raylet, listed_by(raylet), own_sessions(running().settings.state_dir))


def own_sessions(state_dir: Path) -> frozenset[int]:
    """Each role of ours leads a session, as in setsid, of which all it started are members."""
    here = boot_id() or ""
    files = state_dir.glob(paths.processes_file(Path(), "*").name)
    return frozenset(one.pid for file in files for one in read_started(file) if one.role not in NOT_OURS and one.boot_id == here)
