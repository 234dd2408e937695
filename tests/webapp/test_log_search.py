"""The page of a search over the logs of all nodes: the nodes are made up, what they tell is what real ones tell."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from clusterstate.log_answers import FoundInFile, FoundLine, ListedFile, SearchPart, SearchProgress
from clusterstate.node_questions import NodeQuestions, Unanswered
from clusterstate.probes import SearchLogs
from clusterstate.query import BadQuery
from clusterstate.store import queues
from clusterstate.store.queues import Answer
from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import Person
from tests.webapp.test_every_page import HOSTILE, Elements
from webapp.moments import moment_asked

HEAD, BESIDE, FAR, SILENT = ("0" * 55 + digit for digit in "1234")
WORKER = "ab" * 28


class Nodes:
    """Nodes that tell what the test says."""

    def __init__(self) -> None:
        self.asked: list[SearchLogs] = []
        self.told: dict[str, list[SearchPart]] = {}
        self.ended: dict[str, tuple[str, str | None]] = {}
        self.refusing: set[str] = set()
        self.canceled: list[str] = []
        self.kept: dict[str, bytes] = {}

    def start(self, probe: SearchLogs, cluster: str, host: str) -> str:
        if probe.node_id in self.refusing:
            raise Unanswered("Nobody answers there.")
        self.asked.append(probe)
        return probe.node_id

    def answer(self, probe_id: str) -> Answer:
        state, problem = self.ended.get(probe_id, (queues.DONE, None))
        parts = self.told.get(probe_id, [])
        value = (
            msgspec.json.decode(msgspec.json.encode(parts[-1].progress if parts else SearchProgress())) if state == queues.DONE else None
        )
        return Answer(probe_id, state, 0.0, value, problem)

    def parts(self, probe_id: str, first: int = 0, last: int = -1) -> list[bytes]:
        parts = [msgspec.json.encode(part) for part in self.told.get(probe_id, [])]
        return parts[first:] if last == -1 else parts[first : last + 1]


@pytest.fixture
def nodes(cluster: BuiltCluster, monkeypatch: pytest.MonkeyPatch) -> Nodes:
    for node_id, hostname in ((HEAD, "a"), (BESIDE, "a"), (FAR, "b"), (SILENT, "c")):
        cluster.with_node(node_id=node_id, hostname=hostname, is_head_node=node_id == HEAD)
        if node_id != SILENT:
            cluster.with_node_stats(node_id, hostname=hostname)
    cluster.project()
    found = Nodes()
    for name in ("start", "answer", "parts"):
        monkeypatch.setattr(NodeQuestions, name, lambda self, *given, _name=name: getattr(found, _name)(*given))
    monkeypatch.setattr(NodeQuestions, "cancel", lambda self, probe_id: found.canceled.append(probe_id))
    monkeypatch.setattr(NodeQuestions, "remember", lambda self, key, what: found.kept.update({key: what}))
    monkeypatch.setattr(NodeQuestions, "remembered", lambda self, key: found.kept.get(key))
    return found


def hit(number: int, offset: int, text: str, *marks: tuple[int, int], **more: Any) -> FoundLine:
    return FoundLine(number, offset, text, marks, **more)


def part(name: str, *lines: FoundLine, **progress: Any) -> SearchPart:
    hits = sum(bool(line.marks) for line in lines)
    listed = ListedFile(f"id-of-{name}"[:16], name, 100, 1_700_000_000_000, "worker", "stderr")
    return SearchPart((FoundInFile(listed, lines),), SearchProgress(**{"files": 2, "files_done": 2, "hits": hits, **progress}))


def text(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def found(vera: Person, asked: str) -> str:
    """The page of a search, where its redirect leads."""
    answer = vera.page(f"/c/demo/logs/search?{asked}")
    assert answer.status_code == 303, answer.text
    page = vera.page(answer.headers["Location"])
    assert page.status_code == 200
    return str(page.text)


def test_without_a_text_there_is_a_form_and_nobody_is_asked(vera: Person, nodes: Nodes) -> None:
    page = vera.page("/c/demo/logs/search")
    assert page.status_code == 200
    assert 'name="q"' in page.text
    assert nodes.asked == []


def test_every_host_is_asked_once(vera: Person, nodes: Nodes) -> None:
    """Raylets of one host share their log folder."""
    page = found(vera, "q=lost&group=worker&file=.err&from=&to=&node=")
    assert {probe.node_id for probe in nodes.asked} <= {HEAD, BESIDE, FAR}
    assert len(nodes.asked) == 2
    assert (nodes.asked[0].pattern, nodes.asked[0].group, nodes.asked[0].name, nodes.asked[0].any_case) == ("lost", "worker", ".err", True)
    assert "raydeck node" in page, "the node without a collector is named"


def test_lines_are_shown_with_what_matched_and_lead_to_their_place(vera: Person, nodes: Nodes) -> None:
    nodes.told[FAR] = [part("worker-x.err", hit(7, 90, "it was lost, lost", (7, 11), (13, 17)), hit(8, 108, "beside"))]
    page = found(vera, "q=lost&context=1")
    assert "it was <mark>lost</mark>, <mark>lost</mark>" in page
    assert f'href="/c/demo/logs/{FAR}/id-of-worker-x.e?at=90#b90"' in page
    assert "beside" in text(page)
    assert "at least 1 line" in text(page), "a node is missing"


def test_what_was_not_searched_is_said(vera: Person, nodes: Nodes) -> None:
    nodes.told[FAR] = [
        part("a.err", hit(1, 0, "x", (0, 1)), is_cut=True, files_cut=1, unread=("b.err: too long",), unread_count=3, listing_is_whole=False)
    ]
    nodes.refusing = {HEAD, BESIDE}
    page = text(found(vera, "q=x"))
    for said in ("limit of hits or of time", "first 1,000 hits", "more files than are looked at", "3 files could not", "Nobody answers"):
        assert said in page


def test_a_search_that_runs_is_asked_again_and_can_be_stopped(vera: Person, nodes: Nodes) -> None:
    nodes.told[FAR] = [part("a.err", hit(1, 0, "x", (0, 1)), bytes=1000, bytes_done=300)]
    nodes.ended[FAR] = (queues.RUNNING, None)
    page = found(vera, "q=x")
    assert "hx-trigger" in page.split('id="found"')[1][:300]
    assert "<progress" in page
    stop = re.search(r'action="([^"]+stop[^"]+)"', page)
    assert stop is not None
    vera.post(stop[1].replace("&amp;", "&"))
    assert FAR in nodes.canceled
    nodes.ended[FAR] = (queues.CANCELED, None)
    after = vera.page(stop[1].replace("&amp;", "&").replace("/stop", ""))
    assert "Stopped on node" in text(after.text)
    assert "hx-trigger" not in after.text.split('id="found"')[1][:300]


def test_a_link_with_another_question_searches_anew(vera: Person, nodes: Nodes) -> None:
    first = vera.page("/c/demo/logs/search?q=one").headers["Location"]
    again = vera.page(first.replace("q=one", "q=two"))
    assert again.status_code == 303
    assert vera.page(first).status_code == 200
    nodes.kept.clear()
    assert vera.page(first).status_code == 303, "forgotten: it is searched again"


def test_only_some_lines_of_each_file_are_shown_and_the_rest_is_a_link(vera: Person, nodes: Nodes) -> None:
    lines = [hit(at, at * 10, "x", (0, 1)) for at in range(1, 60)]
    nodes.told[FAR] = [part("a.err", *lines), part("b.err", hit(1, 0, "x", (0, 1)))]
    page = found(vera, "q=x")
    assert "39 more in this file" in page
    assert f"node={FAR}" in page


def test_the_same_as_json(vera: Person, nodes: Nodes) -> None:
    nodes.told[FAR] = [part("a.err", hit(3, 40, "\x1b[31mlost\x1b[0m \xff", (5, 9)))]
    answer = vera.page("/c/demo/logs/search.json?q=lost&limit=5").get_json()
    [row] = answer["rows"]
    assert (row["node_id"], row["file"], row["line"], row["offset"], row["text"]) == (FAR, "a.err", 3, 40, "lost \ufffd")
    assert (answer["matching"], answer["exact"], answer["source"]) == (1, False, "logs")
    assert [problem["node"] for problem in answer["partial"]] == [SILENT]


def test_the_scope_of_a_job_an_actor_and_a_worker(vera: Person, cluster: BuiltCluster, nodes: Nodes) -> None:
    cluster.with_job(job_key="raysubmit_a", job_id="01000000", submission_id="raysubmit_a")
    cluster.with_worker(worker_id=WORKER, job_id="01000000")
    lives = [{"worker_id": "cd" * 28, "node_id": HEAD}]
    cluster.with_actor(actor_id="0" * 31 + "7", worker_id=WORKER, previous_incarnations=lives)
    cluster.project()
    for asked in ("job=01000000", f"actor={'0' * 31}7", f"worker={WORKER}"):
        found(vera, f"q=x&node={HEAD}&{asked}")
    by_job, by_actor, by_worker = nodes.asked
    assert (by_job.worker_ids, by_job.job_ids, by_job.submission_ids) == ((WORKER,), ("01000000",), ("raysubmit_a",))
    assert set(by_actor.worker_ids) == {WORKER, "cd" * 28}
    assert by_worker.worker_ids == (WORKER,)
    assert vera.page("/c/demo/logs/search?q=x&job=nobody").status_code == 404


@pytest.mark.parametrize(
    "wrong", ["q=" + "x" * 1001, "q=x&regex=2", "q=x&group=y", "q=x&from=soon", "q=x&context=6", "q=x&limit=0", "q=x&what=1"]
)
def test_what_cannot_be_asked_is_refused_and_said(vera: Person, nodes: Nodes, wrong: str) -> None:
    for path in ("search", "search.json"):
        assert vera.page(f"/c/demo/logs/{path}?{wrong}").status_code == 400
    assert nodes.asked == []


def test_nothing_that_is_found_does_anything(vera: Person, nodes: Nodes) -> None:
    hostile = HOSTILE.encode().decode("latin-1")
    nodes.told[FAR] = [part(HOSTILE, hit(1, 0, hostile, (0, 3), (2, 1), (5, 9_999)), unread=(HOSTILE,), unread_count=1)]
    nodes.ended[HEAD] = nodes.ended[BESIDE] = (queues.FAILED, HOSTILE)
    elements = Elements(found(vera, "q=%3Cb%20id=marker%3E")).found
    assert not [1 for name, attrs in elements if name in {"b", "img"} and ("onerror" in attrs or attrs.get("id") == "marker")]


def test_hits_over_time_are_drawn_and_lead_to_their_range(vera: Person, nodes: Nodes) -> None:
    nodes.told[FAR] = [part("a.err", hit(1, 0, "x", (0, 1)), step_s=60, times={1_700_000_040: 3, 1_700_000_160: 1}, untimed=2)]
    page = found(vera, "q=x")
    assert page.split('class="times"')[1].split("</svg>")[0].count("<rect") == 2
    assert "from=1700000040000&amp;to=1700000099999" in page
    assert "2 say no time" in text(page)


def test_moments_as_people_name_them() -> None:
    now = 1_700_000_000.0
    assert moment_asked("from", "", now, "UTC") is None
    assert moment_asked("from", "15m", now, "UTC") == (1_700_000_000 - 900) * 1000
    assert moment_asked("from", "1700000000123", now, "UTC") == 1_700_000_000_123
    assert moment_asked("from", "2026-11-22T12:00:00Z", now, "UTC") == 1_795_348_800_000
    assert moment_asked("from", "2026-11-22 13:00", now, "Europe/Berlin") == 1_795_348_800_000
    assert moment_asked("from", "2026-11-22 12:00", now, "browser") == 1_795_348_800_000
    for wrong in ("soon", "2026-13-01", "-5m", "15 m", "99999999999999999999"):
        with pytest.raises(BadQuery, match="how long ago"):
            moment_asked("from", wrong, now, "Europe/Berlin")
