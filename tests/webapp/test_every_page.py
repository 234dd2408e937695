"""What holds for every page there is, whatever the cluster says."""

from __future__ import annotations

import html.parser
import json

import pytest

from clusterstate.journal import Journal
from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import Person
from tests.webapp.test_access import example
from webapp.routes import ROUTES

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'><b id=marker>{{7777*7}}\x1b[31m\u202e"
TASK = "0" * 47 + "1"
JOB, ACTOR, NODE, WORKER, GROUP = "00000001", "0" * 31 + "1", "0" * 55 + "1", "0" * 55 + "1", "0" * 35 + "1"


class Elements(html.parser.HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))


@pytest.fixture
def hostile(cluster: BuiltCluster) -> BuiltCluster:
    """One of each thing, every text in it hostile."""
    text, pairs = HOSTILE, {HOSTILE: HOSTILE}
    cluster.with_node(
        node_id=NODE, hostname=text, node_name=text, labels=pairs, state_message=text, resources_total={"CPU": 1.0, HOSTILE: 2.0}
    )
    cluster.with_node_resources(NODE, resources_total={HOSTILE: 2.0}, resources_available={HOSTILE: 1.0}, node_activity=[text])
    cluster.with_node_stats(NODE, hostname=text, os=text, problems=[text], raylet_command_line=text)
    cluster.with_job(
        job_key=JOB, job_id=JOB, name=text, entrypoint=text, message=text, metadata=pairs, runtime_env={HOSTILE: pairs}, status="FAILED"
    )
    cluster.with_actor(
        actor_id=ACTOR,
        class_name=text,
        name=text,
        repr_name=text,
        ray_namespace=text,
        job_id=JOB,
        node_id=NODE,
        worker_id=WORKER,
        exit_detail=text,
        death_cause=text,
        call_site=text,
        label_selector=pairs,
        required_resources={HOSTILE: 1.0},
        placement_group_id=GROUP,
    )
    cluster.with_worker(worker_id=WORKER, node_id=NODE, pid=4711, exit_detail=text, exit_type=text, job_id=JOB)
    cluster.with_process(NODE, 4711, worker_id=WORKER, title=text, command_line=text, task_name=text, class_name=text, user=text)
    cluster.with_task(
        task_id=TASK,
        name=text,
        func_or_class_name=text,
        type=text,
        state="FAILED",
        job_id=JOB,
        actor_id=ACTOR,
        node_id=NODE,
        worker_id=WORKER,
        parent_task_id=TASK,
        error_type=text,
        error_message_id=cluster.with_text(text),
        call_site_id=cluster.with_text(text + "."),
        required_resources_id=cluster.with_text(json.dumps({HOSTILE: 1.0})),
        label_selector_id=cluster.with_text(json.dumps(pairs)),
        runtime_env_id=cluster.with_text(json.dumps({"pip": [text]})),
        actor_repr_name=text,
    )
    cluster.with_placement_group(placement_group_id=GROUP, name=text, strategy=text, scheduling_state=text)
    return cluster


NEEDS_A_QUESTION = frozenset({"log_search_data", "log_of", "log_archive", "log_file", "follow_log", "log_error_data"})
"""Answer 400 or 404 without one; what they answer is looked at in tests of their own."""


def every_page() -> list[str]:
    return [
        example(rule)
        for route in ROUTES
        for rule in route.rules
        if "GET" in route.methods and "format" not in rule and "/static/" not in rule and route.endpoint not in NEEDS_A_QUESTION
    ]


def test_every_page_is_there_and_no_text_of_a_cluster_becomes_part_of_it(ada: Person, hostile: BuiltCluster) -> None:
    for path in every_page():
        for answer in (ada.page(path), ada.fragment(path)):
            assert answer.status_code == 200 or path in ("/", "/login"), (path, answer.text[:500])
            assert "54439" not in answer.text, path
            for tag, attributes in Elements(answer.text).found:
                assert attributes.get("id") != "marker", path
                assert "style" not in attributes, (path, tag)
                assert not [name for name in attributes if name.startswith(("on", "hx-on"))], (path, tag)
                assert tag not in ("style", "iframe", "object", "embed", "base"), path
                assert tag != "script" or attributes.get("src", "").startswith("/static/"), path
                assert not attributes.get("href", "").lower().startswith(("javascript:", "data:")), path
                assert "[" not in attributes.get("hx-trigger", ""), path
            assert "\x1b" not in answer.text
            assert "\u202e" not in answer.text


def test_looking_changes_nothing(ada: Person, users: Journal, hostile: BuiltCluster) -> None:
    before = (users.verify_audit().count, users.users(), users.tokens())
    for path in every_page():
        ada.page(path)

    assert (users.verify_audit().count, users.users(), users.tokens()) == before


def test_every_link_of_every_page_leads_somewhere(ada: Person, hostile: BuiltCluster) -> None:
    seen: set[str] = set()
    waiting = [path for path in every_page() if path != "/login"]
    while waiting and len(seen) < 200:
        path = waiting.pop(0)
        if path in seen:
            continue
        seen.add(path)
        answer = ada.page(path)
        assert answer.status_code in (200, 302, 303), path
        if not (answer.content_type or "").startswith("text/html"):
            continue
        for tag, attributes in Elements(answer.text).found:
            target = attributes.get("href", "")
            if tag == "a" and target and not target.startswith(("#", "http")):
                whole = path.partition("?")[0] + target if target.startswith("?") else target
                if whole not in seen and ("=" not in whole or "tab=" in whole):  # sorts and filters have tests of their own
                    waiting.append(whole)
    assert len(seen) > 30
