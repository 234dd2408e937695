"""Pages, fragments and formats: what is answered, when 304, and how what went wrong is told."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from clusterstate import model, paths
from clusterstate.journal import Journal, JournalUnavailable
from clusterstate.resources import COLLECTOR
from clusterstate.settings import Settings
from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import Clock, Person
from webapp.fragment_cache import FragmentCache, tag_of
from webapp.parts import Parts
from webapp.roles import VIEWER
from webapp.routes import ROUTES, Route

ACTORS = "/c/demo/actors"


def parts_of(app: Flask) -> Parts:
    found: Parts = app.extensions["raydeck"]
    return found


def test_a_page_is_whole_and_a_fragment_is_one_element_of_it(vera: Person, cluster: BuiltCluster) -> None:
    actor = cluster.with_actor()
    page, fragment = vera.page(ACTORS), vera.fragment(ACTORS)

    assert page.text.lstrip().startswith(("<!doctype html>", "<!DOCTYPE html>", "<html"))
    assert "<html" not in fragment.text
    assert actor.actor_id in page.text
    assert actor.actor_id in fragment.text
    assert "HX-Request" in fragment.headers["Vary"]


def test_only_a_partial_request_of_htmx_gets_a_fragment(vera: Person, cluster: BuiltCluster) -> None:
    for headers in (
        {"HX-Request": "true", "HX-Request-Type": "full"},
        {"HX-Request": "true", "HX-Request-Type": "partial", "HX-History-Restore-Request": "true"},
        {"HX-Request": "true", "HX-Boosted": "true"},
        {"HX-Request": "false"},
    ):
        assert "<html" in vera.get(ACTORS, {"Accept": "text/html", **headers}).text, headers


def test_an_unchanged_fragment_is_answered_304_without_a_query(
    vera: Person, cluster: BuiltCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.with_actor()
    tag = vera.fragment(ACTORS).headers["HX-PTag"]
    asked: list[str] = []
    reader = type(cluster.reader)
    monkeypatch.setattr(reader, "page", lambda *_: asked.append("page"))

    again = vera.fragment(ACTORS, {"HX-PTag": tag})

    assert again.status_code == 304
    assert again.text == ""
    assert again.headers["HX-PTag"] == tag
    assert asked == []


def test_a_change_in_the_cluster_changes_the_fragment(vera: Person, cluster: BuiltCluster) -> None:
    cluster.with_actor()
    tag = vera.fragment(ACTORS).headers["HX-PTag"]
    new = cluster.with_actor()

    answer = vera.fragment(ACTORS, {"HX-PTag": tag})

    assert answer.status_code == 200
    assert answer.headers["HX-PTag"] != tag
    assert new.actor_id in answer.text


def test_the_page_knows_the_tag_of_its_fragment(vera: Person, cluster: BuiltCluster) -> None:
    cluster.with_actor()

    assert vera.fragment(ACTORS).headers["HX-PTag"] in vera.page(ACTORS).text


def test_a_tag_is_good_for_one_question_role_and_time_zone_alone(app: Flask, vera: Person, ada: Person, cluster: BuiltCluster) -> None:
    cluster.with_actor()
    tag = vera.fragment(ACTORS).headers["HX-PTag"]

    assert vera.fragment(ACTORS, {"HX-PTag": tag}).status_code == 304
    assert vera.fragment(f"{ACTORS}?sort=class_name", {"HX-PTag": tag}).status_code == 200
    assert vera.fragment("/c/demo/s/session_1/actors", {"HX-PTag": tag}).status_code == 200
    assert ada.fragment(ACTORS, {"HX-PTag": tag}).status_code == 200
    vera.post("/account/preferences", {"time_zone": "Asia/Tokyo"})
    assert vera.fragment(ACTORS, {"HX-PTag": tag}).status_code == 200


def test_the_age_of_old_data_moves_on_each_ten_seconds_and_fresh_data_needs_none(vera: Person, cluster: BuiltCluster, clock: Clock) -> None:
    cluster.with_actor()
    clock.at += 1
    fresh = vera.fragment(ACTORS).headers["HX-PTag"]
    clock.at += 2
    assert vera.fragment(ACTORS).headers["HX-PTag"] == fresh
    clock.at = clock.at // 10 * 10 + 60
    stale = vera.fragment(ACTORS).headers["HX-PTag"]
    assert stale != fresh
    clock.at += 9
    assert vera.fragment(ACTORS).headers["HX-PTag"] == stale
    clock.at += 1
    assert vera.fragment(ACTORS).headers["HX-PTag"] != stale


def test_a_fragment_is_rendered_once_for_all_who_may_see_it(app: Flask, users: Journal, cluster: BuiltCluster) -> None:
    cluster.with_actor()
    people = [Person(app.test_client()).sign_in("vera") for _ in range(3)]
    texts = {person.fragment(ACTORS).text for person in people}

    assert len(texts) == 1
    assert (parts_of(app).fragments.misses, parts_of(app).fragments.hits) == (1, 2)


def test_answers_are_gzipped_for_who_can_read_it(vera: Person, cluster: BuiltCluster) -> None:
    for _ in range(30):
        cluster.with_actor()
    for path, ask in ((ACTORS, vera.fragment), (f"{ACTORS}.json", vera.get)):
        plain = ask(path)
        packed = ask(path, {"Accept-Encoding": "gzip"})
        assert packed.headers["Content-Encoding"] == "gzip"
        assert "Content-Encoding" not in plain.headers
        assert "Accept-Encoding" in packed.headers["Vary"]
        assert len(packed.data) < len(plain.data)
        if path == ACTORS:
            assert gzip.decompress(packed.data) == plain.data


def test_head_says_what_get_would_without_a_body(vera: Person, cluster: BuiltCluster) -> None:
    for path in (ACTORS, f"{ACTORS}.json", "/account", "/healthz"):
        answer = vera.open("HEAD", path, {"Accept": "text/html"})
        assert answer.status_code == 200
        assert answer.data == b""


def test_json_csv_and_text_hold_the_same_rows(vera: Person, cluster: BuiltCluster) -> None:
    ids = {cluster.with_actor(class_name=f"Class{n}").actor_id for n in range(3)}

    body = vera.get(f"{ACTORS}.json?sort=class_name").get_json()
    table = list(csv.DictReader(io.StringIO(vera.get(f"{ACTORS}.csv?sort=class_name").text)))
    lines = vera.get(f"{ACTORS}.txt?sort=class_name").text.splitlines()

    assert {row["actor_id"] for row in body["rows"]} == {row["actor_id"] for row in table} == ids
    assert [row["class_name"] for row in body["rows"]] == [row["class_name"] for row in table] == ["Class0", "Class1", "Class2"]
    assert lines[0].startswith("ACTOR_ID")
    assert len(lines) == 4
    assert list(table[0]) == list(body["rows"][0])


def test_json_says_how_many_how_old_and_what_is_missing(vera: Person, cluster: BuiltCluster) -> None:
    node = cluster.with_node()
    for _ in range(3):
        cluster.with_actor()
    cluster.with_actor(state="DEAD")

    body = vera.get(f"{ACTORS}.json?state=ALIVE&limit=2").get_json()

    assert set(body) == {"rows", "total", "matching", "given_up", "next", "as_of", "age_s", "stale", "partial", "source", "exact"}
    assert (body["total"], body["matching"], len(body["rows"]), body["exact"], body["stale"]) == (4, 3, 2, True, False)
    assert body["partial"] == [{"node": node.node_id, "reason": "no node collector runs there", "since": None}]
    following = vera.get(body["next"]).get_json()
    assert len(following["rows"]) == 1
    assert following["next"] is None


def test_a_spreadsheet_finds_no_formula_in_csv(vera: Person, cluster: BuiltCluster) -> None:
    hostile = ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", 'quote " and, comma', "two\nlines", "plain"]
    for text in hostile:
        cluster.with_actor(class_name=text)

    answer = vera.get(f"{ACTORS}.csv")
    found = {row["class_name"] for row in csv.DictReader(io.StringIO(answer.data.decode(), newline=""))}

    assert found == {("'" if text[0] in "=+-@\t\r" else "") + text for text in hostile}
    assert answer.headers["Content-Disposition"] == 'attachment; filename="demo-actors.csv"'


def test_a_terminal_sees_no_control_characters(vera: Person, cluster: BuiltCluster) -> None:
    cluster.with_actor(class_name="\x1b[31mred\x1b]0;title\x07\u202etxt\x9b")

    text = vera.get(f"{ACTORS}.txt").text

    assert "\\x1b[31mred" in text
    assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(text)


def test_what_cannot_be_asked_is_a_400_that_names_what_can(vera: Person, cluster: BuiltCluster) -> None:
    for args in ("nonsense=1", "sort=nonsense", "limit=0", "limit=abc", "after=zzz", "state=NONSENSE", "columns=nonsense"):
        page, fragment, data = vera.page(f"{ACTORS}?{args}"), vera.fragment(f"{ACTORS}?{args}"), vera.get(f"{ACTORS}.json?{args}")
        assert page.status_code == fragment.status_code == data.status_code == 400, args
        assert "<html" in page.text
        assert "<html" not in fragment.text
        assert fragment.headers["HX-PTag"] == "none"
        assert data.get_json()["status"] == 400
        assert data.get_json()["message"]
    assert "class_name" in vera.get(f"{ACTORS}.json?sort=nonsense").get_json()["message"]


def test_what_is_not_there_is_a_404_in_the_shape_asked_for(vera: Person, cluster: BuiltCluster) -> None:
    for path in (
        "/c/nowhere/actors",
        "/c/demo/s/other/actors",
        "/c/demo/s/session_/actors",
        "/c/dem/actors",
        "/c/demo/nonsense",
        "/c/../actors",
    ):
        assert vera.page(path).status_code == 404, path
        assert vera.fragment(path).status_code == 404, path
        answer = vera.get(path, {"Accept": "application/json"})
        assert answer.status_code == 404
        assert answer.get_json()["request_id"] == answer.headers["X-Request-Id"]
    assert "demo" in vera.get("/c/nowhere/actors.json").get_json()["message"]


def test_a_poll_of_a_page_whose_sign_in_ended_leads_to_the_sign_in_page(anybody: Person, cluster: BuiltCluster) -> None:
    answer = anybody.fragment(ACTORS, {"HX-Current-URL": "http://127.0.0.1:8270/c/demo/actors?state=DEAD"})

    assert answer.status_code == 401
    assert answer.headers["HX-Redirect"] == "/login?next=/c/demo/actors?state%3DDEAD"
    foreign = anybody.fragment(ACTORS, {"HX-Current-URL": "https://evil.example//evil.example/x"})
    assert foreign.headers["HX-Redirect"] == "/login"


def broken() -> None:
    raise ValueError("secret-canary in /srv/some/file.py")


def unwritable() -> None:
    raise JournalUnavailable("disk full at /var/lib/secret-canary")


def test_a_fault_of_ours_is_told_by_its_number_alone(
    make_app: Callable[..., Flask], users: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    more = (Route("broken", "/broken", broken, VIEWER), Route("unwritable", "/unwritable", unwritable, VIEWER))  # type: ignore[arg-type]
    vera = Person(make_app(routes=(*ROUTES, *more)).test_client()).sign_in("vera")
    for path, status in (("/broken", 500), ("/unwritable", 503)):
        for answer in (vera.page(path), vera.fragment(path), vera.get(path, {"Accept": "application/json"}), vera.get(path)):
            assert answer.status_code == status
            whole = answer.text + str(answer.headers)
            assert "canary" not in whole
            assert "Traceback" not in whole
            assert "ValueError" not in whole
            assert answer.headers["X-Request-Id"] in caplog.text
            assert answer.headers["X-Request-Id"] in answer.text


def test_a_session_whose_picture_is_not_there_yet_is_a_503_that_says_so(vera: Person, cluster: BuiltCluster) -> None:
    cluster.path.unlink()

    answer = vera.get(f"{ACTORS}.json")

    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "2"
    assert "first picture" in answer.get_json()["message"]


def test_a_past_session_is_read_under_its_own_url_and_links_stay_there(app: Flask, vera: Person, cluster: BuiltCluster) -> None:
    cluster.with_actor()
    cluster.end()

    body = vera.get("/c/demo/s/session_1/actors.json").get_json()

    assert len(body["rows"]) == 1
    assert body["stale"] is False
    page = vera.page("/c/demo/s/session_1/actors?limit=50").text
    assert "/c/demo/s/session_1/actors.json" in page or "actors.json" not in page


def test_fragments_that_hold_a_form_token_are_kept_for_nobody(app: Flask, vera: Person, cluster: BuiltCluster) -> None:
    cache = FragmentCache()

    assert cache.get_or_render("tag", lambda: (b"for one person", False)) == cache.get_or_render("tag", lambda: (b"for one person", False))
    assert cache.bytes == 0


def test_the_cache_gives_up_the_least_used_beyond_its_bytes() -> None:
    cache = FragmentCache(max_bytes=20_000)
    for number in range(100):
        cache.get_or_render(str(number), lambda n=number: (json.dumps(list(range(n, n + 400))).encode(), True))  # type: ignore[misc]
        cache.get("0")

    assert cache.bytes <= 20_000
    assert cache.get("0") is not None
    assert cache.get("1") is None
    assert cache.get("99") is not None


def test_no_words_can_imitate_another_question() -> None:
    assert tag_of("a", "bc") != tag_of("ab", "c")
    assert tag_of('a","b') != tag_of("a", "b")
    assert tag_of("x", None) != tag_of("x", "None")


def test_readiness_names_its_reasons(
    app: Flask, make_app: Callable[..., Flask], viewers_program: Person, settings: Settings, cluster: BuiltCluster, clock: Clock
) -> None:
    ready = viewers_program.get("/readyz")
    assert (ready.status_code, ready.get_json()["status"], ready.get_json()["reasons"]) == (200, "ready", [])

    clock.at += 100
    silent = viewers_program.get("/readyz")
    assert silent.status_code == 503
    assert [reason["part"] for reason in silent.get_json()["reasons"]] == ["index"]
    (paths.index_dir(settings.state_dir) / "fleet.db").unlink()
    lost = Person(make_app(redis_url="unix:///nowhere/redis.sock").test_client(), viewers_program.headers)
    assert [reason["part"] for reason in lost.get("/readyz").get_json()["reasons"]] == ["redis", "index"]
    assert lost.get("/healthz").status_code == 200


def test_metrics_count_requests_by_endpoint_and_say_how_fresh_clusters_are(viewers_program: Person, cluster: BuiltCluster) -> None:
    cluster.with_actor()
    cluster.with_actor(state="DEAD")
    for path in (f"{ACTORS}.json", "/c/demo/nonsense-1", "/c/demo/nonsense-2"):
        viewers_program.get(path)

    text = viewers_program.get("/metrics").text

    assert 'raydeck_http_requests_total{endpoint="actors",status="2xx"} 1' in text
    assert 'raydeck_http_requests_total{endpoint="other",status="4xx"} 2' in text
    assert 'raydeck_http_request_seconds_count{endpoint="actors"} 1' in text
    assert 'raydeck_cluster_rows{cluster="demo",resource="actors"} 2' in text
    assert 'raydeck_cluster_data_age_seconds{cluster="demo",resource="actors"}' in text
    assert "nonsense" not in text


def test_counts_of_all_workers_are_one_sum() -> None:
    from webapp.exposition import RequestCounts, process_row

    counts = RequestCounts(["a", "b"], workers=3)
    for worker in range(3):
        counts.use_row(worker)
        counts.add("a", 200, 0.003)
        counts.add("a", 503, 99.0)
        counts.add(None, 404, 0.0)

    rows = {name: (by_class, sum(by_bucket), round(seconds, 3)) for name, by_class, by_bucket, seconds in counts.read()}
    assert rows["a"] == ([0.0, 3.0, 0.0, 0.0, 3.0], 6.0, 297.009)
    assert rows["other"][0] == [0.0, 0.0, 0.0, 3.0, 0.0]
    assert "b" not in rows
    assert process_row([0, 2], 3) == 1


def test_dead_actors_that_were_given_up_are_counted_on_the_page(vera: Person, cluster: BuiltCluster) -> None:
    cluster.with_actor()
    assert "given up" not in vera.page(ACTORS).text
    cluster.with_rows(COLLECTOR, model.CollectorReport(1.0, gcs_reachable=True, actors_evicted=1234))
    assert "1\u202f234 older ones given up" in vera.page(ACTORS).text


def told(person: Person, path: str, arguments: str = "") -> tuple[bool, int]:
    """What a table's JSON says of rows that are not there: exact, given_up."""
    answer = person.get(f"{path}.json{arguments}").get_json()
    return answer["exact"], answer["given_up"]


