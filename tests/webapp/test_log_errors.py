"""The pages of errors in logs: the head is this process, what it kept is written as the keeper writes it."""

from __future__ import annotations

import json
import re
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any

import pytest

from clusterstate.node_questions import NodeQuestions, Unanswered
from clusterstate.settings import Settings
from clusterstate.store.kept_logs import host_file
from clusterstate.store.log_shipping import Shipped
from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import Person
from workers.log_error_keeper import LogErrorKeeper
from workers.probes.running import CannotAnswer, Running, set_running
from workers.sources.log_listing import file_id
from workers.start import function_of

NODE = "0" * 55 + "7"
WORKER = "ab" * 28
ERR, OTHER = f"worker-{WORKER}-01000000-7.err", f"worker-{WORKER}-02000000-8.err"
PRESTARTED = f"worker-{WORKER}-ffffffff-9.err"
TRACEBACK = 'Traceback (most recent call last):\n  File "/a/b.py", line %d, in f\nValueError: bad %d\n'

Write = Callable[..., None]


@pytest.fixture
def write(cluster: BuiltCluster, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes to a log file of a node of the cluster, as its keeper gets it."""
    cluster.with_node(node_id=NODE, hostname="gpu-7", is_head_node=True)
    cluster.with_job(job_key="01000000", job_id="01000000", status="RUNNING", type="DRIVER")
    cluster.with_job(job_key="02000000", job_id="02000000", status="RUNNING", type="DRIVER")
    cluster.with_worker(worker_id=WORKER, node_id=NODE, pid=7, job_id="01000000")
    cluster.project()
    running = Running(settings, "demo", "h1", lambda text: None, lambda part: None)

    def ask(self: NodeQuestions, probe: Any, cluster: str, host: str, within_s: float) -> Any:
        set_running(running)
        try:
            return json.loads(json.dumps(function_of(type(probe))(**asdict(probe))))
        except CannotAnswer as why:
            raise Unanswered(str(why)) from None

    monkeypatch.setattr(NodeQuestions, "ask", ask)
    keeper = LogErrorKeeper()
    ends: dict[str, int] = {}

    def write(name: str, text: str, session: str = cluster.session) -> None:
        content = text.encode()
        shipped = Shipped(
            session, (NODE,), name, name.encode(), ends.get(name, 0), len(content), int(time.time() * 1000), zlib.compress(content)
        )
        keeper.look(host_file(settings.state_dir, "demo", session, "h1"), (NODE,), shipped)
        keeper.settle(0.0, everything=True)
        ends[name] = ends.get(name, 0) + len(content)

    yield write
    keeper.close()


def stamp(minutes_ago: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:00", time.localtime(time.time() - 60 * minutes_ago))


def words(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.split("<main")[-1]))


def rows(person: Person, question: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = person.page(f"/c/demo/logs/errors.json{question}").json["rows"]  # type: ignore[index]
    return found


def test_the_same_error_is_a_row_however_often_it_was_seen(vera: Person, write: Write) -> None:
    write(ERR, TRACEBACK % (1, 1) + TRACEBACK % (2, 2))
    write(OTHER, TRACEBACK % (3, 3) + "2026-11-22 10:00:00,000\tERROR a.py:7 -- lost it\n")
    page = words(vera.page("/c/demo/logs/errors").text)
    assert "2 different errors, seen 4 times" in page
    assert "ValueError" in page
    assert "bad 1" in page
    assert "job 01000000" in page
    found = {row["exception"]: row for row in rows(vera)}
    assert {name: row["count"] for name, row in found.items()} == {"ValueError": 3, "": 1}


def test_errors_can_be_narrowed_and_sorted(vera: Person, write: Write) -> None:
    write(ERR, TRACEBACK % (1, 1) * 3)
    write("raylet.out", f"[{stamp(30)},123 E 1 2] a.cc:7: lost 100% of it\n")

    def titles(question: str) -> list[str]:
        return [row["title"] for row in rows(vera, question)]

    line, trace = "a.cc:7: lost 100% of it", "bad 1"
    assert titles("?sort=count") == [line, trace]
    assert titles("?sort=-count") == [trace, line]
    assert titles("?sort=first") == [line, trace]
    assert titles("?kind=line") == [line]
    assert titles("?q=VALUEerror") == [trace]
    assert titles("?q=100%25") == [line]
    assert titles("?job=01000000") == [trace]
    assert titles(f"?node={NODE}&sort=count") == [line, trace]
    assert titles("?node=" + "1" * 56) == []
    assert titles("?from=1&sort=count") == [trace]
    for wrong in ("sort=size", "kind=x", "colour=red", "from=x"):
        assert vera.page(f"/c/demo/logs/errors?{wrong}").status_code == 400
    assert "No error matches" in words(vera.page("/c/demo/logs/errors?q=nowhere").text)


def test_what_a_job_had_first_is_new_in_it(vera: Person, write: Write) -> None:
    line = "%s,000\tERROR a.py:7 -- %s\n"
    write(ERR, line % (stamp(9), "old") + line % (stamp(9), "its own"))
    write(OTHER, line % (stamp(8), "old") + line % (stamp(8), "fresh"))
    assert {row["title"][-5:]: row["is_new"] for row in rows(vera, "?job=02000000")} == {"- old": False, "fresh": True}
    page = words(vera.page("/c/demo/logs/errors?job=02000000").text)
    assert "1 of them new in this job" in page


def test_files_of_workers_that_had_no_job_yet_are_of_their_job(vera: Person, write: Write) -> None:
    write(PRESTARTED, TRACEBACK % (1, 1))
    [row] = rows(vera, "?job=01000000")
    assert row["is_new"]
    assert rows(vera, "?job=02000000") == []
    assert "job 01000000" in words(vera.page("/c/demo/logs/errors").text)


def test_an_error_leads_to_its_lines(vera: Person, write: Write) -> None:
    write(ERR, "fine\n" + TRACEBACK % (1, 1))
    [row] = rows(vera)
    page = vera.page(f"/c/demo/logs/errors/{row['fingerprint']}")
    assert f"/c/demo/logs/{NODE}/{file_id(ERR)}?at=5#b5" in page.text
    assert "File &#34;/a/b.py&#34;, line 1, in f" in page.text
    told = vera.page(f"/c/demo/logs/errors/{row['fingerprint']}.json").json
    assert told is not None
    assert told["places"][0]["offset"] == 5
    assert told["group"]["hosts"][0]["node_id"] == NODE


def test_an_error_that_is_not_known_says_so(vera: Person, write: Write) -> None:
    write(ERR, TRACEBACK % (1, 1))
    assert "No such error is known" in vera.page("/c/demo/logs/errors/1:0123456789abcdef").text
    assert vera.page("/c/demo/logs/errors/1:0123456789abcdef.json").status_code == 404


def test_nothing_found_and_nothing_known_are_told_apart(
    vera: Person, write: Write, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "it is not known which errors" in words(vera.page("/c/demo/logs/errors").text)
    write(ERR, "fine\n")
    assert "No traceback and no line that says ERROR was found" in words(vera.page("/c/demo/logs/errors").text)


def test_keeping_that_is_switched_off_is_said(vera: Person, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    off = "workers.probes.log_errors._with_setting"
    monkeypatch.setattr(off, lambda kept: replace(kept, is_off=True))
    assert "RAYDECK_KEPT_LOGS_KB_S is 0" in words(vera.page("/c/demo/logs/errors").text)


def test_a_keeper_that_has_not_looked_for_a_while_is_said(vera: Person, write: Write, clock: Any) -> None:
    write(ERR, TRACEBACK % (1, 1))
    assert "has not run for a while" not in words(vera.page("/c/demo/logs/errors").text)
    clock.at += 600
    assert "has not run for a while" in words(vera.page("/c/demo/logs/errors").text)


def test_the_page_of_a_job_asks_for_its_errors_by_itself(vera: Person, write: Write) -> None:
    write(ERR, TRACEBACK % (1, 1))
    assert 'href="/c/demo/logs/errors?job=01000000"' in vera.page("/c/demo/jobs/01000000").text
    card = vera.fragment("/c/demo/logs/errors?job=01000000", {"HX-Target": "section#job-errors"})
    assert 'id="job-errors"' in card.text
    assert "ValueError" in card.text
    assert "new" in words(card.text)


def test_the_list_keeps_itself_up_to_date_and_one_of_the_past_does_not(vera: Person, write: Write, cluster: BuiltCluster) -> None:
    write(ERR, TRACEBACK % (1, 1))
    assert 'hx-trigger="every' in vera.fragment("/c/demo/logs/errors", {"HX-Target": "section#errors"}).text
    past = vera.page(f"/c/demo/s/{cluster.session}/logs/errors").text
    assert "ValueError" in past
    assert 'id="errors" tabindex="-1" aria-label="Errors">' in past


def test_hostile_text_is_text(vera: Person, write: Write) -> None:
    write(ERR, 'Traceback (most recent call last):\n  File "<script>", line 1, in <b>\nValueError: <script>alert(1)</script>\u202e\x07\n')
    [row] = rows(vera)
    for path in ("", f"/{row['fingerprint']}"):
        page = vera.page(f"/c/demo/logs/errors{path}").text
        assert "<script>alert" not in page
        assert "\u202e" not in page
        assert "\x07" not in page
