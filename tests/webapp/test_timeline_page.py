"""The timeline as a page: rows of workers in a window of time, links that move it, and what it says when there is nothing."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from clusterstate.model import Task
from clusterstate.resources import TASKS
from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import Clock, Person
from webapp.timeline import reading
from webapp.timeline.lanes import MOST_LANES

PATH = "/c/demo/timeline"
ONE, TWO = "a1" * 28, "b2" * 28


@dataclass
class Picture(HTMLParser):
    """What a timeline shows: tasks by title and link, blocks, rows, buttons."""

    page: str
    bars: list[tuple[str, str, str]] = field(default_factory=list)  # href, class, title
    blocks: list[tuple[str, str, str]] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    steps: dict[str, str] = field(default_factory=dict)
    _link: dict[str, str] | None = None
    _in_title: bool = False

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.feed(self.page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "a":
            self._link = given
            if given.get("data-step"):
                self.steps[given["data-step"]] = given["href"]
        if tag == "li" and given.get("class") in ("node", "track-row"):
            self.rows.append(given["id"])
        self._in_title = tag == "title"

    def handle_data(self, data: str) -> None:
        if self._in_title and self._link and "class" in self._link:
            into = self.bars if "bar" in self._link["class"].split() else self.blocks
            into.append((self._link["href"], self._link["class"], data))

    def handle_endtag(self, tag: str) -> None:
        self._in_title = False
        if tag == "a":
            self._link = None

    @property
    def names(self) -> set[str]:
        return {title.partition(",")[0] for _, _, title in self.bars}

    @property
    def window(self) -> tuple[int, int]:
        found = re.search(r'data-from="(\d+)" data-to="(\d+)"', self.page)
        assert found
        return int(found[1]), int(found[2])


def picture(person: Person, query: str = "", path: str = PATH) -> Picture:
    answer = person.page(path + query)
    assert answer.status_code == 200, answer.text
    return Picture(answer.text)


@pytest.fixture
def now(clock: Clock) -> int:
    """The app's time, Unix ms: rounded, so that windows that follow it are known."""
    clock.at = float(int(clock.at))
    return int(clock.at * 1000)


def ran(cluster: BuiltCluster, start: int, end: int | None, name: str, worker: str | None = ONE, **fields: Any) -> Task:
    state = "RUNNING" if end is None else "FINISHED"
    return cluster.with_task(**{"name": name, "worker_id": worker, "start_time_ms": start, "end_time_ms": end, "state": state, **fields})


def test_each_task_is_a_bar_in_the_row_of_its_worker_below_its_node(vera: Person, cluster: BuiltCluster, now: int) -> None:
    node = cluster.with_node(node_ip="10.0.0.7", hostname="gpu-7")
    done = ran(cluster, now - 9000, now - 4000, "load", ONE, node_id=node.node_id)
    again = ran(cluster, now - 3000, None, "train", TWO, node_id=node.node_id, attempt_number=2)
    cluster.with_task(state="PENDING_NODE_ASSIGNMENT", name="later")

    shown = picture(vera)

    assert shown.rows == [f"of-{node.node_id}", f"worker-{ONE}", f"worker-{TWO}"]
    assert [href for href, _, _ in shown.bars] == [f"/c/demo/tasks/{done.task_id}", f"/c/demo/tasks/{again.task_id}?attempt=2"]
    assert shown.bars[0][2].startswith("load, FINISHED, 5.0 s, started ")
    assert "train, attempt 2, RUNNING, 3.0 s so far" in shown.bars[1][2]
    assert "gpu-7" in shown.page
    assert ">1 wait</a> to start" in shown.page
    assert shown.window[0] == now - 9000
    assert shown.window[1] >= now


def test_a_window_shows_what_overlaps_it_however_long_ago_that_began(vera: Person, cluster: BuiltCluster, now: int) -> None:
    ran(cluster, now - 3_000_000, now - 10, "long")
    ran(cluster, now - 60_000, now - 50_000, "before")
    ran(cluster, now - 30_000, now - 20_000, "within")
    ran(cluster, now - 5_000, now - 1_000, "after", TWO)

    shown = picture(vera, f"?from={now - 40_000}&to={now - 10_000}")

    assert shown.names == {"long", "within"}
    assert shown.window == (now - 40_000, now - 10_000)
    assert picture(vera, f"?from={now - 40_000}").names == {"long", "within", "after"}
    assert picture(vera, "?span=10000").names == {"long", "after"}
    assert picture(vera).names == {"long", "before", "within", "after"}


