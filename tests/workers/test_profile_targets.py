"""Which processes may be looked into: what the raylet lists now, and no other one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clusterstate.profile_answers import ENDED, NOT_LISTED, OTHER_USER
from tests.workers.stub_ray import NODE, SESSION, SLEEP, StubRay, began, stub_ray
from workers.sources import profile_targets
from workers.sources.profile_targets import Finder, Refused, Target, find_raylet, is_same

NOBODY = 65534


@pytest.fixture
def ray(tmp_path: Path) -> Iterator[StubRay]:
    with stub_ray(tmp_path) as running:
        yield running


def finder(ray: StubRay, own: frozenset[int] = frozenset(), listed: bool = True) -> Finder:
    return Finder(find_raylet(NODE, SESSION), ray.listed if listed else None, own)


def lives(target: Target) -> bool:
    return target.is_alive


def refused(found: Finder, pid: int, started_ms: int | None = None) -> str:
    with pytest.raises(Refused) as why, found.open(pid, started_ms):
        pass
    return why.value.why_not.reason


def test_a_listed_worker_is_found_with_its_user_and_start(ray: StubRay) -> None:
    pid = ray.start(SLEEP)
    with finder(ray).open(pid, began(pid)) as target:
        assert (target.pid, target.started_ms, target.user) == (pid, began(pid), os.getuid())
        assert (lives(target), is_same(target)) == (True, True)
        ray.end(pid)
        assert (lives(target), is_same(target)) == (False, False)


@pytest.mark.parametrize("pid", [0, -1, 1, 2**22 + 1, 2**31, 2**40, -(2**40), True, "7", "1;id", 3.0, None])
def test_no_such_pid_is_refused(ray: StubRay, pid: Any) -> None:
    ray.listed[pid] = True
    assert refused(finder(ray), pid) == NOT_LISTED


def test_we_and_who_started_us_are_refused_even_if_they_are_listed(ray: StubRay) -> None:
    ray.listed |= {os.getpid(): True, os.getppid(): True}
    assert [refused(finder(ray), pid) for pid in (os.getpid(), os.getppid())] == [NOT_LISTED] * 2


def test_processes_of_a_role_of_ours_are_refused_even_if_they_are_listed(ray: StubRay) -> None:
    role = subprocess.Popen([sys.executable, "-c", SLEEP], start_new_session=True)
    try:
        ray.listed[role.pid] = True
        assert refused(finder(ray, own=frozenset({role.pid})), role.pid) == NOT_LISTED
        with finder(ray).open(role.pid, None) as target:  # a driver stands below no raylet
            assert target.pid == role.pid
    finally:
        role.kill()
        role.wait()


def test_what_is_not_listed_is_refused_wherever_it_stands(ray: StubRay) -> None:
    beside = subprocess.Popen(["sleep", "60"])
    try:
        below = ray.start(SLEEP, listed=False)
        assert [refused(finder(ray), pid) for pid in (below, beside.pid)] == [NOT_LISTED] * 2
    finally:
        beside.kill()
        beside.wait()


def test_a_worker_that_does_not_stand_below_its_raylet_is_refused(ray: StubRay) -> None:
    beside = subprocess.Popen(["sleep", "60"])
    try:
        ray.listed[beside.pid] = False
        assert refused(finder(ray), beside.pid) == NOT_LISTED
    finally:
        beside.kill()
        beside.wait()


def test_workers_of_another_session_or_node_are_refused(ray: StubRay, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with stub_ray(tmp_path / "other", "cd" * 28, "session_other") as other:
        theirs = other.start(SLEEP)
        assert refused(finder(ray), theirs) == NOT_LISTED
        for node_id, session in (("cd" * 28, SESSION), (NODE, "session_other"), (NODE, SESSION[:-1]), ("../" + NODE, None), ("", None)):
            with pytest.raises(Refused) as why:
                find_raylet(node_id, session)
            assert why.value.why_not.reason == NOT_LISTED


@pytest.mark.skipif(os.getuid() != 0, reason="only root starts processes of another user")
def test_another_users_process_is_refused(ray: StubRay) -> None:
    pid = ray.run(["sleep", "60"], "/bin/sleep", user=NOBODY)
    ray.listed[pid] = False
    assert refused(finder(ray), pid) == OTHER_USER


def test_a_process_that_began_at_another_time_is_another_process(ray: StubRay) -> None:
    pid = ray.start(SLEEP)
    assert [refused(finder(ray), pid, began(pid) + apart) for apart in (10, -10, 500, 3000, -3000, 10**9)] == [ENDED] * 6


def test_the_clock_may_have_been_set_since(ray: StubRay) -> None:
    pid = ray.start(SLEEP)
    with finder(ray).open(pid, began(pid) + 1000) as target:
        assert target.pid == pid


def test_what_has_ended_is_said_to_have(ray: StubRay) -> None:
    pid = ray.start(SLEEP)
    start = began(pid)
    ray.end(pid)
    assert refused(finder(ray), pid, start) == ENDED


@pytest.mark.skipif(os.getuid() != 0, reason="only root chooses pids")
def test_a_pid_that_was_given_out_again_is_another_process(ray: StubRay) -> None:
    pid = ray.start(SLEEP)
    start = began(pid)
    ray.end(pid)
    ray.end(ray.start(SLEEP))  # the keeper reaps what has ended when it starts another one
    give_up = time.monotonic() + 10
    while True:
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
        again = ray.start(SLEEP)
        if again == pid and began(pid) - start not in profile_targets.CLOCK_STEPS_MS:
            break
        ray.end(again)
        assert time.monotonic() < give_up, "others take the pid each time"
    assert refused(finder(ray), pid, start) == ENDED


def test_rays_own_processes_may_be_looked_into(ray: StubRay) -> None:
    gcs = ray.run(["gcs_server", "-c", SLEEP, f"--session-dir=/tmp/ray/{SESSION}"], sys.executable)
    agent = ray.run(["ray::DashboardAgent", "-c", SLEEP], sys.executable)
    for pid in (ray.pid, agent):
        with finder(ray).open(pid, None) as target:
            assert target.pid == pid
    assert refused(finder(ray), gcs) == NOT_LISTED  # what a worker starts may call itself anything


def test_what_a_raylet_that_does_not_answer_started_itself_counts_as_listed(ray: StubRay) -> None:
    worker, other = ray.start(SLEEP, listed=False), ray.start(SLEEP, title="python", listed=False)
    with finder(ray, listed=False).open(worker, None) as target:
        assert target.pid == worker
    assert refused(finder(ray, listed=False), other) == NOT_LISTED


def test_what_a_process_started_is_found_below_it_alone(ray: StubRay) -> None:
    parent = ray.start("import subprocess\nsubprocess.run(['sleep', '60'])")
    lonely = ray.start(SLEEP)
    found = finder(ray)
    with found.open(parent, None) as target, found.open(lonely, None) as other:
        deadline = time.monotonic() + 5
        while not (children := found.children_of(target)):
            assert time.monotonic() < deadline
        assert refused(found, children[0]) == NOT_LISTED
        with found.open_child(children[0], target) as child:
            assert child.pid == children[0]
        with pytest.raises(Refused), found.open_child(children[0], other):
            pass
        os.kill(children[0], 9)


def test_the_oldest_that_says_it_is_the_raylet_is(ray: StubRay, tmp_path: Path) -> None:
    (tmp_path / "impostor").mkdir()
    with stub_ray(tmp_path / "impostor"):
        assert find_raylet(NODE, SESSION).pid == ray.pid
    assert profile_targets.title_of(ray.pid).startswith("raylet")
