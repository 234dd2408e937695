"""The questions that the web app may put to a node: a closed list.

A probe reads and never changes anything. Its fields are all the function named by `answered_by` is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

SEARCHES_AT_ONCE, PROFILES_AT_ONCE = 2, 2
"""On a host: that many workers answer (workers/machine.py), and no more is asked of it."""
PROFILE_KEPT_S = 90 * 24 * 3600
"""No profile is kept longer: what was recorded is found by who comes back for it."""


class Probe(Protocol):
    """What every probe says of itself. `queue` is quick (a second or less), long or profile.

    A probe with `kept_s` says how long its answer is kept; others' are kept for minutes.
    """

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
    max_answer_bytes: ClassVar[int] = 1024 * 1024

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
    with_workers: bool = False  # tell how many files each worker has


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
class FindInLog:
    """Lines of a log file around one that matches, or only those that match; and how many of the whole file do."""

    answered_by: ClassVar[str] = "workers.probes.log_find.find_in_log"
    time_limit_s: ClassVar[int] = 5
    queue: ClassVar[str] = "quick"
    max_answer_bytes: ClassVar[int] = 1024 * 1024

    node_id: str
    file_id: str  # as a listing gave it
    pattern: str  # the text to find, or a regular expression of ripgrep's
    is_regex: bool
    any_case: bool
    level: str | None  # in place of a pattern: lines of this level, error or warning
    hit: int | None  # go to the line that matches at this byte or next after it, else to the last before; with no place at all to the last
    at: int | None  # in place of `hit`: show the lines there, as ReadLog
    backward: bool  # those before that byte
    only: bool  # lines that match alone: from the place on, or those before it
    context: int  # with lines before and after each, at most 5
    max_lines: int  # at most 1,000


@dataclass(frozen=True)
class CountLevels:
    """How many lines of a log file are errors and warnings."""

    answered_by: ClassVar[str] = "workers.probes.log_find.count_levels"
    time_limit_s: ClassVar[int] = 5
    queue: ClassVar[str] = "quick"
    max_answer_bytes: ClassVar[int] = 16 * 1024

    node_id: str
    file_id: str  # as a listing gave it


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


@dataclass(frozen=True)
class ListLogErrors:
    """A page of the errors in the log files of a session, grouped; asked of the head (log_error_answers.ErrorList)."""

    answered_by: ClassVar[str] = "workers.probes.log_errors.list_log_errors"
    time_limit_s: ClassVar[int] = 5
    queue: ClassVar[str] = "quick"
    max_answer_bytes: ClassVar[int] = 512 * 1024

    node_id: str  # only errors in files of this node's host; "": of all
    session: str
    owners: tuple[str, ...] = ()  # only errors in files of these, as log_error_answers.Counter names them; none: of all
    text: str = ""  # in title or class, in any case
    kind: str = ""
    sort: str = "-last"  # one of log_error_answers.SORTS
    offset: int = 0
    limit: int = 100  # at most 200


@dataclass(frozen=True)
class ShowLogError:
    """One error of a session with a sample, and where it stands (log_error_answers.ErrorDetail)."""

    answered_by: ClassVar[str] = "workers.probes.log_errors.show_log_error"
    time_limit_s: ClassVar[int] = 5
    queue: ClassVar[str] = "quick"
    max_answer_bytes: ClassVar[int] = 512 * 1024

    node_id: str  # not looked at: the head answers
    session: str
    fingerprint: str


@dataclass(frozen=True)
class CheckProfiling:
    """Whether a process could be looked into, by which profilers, or why not (profile_answers.Abilities). Nothing is attached."""

    answered_by: ClassVar[str] = "workers.probes.profiling.check_profiling"
    time_limit_s: ClassVar[int] = 5
    queue: ClassVar[str] = "quick"
    max_answer_bytes: ClassVar[int] = 64 * 1024

    node_id: str
    pid: int | None = None  # None: what holds for any of this node's workers
    started_ms: int | None = None


@dataclass(frozen=True)
class DumpStacks:
    """The threads of one process as they stand now (profile_answers.StacksPart). DumpDeepStacks tells more of them."""

    answered_by: ClassVar[str] = "workers.probes.stacks.dump_stacks"
    time_limit_s: ClassVar[int] = 15
    queue: ClassVar[str] = "quick"
    max_answer_bytes: ClassVar[int] = 2 * 1024 * 1024
    kept_s: ClassVar[int] = PROFILE_KEPT_S

    node_id: str
    pid: int
    started_ms: int  # of the process, as a row of the node's processes says: another process with that pid is not looked into
    native: bool = False
    subprocesses: bool = False


@dataclass(frozen=True)
class DumpDeepStacks(DumpStacks):
    """The same with native frames, or with the processes below it: too slow for the queue of quick answers."""

    answered_by: ClassVar[str] = "workers.probes.stacks.dump_deep_stacks"
    time_limit_s: ClassVar[int] = 60
    queue: ClassVar[str] = "long"


@dataclass(frozen=True)
class DumpManyStacks:
    """The same of many processes of a host, told in parts (StacksPart) as they come; answers a StacksPart without processes."""

    answered_by: ClassVar[str] = "workers.probes.stacks.dump_many_stacks"
    time_limit_s: ClassVar[int] = 60
    queue: ClassVar[str] = "profile"
    max_answer_bytes: ClassVar[int] = 16 * 1024
    kept_s: ClassVar[int] = PROFILE_KEPT_S

    node_id: str
    pids: tuple[int, ...]  # at most 2,000
    started_ms: tuple[int, ...]  # of each
    nodes: tuple[int, ...]  # of each: the place of its node in `node_ids`
    node_ids: tuple[str, ...]  # raylets of one host are asked together
    native: bool = False
    passes: int = 1  # 1 to 5, a second apart: what stands at the same place in each is stuck, not slow


@dataclass(frozen=True)
class RecordCpu:
    """What a process runs, sampled for a while.

    Tells packed samples (clusterstate.stacks) in parts when it ends, and answers profile_answers.ProfileProgress.
    """

    answered_by: ClassVar[str] = "workers.probes.profiling.record_cpu"
    time_limit_s: ClassVar[int] = 345
    queue: ClassVar[str] = "profile"
    max_answer_bytes: ClassVar[int] = 16 * 1024
    kept_s: ClassVar[int] = PROFILE_KEPT_S

    node_id: str
    pid: int
    started_ms: int
    duration_s: int  # 1 to 300
    rate_hz: int  # 1 to 500
    native: bool = False
    idle: bool = False  # threads that wait count too
    subprocesses: bool = False
    gil: bool = False  # only threads that hold it
    nonblocking: bool = False  # the process is not stopped for a sample; not with native
    while_task: str = ""  # the name of a task: sampling ends when the process runs it no more


@dataclass(frozen=True)
class RecordManyCpu:
    """What many processes of a host run, sampled for a while, a few at a time, and added up; told and answered as RecordCpu does."""

    most_at_once: ClassVar[int] = 16
    samples_a_second: ClassVar[int] = 400  # of all at a time: about half a core
    stopped_after_s: ClassVar[int] = 560  # what is under way then keeps what it has

    answered_by: ClassVar[str] = "workers.probes.many_recordings.record_many_cpu"
    time_limit_s: ClassVar[int] = 600
    queue: ClassVar[str] = "profile"
    max_answer_bytes: ClassVar[int] = 256 * 1024
    kept_s: ClassVar[int] = PROFILE_KEPT_S

    node_id: str
    pids: tuple[int, ...]  # at most 128
    started_ms: tuple[int, ...]
    nodes: tuple[int, ...]  # as in DumpManyStacks
    node_ids: tuple[str, ...]
    duration_s: int  # 1 to 60, of each
    rate_hz: int  # 1 to 100
    native: bool = False
    idle: bool = False
    gil: bool = False
    nonblocking: bool = False

    @staticmethod
    def at_once(rate_hz: int) -> int:
        """How many are sampled at a time."""
        return max(1, min(RecordManyCpu.most_at_once, RecordManyCpu.samples_a_second // rate_hz))


@dataclass(frozen=True)
class RecordMemory:
    """What a process allocates, followed by memray for a while; told and answered as RecordCpu does, counted in bytes."""

    answered_by: ClassVar[str] = "workers.probes.profiling.record_memory"
    time_limit_s: ClassVar[int] = 460  # a debugger comes and goes within 35 s each, reading takes up to 60 s
    queue: ClassVar[str] = "profile"
    max_answer_bytes: ClassVar[int] = 16 * 1024
    kept_s: ClassVar[int] = PROFILE_KEPT_S

    node_id: str
    pid: int
    started_ms: int
    duration_s: int  # 1 to 300
    native: bool = False
    leaks: bool = False  # what was not freed by the end, instead of what was held at the highest point
    python_allocators: bool = False
    while_task: str = ""


@dataclass(frozen=True)
class RecordGpu:
    """What a PyTorch process runs on its GPU and CPU, traced by itself through dynolog.

    Tells a Chrome trace, packed by gzip, in parts when it ends, and answers profile_answers.ProfileProgress.
    """

    answered_by: ClassVar[str] = "workers.probes.profiling.record_gpu"
    time_limit_s: ClassVar[int] = 200
    queue: ClassVar[str] = "profile"
    max_answer_bytes: ClassVar[int] = 16 * 1024
    kept_s: ClassVar[int] = PROFILE_KEPT_S

    node_id: str
    pid: int
    started_ms: int
    duration_s: int  # 1 to 60


@dataclass(frozen=True)
class RecordJax:
    """What a JAX process runs, traced through the profiler server that its program started; told and answered as RecordGpu does."""

    answered_by: ClassVar[str] = "workers.probes.profiling.record_jax"
    time_limit_s: ClassVar[int] = 400
    queue: ClassVar[str] = "profile"
    max_answer_bytes: ClassVar[int] = 16 * 1024
    kept_s: ClassVar[int] = PROFILE_KEPT_S

    node_id: str
    pid: int
    started_ms: int
    duration_s: int  # 1 to 60


PROBES: tuple[type[Any], ...] = (
    CheckNode,
    ListLogs,
    ReadLog,
    FindInLog,
    CountLevels,
    ReadBytes,
    SearchLogs,
    ListLogErrors,
    ShowLogError,
    CheckProfiling,
    DumpStacks,
    DumpDeepStacks,
    DumpManyStacks,
    RecordCpu,
    RecordManyCpu,
    RecordMemory,
    RecordGpu,
    RecordJax,
)
