"""Why a process cannot be looked into, and what to do about it on this node. Pure: facts in, reasons out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clusterstate.profile_answers import (
    BUSY,
    ENDED,
    FAILED,
    IDLE,
    NO_CAPABILITY,
    NO_PROGRAM,
    NOT_PYTHON,
    OTHER_USER,
    PTRACE_SCOPE,
    UNSUPPORTED,
    WhyNot,
)
from workers.sources.own_python import installing

MOST_WORDS = 1_500
"""Of what a profiler said."""
MAY_TRACE = {1: "a process may trace its own children alone", 2: "only who has CAP_SYS_PTRACE may trace"}

FIX_PROGRAM = f"Install it beside Raydeck on this node: {installing('py-spy')}"
FIX_SCOPE = "sudo sysctl kernel.yama.ptrace_scope=0"
FIX_SCOPE_FOR_GOOD = " (kept over a restart: echo kernel.yama.ptrace_scope=0 | sudo tee /etc/sysctl.d/10-ptrace.conf)"
FIX_CONTAINER = (
    'Give the container that runs `raydeck node` the capability: in Kubernetes securityContext: {capabilities: {add: ["SYS_PTRACE"]}}, '
    "with Docker docker run --cap-add SYS_PTRACE"
)
FIX_NOT_PYTHON = "Programs in C++ are looked into on the node: sudo perf top -g -p {pid}"
FIX_IDLE = "Include idle threads."


@dataclass(frozen=True)
class NodeFacts:
    """What this node and our own process allow."""

    has_program: bool = True
    ptrace_scope: int | None = None  # kernel.yama.ptrace_scope; None: there is no yama
    has_capability: bool = False  # CAP_SYS_PTRACE is effective
    user: int = 0
    user_name: str = ""
    in_container: bool = False
    in_user_namespace: bool = False  # root here is not the machine's
    filters_calls: bool = False  # seccomp: older container runtimes forbid ptrace by it


@dataclass(frozen=True)
class TargetFacts:
    """What is known of a process."""

    pid: int = 0
    is_alive: bool = True
    user: int = 0
    user_name: str = ""
    name: str = ""  # of its executable
    is_python: bool | None = None  # None: not known
    is_traced_by: int = 0  # pid of a debugger at it


def before(node: NodeFacts, target: TargetFacts | None = None) -> WhyNot | None:
    """What is in the way before anything is tried; None: nothing that is known of."""
    if not node.has_program:
        return WhyNot(NO_PROGRAM, "py-spy is not installed on this node.", FIX_PROGRAM)
    if target is not None:
        if not target.is_alive:
            return WhyNot(ENDED, "The process has ended.")
        if target.is_python is False:
            return WhyNot(NOT_PYTHON, f"{target.name or 'The process'} is no Python program.", FIX_NOT_PYTHON.format(pid=target.pid))
        if target.is_traced_by:
            return WhyNot(BUSY, f"Process {target.is_traced_by} traces it already: a debugger or another profiler.", "End that one first.")
    return _permission(node, target)


def after(words: str, node: NodeFacts, target: TargetFacts) -> WhyNot:
    """Why py-spy failed, from what it said and what is known."""
    said = words.lower()
    detail = shortened(words)
    if not target.is_alive:
        return WhyNot(ENDED, "The process ended.")
    if "permission denied" in said or "operation not permitted" in said or "eperm" in said or "do not have permission" in said:
        if target.is_traced_by:
            return WhyNot(BUSY, f"Process {target.is_traced_by} traces it already: a debugger or another profiler.", "End that one first.")
        return _permission(node, target) or _unexplained(node, detail)
    if "no such process" in said or "check that the process is running" in said or "does not exist" in said:
        return WhyNot(ENDED, "The process ended.")
    if "failed to find python version" in said or "failed to get python version" in said:
        if target.is_python:
            return WhyNot(UNSUPPORTED, detail, "py-spy does not know this build of Python: try a newer py-spy beside Raydeck on this node.")
        return WhyNot(NOT_PYTHON, f"{target.name or 'The process'} is no Python program, or one that has not begun yet.")
    if "unsupported version of python" in said or "collecting stack traces from native extensions" in said:
        return WhyNot(UNSUPPORTED, detail, "Ask without native frames, or install a newer py-spy beside Raydeck on this node.")
    return WhyNot(FAILED, detail or "The profiler said nothing.")


def idle(seconds: float) -> WhyNot:
    """Nothing was sampled."""
    return WhyNot(IDLE, f"Nothing ran in it for {seconds:.0f} s.", FIX_IDLE)


def _permission(node: NodeFacts, target: TargetFacts | None) -> WhyNot | None:
    if node.ptrace_scope == 3:
        return WhyNot(PTRACE_SCOPE, "kernel.yama.ptrace_scope is 3: nobody may trace until the machine is started anew.", _fix_scope(node))
    if node.has_capability:
        return None
    if target is not None and target.user != node.user:
        return _other_user(node, target)
    if node.ptrace_scope:
        detail = f"kernel.yama.ptrace_scope is {node.ptrace_scope}: {MAY_TRACE.get(node.ptrace_scope, 'nobody may trace')}."
        return WhyNot(PTRACE_SCOPE, detail, _fix_scope(node))
    if node.user == 0:
        return WhyNot(NO_CAPABILITY, "Raydeck runs as root here, but without CAP_SYS_PTRACE.", FIX_CONTAINER)
    return None


def _other_user(node: NodeFacts, target: TargetFacts) -> WhyNot:
    detail = f"The process is of user {_who(target.user, target.user_name)}, Raydeck runs as {_who(node.user, node.user_name)}"
    if node.in_container or node.user == 0:
        fix = f"{FIX_CONTAINER}; or run it as user {_who(target.user, target.user_name)}."
        return WhyNot(NO_CAPABILITY, f"{detail} without CAP_SYS_PTRACE.", fix)
    return WhyNot(OTHER_USER, f"{detail}.", f"Run `raydeck node` as user {_who(target.user, target.user_name)}, or as root.")


def _fix_scope(node: NodeFacts) -> str:
    if node.ptrace_scope == 3:
        return "Set kernel.yama.ptrace_scope to 0 in /etc/sysctl.d and start the machine anew."
    if node.in_container:
        return f"On the machine, outside of the container: {FIX_SCOPE}{FIX_SCOPE_FOR_GOOD}. Or: {FIX_CONTAINER}"
    return FIX_SCOPE + FIX_SCOPE_FOR_GOOD + "; or run `raydeck node` as root."


def _unexplained(node: NodeFacts, detail: str) -> WhyNot:
    """The kernel said no, and nothing that we know of explains it."""
    if node.in_user_namespace or node.filters_calls or node.in_container:
        return WhyNot(NO_CAPABILITY, detail or "Tracing is forbidden in this container.", FIX_CONTAINER)
    fix = "Look whether a security module (SELinux, AppArmor) forbids ptrace."
    return WhyNot(FAILED, detail or "The system does not let it be traced.", fix)


def shortened(words: str) -> str:
    """What it said without the trace of its own calls."""
    kept: Sequence[str] = words.split("Stack backtrace:")[0].split()
    return " ".join(kept)[:MOST_WORDS]


def _who(number: int, name: str) -> str:
    return f"{name} ({number})" if name and name != str(number) else str(number)
