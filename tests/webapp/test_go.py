"""/go: any id, pid, address, name or log line leads to the right page."""

from __future__ import annotations

from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import Person
from webapp.finding import find, words_of


def test_a_whole_id_leads_straight_to_its_page(vera: Person, cluster: BuiltCluster) -> None:
    actor = cluster.with_actor()

    answer = vera.page(f"/go?q=%20{actor.actor_id}%20")

    assert answer.status_code == 302
    assert answer.location.startswith("/c/demo/actors")
    assert actor.actor_id in answer.location


def test_every_kind_of_thing_is_found_by_what_people_know_of_it(cluster: BuiltCluster) -> None:
    node = cluster.with_node(node_ip="10.0.0.7", hostname="gpu-box")
    actor = cluster.with_actor(name="counter", class_name="Counter", repr_name="Counter(3)")
    driver = cluster.with_job(driver_pid=4711)
    job = cluster.with_job(submission_id="raysubmit_AbC123", name="nightly", type="SUBMISSION")
    worker = cluster.with_worker(pid=777, worker_type="WORKER")
    group = cluster.with_placement_group(name="train")
    task = cluster.with_task(name="tokenize")
    cluster.with_process(node.node_id, 4242, kind="RAYLET", title="raylet")

    for text, expected in {
        node.node_id: ("node", node.node_id),
        "10.0.0.7": ("node", node.node_id),
        "gpu-box": ("node", node.node_id),
        "4242": ("node", node.node_id),
        actor.actor_id: ("actor", actor.actor_id),
        actor.actor_id.upper(): ("actor", actor.actor_id),
        "counter": ("actor", actor.actor_id),
        "Counter(3)": ("actor", actor.actor_id),
        driver.job_key: ("job", driver.job_key),
        "4711": ("job", driver.job_key),
        "raysubmit_AbC123": ("job", job.job_key),
        "nightly": ("job", job.job_key),
        worker.worker_id: ("worker", worker.worker_id),
        "777": ("worker", worker.worker_id),
        task.task_id: ("task", task.task_id),
        "tokenize": ("task", task.task_id),
        group.placement_group_id: ("placement_group", group.placement_group_id),
        "train": ("placement_group", group.placement_group_id),
    }.items():
        findings = find(cluster.reader, text)
        assert [(found.kind, found.row_id) for found in findings.found] == [expected], text
        assert findings.is_exact
        assert findings.is_complete


def test_a_pasted_log_line_leads_to_what_it_speaks_of(cluster: BuiltCluster) -> None:
    cluster.with_worker(pid=31337)
    actor = cluster.with_actor()
    line = f"(Counter pid=31337, ip=10.9.9.9) Actor {actor.actor_id} died: 100% <script>alert(1)</script>"

    assert {found.kind for found in find(cluster.reader, line).found} == {"worker", "actor"}


def test_several_meanings_are_listed(vera: Person, cluster: BuiltCluster) -> None:
    ids = [cluster.with_actor(class_name="Shared").actor_id for _ in range(2)]

    answer = vera.page("/go?q=Shared")

    assert answer.status_code == 200
    assert all(actor_id in answer.text for actor_id in ids)


def test_the_start_of_an_id_or_name_lists_what_begins_with_it(cluster: BuiltCluster) -> None:
    actor = cluster.with_actor(class_name="LongishName")

    findings = find(cluster.reader, "Longish")

    assert [found.row_id for found in findings.found] == [actor.actor_id]
    assert not findings.is_exact
    assert find(cluster.reader, "Lon").found == ()


def test_nothing_found_says_where_it_was_looked_for(vera: Person, cluster: BuiltCluster) -> None:
    answer = vera.page("/go?q=nothing-like-it")

    assert answer.status_code == 404
    assert "demo" in answer.text
    assert vera.page("/go").status_code == 200
    assert vera.page("/go?q=x&cluster=nowhere").status_code == 404
    assert vera.page("/go?q=" + "x" * 5000).status_code == 400


def test_what_was_typed_is_only_text(vera: Person, cluster: BuiltCluster) -> None:
    for typed in ("<script>alert(1)</script>", "' OR 1=1 --", "%00", "*", "%", "_" * 100, "𝟙𝟚𝟛", "9" * 40):
        answer = vera.client.get("/go", query_string={"q": typed}, headers={"Host": "127.0.0.1:8270", "Accept": "text/html"})
        assert answer.status_code == 404, typed
        assert "<script>alert" not in answer.text


def test_a_past_session_is_searched_when_asked_from_there(vera: Person, cluster: BuiltCluster) -> None:
    actor = cluster.with_actor()
    cluster.end()

    answer = vera.page(f"/go?q={actor.actor_id}&cluster=demo&session=session_1")

    assert answer.location.startswith("/c/demo/s/session_1/actors")


def test_words_are_boundedly_many() -> None:
    assert len(words_of(" ".join(f"pid={n}" for n in range(1000)))) <= 12
    assert words_of("  ") == []