def test_buttons_zoom_and_move_by_links_that_keep_the_rest(vera: Person, cluster: BuiltCluster, now: int) -> None:
    ran(cluster, now - 60_000, now, "load")
    steps = picture(vera, f"?from={now - 40_000}&to={now - 20_000}&colour=state&q=load").steps

    def window(step: str) -> list[int]:
        given = parse_qs(urlsplit(steps[step]).query)
        assert given["colour"] == ["state"]
        assert given["q"] == ["load"]
        return [int(given[name][0]) - now for name in ("from", "to")]

    assert window("in") == [-35_000, -25_000]
    assert window("out") == [-50_000, -10_000]
    assert window("earlier") == [-50_000, -30_000]
    assert window("later") == [-30_000, -10_000]
    assert set(parse_qs(urlsplit(steps["fit"]).query)) == {"colour", "q"}
    followed = picture(vera, "?span=20000").steps
    assert parse_qs(urlsplit(followed["in"]).query) == {"span": ["10000"]}, "a window that follows goes on following"


def test_only_a_window_that_ends_now_is_polled(vera: Person, cluster: BuiltCluster, now: int) -> None:
    ran(cluster, now - 60_000, None, "load")
    assert "hx-get" in vera.page(PATH + "?span=10000").text
    assert "hx-get" in vera.page(PATH).text
    still = vera.page(f"{PATH}?from={now - 9000}&to={now - 1000}").text
    assert "hx-get" not in still
    assert "Follow now" in still


def test_a_poll_within_the_same_pixel_is_told_that_nothing_changed(vera: Person, cluster: BuiltCluster, clock: Clock, now: int) -> None:
    clock.at += 900_000 - clock.at % 30
    ran(cluster, now - 60_000, None, "load")
    cluster.refresh(clock.at)
    tag = {"HX-Target": "section#timeline", "HX-PTag": vera.fragment(f"{PATH}?span=20000000").headers["HX-PTag"]}
    clock.at += 20
    cluster.refresh(clock.at)
    assert vera.fragment(f"{PATH}?span=20000000", tag).status_code == 304
    clock.at += 25
    cluster.refresh(clock.at)
    assert vera.fragment(f"{PATH}?span=20000000", tag).status_code == 200


def test_many_tasks_are_blocks_with_counts_that_lead_closer(vera: Person, cluster: BuiltCluster, now: int) -> None:
    began = now - 300_000
    tasks = [
        Task(
            f"{number + 1000:048x}",
            state="FAILED" if number == 17 else "FINISHED",
            name="step",
            worker_id=ONE if number % 2 else TWO,
            start_time_ms=began + number * 100,
            end_time_ms=began + number * 100 + 50,
        )
        for number in range(2600)
    ]
    cluster.with_rows(TASKS, *tasks)
    ran(cluster, began, now - 20_000, "long", TWO)

    shown = picture(vera)

    assert "<b>2\u202f601</b> tasks started on 2 workers" in shown.page
    assert shown.names == {"long"}
    counted = [int(re.sub(r"\D", "", title.partition(" task")[0])) for _, _, title in shown.blocks]
    assert sum(counted) == 2600
    assert len(counted) <= 2 * 240
    assert sum(", some failed" in title for _, _, title in shown.blocks) == 1
    closer = picture(vera, shown.blocks[0][0])
    assert not closer.blocks
    beside = sum(count for count, block in zip(counted, shown.blocks, strict=True) if block[0] == shown.blocks[0][0])
    assert len([title for _, _, title in closer.bars if title.startswith("step")]) == beside


