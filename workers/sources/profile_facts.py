"""What this node says of its permission to trace, and of a process that is to be traced."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from workers.sources import processes_decode as decode
from workers.sources.profile_obstacles import NodeFacts, TargetFacts
from workers.sources.profile_targets import PROC, Target
from workers.sources.py_spy import SYS_PTRACE

WHOLE_RANGE = "4294967295"
NO_PYTHON = frozenset({"raylet", "gcs_server", "plasma_store"})
CONTAINER_MARKS = ("docker", "kubepods", "containerd", "libpod", "crio")


def node_facts(has_program: bool, proc: Path = PROC, root: Path = Path("/")) -> NodeFacts:
    """Of our own process and the kernel it runs on."""
    status = _status(proc / "self")
    return NodeFacts(
        has_program=has_program,
        ptrace_scope=_number(_text(proc / "sys/kernel/yama/ptrace_scope")),
        has_capability=bool(int(status.get("CapEff", "0"), 16) & 1 << SYS_PTRACE),
        user=os.geteuid(),
        user_name=user_name(os.geteuid()),
        in_container=_is_container(proc, root),
        in_user_namespace=_text(proc / "self/uid_map").split()[-1:] != [WHOLE_RANGE],
        filters_calls=status.get("Seccomp", "0") != "0",
    )


def target_facts(target: Target, proc: Path = PROC) -> TargetFacts:
    """Of a process that was found. What we may not read is not known."""
    folder = proc / str(target.pid)
    stat = decode.parse_stat(_text(folder / "stat").encode())
    return TargetFacts(
        pid=target.pid,
        is_alive=stat is not None and not stat.is_zombie and stat.start_ticks == target.start_ticks and target.is_alive,
        user=target.user,
        user_name=user_name(target.user),
        name=stat.name if stat is not None else "",
        is_python=_is_python(folder, stat.name if stat is not None else ""),
        is_traced_by=_number(_status(folder).get("TracerPid", "0")) or 0,
    )


def user_name(number: int) -> str:
    """Of a user this machine knows; else the number."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _is_python(folder: Path, name: str) -> bool | None:
    """False only of what is known to be none; None where it may be."""
    if name in NO_PYTHON:
        return False
    try:
        program = os.readlink(folder / "exe")
    except OSError:
        return None
    return True if "python" in os.path.basename(program) else None


def _is_container(proc: Path, root: Path) -> bool:
    if (root / ".dockerenv").exists() or (root / "run/.containerenv").exists() or "KUBERNETES_SERVICE_HOST" in os.environ:
        return True
    return any(mark in _text(proc / "self/cgroup") for mark in CONTAINER_MARKS)


def _status(folder: Path) -> dict[str, str]:
    """/proc/<pid>/status."""
    lines = (line.partition(":") for line in _text(folder / "status").splitlines())
    return {name: value.strip() for name, _, value in lines}


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdigit() else None