@pytest.mark.parametrize("table", ["nodes", "jobs", "workers", "actors", "tasks"])
def test_where_some_were_given_up_no_number_claims_to_be_all(vera: Person, cluster: BuiltCluster, table: str) -> None:
    cluster.with_node()
    job = cluster.with_job()
    cluster.with_worker()
    cluster.with_actor(job_id=job.job_id)
    cluster.with_task(job_id=job.job_id)
    narrow = {
        "nodes": "state=ALIVE",
        "jobs": "status=RUNNING",
        "workers": "is_alive=true",
        "actors": "state=ALIVE",
        "tasks": "state=RUNNING",
    }
    path = f"/c/demo/{table}"
    assert told(vera, path) == (True, 0)
    assert "at least" not in vera.page(f"{path}?{narrow[table]}").text
    evicted: dict[str, Any] = {f"{table}_evicted": 7}
    cluster.with_rows(COLLECTOR, model.CollectorReport(1.0, gcs_reachable=True, **evicted))
    assert told(vera, path) == (False, 7)
    assert told(vera, path, "?limit=1&" + narrow[table]) == (False, 7)
    assert "7 older ones given up" in vera.page(path).text
    assert "at least <b>1</b> of 1 " in vera.page(f"{path}?{narrow[table]}").text
    if table in ("actors", "tasks"):
        assert f"at least 1 {table}" in vera.page(f"/c/demo/jobs/{job.job_key}?tab={table}").text
    if table in ("nodes", "jobs", "actors"):
        assert "7 older ones given up" in vera.page("/c/demo/").text


