"""The questions that the web app may put to a node: a closed list.

A probe reads and never changes anything. Its fields are all the function named by `answered_by` is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol


class Probe(Protocol):
    """What every probe says of itself. `queue` is quick (a second or less) or long."""

    answered_by: ClassVar[str]
    time_limit_s: ClassVar[int]
    queue: ClassVar[str]
    max_answer_bytes: ClassVar[int]

    @property
    def node_id(self) -> str: ...


@dataclass(frozen=True)
class CheckNode:
    """Versions, clock and abilities of a node's worker."""

    answered_by: ClassVar[str] = "workers.probes.node.check_node"
    time_limit_s: ClassVar[int] = 5
    queue: ClassVar[str] = "quick"
    max_answer_bytes: ClassVar[int] = 16 * 1024

    node_id: str


PROBES: tuple[type[Any], ...] = (CheckNode,)
