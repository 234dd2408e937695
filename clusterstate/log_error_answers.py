"""What the head answers of the errors in the log files of a session, grouped by fingerprint."""

from __future__ import annotations

from dataclasses import dataclass, field

SORTS = ("-last", "last", "-count", "count", "-first", "first")


@dataclass(frozen=True, slots=True)
class Counter:
    """How often an error was seen somewhere."""

    key: str  # a host; or whose file it was: "job:<job id>", "submission:<id>", "worker:<id>" where its name tells no job, ""
    count: int
    first_ms: int
    last_ms: int
    node_id: str | None = None  # of a host: its newest raylet's


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """An error, however often it was seen. Where jobs are asked for, count and times are of their files alone."""

    fingerprint: str
    kind: str  # one of clusterstate.log_errors.KINDS
    exception: str  # "" of a line
    title: str
    count: int
    first_ms: int
    last_ms: int
    owners: tuple[Counter, ...] = ()  # those who had it last
    owner_count: int = 0
    hosts: tuple[Counter, ...] = ()
    host_count: int = 0
    is_new: bool = False  # first seen, in this session, in a file of what was asked for
    seen_before_ms: int | None = None  # last seen in an earlier session; told where `is_new`


@dataclass(frozen=True, slots=True)
class ErrorsKept:
    """What is known of the grouping itself."""

    is_off: bool = False  # log files are not kept, so none are looked at
    is_there: bool = True  # false: nothing of this session was looked at
    looked_at_ms: int | None = None  # when the keeper last wrote that it looks
    gone: int = 0  # groups that went for newer ones
    passed_over: int = 0  # pieces of files of which only the first errors were looked at


@dataclass(frozen=True, slots=True)
class ErrorList:
    """A page of groups."""

    groups: tuple[ErrorGroup, ...] = ()
    matching: int = 0
    occurrences: int = 0  # of all that match
    kinds: dict[str, int] = field(default_factory=dict)  # of all that match but for the kind
    kept: ErrorsKept = ErrorsKept()


@dataclass(frozen=True, slots=True)
class ErrorPlace:
    """Where an error stands."""

    node_id: str | None
    host: str
    name: str  # of the file, as it is called now
    file_id: str
    offset: int
    at_ms: int
    owner: str


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """One group with all that is known of it."""

    group: ErrorGroup
    sample: str
    places: tuple[ErrorPlace, ...]  # the newest, newest first
    kept: ErrorsKept = ErrorsKept()
