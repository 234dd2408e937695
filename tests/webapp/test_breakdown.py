"""A job's tasks below who called them, one level at a time."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

import pytest

from clusterstate.model import Task
from clusterstate.resources import TASKS
from clusterstate.store import lineage_reading, reader
from clusterstate.store.sqlite_reading import DeadlinePassed
from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import Person

JOB = "01000000"
DRIVER = "f" * 40 + JOB
ACTOR = f"{7:024x}{JOB}"


def task_id(number: int, actor: str | None = None) -> str:
    return f"{number:016x}{actor or 'f' * 24 + JOB}"


@pytest.fixture
def tree(cluster: BuiltCluster) -> BuiltCluster:
    """main calls 30 loads, of which one calls a read; main makes an actor that is called twice."""
    cluster.with_job(job_id=JOB, job_key=JOB)
    cluster.with_task(task_id=task_id(1), name="main", type="NORMAL_TASK", job_id=JOB, parent_task_id=DRIVER, state="RUNNING")
    for number in range(2, 32):
        cluster.with_task(task_id=task_id(number), name="load", type="NORMAL_TASK", job_id=JOB, parent_task_id=task_id(1), state="FINISHED")
    cluster.with_task(task_id=task_id(50), name="read", type="NORMAL_TASK", job_id=JOB, parent_task_id=task_id(2), state="FAILED")
    actor: dict[str, Any] = {"actor_id": ACTOR, "job_id": JOB, "parent_task_id": task_id(1), "func_or_class_name": "Counter.add"}
    cluster.with_task(task_id=task_id(60, ACTOR), name="Counter.__init__", type="ACTOR_CREATION_TASK", state="FINISHED", **actor)
    for number in (61, 62):
        cluster.with_task(task_id=task_id(number, ACTOR), name="Counter.add", type="ACTOR_TASK", state="FINISHED", **actor)
    return cluster


def shown(person: Person, **asked: str) -> list[str]:
    """Each branch of the page as words."""
    page = person.page(f"/c/demo/jobs/{JOB}?" + urlencode({"tab": "breakdown", **asked}))
    assert page.status_code == 200
    rows = re.findall(r'<div class="branch">(.*?)</div>\s*(?:<ul>|</li>)', page.text, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in rows]


def test_at_first_the_drivers_own_calls_with_all_that_is_below_them(vera: Person, tree: BuiltCluster) -> None:
    assert shown(vera) == ["▸ main 33 of 35, 1 running, 1 failed start here"]


def test_each_level_is_opened_by_a_link_and_stays_open_in_the_url(vera: Person, tree: BuiltCluster) -> None:
    page = vera.page(f"/c/demo/jobs/{JOB}?tab=breakdown&open=t{task_id(1)}").text
    group = re.search(r"g[0-9a-f]{16}", page)
    assert group is not None
    found = shown(vera, open=f"t{task_id(1)},{group.group()},a{ACTOR}")
    assert [row.removesuffix(" start here") for row in found[:3]] == [
        "▾ main 33 of 35, 1 running, 1 failed",
        "▾ load × 30 30 of 31, 1 failed",
        "▸ load 1 of 2, 1 failed",
    ]
    assert re.fullmatch("▾ Counter .* actor 3 of 3 start here", found[3])
    assert {"Counter.__init__", "Counter.add"} <= set(" ".join(found[4:]).split())
    assert "29 that called nothing" in vera.page(f"/c/demo/jobs/{JOB}?tab=breakdown&open=t{task_id(1)},{group.group()}").text


def test_a_page_may_start_at_a_branch_and_says_what_is_above(vera: Person, tree: BuiltCluster) -> None:
    assert shown(vera, start=f"t{task_id(2)}") == ["read 0 of 1, 1 failed"]
    page = vera.page(f"/c/demo/jobs/{JOB}?tab=breakdown&start=t{task_id(2)}").text
    assert re.search(r'class="crumbs">.*Driver.*main.*<b>load</b>', page, re.DOTALL)


def test_what_has_finished_can_be_hidden(vera: Person, tree: BuiltCluster) -> None:
    assert [row.split()[1] for row in shown(vera, open=f"t{task_id(1)}", hide="finished")] == ["main", "load"]


def test_what_a_task_called_that_nobody_recorded_is_shown_apart(vera: Person, cluster: BuiltCluster) -> None:
    cluster.with_job(job_id=JOB, job_key=JOB)
    cluster.with_task(task_id=task_id(5), name="orphan", type="NORMAL_TASK", job_id=JOB, parent_task_id=task_id(4), state="FINISHED")
    page = vera.page(f"/c/demo/jobs/{JOB}?tab=breakdown").text
    assert "Called by what is not recorded" in page
    assert len(shown(vera, open=f"t{task_id(4)}")) == 2


def test_hostile_names_are_text(vera: Person, cluster: BuiltCluster) -> None:
    cluster.with_job(job_id=JOB, job_key=JOB)
    name = "<script>alert(1)</script>\x1b[31m" + "x" * 100_000
    for number in (1, 2):
        cluster.with_task(task_id=task_id(number), name=name, type="NORMAL_TASK", job_id=JOB, parent_task_id=DRIVER)
    page = vera.page(f"/c/demo/jobs/{JOB}?tab=breakdown").text
    assert "<script>alert" not in page
    assert len(page) < 100_000


@pytest.mark.parametrize(
    "query", ["open=nonsense", "open=g1", f"start=g{0:016x}x", "hide=all", "open=" + ",".join(f"g{number:016x}" for number in range(99))]
)
def test_what_is_no_branch_is_refused_in_words(vera: Person, tree: BuiltCluster, query: str) -> None:
    refused = vera.page(f"/c/demo/jobs/{JOB}?tab=breakdown&{query}")
    assert refused.status_code == 400
    assert "take" in refused.text


def test_a_start_that_is_not_there_is_not_found(vera: Person, tree: BuiltCluster) -> None:
    assert vera.page(f"/c/demo/jobs/{JOB}?tab=breakdown&start=t{'ab' * 24}").status_code == 404


def test_a_job_without_tasks_says_so(vera: Person, cluster: BuiltCluster) -> None:
    cluster.with_job(job_id=JOB, job_key=JOB)
    assert "No task of it is known." in vera.page(f"/c/demo/jobs/{JOB}?tab=breakdown").text


def test_durations_are_shown_by_name_with_a_link_to_the_slowest(vera: Person, cluster: BuiltCluster) -> None:
    cluster.with_job(job_id=JOB, job_key=JOB)
    times = {"type": "NORMAL_TASK", "job_id": JOB, "parent_task_id": DRIVER, "state": "FINISHED", "start_time_ms": 1_700_000_000_000}
    for number in range(1, 5):
        cluster.with_task(task_id=task_id(number), name="fit <b>", end_time_ms=1_700_000_000_000 + number, **times)
    for path in (f"/c/demo/jobs/{JOB}?tab=breakdown", "/c/demo/durations"):
        page = vera.page(path).text
        assert "fit &lt;b&gt;" in page
        assert "sort=-duration_ms" in page
        assert re.search(r'<td class="n">4</td><td class="n">1 ms</td>', page)


def test_durations_that_take_too_long_leave_the_rest_of_the_page(vera: Person, tree: BuiltCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_: Any) -> Any:
        raise DeadlinePassed

    monkeypatch.setattr(reader, "durations", late)
    assert shown(vera) == ["▸ main 33 of 35, 1 running, 1 failed start here"]
    assert "They took too long to read." in vera.page(f"/c/demo/jobs/{JOB}?tab=breakdown").text


def test_how_many_callers_are_not_recorded_is_said(vera: Person, cluster: BuiltCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.with_job(job_id=JOB, job_key=JOB)
    calls = (Task(task_id(n), name="orphan", type="NORMAL_TASK", job_id=JOB, parent_task_id=task_id(1000 + n)) for n in range(1, 31))
    cluster.with_rows(TASKS, *calls)
    assert "and 10 more" in vera.page(f"/c/demo/jobs/{JOB}?tab=breakdown").text
    monkeypatch.setattr(lineage_reading, "COUNTED_MORE", 5)
    assert "and at least 5 more" in vera.page(f"/c/demo/jobs/{JOB}?tab=breakdown&hide=").text
