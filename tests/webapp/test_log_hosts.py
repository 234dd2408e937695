"""Who is asked for the log files of nodes that are gone: the host on which they are kept, wherever this web app runs."""

from __future__ import annotations

import re
from typing import Any

import pytest
import redis

from clusterstate.hosts import this_host
from clusterstate.node_questions import NodeQuestions, Unanswered
from clusterstate.store import keys, log_shipping, queues
from clusterstate.store.log_shipping import Keeper
from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import Person

GONE = "0" * 55 + "9"


@pytest.fixture
def asked(cluster: BuiltCluster, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Hosts that were asked."""
    hosts: list[str] = []

    def ask(self: NodeQuestions, probe: Any, cluster: str, host: str, within_s: float) -> Any:
        hosts.append(host)
        raise Unanswered("It does not want to.")

    def start(self: NodeQuestions, probe: Any, cluster: str, host: str) -> str:
        hosts.append(host)
        raise Unanswered("It does not want to.")

    monkeypatch.setattr(NodeQuestions, "ask", ask)
    monkeypatch.setattr(NodeQuestions, "start", start)
    cluster.with_node(node_id=GONE, state="DEAD", end_time_ms=1_700_000_000_000)
    cluster.project()
    return hosts


def words(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def answers(client: redis.Redis, host: str) -> None:
    for kind in ("quick", "long"):
        client.set(keys.attended(queues.probe_queue(kind, "demo", host)), b"1")


@pytest.mark.parametrize("path", [f"logs?node={GONE}", f"logs/{GONE}/AbCdEfGhIjKlMnOp", f"logs/search?q=x&node={GONE}"])
def test_the_host_that_keeps_is_asked(vera: Person, asked: list[str], redis_client: redis.Redis, path: str) -> None:
    vera.page(f"/c/demo/{path}")
    assert asked == [this_host()], "where nobody said anything, this one"
    asked.clear()
    log_shipping.say_keeper(redis_client, "demo", Keeper("head-0a1b2c3d", None))
    answers(redis_client, "head-0a1b2c3d")
    vera.page(f"/c/demo/{path.replace('q=x', 'q=y')}")
    assert asked == ["head-0a1b2c3d"]


def test_where_nobody_answers_on_it_the_page_says_so(vera: Person, asked: list[str], redis_client: redis.Redis) -> None:
    log_shipping.say_keeper(redis_client, "demo", Keeper("head-0a1b2c3d", None))
    page = words(vera.page(f"/c/demo/logs?node={GONE}").text)
    assert "is on head-0a1b2c3d, where nobody answers now" in page
    assert asked == []


def test_a_page_says_why_not_all_is_kept(vera: Person, asked: list[str], redis_client: redis.Redis) -> None:
    log_shipping.say_keeper(redis_client, "demo", Keeper(this_host(), "No log files are kept now: <b>only</b> 0.1 GB are free."))
    page = vera.page(f"/c/demo/logs?node={GONE}").text
    assert "No log files are kept now: &lt;b&gt;only" in page


def test_what_is_no_keeper_is_none(vera: Person, asked: list[str], redis_client: redis.Redis) -> None:
    redis_client.set(keys.keeper("demo"), b"\xff\xff")
    vera.page(f"/c/demo/logs?node={GONE}")
    assert asked == [this_host()]