def test_long_tasks_that_are_too_many_to_be_drawn_are_told(
    vera: Person, cluster: BuiltCluster, now: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SHAPES", 20)
    for worker in (ONE, TWO):
        for number in range(15):
            ran(cluster, now - 60_000 + number, None, "async", worker)
    window = f"?from={now - 30_000}&to={now}"

    assert "too many long tasks" in picture(vera, window).page
    alone = picture(vera, f"{window}&worker_id={TWO}")
    assert "too many long tasks" not in alone.page
    assert len(alone.bars) == MOST_LANES


def test_a_folded_node_is_one_row(vera: Person, cluster: BuiltCluster, now: int) -> None:
    first, second = cluster.with_node(node_ip="10.0.0.1").node_id, cluster.with_node(node_ip="10.0.0.2").node_id
    for number, node in enumerate((first, first, second)):
        ran(cluster, now - 5000, now - 10, "load", f"{number}" * 56, node_id=node)

    shown = picture(vera, f"?closed={first}")
    assert shown.rows == [f"node-{first}", f"of-{second}", f"worker-{'2' * 56}"]
    assert [title.partition(" ")[0] for _, _, title in shown.blocks] == ["2"]
    assert len(shown.bars) == 1
    assert picture(vera, "?closed=all").rows == [f"node-{first}", f"node-{second}"]
    assert picture(vera).rows.count(f"of-{first}") == 1


def test_rows_come_in_pages(vera: Person, cluster: BuiltCluster, now: int) -> None:
    cluster.with_rows(
        TASKS,
        *(
            Task(f"{n:048x}", state="FINISHED", worker_id=f"{n:056x}", start_time_ms=now - 5000, end_time_ms=now - 10, sequence=n + 1)
            for n in range(35)
        ),
    )
    first, second = picture(vera), picture(vera, "?page=2")
    assert (len(first.bars), len(second.bars)) == (30, 5)
    assert "rows 1 to 30 of 35" in first.page
    assert "rows 31 to 35 of 35" in second.page
    assert not set(first.rows) & set(second.rows) - {"of-unknown"}
    assert len(picture(vera, "?page=99").bars) == 5


def test_what_is_looked_for_stands_out_and_is_counted(vera: Person, cluster: BuiltCluster, now: int) -> None:
    for name, worker in (("load_a", ONE), ("load_b", TWO), ("train", ONE)):
        ran(cluster, now - 5000, now - 10, name, worker)

    for query in ("?q=load", "?q=name:load*", "?name=load", "?q=-train"):
        shown = picture(vera, query)
        assert "<b>2</b> found" in shown.page
        assert {title.partition(",")[0]: look.split()[-1] for _, look, title in shown.bars} == {
            "load_a": "found",
            "load_b": "found",
            "train": "dim",
        }
    assert "found" not in " ".join(look for _, look, _ in picture(vera).bars)


def test_colours_are_by_name_or_by_state_with_a_legend(vera: Person, cluster: BuiltCluster, now: int) -> None:
    ran(cluster, now - 9000, now - 8000, "load")
    ran(cluster, now - 7000, now - 6000, "load", state="FAILED", error_type="WORKER_DIED")
    ran(cluster, now - 5000, None, "load", state="END_UNKNOWN")
    ran(cluster, now - 4000, None, "train")

    by_name = picture(vera)
    loads = {look.split()[1] for _, look, title in by_name.bars if title.startswith("load")}
    assert len(loads) == 1
    assert "has-failed" in by_name.bars[1][1]
    assert "(WORKER_DIED)" in by_name.bars[1][2]
    by_state = picture(vera, "?colour=state")
    assert [look.split()[1] for _, look, _ in by_state.bars] == ["finished", "failed", "unknown", "running"]
    assert "end-unknown" in by_state.bars[2][1]
    assert "nobody reported its end" in by_state.bars[2][2]
    assert "</span> running</li>" in by_state.page


def test_waiting_is_drawn_when_it_is_asked_for(vera: Person, cluster: BuiltCluster, now: int) -> None:
    ran(cluster, now - 5000, now - 10, "load", creation_time_ms=now - 8000)
    assert 'class="wait"' not in vera.page(PATH).text
    shown = vera.page(PATH + "?show=waits").text
    assert 'class="wait"' in shown
    assert "waited 3.0 s" in shown


def test_it_is_of_one_job_node_worker_or_actor_where_that_is_asked(vera: Person, cluster: BuiltCluster, now: int) -> None:
    job = cluster.with_job(submission_id="my job/1")
    node = cluster.with_node()
    actor = cluster.with_actor(worker_id=TWO, previous_incarnations=[{"worker_id": "c3" * 28, "node_id": "n"}])
    unplaced = cluster.with_actor(worker_id=None)
    forgotten = "f" * 32
    ran(cluster, now - 5000, now - 10, "mine", ONE, job_id=job.job_id, node_id=node.node_id)
    ran(cluster, now - 5000, now - 10, "acting", TWO, job_id="77000000", actor_id=actor.actor_id)
    ran(cluster, now - 9000, now - 8000, "acted before", "c3" * 28, job_id="77000000", actor_id=actor.actor_id)
    ran(cluster, now - 5000, now - 10, "of a forgotten actor", "d4" * 28, job_id="77000000", actor_id=forgotten)

    assert picture(vera, f"?job_id={job.job_id}").names == {"mine"}
    of_job = picture(vera, "?job_id=my%20job%2F1")
    assert of_job.names == {"mine"}
    assert ">Info</a>" in of_job.page, "it is a tab of the job's page"
    assert "timeline.json?job_id=my+job/1" in of_job.page or "timeline.json?job_id=my%20job/1" in of_job.page
    assert picture(vera, "?job_id=77000000").names == {"acting", "acted before", "of a forgotten actor"}
    assert picture(vera, f"?node_id={node.node_id}").names == {"mine"}
    assert picture(vera, f"?worker_id={TWO}").names == {"acting"}
    assert picture(vera, f"?actor_id={actor.actor_id}").names == {"acting", "acted before"}
    assert picture(vera, f"?actor_id={forgotten}").names == {"of a forgotten actor"}
    for nobody in (f"actor_id={unplaced.actor_id}", "worker_id=none", "actor_id=none"):
        assert "No task of it has run yet." in vera.page(f"{PATH}?{nobody}").text
    assert vera.page(f"{PATH}?job_id=none").status_code == 404


def test_pages_of_tasks_jobs_actors_workers_and_nodes_lead_to_it(vera: Person, cluster: BuiltCluster, now: int) -> None:
    job, node, actor = cluster.with_job(), cluster.with_node(), cluster.with_actor(worker_id=ONE)
    cluster.with_worker(worker_id=ONE)
    ran(cluster, now - 5000, now, "load", job_id=job.job_id, node_id=node.node_id, actor_id=actor.actor_id)
    for path, link in (
        ("tasks", PATH),
        (f"jobs/{job.job_id}", f"{PATH}?job_id={job.job_id}"),
        (f"actors/{actor.actor_id}", f"{PATH}?actor_id={actor.actor_id}"),
        (f"workers/{ONE}", f"{PATH}?worker_id={ONE}"),
        (f"nodes/{node.node_id}?tab=tasks", f"{PATH}?node_id={node.node_id}"),
    ):
        assert f'href="{link}"' in vera.page(f"/c/demo/{path}").text, path


def test_nothing_yet_and_nothing_here_say_so(vera: Person, cluster: BuiltCluster, now: int) -> None:
    assert "No task has run yet in this session." in vera.page(PATH).text
    cluster.with_task(state="PENDING_NODE_ASSIGNMENT")
    assert "No task has run yet in this session." in vera.page(PATH).text
    ran(cluster, now - 5000, now - 1000, "load")
    empty = vera.page(f"{PATH}?from=1000&to=2000").text
    assert "No task ran in this window." in empty
    assert "Show all there is" in empty
    ran(cluster, 2**61, None, "absurd", TWO)
    assert picture(vera).names == {"load"}


def test_a_wrong_question_is_answered_with_what_is_allowed(vera: Person, cluster: BuiltCluster) -> None:
    for query, told in (
        ("?from=soon&to=later", "it takes Unix milliseconds"),
        ("?from=2000&to=1000", "from must be before to"),
        ("?zoom=3", "Allowed are: from, to, span"),
        ("?q=size:3", "names a column"),
    ):
        for answer in (vera.page(PATH + query), vera.fragment(PATH + query, {"HX-Target": "section#timeline"})):
            assert answer.status_code == 400
            assert told in html.unescape(answer.text)


def test_an_ended_session_keeps_its_timeline(vera: Person, cluster: BuiltCluster, now: int) -> None:
    ran(cluster, now - 9000, now - 4000, "load")
    ran(cluster, now - 8000, None, "cut off", TWO)
    cluster.end(now / 1000)

    shown = picture(vera, path="/c/demo/s/session_1/timeline")

    assert shown.names == {"load", "cut off"}
    assert "hx-get" not in shown.page
    assert "8.0 s so far" in next(title for _, _, title in shown.bars if title.startswith("cut off"))
    assert all(href.startswith("/c/demo/s/session_1/tasks/") for href, _, _ in shown.bars)
    assert '"/c/demo/s/session_1/timeline.json"' in shown.page


def test_links_keep_the_path_prefix(vera: Person, cluster: BuiltCluster, now: int, make_app: Any) -> None:
    task = ran(cluster, now - 5000, now - 10, "load")
    behind = Person(make_app(url_prefix="/ray").test_client(), prefix="/ray").sign_in("vera")
    shown = picture(behind)
    assert [href for href, _, _ in shown.bars] == [f"/ray/c/demo/tasks/{task.task_id}"]
    assert 'src="/ray/static/js/timeline.js' in shown.page
    assert all(href.startswith("?") or href == "?" for href in shown.steps.values())
