"""What a node answers when its processes are looked into. An answer is read by its types, or not at all: anybody's code runs there."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from clusterstate.stacks import MOST_DEPTH, Frame, Name, Unreadable

Pid = Annotated[int, Meta(ge=0, le=1 << 31)]

# Why a process cannot be looked into: what the asker is told to do follows from it (templates/profiles/_why_not.html).
ENDED = "ENDED"  # the process is gone, or its pid is another process by now
NOT_LISTED = "NOT_LISTED"  # no process of this session on this node
NOT_PYTHON = "NOT_PYTHON"
OTHER_USER = "OTHER_USER"  # it is another user's, and we may not trace it
PTRACE_SCOPE = "PTRACE_SCOPE"  # kernel.yama.ptrace_scope forbids it
NO_CAPABILITY = "NO_CAPABILITY"  # CAP_SYS_PTRACE is missing, as in most containers
NO_PROGRAM = "NO_PROGRAM"  # py-spy, memray, gdb, dynolog or JAX is not installed where it is needed
IDLE = "IDLE"  # nothing ran while it was sampled
BUSY = "BUSY"  # it is profiled already, or two others of this node are
UNSUPPORTED = "UNSUPPORTED"  # this Python or this build is not known to the profiler
FAILED = "FAILED"  # none of these: the profiler's own words are all that is known
REASONS = frozenset(
    {ENDED, NOT_LISTED, NOT_PYTHON, OTHER_USER, PTRACE_SCOPE, NO_CAPABILITY, NO_PROGRAM, IDLE, BUSY, UNSUPPORTED, FAILED}
)  # fmt: skip


# Why a recording ended before its time (webapp/profiling/standing.py has words for each).
STOPPED, PROCESS_ENDED, TASK_ENDED = "STOPPED", "PROCESS_ENDED", "TASK_ENDED"
TOO_LARGE = "TOO_LARGE"  # the profiler took more memory than it is given
OTHERS_CHILD = "OTHERS_CHILD"  # another user's process began below it
ENDS = frozenset({STOPPED, PROCESS_ENDED, TASK_ENDED, TOO_LARGE, OTHERS_CHILD})


class WhyNot(msgspec.Struct, frozen=True):
    """Why a process was not looked into."""

    reason: str  # one of REASONS
    detail: Annotated[str, Meta(max_length=2_000)] = ""  # facts of this node: the value of ptrace_scope, the users, what a profiler said
    fix: Annotated[str, Meta(max_length=1_000)] = ""  # what to do about it on this node, if something can be done


class Abilities(msgspec.Struct, frozen=True):
    """Which profilers could look into a process of a node now. None: nothing is in the way; else why not."""

    stacks: WhyNot | None = None  # py-spy, also for CPU profiles
    memory: WhyNot | None = None
    gpu: WhyNot | None = None
    jax: WhyNot | None = None


class ThreadStack(msgspec.Struct, frozen=True, array_like=True):
    """A thread as it stood."""

    os_id: Annotated[int, Meta(ge=0, le=1 << 53)]
    name: Name
    is_active: bool  # it ran, or was about to
    owns_gil: bool
    frames: Annotated[tuple[Frame, ...], Meta(max_length=MOST_DEPTH)]  # outermost first
    cpu_s: float | None = None  # that it has used since it began; None: not known


class ProcessStacks(msgspec.Struct, frozen=True):
    """The threads of a process at one moment; or why they are not known."""

    pid: Pid
    started_ms: int
    threads: Annotated[tuple[ThreadStack, ...], Meta(max_length=10_000)] = ()
    at: float = 0.0  # Unix seconds
    python: Annotated[str, Meta(max_length=64)] = ""
    title: Annotated[str, Meta(max_length=1_000)] = ""  # what the process calls itself then: ray::Class.method
    in_pass: int = 1  # of those that were asked for
    child_of: Pid | None = None  # of a subprocess: the process that was asked for
    threads_left_out: int = 0  # over what is told of one process
    why_not: WhyNot | None = None


class StacksPart(msgspec.Struct, frozen=True):
    """Some of the processes that were asked for; told as they come."""

    processes: Annotated[tuple[ProcessStacks, ...], Meta(max_length=10_000)] = ()


class ProfileProgress(msgspec.Struct, frozen=True):
    """How far a profile is, and how it ended."""

    sampled_s: float = 0.0
    duration_s: float = 0.0  # what was asked for
    samples: int = 0  # known at the end
    errors: int = 0  # samples that could not be read
    cpu_s: float | None = None  # that the process, or all of them, used while it was sampled, as the kernel counts; None: not known
    ended: str = ""  # why it ended before its time, one of ENDS; empty: it did not
    detail: Annotated[str, Meta(max_length=2_000)] = ""  # of the end, in words
    why_not: WhyNot | None = None
    profiler: Annotated[str, Meta(max_length=100)] = ""  # its name and version
    packed_bytes: int = 0  # of the samples or the trace, which are told as parts
    trace_bytes: int = 0  # of a trace before it was packed
    processes: tuple[ProcessProgress, ...] = ()  # of a profile of many


class ProcessProgress(msgspec.Struct, frozen=True):
    """How one process of a profile of many went."""

    pid: Pid
    samples: int = 0
    why_not: WhyNot | None = None


def read(value: Any, kind: type[Any]) -> Any:
    """An answer, or a part of one, as its type. Raises Unreadable."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise Unreadable(str(error)[:200]) from None