def test_a_poll_hears_that_more_were_given_up(vera: Person, cluster: BuiltCluster) -> None:
    cluster.with_actor()
    for number in (1, 2):
        cluster.with_rows(COLLECTOR, model.CollectorReport(1.0, gcs_reachable=True, actors_evicted=number))
        shown = vera.fragment(ACTORS)
        assert f"{number} older ones given up" in shown.text
        assert vera.fragment(ACTORS, {"HX-PTag": shown.headers["HX-PTag"]}).status_code == 304


def test_tasks_of_which_ray_lost_events_are_not_claimed_to_be_all(vera: Person, cluster: BuiltCluster) -> None:
    cluster.with_rows(COLLECTOR, model.CollectorReport(1.0, gcs_reachable=True, tasks_dropped=1))
    assert vera.get("/c/demo/tasks.json").get_json()["exact"] is False
    assert vera.get("/c/demo/actors.json").get_json()["exact"] is True


def test_what_is_mistyped_in_the_query_box_stays_there_with_what_is_wrong(vera: Person, cluster: BuiltCluster) -> None:
    cluster.with_actor(class_name="Trainer")
    cluster.project()

    answer = vera.page("/c/demo/actors?q=klass:Trainer&limit=50")

    assert answer.status_code == 400
    assert 'value="klass:Trainer"' in answer.text
    assert "klass" in answer.text[answer.text.index('id="mistyped"') :]
    assert "Trainer</" in answer.text
    assert "hx-get" not in answer.text  # a poll would be told the same each second
    assert vera.get("/c/demo/actors.json?q=klass:Trainer").status_code == 400
    assert vera.page("/c/demo/actors?limit=nonsense&q=klass:Trainer").status_code == 400
