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


@dataclass(frozen=True)
class ListLogs:
    """A page of the files in a node's log folder, and how many there are of each group."""

    answered_by: ClassVar[str] = "workers.probes.logs.list_logs"
    time_limit_s: ClassVar[int] = 5
    queue: ClassVar[str] = "quick"
    max_answer_bytes: ClassVar[int] = 512 * 1024

    node_id: str
    group: str | None = None  # one of the groups of clusterstate.log_names; None: all
    name: str = ""  # what a file's name must hold, in any case
    worker_ids: tuple[str, ...] = ()  # files of any of these, or of the jobs and submissions; none of all three: of everything
    job_ids: tuple[str, ...] = ()
    submission_ids: tuple[str, ...] = ()
    with_empty: bool = False
    sort: str = "-modified"  # modified, size or name; with a minus: greatest first
    offset: int = 0
    limit: int = 100  # at most 500


@dataclass(frozen=True)
class ReadLog:
    """Lines of a log file around a place in it."""

    answered_by: ClassVar[str] = "workers.probes.logs.read_log"
    time_limit_s: ClassVar[int] = 5
    queue: ClassVar[str] = "quick"
    max_answer_bytes: ClassVar[int] = 1024 * 1024

    node_id: str
    file_id: str  # as a listing gave it
    at: int | None  # a byte of the file; None: its end
    backward: bool  # what stands before that byte, instead of what follows
    max_lines: int  # at most 1,000
    at_ms: int | None = None  # in place of `at`: the first line that says it was written then or later


@dataclass(frozen=True)
class ReadBytes:
    """Bytes of a log file as they are. Of one that was kept in part they are counted from its first byte that was."""

    answered_by: ClassVar[str] = "workers.probes.logs.read_bytes"
    time_limit_s: ClassVar[int] = 10
    queue: ClassVar[str] = "quick"
    max_answer_bytes: ClassVar[int] = 3 * 1024 * 1024

    node_id: str
    file_id: str  # as a listing gave it
    inode: str | None  # of the answer before: another file of that name is not read on
    start: int
    length: int  # at most 2 MiB


@dataclass(frozen=True)
class SearchLogs:
    """Lines of a node's log files that match an expression. What is found is told in parts while it is searched.

    Of the files that are of any of the workers, jobs or submissions named (of all, where none is named).
    """

    answered_by: ClassVar[str] = "workers.probes.log_search.search_logs"
    time_limit_s: ClassVar[int] = 60
    queue: ClassVar[str] = "long"
    max_answer_bytes: ClassVar[int] = 256 * 1024

    node_id: str
    pattern: str  # the text to find, or a regular expression of ripgrep's
    is_regex: bool
    any_case: bool
    context: int  # lines before and after each hit, at most 5
    group: str | None
    name: str  # what a file's name must hold, in any case
    worker_ids: tuple[str, ...]
    job_ids: tuple[str, ...]
    submission_ids: tuple[str, ...]
    from_ms: int | None  # lines that say they are older are left out
    to_ms: int | None
    max_hits: int  # at most 10,000


PROBES: tuple[type[Any], ...] = (CheckNode, ListLogs, ReadLog, ReadBytes, SearchLogs)
