"""Why a process cannot be looked into, and what is to be done about it on this node."""

from __future__ import annotations

import pytest

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
)
from workers.sources import profile_obstacles as obstacles
from workers.sources.profile_obstacles import NodeFacts, TargetFacts

OURS = TargetFacts(user=1000, user_name="ray", name="ray::f", is_python=True)
DENIED = "Permission Denied: Try running again with elevated permissions by going 'sudo env \"PATH=$PATH\" !!'"
NO_VERSION = "Error: Failed to find python version from target process\n\nStack backtrace:\n   0: secret"


def node(**facts: object) -> NodeFacts:
    return NodeFacts(**{"user": 1000, "user_name": "ray", **facts})  # type: ignore[arg-type]


def test_root_and_the_same_user_may_trace() -> None:
    assert obstacles.before(node(user=0, has_capability=True, ptrace_scope=2), OURS) is None
    assert obstacles.before(node(), OURS) is None
    assert obstacles.before(node(ptrace_scope=0), OURS) is None


@pytest.mark.parametrize(
    ("facts", "target", "reason", "fix"),
    [
        (node(has_program=False), OURS, NO_PROGRAM, "pip install py-spy"),
        (node(ptrace_scope=1), OURS, PTRACE_SCOPE, "sudo sysctl kernel.yama.ptrace_scope=0"),
        (node(ptrace_scope=2), OURS, PTRACE_SCOPE, "sudo sysctl kernel.yama.ptrace_scope=0"),
        (node(ptrace_scope=3, has_capability=True), OURS, PTRACE_SCOPE, "start the machine anew"),
        (node(ptrace_scope=1, in_container=True), OURS, PTRACE_SCOPE, "On the machine, outside of the container"),
        (node(user=1001, user_name="deck"), OURS, OTHER_USER, "Run `raydeck node` as user ray (1000), or as root."),
        (node(user=1001, in_container=True), OURS, NO_CAPABILITY, 'capabilities: {add: ["SYS_PTRACE"]}'),
        (node(user=0), OURS, NO_CAPABILITY, "docker run --cap-add SYS_PTRACE"),
        (node(), TargetFacts(is_alive=False), ENDED, ""),
        (node(), TargetFacts(user=1000, name="raylet", is_python=False), NOT_PYTHON, ""),
        (node(), TargetFacts(user=1000, is_traced_by=42), BUSY, "End that one first."),
    ],
)
def test_what_is_in_the_way_is_said_before_trying(facts: NodeFacts, target: TargetFacts, reason: str, fix: str) -> None:
    found = obstacles.before(facts, target)
    assert found is not None
    assert found.reason == reason
    assert fix in found.fix


def test_what_holds_for_any_process_of_a_node_is_known_without_one() -> None:
    found = obstacles.before(node(ptrace_scope=1))
    assert found is not None
    assert found.reason == PTRACE_SCOPE
    assert obstacles.before(node()) is None


@pytest.mark.parametrize(
    ("words", "facts", "target", "reason"),
    [
        (DENIED, node(ptrace_scope=1), OURS, PTRACE_SCOPE),
        (DENIED, node(user=7), OURS, OTHER_USER),
        (
            "Error: Failed to get process executable name. Check that the process is running.\n 0: Permission denied",
            node(user=0),
            OURS,
            NO_CAPABILITY,
        ),
        (DENIED, node(user=7, in_container=True), OURS, NO_CAPABILITY),
        (DENIED, node(filters_calls=True), OURS, NO_CAPABILITY),
        (DENIED, node(), OURS, FAILED),
        ("Error: EPERM: Operation not permitted", node(), TargetFacts(user=1000, is_traced_by=9), BUSY),
        (NO_VERSION, node(), TargetFacts(user=1000, name="sleep"), NOT_PYTHON),
        (NO_VERSION, node(), OURS, UNSUPPORTED),
        ("Error: Failed to get process executable name. Check that the process is running.", node(), OURS, ENDED),
        ("Error: No such process (os error 3)", node(), OURS, ENDED),
        ("anything", node(), TargetFacts(is_alive=False), ENDED),
        ("Error: unsupported version of Python: 3.99.0", node(), OURS, UNSUPPORTED),
        ("Error: something new", node(), OURS, FAILED),
        ("", node(), OURS, FAILED),
    ],
)
def test_why_it_failed_follows_from_what_it_said_and_what_is_known(words: str, facts: NodeFacts, target: TargetFacts, reason: str) -> None:
    found = obstacles.after(words, facts, target)
    assert found.reason == reason
    assert "backtrace" not in found.detail
    assert len(found.detail) <= 2000


def test_what_the_profiler_said_is_cut() -> None:
    assert len(obstacles.after("x " * 100_000, node(), OURS).detail) <= obstacles.MOST_WORDS


def test_an_idle_process_is_asked_for_again_with_idle_threads() -> None:
    found = obstacles.idle(5.0)
    assert (found.reason, found.fix) == (IDLE, "Include idle threads.")
